//! The deciding half: sessions come and go, join rooms and ask for things.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use roomful_protocol::{
    ClientMessage, DisconnectNotice, DisconnectReason, DoneResponse, ErrorCode, ErrorResponse, JoinRequest,
    JoinResponse, ParticipantInfo, RequestId, ServerMessage, SourcePausedNotice, WIRE_VERSION, limits,
};
use roomful_types::{ParticipantId, RoomId};

use crate::{
    admission::{Admission, Grant},
    config::SfuConfig,
    media::{MediaCommand, MediaNotice, SourceId},
    room::{Participant, Reply, Room},
};

/// The rooms of one server.
///
/// One input, then drain [`poll_output`](Self::poll_output) to [`Output::Wait`], then the next input. Time never goes back:
/// an earlier `now` counts as the latest one seen.
#[derive(Debug)]
pub struct Sfu {
    admission: Box<dyn Admission>,
    sessions: BTreeMap<SessionId, Session>,
    rooms: BTreeMap<RoomId, (RoomSessionId, Room)>,
    outbox: Outbox,
    now: Instant,
    next_sweep: Instant,
}

/// One signalling connection. Numbered by the shell; a number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One session of a room: from its first participant's coming to its last one's going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomSessionId(pub [u8; 16]);

/// What happens to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client connected.
    Opened(SessionId),
    /// A client said something.
    Signal(SessionId, ClientMessage),
    /// A client said something that is not a message, or is too long.
    Malformed(SessionId),
    /// A connection is gone.
    Closed(SessionId),
    /// A media shard reports.
    Media(MediaNotice),
    /// A room was deleted; everybody leaves.
    RoomDeleted(RoomId),
    /// The deadline of [`Output::Wait`] is reached.
    Timeout,
}

/// What the server does about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Say this to these clients.
    Send(Vec<SessionId>, ServerMessage),
    /// Close the connection after what was said before.
    Close(SessionId),
    /// Tell the media shard.
    Media(MediaCommand),
    /// A session of a room began.
    SessionStarted(RoomId, RoomSessionId),
    /// A session of a room ended.
    SessionEnded(RoomId, RoomSessionId),
    /// Nothing more; come back at this time at the latest.
    Wait {
        /// When.
        until: Instant,
        /// What for.
        why: WaitReason,
    },
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// Looking for clients that are silent or do not join.
    LivenessSweep,
}

#[derive(Debug)]
struct Session {
    opened_at: Instant,
    heard_at: Instant,
    place: Option<(RoomId, ParticipantId)>,
    /// Requests that may still be sent at once, in [`REQUEST`]s.
    allowance: u64,
    allowance_at: Instant,
}

/// Everything on its way out, and what making it needs.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) config: SfuConfig,
    outputs: VecDeque<Output>,
    random: StdRng,
}

/// How often silent clients are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One request, in the unit of [`Session::allowance`]: whoever may send one per second earns one unit per nanosecond, so
/// that no time is lost between requests that follow each other closely.
const REQUEST: u64 = 1_000_000_000;

impl Sfu {
    /// Makes a server without rooms. The seed decides all its ids.
    #[must_use]
    pub fn new(config: SfuConfig, admission: Box<dyn Admission>, seed: [u8; 32], now: Instant) -> Self {
        let outbox = Outbox { config, outputs: VecDeque::new(), random: StdRng::from_seed(seed) };
        let next_sweep = now + SWEEP_INTERVAL;
        Self { admission, sessions: BTreeMap::new(), rooms: BTreeMap::new(), outbox, now, next_sweep }
    }

    /// Takes one input in.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.now = self.now.max(now);
        match input {
            Input::Opened(session) => self.on_opened(session),
            Input::Signal(session, message) => self.on_signal(session, message),
            Input::Malformed(session) => self.disconnect(session, Some(DisconnectReason::ProtocolError)),
            Input::Closed(session) => self.forget(session),
            Input::Media(notice) => self.on_media(notice),
            Input::RoomDeleted(room) => self.on_room_deleted(room),
            Input::Timeout => self.on_timeout(),
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        let wait = Output::Wait { until: self.next_sweep, why: WaitReason::LivenessSweep };
        self.outbox.outputs.pop_front().unwrap_or(wait)
    }

    fn on_opened(&mut self, session: SessionId) {
        let allowance = u64::from(self.outbox.config.request_burst) * REQUEST;
        let now = self.now;
        let fresh = Session { opened_at: now, heard_at: now, place: None, allowance, allowance_at: now };
        self.sessions.insert(session, fresh);
    }

    fn on_signal(&mut self, id: SessionId, message: ClientMessage) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = self.now;
        let request = request_of(&message);
        if !session.spend(cost(&message), &self.outbox.config, self.now) {
            return self.outbox.reply(id, request, Err(ErrorCode::RateLimited));
        }
        let place = session.place;
        let reply = match (message, place) {
            (ClientMessage::JoinRequest(join), None) => {
                if let Err(code) = self.join(id, join) {
                    self.outbox.reply(id, request, Err(code));
                    self.disconnect(id, None);
                }
                return;
            }
            (_, None) => return self.disconnect(id, Some(DisconnectReason::ProtocolError)),
            (ClientMessage::LeaveRequest(_), Some(_)) => {
                self.outbox.reply(id, request, Ok(DoneResponse { request }.into()));
                return self.disconnect(id, None);
            }
            (message, Some((room, participant))) => self.on_request(room, participant, message),
        };
        match reply {
            Ok(None) => {}
            Ok(Some(message)) => self.outbox.reply(id, request, Ok(message)),
            Err(code) => self.outbox.reply(id, request, Err(code)),
        }
    }

    /// Carries out the request of a participant; `None` when the answer comes later.
    fn on_request(
        &mut self,
        room: RoomId,
        id: ParticipantId,
        message: ClientMessage,
    ) -> Result<Option<ServerMessage>, ErrorCode> {
        let (_, room) = self.rooms.get_mut(&room).ok_or(ErrorCode::Internal)?;
        let outbox = &mut self.outbox;
        let reply = match message {
            ClientMessage::JoinRequest(_) | ClientMessage::LeaveRequest(_) => Err(ErrorCode::BadRequest),
            ClientMessage::PingRequest(ping) => Ok(DoneResponse { request: ping.request }.into()),
            ClientMessage::OfferRequest(request) => return room.offer(id, request, outbox),
            ClientMessage::PublishRequest(request) => room.publish(id, &request, outbox),
            ClientMessage::UpdateStreamRequest(request) => room.update_stream(id, &request, outbox),
            ClientMessage::UnpublishRequest(request) => room.unpublish(id, &request, outbox),
            ClientMessage::SubscribeRequest(request) => room.subscribe(id, &request, outbox),
            ClientMessage::UpdateSubscriptionRequest(request) => {
                room.update_subscription(id, &request, outbox)
            }
            ClientMessage::UnsubscribeRequest(request) => room.unsubscribe(id, &request, outbox),
            ClientMessage::MessageRequest(request) => room.message(id, request, outbox),
        };
        reply.map(Some)
    }

    fn join(&mut self, id: SessionId, join: JoinRequest) -> Result<(), ErrorCode> {
        if join.versions.len() > limits::VERSIONS_MAX || !join.versions.contains(&WIRE_VERSION) {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if join.context.as_ref().is_some_and(|context| context.len() > limits::CONTEXT_MAX) {
            return Err(ErrorCode::TooLarge);
        }
        let Grant { identity, context, permissions, max_participants } =
            self.admission.admit(join.room_id, &join.token)?;
        let present = self.rooms.get(&join.room_id).map_or(0, |(_, room)| room.len());
        if present >= max_participants as usize {
            return Err(ErrorCode::RoomFull);
        }

        if !self.rooms.contains_key(&join.room_id) {
            let session = RoomSessionId(self.outbox.random_bytes());
            self.rooms.insert(join.room_id, (session, Room::default()));
            self.outbox.outputs.push_back(Output::SessionStarted(join.room_id, session));
        }
        let (_, room) = self.rooms.get_mut(&join.room_id).expect("inserted above when it was missing");
        let participant_id = ParticipantId::from_random(self.outbox.random_bytes());
        let info = ParticipantInfo {
            id: participant_id,
            identity: identity.map(Into::into),
            context: context.or(join.context).map(Into::into),
            can_receive_messages: join.enable_messages,
        };
        room.enter(Participant::new(info, id, permissions), &mut self.outbox);
        let response = JoinResponse {
            request: join.request,
            wire_version: WIRE_VERSION,
            participant_id,
            version: room.version(),
            participants: room.participant_infos(),
            streams: room.stream_infos(),
        };
        self.outbox.send_all(vec![id], response);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.place = Some((join.room_id, participant_id));
        }
        Ok(())
    }

    fn on_media(&mut self, notice: MediaNotice) {
        let (MediaNotice::Answered { peer, .. } | MediaNotice::Bound { peer, .. }) = &notice;
        // Reports are rare beside packets; an index from peer to room would have to be kept right for little.
        let room = self.sessions.values().filter_map(|session| session.place).find(|place| place.1 == *peer);
        if let Some((_, room)) = room.and_then(|(room, _)| self.rooms.get_mut(&room)) {
            room.on_media(notice, &mut self.outbox);
        }
    }

    fn on_room_deleted(&mut self, id: RoomId) {
        let Some((session, room)) = self.rooms.remove(&id) else { return };
        // All at once: nobody needs to hear how the others leave.
        let outbox = &mut self.outbox;
        outbox.send_all(room.sessions(), DisconnectNotice { reason: DisconnectReason::SessionEnded });
        for session in room.sessions() {
            outbox.outputs.push_back(Output::Close(session));
            self.sessions.remove(&session);
        }
        room.remove_peers(outbox);
        outbox.outputs.push_back(Output::SessionEnded(id, session));
    }

    fn on_timeout(&mut self) {
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now + SWEEP_INTERVAL;
        let config = &self.outbox.config;
        let is_late = |session: &Session| match session.place {
            None => self.now >= session.opened_at + config.join_timeout,
            Some(_) => self.now >= session.heard_at + config.silence_timeout,
        };
        let late: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| is_late(session)).map(|(id, _)| *id).collect();
        for session in late {
            self.disconnect(session, Some(DisconnectReason::TimedOut));
        }
    }

    /// Ends a session from this side.
    fn disconnect(&mut self, id: SessionId, reason: Option<DisconnectReason>) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        if let Some(reason) = reason {
            self.outbox.send_all(vec![id], DisconnectNotice { reason });
        }
        self.outbox.outputs.push_back(Output::Close(id));
        self.forget(id);
    }

    /// Forgets a session; its participant leaves.
    fn forget(&mut self, id: SessionId) {
        let Some(Session { place: Some((room_id, participant)), .. }) = self.sessions.remove(&id) else {
            return;
        };
        let Some((session, room)) = self.rooms.get_mut(&room_id) else { return };
        room.leave(participant, None, &mut self.outbox);
        if room.len() == 0 {
            self.outbox.outputs.push_back(Output::SessionEnded(room_id, *session));
            self.rooms.remove(&room_id);
        }
    }

    /// Returns who takes what where, and all that can be taken.
    #[cfg(test)]
    pub(crate) fn routes(&self) -> crate::room::Routes {
        let rooms = self.rooms.values().map(|(_, room)| room.routes());
        rooms.fold(Default::default(), |mut all, room| {
            all.0.extend(room.0);
            all.1.extend(room.1);
            all
        })
    }

    /// Checks what must be true of every server.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for (_, room) in self.rooms.values() {
            assert_ne!(room.len(), 0, "an empty room is forgotten");
            room.check_invariants();
        }
    }
}

impl Session {
    /// Takes the cost of a request from the allowance; false when there is not enough left.
    fn spend(&mut self, cost: u64, config: &SfuConfig, now: Instant) -> bool {
        let nanos = now.saturating_duration_since(self.allowance_at).as_nanos();
        let earned =
            u64::try_from(nanos).unwrap_or(u64::MAX).saturating_mul(config.requests_per_second.into());
        self.allowance = self.allowance.saturating_add(earned).min(u64::from(config.request_burst) * REQUEST);
        self.allowance_at = now;
        let rest = self.allowance.checked_sub(cost);
        self.allowance = rest.unwrap_or(self.allowance);
        rest.is_some()
    }
}

/// What a request takes from the allowance. Messages are charged by size, because everybody in the room gets a copy; offers are
/// read where packets wait.
fn cost(message: &ClientMessage) -> u64 {
    const MESSAGE_BYTES: u64 = 4096;
    const OFFER: u64 = 10;
    let requests = match message {
        ClientMessage::MessageRequest(request) => {
            let meta = request.message.meta.as_ref().map_or(0, |meta| meta.len());
            1 + (request.message.payload.len() + meta) as u64 / MESSAGE_BYTES
        }
        ClientMessage::OfferRequest(_) => OFFER,
        ClientMessage::JoinRequest(_)
        | ClientMessage::LeaveRequest(_)
        | ClientMessage::PingRequest(_)
        | ClientMessage::PublishRequest(_)
        | ClientMessage::UpdateStreamRequest(_)
        | ClientMessage::UnpublishRequest(_)
        | ClientMessage::SubscribeRequest(_)
        | ClientMessage::UpdateSubscriptionRequest(_)
        | ClientMessage::UnsubscribeRequest(_) => 1,
    };
    requests * REQUEST
}

impl Outbox {
    pub(crate) fn send_all(&mut self, sessions: Vec<SessionId>, message: impl Into<ServerMessage>) {
        if !sessions.is_empty() {
            self.outputs.push_back(Output::Send(sessions, message.into()));
        }
    }

    pub(crate) fn reply(&mut self, session: SessionId, request: RequestId, reply: Reply) {
        self.send_all(vec![session], reply.unwrap_or_else(|code| ErrorResponse { request, code }.into()));
    }

    pub(crate) fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    /// Tells a publisher when its last taker went, or its first came.
    pub(crate) fn tell_pause(
        &mut self,
        publisher: Option<SessionId>,
        source: SourceId,
        was_paused: bool,
        paused: bool,
    ) {
        if was_paused != paused {
            let notice = SourcePausedNotice { stream_id: source.stream, kind: source.kind, paused };
            self.send_all(publisher.into_iter().collect(), notice);
        }
    }

    pub(crate) fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}

const fn request_of(message: &ClientMessage) -> RequestId {
    match message {
        ClientMessage::JoinRequest(message) => message.request,
        ClientMessage::LeaveRequest(message) => message.request,
        ClientMessage::PingRequest(message) => message.request,
        ClientMessage::OfferRequest(message) => message.request,
        ClientMessage::PublishRequest(message) => message.request,
        ClientMessage::UpdateStreamRequest(message) => message.request,
        ClientMessage::UnpublishRequest(message) => message.request,
        ClientMessage::SubscribeRequest(message) => message.request,
        ClientMessage::UpdateSubscriptionRequest(message) => message.request,
        ClientMessage::UnsubscribeRequest(message) => message.request,
        ClientMessage::MessageRequest(message) => message.request,
    }
}
