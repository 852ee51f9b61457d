//! The engine: one stay after another in one room.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use roomful_protocol::{
    ChatMessage, ClientMessage, DisconnectReason as WireReason, ErrorCode, JoinRequest, JoinResponse,
    LeaveReason, LeaveRequest, MessageKind, MessageRequest, OfferResponse, ParticipantInfo, PingRequest,
    RequestId, ServerMessage, StreamInfo, TrackInfo, WIRE_VERSION, limits,
};
use roomful_state::{
    Action, Event, EventKind, Message, Origin, Participant, State, Status, Stream, TrackId, apply,
};
use roomful_types::{DisconnectReason, MediaKind, ParticipantId, RoomId, StreamId, StreamKey};

use crate::{
    command::{Command, CommandError, CommandId, Connect, Reply, SendMessage},
    config::ClientConfig,
    media::{MediaCommand, MediaNotice},
    negotiation::Negotiation,
    publication::Publications,
    subscription::Subscriptions,
};

/// The client of one room.
///
/// One input, then drain [`poll_output`](Self::poll_output) to [`Output::Wait`], then the next input. Time never goes back:
/// an earlier `now` counts as the latest one seen.
#[derive(Debug)]
pub struct Client {
    pub(crate) config: ClientConfig,
    room_id: RoomId,
    pub(crate) state: State,
    stage: Stage,
    pub(crate) negotiation: Negotiation,
    pub(crate) publications: Publications,
    pub(crate) subscriptions: Subscriptions,
    requests: BTreeMap<RequestId, Request>,
    last_request: u32,
    /// When each command that somebody waits for runs out of time.
    deadlines: BTreeMap<CommandId, Instant>,
    now: Instant,
    next_ping: Instant,
    heard_at: Instant,
    outputs: VecDeque<Output>,
}

/// What happens to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The application wants something.
    Command(CommandId, Command),
    /// The application no longer wants to know what a command came to. What it began is undone as far as nobody saw it.
    Withdraw(CommandId),
    /// The connection asked for by [`Output::OpenSignal`] is open.
    SignalOpened,
    /// The server said something.
    Signal(ServerMessage),
    /// The server said something that is no message of this version of the protocol.
    Malformed,
    /// The connection could not be opened, or is gone.
    SignalClosed,
    /// The media transport reports.
    Media(MediaNotice),
    /// The deadline of [`Output::Wait`] is reached.
    Timeout,
}

/// What the client does about it.
#[derive(Debug, Clone)]
#[must_use]
pub enum Output {
    /// Connect to the server.
    OpenSignal,
    /// Tell the server.
    Send(ClientMessage),
    /// End the connection after what was said before.
    CloseSignal,
    /// Tell the media transport.
    Media(MediaCommand),
    /// Tell the application.
    Event(Event),
    /// A command came to this.
    Done(CommandId, Result<Reply, CommandError>),
    /// Nothing more; come back at this time at the latest, if there is one.
    Wait {
        /// When.
        until: Option<Instant>,
        /// What for.
        why: WaitReason,
    },
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// A command runs out of time.
    CommandTimeout,
    /// The server is to hear from this client.
    Keepalive,
    /// Only another input makes a difference.
    Input,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Waits for the connection.
    Opening(CommandId, Connect),
    /// Waits for the server to let it in.
    Joining(CommandId),
    Joined,
    /// Waits for the server's good-bye, as do these.
    Leaving(Vec<CommandId>),
}

/// What a request to the server was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Join,
    Leave,
    Ping,
    Offer,
    Change,
    Unpublish(Option<CommandId>, StreamKey),
    Subscribe,
    UpdateSubscription,
    Unsubscribe(Option<CommandId>, (ParticipantId, StreamKey), StreamId),
    Message(CommandId),
}

impl Client {
    /// Makes the client of a room that it is not connected to.
    #[must_use]
    pub fn new(config: ClientConfig, room_id: RoomId, now: Instant) -> Self {
        Self {
            config,
            room_id,
            state: State::new(),
            stage: Stage::Idle,
            negotiation: Negotiation::default(),
            publications: Publications::default(),
            subscriptions: Subscriptions::default(),
            requests: BTreeMap::new(),
            last_request: 0,
            deadlines: BTreeMap::new(),
            now,
            next_ping: now,
            heard_at: now,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input in.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.now = self.now.max(now);
        match input {
            Input::Command(id, command) => self.on_command(id, command),
            Input::Withdraw(id) => self.on_withdraw(id),
            Input::SignalOpened => self.on_signal_opened(),
            Input::Signal(message) => self.on_signal(message),
            Input::Malformed => self.end(DisconnectReason::ProtocolError),
            Input::SignalClosed => self.on_signal_closed(),
            Input::Media(notice) => self.on_media(notice),
            Input::Timeout => self.on_timeout(),
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let timeout = self.deadlines.values().min().map(|at| (*at, WaitReason::CommandTimeout));
            let ping = (self.stage == Stage::Joined).then_some((self.next_ping, WaitReason::Keepalive));
            match timeout.into_iter().chain(ping).min_by_key(|(at, _)| *at) {
                Some((until, why)) => Output::Wait { until: Some(until), why },
                None => Output::Wait { until: None, why: WaitReason::Input },
            }
        })
    }

    /// Returns the room as it is now.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Returns whether nothing is left of any stay.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.stage == Stage::Idle
            && self.negotiation.is_empty()
            && self.publications.is_empty()
            && self.subscriptions.is_empty()
            && self.requests.is_empty()
            && self.deadlines.is_empty()
            && self.outputs.is_empty()
    }

    fn on_command(&mut self, id: CommandId, command: Command) {
        let timeout = match command {
            Command::Connect(_) => self.config.connect_timeout,
            Command::Disconnect => self.config.disconnect_timeout,
            Command::AddStream(_)
            | Command::UpdateStream(_)
            | Command::RemoveStream(_)
            | Command::AddSubscription(_)
            | Command::UpdateSubscription(_)
            | Command::RemoveSubscription(..)
            | Command::SendMessage(_) => self.config.request_timeout,
        };
        self.deadlines.insert(id, self.now + timeout);
        let begun = match (command, &self.stage) {
            (Command::Connect(connect), Stage::Idle) => {
                self.apply(Action::Connecting);
                self.stage = Stage::Opening(id, connect);
                self.outputs.push_back(Output::OpenSignal);
                Ok(())
            }
            (Command::Connect(_), _) => Err(CommandError::AlreadyConnected),
            (Command::Disconnect, _) => {
                self.on_disconnect(id);
                Ok(())
            }
            (command, Stage::Joined) => self.on_room_command(id, command),
            (_, _) => Err(CommandError::NotConnected),
        };
        if let Err(error) = begun {
            self.finish(Some(id), Err(error));
        }
    }

    fn on_room_command(&mut self, id: CommandId, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Connect(_) | Command::Disconnect => Err(CommandError::AlreadyConnected),
            Command::AddStream(add) => self.on_add_stream(id, add),
            Command::UpdateStream(update) => self.on_update_stream(id, update),
            Command::RemoveStream(key) => self.on_remove_stream(id, key),
            Command::AddSubscription(wish) => self.on_add_subscription(id, wish),
            Command::UpdateSubscription(wish) => self.on_update_subscription(id, wish),
            Command::RemoveSubscription(participant, key) => {
                self.on_remove_subscription(id, (participant, key))
            }
            Command::SendMessage(send) => self.on_send_message(id, send),
        }
    }

    fn on_disconnect(&mut self, id: CommandId) {
        match &mut self.stage {
            Stage::Idle => self.finish(Some(id), Ok(Reply::Done)),
            Stage::Leaving(commands) => commands.push(id),
            Stage::Opening(..) | Stage::Joining(_) => {
                self.apply(Action::Disconnecting);
                self.close_media();
                self.stage = Stage::Leaving(vec![id]);
                self.end(DisconnectReason::UserInitiated);
            }
            Stage::Joined => {
                self.apply(Action::Disconnecting);
                self.stage = Stage::Leaving(vec![id]);
                self.close_media();
                self.request(Request::Leave, |request| LeaveRequest { request }.into());
            }
        }
    }

    fn on_send_message(&mut self, id: CommandId, send: SendMessage) -> Result<(), CommandError> {
        let Message { kind: _, payload, meta } = send.message;
        let allowed = limits::MESSAGE_TEXT_MAX;
        let seen = payload.len().max(meta.as_ref().map_or(0, |meta| meta.len()));
        if seen > allowed {
            return Err(CommandError::MessageTooLarge { seen, allowed });
        }
        let message = ChatMessage { kind: MessageKind::Text, payload, meta };
        let recipients = send.recipients;
        self.request(Request::Message(id), |request| MessageRequest { request, message, recipients }.into());
        Ok(())
    }

    fn on_withdraw(&mut self, id: CommandId) {
        if self.deadlines.remove(&id).is_none() {
            return;
        }
        match &self.stage {
            Stage::Opening(command, _) | Stage::Joining(command) if *command == id => {
                self.apply(Action::Disconnecting);
                self.end(DisconnectReason::UserInitiated);
            }
            Stage::Idle | Stage::Opening(..) | Stage::Joining(_) | Stage::Joined | Stage::Leaving(_) => {
                self.abandon(id);
            }
        }
    }

    fn on_signal_opened(&mut self) {
        let Stage::Opening(id, connect) = &self.stage else { return };
        let (id, Connect { token, context, enable_messages }) = (*id, connect.clone());
        self.stage = Stage::Joining(id);
        let (room_id, versions) = (self.room_id, vec![WIRE_VERSION]);
        self.request(Request::Join, |request| {
            JoinRequest { request, versions, room_id, token, context, enable_messages }.into()
        });
    }

    fn on_signal_closed(&mut self) {
        match &self.stage {
            Stage::Idle => {}
            Stage::Opening(..) => self.end_with(DisconnectReason::NetworkError, CommandError::Unreachable),
            Stage::Joining(_) | Stage::Joined => self.end(DisconnectReason::NetworkError),
            Stage::Leaving(_) => self.end(DisconnectReason::UserInitiated),
        }
    }

    fn on_signal(&mut self, message: ServerMessage) {
        self.heard_at = self.now;
        match message {
            ServerMessage::JoinResponse(response) => self.on_joined(response),
            ServerMessage::OfferResponse(OfferResponse { request, offer, sdp }) => {
                if self.take_request(request, &Request::Offer) {
                    self.on_answer(offer, sdp);
                }
            }
            ServerMessage::PublishResponse(response) => {
                self.on_response(response.request, Ok(Reply::Published(response.stream_id)));
            }
            ServerMessage::DoneResponse(response) => self.on_response(response.request, Ok(Reply::Done)),
            ServerMessage::ErrorResponse(response) => self.on_response(response.request, Err(response.code)),
            ServerMessage::SlotBoundNotice(notice) => self.on_slot_bound(notice),
            ServerMessage::SourcePausedNotice(notice) => self.on_source_paused(&notice),
            ServerMessage::DisconnectNotice(notice) => self.end(match notice.reason {
                WireReason::ProtocolError | WireReason::Unknown => DisconnectReason::ProtocolError,
                WireReason::TimedOut => DisconnectReason::TimedOut,
                WireReason::SessionEnded => DisconnectReason::SessionEnded,
                WireReason::Kicked => DisconnectReason::Kicked,
            }),
            ServerMessage::MessageNotice(notice) => {
                let ChatMessage { kind: MessageKind::Text, payload, meta } = notice.message;
                let message = Message { kind: roomful_state::MessageKind::Text, payload, meta };
                let (sender, recipients) = (notice.sender, notice.recipients);
                self.apply(Action::MessageReceived { sender, message, recipients });
            }
            ServerMessage::ParticipantJoinedNotice(notice) => {
                self.reach(notice.version.0);
                self.apply(Action::ParticipantJoined { participant: participant(notice.participant) });
            }
            ServerMessage::ParticipantLeftNotice(notice) => {
                self.reach(notice.version.0);
                let reason = notice.reason.and_then(|reason| match reason {
                    LeaveReason::Kicked => Some(roomful_state::LeaveReason::Kicked),
                    LeaveReason::Unknown => None,
                });
                self.apply(Action::ParticipantLeft { participant: notice.participant_id, reason });
                self.advance();
            }
            ServerMessage::StreamPublishedNotice(notice) => {
                self.reach(notice.version.0);
                let mut new = stream(&notice.stream);
                if Some(new.participant_id) == self.state.local_participant_id() {
                    (new.audio_track, new.video_track) = self.local_tracks(&notice.stream);
                    new.is_configured = true;
                }
                self.apply(Action::StreamPublished { stream: new });
            }
            ServerMessage::StreamUpdatedNotice(notice) => {
                self.reach(notice.version.0);
                let StreamInfo { id, audio, video, .. } = notice.stream;
                for (kind, track) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
                    self.apply(Action::TrackToggled { stream: id, kind, enabled: is_enabled(track) });
                }
            }
            ServerMessage::StreamUnpublishedNotice(notice) => {
                self.reach(notice.version.0);
                self.on_own_stream_ended(notice.stream_id);
                self.apply(Action::StreamUnpublished { stream: notice.stream_id });
                self.advance();
            }
        }
    }

    fn on_joined(&mut self, response: JoinResponse) {
        let Stage::Joining(command) = self.stage else { return };
        if !self.take_request(response.request, &Request::Join) {
            return;
        }
        if response.wire_version != WIRE_VERSION {
            return self.end(DisconnectReason::ProtocolError);
        }
        self.stage = Stage::Joined;
        self.next_ping = self.now + self.config.keepalive;
        self.apply(Action::Joined {
            local: response.participant_id,
            version: response.version.0,
            participants: response.participants.into_iter().map(participant).collect(),
            streams: response.streams.iter().map(stream).collect(),
        });
        if self.state.status() != Status::Connected {
            return self.end(DisconnectReason::ProtocolError);
        }
        self.finish(Some(command), Ok(Reply::Done));
        self.start_negotiation();
    }

    fn on_response(&mut self, id: RequestId, result: Result<Reply, ErrorCode>) {
        let Some(request) = self.requests.remove(&id) else { return };
        let refused = result.map_err(CommandError::Refused);
        match request {
            Request::Join => {
                let Err(code) = result else { return self.end(DisconnectReason::ProtocolError) };
                self.end_with(reason_of(code), CommandError::Refused(code));
            }
            Request::Leave => self.end(DisconnectReason::UserInitiated),
            Request::Ping => {}
            Request::Offer => {
                if let Err(error) = refused {
                    self.fail_negotiation(error);
                }
            }
            Request::Change => self.on_change_answered(id, result),
            Request::Unpublish(command, key) => self.on_unpublish_answered(command, &key, result),
            Request::Subscribe => self.on_subscribed(id, result),
            Request::UpdateSubscription => self.on_subscription_updated(id, result),
            Request::Unsubscribe(command, name, stream) => {
                self.on_unsubscribed(command, name, stream, result);
            }
            Request::Message(command) => self.finish(Some(command), refused),
        }
    }

    fn on_media(&mut self, notice: MediaNotice) {
        if self.stage != Stage::Joined {
            return;
        }
        match notice {
            MediaNotice::Offered { offer, sdp, audio_senders, video_senders, slots } => {
                self.on_offered(offer, sdp, audio_senders, video_senders, slots);
            }
            MediaNotice::Negotiated { offer } => self.on_negotiated(offer),
            MediaNotice::Connected => self.on_media_connected(),
            MediaNotice::Failed => self.on_media_failed(),
            MediaNotice::SenderOpened { track, first_timestamp } => {
                self.on_sender_opened(track, first_timestamp)
            }
        }
    }

    fn on_timeout(&mut self) {
        let late = self.deadlines.iter().filter(|(_, deadline)| **deadline <= self.now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            if self.deadlines.contains_key(&id) {
                let error = self.abandon(id).unwrap_or(CommandError::TimedOut);
                self.finish(Some(id), Err(error));
            }
        }
        if self.stage == Stage::Joined && self.now >= self.next_ping {
            self.next_ping = self.now + self.config.keepalive;
            if self.now >= self.heard_at + self.config.keepalive * 3 {
                return self.end(DisconnectReason::NetworkError);
            }
            self.request(Request::Ping, |request| PingRequest { request }.into());
        }
    }

    /// Nobody waits for a command any more: undoes what it began. Returns the error to report, had somebody waited.
    fn abandon(&mut self, id: CommandId) -> Option<CommandError> {
        match &self.stage {
            Stage::Opening(command, _) | Stage::Joining(command) if *command == id => {
                self.end_with(DisconnectReason::TimedOut, CommandError::TimedOut);
                return None;
            }
            Stage::Leaving(commands) if commands.contains(&id) => {
                self.end(DisconnectReason::UserInitiated);
                return None;
            }
            Stage::Idle | Stage::Opening(..) | Stage::Joining(_) | Stage::Joined | Stage::Leaving(_) => {}
        }
        self.abandon_change(id).or_else(|| self.abandon_subscription(id))
    }

    fn end(&mut self, reason: DisconnectReason) {
        self.end_with(reason, CommandError::Disconnected(reason));
    }

    /// Ends the stay: everything that waits fails with `error`, and the room can connect again.
    fn end_with(&mut self, reason: DisconnectReason, error: CommandError) {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        if stage == Stage::Idle {
            return;
        }
        self.outputs.push_back(Output::CloseSignal);
        if !matches!(stage, Stage::Leaving(_)) {
            self.close_media();
        }
        self.requests.clear();
        self.apply(Action::Disconnected { reason });
        if let Stage::Leaving(commands) = stage {
            for command in commands {
                self.finish(Some(command), Ok(Reply::Done));
            }
        }
        for id in self.deadlines.keys().copied().collect::<Vec<_>>() {
            self.finish(Some(id), Err(error));
        }
    }

    /// Ends the peer connection and forgets all that was on it; no answer matters to it any more.
    fn close_media(&mut self) {
        self.media(MediaCommand::Close);
        self.negotiation = Negotiation::default();
        self.publications = Publications::default();
        self.subscriptions.reset();
        self.requests.clear();
    }

    /// Applies an action and passes its events on. A subscription that ended with its stream frees its slot.
    pub(crate) fn apply(&mut self, action: Action) {
        let mut events = Vec::new();
        apply(&mut self.state, action, &mut events);
        for event in events {
            if let EventKind::SubscriptionEnded { participant, key } = &event.kind {
                self.drop_subscription(&(*participant, key.clone()));
            }
            self.outputs.push_back(Output::Event(event));
        }
    }

    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    /// Sends a request and remembers what it is for.
    pub(crate) fn request(
        &mut self,
        what: Request,
        message: impl FnOnce(RequestId) -> ClientMessage,
    ) -> RequestId {
        self.last_request = self.last_request.wrapping_add(1);
        let id = RequestId(self.last_request);
        self.requests.insert(id, what);
        self.outputs.push_back(Output::Send(message(id)));
        id
    }

    /// Returns whether a request is under way and of this kind, and forgets it if so.
    fn take_request(&mut self, id: RequestId, what: &Request) -> bool {
        let is_this = self.requests.get(&id) == Some(what);
        if is_this {
            self.requests.remove(&id);
        }
        is_this
    }

    /// Reports what a command came to, if somebody still waits for it.
    pub(crate) fn finish(&mut self, command: Option<CommandId>, result: Result<Reply, CommandError>) {
        if let Some(id) = command.filter(|id| self.deadlines.remove(id).is_some()) {
            self.outputs.push_back(Output::Done(id, result));
        }
    }

    fn reach(&mut self, version: u64) {
        self.apply(Action::VersionReached { version });
    }
}

const fn reason_of(code: ErrorCode) -> DisconnectReason {
    match code {
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => DisconnectReason::Unauthorized,
        ErrorCode::Forbidden => DisconnectReason::Forbidden,
        ErrorCode::RoomFull => DisconnectReason::RoomFull,
        ErrorCode::UnknownRoom => DisconnectReason::SessionEnded,
        ErrorCode::UnsupportedVersion
        | ErrorCode::UnknownParticipant
        | ErrorCode::UnknownStream
        | ErrorCode::UnknownRecipient
        | ErrorCode::KeyInUse
        | ErrorCode::OwnStream
        | ErrorCode::AlreadySubscribed
        | ErrorCode::NotSubscribed
        | ErrorCode::SlotUnavailable
        | ErrorCode::MidUnavailable
        | ErrorCode::TooLarge
        | ErrorCode::LimitReached
        | ErrorCode::RateLimited
        | ErrorCode::BadOffer
        | ErrorCode::BadRequest
        | ErrorCode::Internal
        | ErrorCode::Unknown => DisconnectReason::ProtocolError,
    }
}

fn participant(info: ParticipantInfo) -> Participant {
    Participant {
        id: info.id,
        identity: info.identity,
        context: info.context,
        streams: BTreeMap::new(),
        can_receive_messages: info.can_receive_messages,
        origin: Origin::Remote,
    }
}

fn stream(info: &StreamInfo) -> Stream {
    Stream {
        id: info.id,
        key: info.key.clone(),
        participant_id: info.participant_id,
        origin: Origin::Remote,
        is_audio_enabled: is_enabled(info.audio),
        is_video_enabled: is_enabled(info.video),
        audio_track: None::<TrackId>,
        video_track: None,
        is_configured: false,
    }
}

fn is_enabled(track: Option<TrackInfo>) -> bool {
    track.is_some_and(|track| track.enabled)
}
