//! The engine: one stay after another in one room.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use rand::{SeedableRng, rngs::SmallRng};
use roomful_protocol::{
    ChatMessage, ClientMessage, DisableMetricsRequest, DisconnectReason as WireReason, EnableMetricsRequest,
    JoinRequest, JoinResponse, LeaveReason, LeaveRequest, MessageKind, MessageRequest, OfferResponse,
    ParticipantInfo, PingRequest, RequestId, ServerMessage, StreamInfo, TrackInfo, WIRE_VERSION, limits,
};
use roomful_state::{
    Action, Event, EventKind, Message, Origin, Participant, State, Status, Stream, StreamIds, apply,
};
use roomful_types::{DisconnectReason, MediaKind, RoomId, StreamId};

use crate::{
    command::{Command, CommandError, CommandId, Connect, EnableMetrics, Reply, SendMessage},
    config::ClientConfig,
    link::{Link, Ticket},
    media::{MediaCommand, MediaNotice},
    negotiation::Negotiation,
    publication::Publications,
    request::{Asked, Request, Undo},
    subscription::Subscriptions,
    token::Token,
};

/// The client of one room.
///
/// One input, then drain [`poll_output`](Self::poll_output) to [`Output::Wait`], then the next input. Time never goes back:
/// an earlier `now` counts as the latest one seen.
#[derive(Debug)]
pub struct Client {
    pub(crate) config: ClientConfig,
    pub(crate) room_id: RoomId,
    pub(crate) state: State,
    pub(crate) stage: Stage,
    pub(crate) link: Link,
    /// What a resume must show; known from the join on.
    pub(crate) ticket: Option<Ticket>,
    /// What the resume under way showed.
    pub(crate) shown_token: Option<String>,
    pub(crate) token: Option<Token>,
    /// The highest number of a message that arrived.
    pub(crate) received: u64,
    pub(crate) random: SmallRng,
    /// How each stream was last told to do.
    pub(crate) qualities: BTreeMap<StreamId, u8>,
    pub(crate) negotiation: Negotiation,
    pub(crate) publications: Publications,
    pub(crate) subscriptions: Subscriptions,
    /// What is asked of the server and not answered yet.
    pub(crate) requests: BTreeMap<RequestId, Asked>,
    pub(crate) last_request: u32,
    /// What nobody waits for, and the server refused because it was asked too often: asked for again with the next ping.
    pub(crate) refused: Vec<Undo>,
    /// When each command that somebody waits for runs out of time.
    deadlines: BTreeMap<CommandId, Instant>,
    pub(crate) now: Instant,
    pub(crate) next_ping: Instant,
    pub(crate) heard_at: Instant,
    pub(crate) outputs: VecDeque<Output>,
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
    /// The lost connection is tried again, or an attempt runs out of time.
    Reconnect,
    /// The application is to hear that the token ends.
    TokenExpiring,
    /// The media path did not come back; another one is looked for.
    MediaPath,
    /// Only another input makes a difference.
    Input,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Idle,
    /// Waits for the connection.
    Opening(CommandId, Connect),
    /// Waits for the server to let it in.
    Joining(CommandId),
    Joined,
    /// Waits for the server's good-bye, as do these.
    Leaving(Vec<CommandId>),
}

/// Returns how many requests may wait for an answer before this one: after a resume each is repeated, and the server must still know
/// what it came to. There is always room to be silent.
const fn most_before(command: &Command) -> usize {
    let is_silencing = matches!(
        command,
        Command::UpdateStream(_) | Command::RemoveStream(_) | Command::RemoveSubscription(..)
    );
    if is_silencing { limits::ANSWERS_MAX } else { limits::ANSWERS_MAX / 2 }
}

impl Client {
    /// Makes the client of a room that it is not connected to. The seed decides how long the pauses between attempts to connect
    /// again are; clients that were lost together should have different ones.
    #[must_use]
    pub fn new(config: ClientConfig, room_id: RoomId, seed: u64, now: Instant) -> Self {
        Self {
            config,
            room_id,
            state: State::new(),
            stage: Stage::Idle,
            link: Link::Up,
            ticket: None,
            shown_token: None,
            token: None,
            received: 0,
            random: SmallRng::seed_from_u64(seed),
            qualities: BTreeMap::new(),
            negotiation: Negotiation::default(),
            publications: Publications::default(),
            subscriptions: Subscriptions::default(),
            requests: BTreeMap::new(),
            last_request: 0,
            refused: Vec::new(),
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
            let is_joined = self.stage == Stage::Joined;
            let link = is_joined.then(|| match self.link.deadline() {
                None => (self.next_ping, WaitReason::Keepalive),
                Some(at) => (at, WaitReason::Reconnect),
            });
            let token = self.token.as_ref().and_then(|token| token.warn_at);
            let token = token.filter(|_| is_joined).map(|at| (at, WaitReason::TokenExpiring));
            let path = self.negotiation.restart_at().filter(|_| is_joined && self.link.is_up());
            let path = path.map(|at| (at, WaitReason::MediaPath));
            let all = [timeout, link, token, path];
            match all.into_iter().flatten().min_by_key(|(at, _)| *at) {
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

    /// Panics when the state is not one that can be, or when more waits than may.
    pub fn check_invariants(&self) {
        self.state.check_invariants();
        let asked = self.requests.len() + self.refused.len();
        assert!(asked <= limits::ANSWERS_MAX, "requests: {asked}");
        assert!(self.deadlines.len() <= limits::ANSWERS_MAX, "commands: {}", self.deadlines.len());
        self.publications.check_invariants();
        self.subscriptions.check_invariants();
        self.negotiation.check_invariants();
    }

    /// Returns whether nothing is left of any stay.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.stage == Stage::Idle
            && self.negotiation.is_empty()
            && self.publications.is_empty()
            && self.subscriptions.is_empty()
            && self.requests.is_empty()
            && self.refused.is_empty()
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
            | Command::SendMessage(_)
            | Command::UpdateToken(_)
            | Command::EnableMetrics(_)
            | Command::DisableMetrics(_) => self.config.request_timeout,
        };
        // Some wait for a path before anything is asked of the server, and some are withdrawn before the answer.
        let waiting = (self.requests.len() + self.refused.len()).max(self.deadlines.len());
        self.deadlines.insert(id, self.now + timeout);
        let begun = match (command, &self.stage) {
            (Command::Connect(connect), Stage::Idle) => {
                self.apply(Action::Connecting);
                self.received = 0;
                self.stage = Stage::Opening(id, connect);
                self.outputs.push_back(Output::OpenSignal);
                Ok(())
            }
            (Command::Connect(_), _) => Err(CommandError::AlreadyConnected),
            (Command::Disconnect, _) => {
                self.on_disconnect(id);
                Ok(())
            }
            (command, Stage::Joined) if waiting >= most_before(&command) => {
                Err(CommandError::TooManyCalls(waiting))
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
            Command::UpdateToken(token) => {
                self.on_update_token(id, token);
                Ok(())
            }
            Command::EnableMetrics(enable) => {
                let EnableMetrics { participants, include_streams, interval } = enable;
                if participants.iter().any(|id| self.state.participant(*id).is_none()) {
                    return Err(CommandError::UnknownParticipant);
                }
                let bounds = limits::METRICS_INTERVAL_MS;
                let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
                let interval_ms = interval_ms.clamp(*bounds.start(), *bounds.end());
                self.request(Request::Plain(id), |request| {
                    EnableMetricsRequest { request, participants, include_streams, interval_ms }.into()
                });
                Ok(())
            }
            Command::DisableMetrics(participants) => {
                self.request(Request::Plain(id), |request| {
                    DisableMetricsRequest { request, participants }.into()
                });
                Ok(())
            }
        }
    }

    fn on_disconnect(&mut self, id: CommandId) {
        match &mut self.stage {
            Stage::Idle => self.finish(Some(id), Ok(Reply::Done)),
            Stage::Leaving(commands) => commands.push(id),
            Stage::Opening(..) | Stage::Joining(_) => {
                self.take_back_join();
                self.apply(Action::Disconnecting);
                self.close_media();
                self.stage = Stage::Leaving(vec![id]);
                self.end(DisconnectReason::UserInitiated);
            }
            Stage::Joined => {
                self.apply(Action::Disconnecting);
                self.stage = Stage::Leaving(vec![id]);
                self.close_media();
                if !self.link.is_up() {
                    // Nobody is there to say good-bye to.
                    return self.end(DisconnectReason::UserInitiated);
                }
                self.request(Request::Leave, |request| LeaveRequest { request }.into());
            }
        }
    }

    /// Leaves a room that one may be in by the time the server reads this: it would keep the place for whoever comes back.
    fn take_back_join(&mut self) {
        if matches!(self.stage, Stage::Joining(_)) {
            self.request(Request::Leave, |request| LeaveRequest { request }.into());
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
        self.request(Request::Plain(id), |request| MessageRequest { request, message, recipients }.into());
        Ok(())
    }

    fn on_withdraw(&mut self, id: CommandId) {
        if self.deadlines.remove(&id).is_none() {
            return;
        }
        match &self.stage {
            Stage::Opening(command, _) | Stage::Joining(command) if *command == id => {
                self.take_back_join();
                self.apply(Action::Disconnecting);
                self.end(DisconnectReason::UserInitiated);
            }
            Stage::Idle | Stage::Opening(..) | Stage::Joining(_) | Stage::Joined | Stage::Leaving(_) => {
                self.abandon(id);
            }
        }
    }

    fn on_signal_opened(&mut self) {
        let Stage::Opening(id, connect) = &self.stage else { return self.on_signal_reopened() };
        let (id, Connect { token, context, enable_messages }) = (*id, connect.clone());
        self.stage = Stage::Joining(id);
        self.token = Some(Token::new(token.clone()));
        let (room_id, versions) = (self.room_id, vec![WIRE_VERSION]);
        self.request(Request::Join, |request| {
            JoinRequest { request, versions, room_id, token, context, enable_messages }.into()
        });
    }

    fn on_signal_closed(&mut self) {
        match &self.stage {
            Stage::Idle => {}
            Stage::Opening(..) => self.end_with(DisconnectReason::NetworkError, CommandError::Unreachable),
            Stage::Joining(_) => self.end(DisconnectReason::NetworkError),
            Stage::Joined => self.on_link_lost(),
            Stage::Leaving(_) => self.end(DisconnectReason::UserInitiated),
        }
    }

    fn on_signal(&mut self, message: ServerMessage) {
        self.heard_at = self.now;
        match message {
            ServerMessage::JoinResponse(response) => self.on_joined(response),
            ServerMessage::ResumeResponse(response) => self.on_resumed(response),
            ServerMessage::TokenResponse(response) => self.on_token_updated(&response),
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
                WireReason::MediaFailed => DisconnectReason::NetworkError,
                WireReason::TimedOut => DisconnectReason::TimedOut,
                WireReason::SessionEnded => DisconnectReason::SessionEnded,
                WireReason::Kicked => DisconnectReason::Kicked,
                WireReason::RoomExpired => DisconnectReason::RoomExpired,
                WireReason::Unauthorized => DisconnectReason::Unauthorized,
                WireReason::DuplicateIdentity => DisconnectReason::DuplicateIdentity,
            }),
            ServerMessage::LayerChangedNotice(notice) => self.on_layer_changed(&notice),
            ServerMessage::QualityNotice(notice) => self.on_quality(&notice),
            ServerMessage::SpeakingNotice(notice) => self.on_speaking(&notice),
            ServerMessage::DominantSpeakerNotice(notice) => {
                self.apply(Action::DominantSpeakerChanged { participant: notice.participant_id });
            }
            ServerMessage::NetworkMetricsNotice(notice) => self.on_network_metrics(&notice),
            ServerMessage::MessageNotice(notice) => {
                if notice.delivery <= self.received {
                    return;
                }
                self.received = notice.delivery;
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
                let stream = self.stream(&notice.stream);
                self.apply(Action::StreamPublished { stream });
            }
            ServerMessage::StreamUpdatedNotice(notice) => {
                self.reach(notice.version.0);
                let StreamInfo { id, audio, video, .. } = notice.stream;
                for (kind, track) in [(MediaKind::Audio, audio), (MediaKind::Video, video)] {
                    self.apply(Action::TrackToggled { stream: id, kind, enabled: is_enabled(track) });
                    self.apply(Action::TrackCensored { stream: id, kind, censored: is_censored(track) });
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
        self.link = Link::Up;
        self.ticket = Some(Ticket::new(&response));
        self.set_token_term(response.term);
        self.next_ping = self.now + self.config.keepalive;
        let streams = response.streams.iter().map(|info| self.stream(info)).collect();
        self.apply(Action::Joined {
            local: response.participant_id,
            version: response.version.0,
            participants: response.participants.into_iter().map(participant).collect(),
            streams,
        });
        if self.state.status() != Status::Connected {
            return self.end(DisconnectReason::ProtocolError);
        }
        self.finish(Some(command), Ok(Reply::Done));
        self.start_negotiation();
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
            MediaNotice::Disconnected => self.on_media_disconnected(),
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
        if self.stage != Stage::Joined {
            return;
        }
        self.warn_of_token_end();
        if !self.link.is_up() {
            return self.on_link_timeout();
        }
        self.check_media_path();
        if self.now >= self.next_ping {
            if self.now >= self.heard_at + self.config.keepalive * 3 {
                return self.drop_link();
            }
            self.ping();
        }
    }

    /// Shows that this client lives, and which messages it has got.
    pub(crate) fn ping(&mut self) {
        self.next_ping = self.now + self.config.keepalive;
        let received = self.received;
        self.request(Request::Ping, |request| PingRequest { request, received }.into());
        for refused in std::mem::take(&mut self.refused) {
            self.undo_again(refused);
        }
    }

    /// Nobody waits for a command any more: undoes what it began. Returns the error to report, had somebody waited.
    fn abandon(&mut self, id: CommandId) -> Option<CommandError> {
        match &self.stage {
            Stage::Opening(command, _) | Stage::Joining(command) if *command == id => {
                self.take_back_join();
                self.end_with(DisconnectReason::TimedOut, CommandError::TimedOut);
                return None;
            }
            Stage::Leaving(commands) if commands.contains(&id) => {
                self.end(DisconnectReason::UserInitiated);
                return None;
            }
            Stage::Idle | Stage::Opening(..) | Stage::Joining(_) | Stage::Joined | Stage::Leaving(_) => {}
        }
        // What never was said need not be.
        self.requests.retain(|_, asked| asked.is_sent || !asked.what.is_only_for(id));
        self.abandon_change(id).or_else(|| self.abandon_subscription(id))
    }

    pub(crate) fn end(&mut self, reason: DisconnectReason) {
        self.end_with(reason, CommandError::Disconnected(reason));
    }

    /// Ends the stay: everything that waits fails with `error`, and the room can connect again.
    pub(crate) fn end_with(&mut self, reason: DisconnectReason, error: CommandError) {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        if stage == Stage::Idle {
            return;
        }
        self.outputs.push_back(Output::CloseSignal);
        if !matches!(stage, Stage::Leaving(_)) {
            self.close_media();
        }
        self.requests.clear();
        self.link = Link::Up;
        (self.ticket, self.token) = (None, None);
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
        self.refused.clear();
    }

    /// Applies an action and passes its events on. A subscription that ended with its stream frees its slot.
    pub(crate) fn apply(&mut self, action: Action) {
        let mut events = Vec::new();
        apply(&mut self.state, action, &mut events);
        for event in events {
            if let EventKind::StreamUnpublished { .. } | EventKind::Disconnected { .. } = &event.kind {
                let state = &self.state;
                self.qualities.retain(|stream, _| state.stream(*stream).is_some());
            }
            if let EventKind::SubscriptionEnded { participant, key } = &event.kind {
                self.drop_subscription(&(*participant, key.clone()));
            }
            self.outputs.push_back(Output::Event(event));
        }
    }

    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    /// Reports what a command came to, if somebody still waits for it.
    pub(crate) fn finish(&mut self, command: Option<CommandId>, result: Result<Reply, CommandError>) {
        if let Some(id) = command.filter(|id| self.deadlines.remove(id).is_some()) {
            self.outputs.push_back(Output::Done(id, result));
        }
    }

    /// Reads a stream; one's own has its tracks.
    pub(crate) fn stream(&mut self, info: &StreamInfo) -> Stream {
        let is_own = self.state.local_participant_id() == Some(info.participant_id);
        let (audio_track, video_track) = if is_own { self.local_tracks(info) } else { (None, None) };
        Stream {
            id: info.id,
            key: info.key.clone(),
            participant_id: info.participant_id,
            origin: Origin::Remote,
            is_audio_enabled: is_enabled(info.audio),
            is_video_enabled: is_enabled(info.video),
            is_audio_censored: is_censored(info.audio),
            is_video_censored: is_censored(info.video),
            audio_track,
            video_track,
            is_configured: is_own,
        }
    }

    fn reach(&mut self, version: u64) {
        self.apply(Action::VersionReached { version });
    }
}

pub(crate) fn participant(info: ParticipantInfo) -> Participant {
    Participant {
        id: info.id,
        identity: info.identity,
        context: info.context,
        streams: StreamIds::default(),
        can_receive_messages: info.can_receive_messages,
        origin: if info.telephone { Origin::TelephonyEngine } else { Origin::Remote },
    }
}

fn is_enabled(track: Option<TrackInfo>) -> bool {
    track.is_some_and(|track| track.enabled)
}

fn is_censored(track: Option<TrackInfo>) -> bool {
    track.is_some_and(|track| track.censored)
}
