//! The deciding half: sessions come and go, join rooms and ask for things.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use roomful_protocol::{
    ClientMessage, DisconnectNotice, DisconnectReason, DominantSpeakerNotice, DoneResponse, ErrorCode,
    ErrorResponse, JoinRequest, JoinResponse, LeaveReason, ParticipantInfo, RequestId, ResumeKey,
    ResumeRequest, ResumeResponse, ServerMessage, TokenResponse, UpdateTokenRequest, WIRE_VERSION, limits,
};
use roomful_types::{ParticipantId, RoomId};

use crate::{
    admission::{Admission, Grant},
    allowance::Allowances,
    config::{DuplicateIdentity, RESUME_GRACE, SfuConfig},
    farewell::Farewells,
    line::Line,
    media::{MediaCommand, MediaNotice},
    moderation::{ModerationError, ModerationRequest},
    room::{Admitted, Participant, Reply, Room},
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
    /// Where participants are, also while their connection is lost.
    places: BTreeMap<ParticipantId, RoomId>,
    farewells: Farewells,
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
    /// The server ends; everybody leaves.
    Shutdown,
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
    /// Somebody is to be told how networks do.
    NetworkReport,
}

#[derive(Debug)]
struct Session {
    opened_at: Instant,
    heard_at: Instant,
    place: Option<(RoomId, ParticipantId)>,
    /// What it may ask before it has a place; from then on its participant does, over all of its connections.
    allowances: Allowances,
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

impl Sfu {
    /// Makes a server without rooms. The seed decides all its ids.
    #[must_use]
    pub fn new(config: SfuConfig, admission: Box<dyn Admission>, seed: [u8; 32], now: Instant) -> Self {
        let outbox = Outbox { config, outputs: VecDeque::new(), random: StdRng::from_seed(seed) };
        let next_sweep = now + SWEEP_INTERVAL;
        Self {
            admission,
            sessions: BTreeMap::new(),
            rooms: BTreeMap::new(),
            places: BTreeMap::new(),
            farewells: Farewells::default(),
            outbox,
            now,
            next_sweep,
        }
    }

    /// Takes one input in.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.now = self.now.max(now);
        match input {
            Input::Opened(session) => self.on_opened(session),
            Input::Signal(session, message) => self.on_signal(session, message),
            Input::Malformed(session) => self.disconnect(session, Some(DisconnectReason::ProtocolError)),
            Input::Closed(session) => self.detach(session),
            Input::Media(notice) => self.on_media(notice),
            Input::RoomDeleted(room) => self.on_room_deleted(room),
            Input::Shutdown => self.on_shutdown(),
            Input::Timeout => self.on_timeout(),
        }
    }

    /// Returns the next thing to do.
    pub fn poll_output(&mut self) -> Output {
        self.outbox.outputs.pop_front().unwrap_or_else(|| {
            let report = self.rooms.values().filter_map(|(_, room)| room.next_report()).min();
            match report {
                Some(until) if until < self.next_sweep => {
                    Output::Wait { until, why: WaitReason::NetworkReport }
                }
                _ => Output::Wait { until: self.next_sweep, why: WaitReason::LivenessSweep },
            }
        })
    }

    fn on_opened(&mut self, session: SessionId) {
        let now = self.now;
        let allowances = Allowances::full(&self.outbox.config, now);
        let fresh = Session { opened_at: now, heard_at: now, place: None, allowances };
        self.sessions.insert(session, fresh);
    }

    fn on_signal(&mut self, id: SessionId, message: ClientMessage) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_at = self.now;
        let request = message.request();
        let place = session.place;
        let allowances = match place {
            None => Some(&mut session.allowances),
            Some((room, id)) => self.rooms.get_mut(&room).and_then(|(_, room)| room.allowances(id)),
        };
        let is_allowed =
            |allowances: &mut Allowances| allowances.spend(&message, &self.outbox.config, self.now);
        if !allowances.is_some_and(is_allowed) {
            // What was carried out before is no other thing because it is asked too often.
            let answered =
                place.and_then(|(room, participant)| self.line(room, participant)?.answer(request).cloned());
            return self.outbox.reply(id, request, answered.ok_or(ErrorCode::RateLimited));
        }
        let entered = match (message, place) {
            (ClientMessage::JoinRequest(join), None) => self.join(id, join),
            (ClientMessage::ResumeRequest(resume), None) => self.resume(id, &resume),
            (_, None) => return self.disconnect(id, Some(DisconnectReason::ProtocolError)),
            (ClientMessage::LeaveRequest(_), Some(_)) => {
                self.outbox.reply(id, request, Ok(DoneResponse { request }.into()));
                return self.disconnect(id, None);
            }
            (message, Some((room, participant))) => {
                return self.on_numbered_request(id, room, participant, message);
            }
        };
        if let Err(code) = entered {
            self.outbox.reply(id, request, Err(code));
            self.disconnect(id, None);
        }
    }

    /// Carries a request out, unless it was before: a client that lost its connection repeats what it heard no answer to.
    fn on_numbered_request(
        &mut self,
        session: SessionId,
        room_id: RoomId,
        id: ParticipantId,
        message: ClientMessage,
    ) {
        let request = message.request();
        // Answers to offers are large and kept with the offer; pings and token updates may be done twice, and how long a token
        // lasts is another answer each time.
        let is_kept = !matches!(
            message,
            ClientMessage::OfferRequest(_)
                | ClientMessage::PingRequest(_)
                | ClientMessage::UpdateTokenRequest(_)
        );
        if let Some(answer) = self.line(room_id, id).and_then(|line| line.answer(request)).cloned() {
            return self.outbox.send_all(vec![session], answer);
        }
        let answer = match self.on_request(room_id, id, message) {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(code) => ErrorResponse { request, code }.into(),
        };
        if is_kept && let Some(line) = self.line(room_id, id) {
            line.remember(request, answer.clone());
        }
        self.outbox.send_all(vec![session], answer);
    }

    fn line(&mut self, room: RoomId, id: ParticipantId) -> Option<&mut Line> {
        let (_, room) = self.rooms.get_mut(&room)?;
        Some(&mut room.participants.get_mut(&id)?.line)
    }

    /// Carries out the request of a participant; `None` when the answer comes later.
    fn on_request(
        &mut self,
        room: RoomId,
        id: ParticipantId,
        message: ClientMessage,
    ) -> Result<Option<ServerMessage>, ErrorCode> {
        if let ClientMessage::UpdateTokenRequest(update) = &message {
            return self.update_token(room, id, update).map(Some);
        }
        let (_, room) = self.rooms.get_mut(&room).ok_or(ErrorCode::Internal)?;
        let outbox = &mut self.outbox;
        let reply = match message {
            ClientMessage::JoinRequest(_)
            | ClientMessage::ResumeRequest(_)
            | ClientMessage::LeaveRequest(_)
            | ClientMessage::UpdateTokenRequest(_) => Err(ErrorCode::BadRequest),
            ClientMessage::PingRequest(ping) => {
                if let Some(participant) = room.participants.get_mut(&id) {
                    participant.line.acknowledge(ping.received);
                }
                Ok(DoneResponse { request: ping.request }.into())
            }
            ClientMessage::EnableMetricsRequest(request) => room.enable_metrics(id, &request, self.now),
            ClientMessage::DisableMetricsRequest(request) => room.disable_metrics(id, &request),
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
        let grant = self.admission.admit(join.room_id, &join.token)?;
        let replaced = self.replaced_by(join.room_id, &grant)?;

        if !self.rooms.contains_key(&join.room_id) {
            let session = RoomSessionId(self.outbox.random_bytes());
            self.rooms.insert(join.room_id, (session, Room::default()));
            self.outbox.outputs.push_back(Output::SessionStarted(join.room_id, session));
        }
        let (_, room) = self.rooms.get_mut(&join.room_id).expect("inserted above when it was missing");
        let participant_id = ParticipantId::from_random(self.outbox.random_bytes());
        let info = ParticipantInfo {
            id: participant_id,
            identity: grant.identity.as_deref().map(Into::into),
            context: grant.context.clone().or(join.context).map(Into::into),
            can_receive_messages: join.enable_messages,
            telephone: false,
        };
        if !room.has_room_for(&info, &replaced) {
            return Err(ErrorCode::RoomFull);
        }
        for earlier in replaced {
            // The newcomer keeps the session of the room alive, so an empty room is not forgotten here.
            self.part(join.room_id, earlier, None, Some(DisconnectReason::DuplicateIdentity));
        }
        let (_, room) = self.rooms.get_mut(&join.room_id).expect("it is not forgotten above");
        let admitted = Admitted::new(&grant, self.now);
        let resume_key = ResumeKey::from_random(self.outbox.random_bytes());
        let allowances = self.sessions.get(&id).map(|session| session.allowances);
        let allowances = allowances.unwrap_or_else(|| Allowances::full(&self.outbox.config, self.now));
        room.enter(Participant::new(info, id, admitted, resume_key, allowances), &mut self.outbox);
        self.places.insert(participant_id, join.room_id);
        let window = self.outbox.config.resume_window.as_millis();
        let response = JoinResponse {
            request: join.request,
            wire_version: WIRE_VERSION,
            participant_id,
            version: room.version(),
            participants: room.participant_infos(),
            streams: room.stream_infos(),
            term: admitted.term(self.now),
            resume_key,
            resume_window_ms: u32::try_from(window).unwrap_or(u32::MAX),
        };
        self.outbox.send_all(vec![id], response);
        let speaking = room.speakers.notices();
        speaking.into_iter().for_each(|notice| self.outbox.send_all(vec![id], notice));
        if let Some(dominant) = room.speakers.dominant() {
            let notice = DominantSpeakerNotice { participant_id: Some(dominant) };
            self.outbox.send_all(vec![id], notice);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.place = Some((join.room_id, participant_id));
        }
        Ok(())
    }

    /// Refuses who may not enter, and returns who leaves for whoever may.
    fn replaced_by(&self, room_id: RoomId, grant: &Grant) -> Result<Vec<ParticipantId>, ErrorCode> {
        let Some((_, room)) = self.rooms.get(&room_id) else {
            return match grant.max_participants {
                0 => Err(ErrorCode::RoomFull),
                _ => Ok(Vec::new()),
            };
        };
        if room.moderation.is_barred(grant) {
            return Err(ErrorCode::Kicked);
        }
        let is_same = |participant: &Participant| {
            grant.identity.is_some() && participant.info.identity.as_deref() == grant.identity.as_deref()
        };
        let same = room.participants.values().filter(|one| is_same(one)).map(|one| one.info.id);
        let replaced: Vec<ParticipantId> = match self.outbox.config.duplicate_identity {
            DuplicateIdentity::Allow => Vec::new(),
            DuplicateIdentity::Replace => same.collect(),
            DuplicateIdentity::Refuse => match same.count() {
                0 => Vec::new(),
                _ => return Err(ErrorCode::DuplicateIdentity),
            },
        };
        if room.len() - replaced.len() >= grant.max_participants as usize {
            return Err(ErrorCode::RoomFull);
        }
        Ok(replaced)
    }

    /// Goes on with a stay whose connection was lost, or seems not to be lost yet.
    fn resume(&mut self, id: SessionId, resume: &ResumeRequest) -> Result<(), ErrorCode> {
        if resume.versions.len() > limits::VERSIONS_MAX || !resume.versions.contains(&WIRE_VERSION) {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if let Some(reason) = self.farewells.of(resume.room_id, resume.participant_id, resume.resume_key) {
            self.disconnect(id, Some(reason));
            return Ok(());
        }
        let grant = self.admission.admit(resume.room_id, &resume.token)?;
        let (_, room) = self.rooms.get_mut(&resume.room_id).ok_or(ErrorCode::ResumeExpired)?;
        let participant = room.participants.get_mut(&resume.participant_id);
        let participant = participant.filter(|participant| participant.resume_key == resume.resume_key);
        let Some(participant) = participant else {
            let is_barred = room.moderation.is_barred(&grant);
            return Err(if is_barred { ErrorCode::Kicked } else { ErrorCode::ResumeExpired });
        };
        if room.moderation.bars_grant(grant.id) && !participant.holds(grant.id) {
            return Err(ErrorCode::Kicked);
        }
        if participant.info.identity.as_deref() != grant.identity.as_deref() {
            return Err(ErrorCode::Unauthorized);
        }
        let Some(missed) = participant.line.missed(resume.received) else {
            self.part(resume.room_id, resume.participant_id, None, None);
            self.forget_if_empty(resume.room_id);
            return Err(ErrorCode::MessagesLost);
        };
        let earlier = participant.line.session();
        participant.line.attach(id);
        participant.quality.forget_told();
        participant.admit(Admitted::new(&grant, self.now));
        let term = participant.admitted.term(self.now);
        room.moderation.on_admitted(resume.participant_id, grant.id);
        let (slots, sources) = room.media_of(resume.participant_id);
        let held_back = room.held_back_from(resume.participant_id);
        let away = self.outbox.config.absence();
        let response = ResumeResponse {
            request: resume.request,
            wire_version: WIRE_VERSION,
            version: room.version(),
            participants: room.participant_infos(),
            streams: room.stream_infos(),
            slots,
            sources,
            speaking: room.speakers.notices(),
            dominant_speaker: room.speakers.dominant(),
            term,
            kicked: room.moderation.kicked(away, self.now).collect(),
            held_back,
        };
        self.outbox.send_all(vec![id], response);
        for message in missed {
            self.outbox.send_all(vec![id], message);
        }
        if let Some(earlier) = earlier {
            self.sessions.remove(&earlier);
            self.outbox.outputs.push_back(Output::Close(earlier));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.place = Some((resume.room_id, resume.participant_id));
        }
        Ok(())
    }

    fn update_token(&mut self, room_id: RoomId, id: ParticipantId, update: &UpdateTokenRequest) -> Reply {
        let grant = self.admission.admit(room_id, &update.token)?;
        let (_, room) = self.rooms.get_mut(&room_id).ok_or(ErrorCode::Internal)?;
        let participant = room.participants.get_mut(&id).ok_or(ErrorCode::Internal)?;
        if room.moderation.bars_grant(grant.id) && !participant.holds(grant.id) {
            return Err(ErrorCode::Kicked);
        }
        if participant.info.identity.as_deref() != grant.identity.as_deref() {
            return Err(ErrorCode::Unauthorized);
        }
        participant.admit(Admitted::new(&grant, self.now));
        room.moderation.on_admitted(id, grant.id);
        Ok(TokenResponse { request: update.request, term: participant.admitted.term(self.now) }.into())
    }

    /// Carries out what a moderator wants, as one more input; drain [`poll_output`](Self::poll_output) afterwards.
    ///
    /// # Errors
    /// See [`ModerationError`]; nothing was done then.
    pub fn moderate(
        &mut self,
        session: RoomSessionId,
        request: &ModerationRequest,
        now: Instant,
    ) -> Result<(), ModerationError> {
        self.now = self.now.max(now);
        let found = self.rooms.iter_mut().find(|(_, (id, _))| *id == session);
        let (room_id, (_, room)) = found.ok_or(ModerationError::UnknownSession)?;
        let room_id = *room_id;
        match request {
            ModerationRequest::Censor { who, stream, kind, censored } => {
                room.censor(who, stream.as_ref(), *kind, *censored, &mut self.outbox)
            }
            ModerationRequest::Kick(who) => {
                for id in room.select(who)? {
                    self.kick(room_id, id);
                }
                self.forget_if_empty(room_id);
                Ok(())
            }
            ModerationRequest::EndSession => {
                self.end_session(room_id, DisconnectReason::SessionEnded);
                Ok(())
            }
        }
    }

    fn kick(&mut self, room_id: RoomId, id: ParticipantId) {
        let Some((_, room)) = self.rooms.get_mut(&room_id) else { return };
        let Some(participant) = room.participants.get(&id) else { return };
        room.moderation.bar(id, participant.grants(), participant.info.identity.clone(), self.now);
        self.part(room_id, id, Some(LeaveReason::Kicked), Some(DisconnectReason::Kicked));
    }

    fn on_media(&mut self, notice: MediaNotice) {
        let Some(room_id) = self.places.get(&notice.peer()).copied() else { return };
        if let MediaNotice::Failed { peer } = notice {
            // There is nothing to resume: the client's half of the association would speak to nobody.
            self.part(room_id, peer, None, Some(DisconnectReason::MediaFailed));
            self.forget_if_empty(room_id);
        } else if let Some((_, room)) = self.rooms.get_mut(&room_id) {
            room.on_media(notice, &mut self.outbox);
        }
    }

    fn on_room_deleted(&mut self, id: RoomId) {
        self.end_session(id, DisconnectReason::RoomExpired);
    }

    fn on_shutdown(&mut self) {
        for room in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.end_session(room, DisconnectReason::SessionEnded);
        }
        for session in std::mem::take(&mut self.sessions).into_keys() {
            self.outbox.outputs.push_back(Output::Close(session));
        }
    }

    fn end_session(&mut self, id: RoomId, reason: DisconnectReason) {
        let Some((session, room)) = self.rooms.remove(&id) else { return };
        let until = self.now + self.outbox.config.absence();
        for participant in room.participants.values() {
            self.farewells.on_ended(id, participant, reason, until);
        }
        // All at once: nobody needs to hear how the others leave.
        let outbox = &mut self.outbox;
        outbox.send_all(room.sessions(), DisconnectNotice { reason });
        for session in room.sessions() {
            outbox.outputs.push_back(Output::Close(session));
            self.sessions.remove(&session);
        }
        room.remove_peers(outbox);
        self.places.retain(|_, room| *room != id);
        outbox.outputs.push_back(Output::SessionEnded(id, session));
    }

    fn on_timeout(&mut self) {
        for (_, room) in self.rooms.values_mut() {
            room.report(self.now, &mut self.outbox);
        }
        if self.now < self.next_sweep {
            return;
        }
        self.next_sweep = self.now + SWEEP_INTERVAL;
        self.farewells.forget_old(self.now);
        let config = &self.outbox.config;
        let is_late = |session: &Session| match session.place {
            None => self.now >= session.opened_at + config.join_timeout,
            Some(_) => self.now >= session.heard_at + config.silence_timeout,
        };
        let late = self.sessions.iter().filter(|(_, session)| is_late(session));
        let late: Vec<(SessionId, bool)> = late.map(|(id, session)| (*id, session.place.is_some())).collect();
        for (session, is_in_room) in late {
            if is_in_room {
                // Its network may be gone and come back: the participant may resume.
                self.outbox.outputs.push_back(Output::Close(session));
                self.detach(session);
            } else {
                self.disconnect(session, Some(DisconnectReason::TimedOut));
            }
        }
        self.part_overdue();
    }

    /// Lets go whose token has ended, and who lost the connection and did not come back.
    fn part_overdue(&mut self) {
        let mut overdue = Vec::new();
        for (room_id, (_, room)) in &self.rooms {
            for (id, participant) in &room.participants {
                if participant.admitted.expires_at <= self.now {
                    overdue.push((*room_id, *id, Some(DisconnectReason::Unauthorized)));
                } else if participant.line.is_over(self.now) {
                    overdue.push((*room_id, *id, None));
                }
            }
        }
        for (room_id, id, reason) in overdue {
            self.part(room_id, id, None, reason);
            self.forget_if_empty(room_id);
        }
    }

    /// Takes a participant out of its room, and ends its connection if there is one.
    fn part(
        &mut self,
        room_id: RoomId,
        id: ParticipantId,
        leave_reason: Option<LeaveReason>,
        reason: Option<DisconnectReason>,
    ) {
        let until = self.now + self.outbox.config.absence();
        let Some((_, room)) = self.rooms.get_mut(&room_id) else { return };
        if let (Some(participant), Some(reason)) = (room.participants.get(&id), reason) {
            self.farewells.on_ended(room_id, participant, reason, until);
        }
        if let Some(session) = room.participants.get(&id).and_then(|participant| participant.line.session()) {
            if let Some(reason) = reason {
                self.outbox.send_all(vec![session], DisconnectNotice { reason });
            }
            self.outbox.outputs.push_back(Output::Close(session));
            self.sessions.remove(&session);
        }
        self.places.remove(&id);
        room.leave(id, leave_reason, &mut self.outbox);
    }

    fn forget_if_empty(&mut self, room_id: RoomId) {
        if let Some((session, room)) = self.rooms.get(&room_id)
            && room.len() == 0
        {
            self.outbox.outputs.push_back(Output::SessionEnded(room_id, *session));
            self.rooms.remove(&room_id);
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
        let Some(Session { place: Some((room_id, participant)), .. }) = self.sessions.remove(&id) else {
            return;
        };
        self.places.remove(&participant);
        if let Some((_, room)) = self.rooms.get_mut(&room_id) {
            room.leave(participant, None, &mut self.outbox);
        }
        self.forget_if_empty(room_id);
    }

    /// A connection is gone; its participant may come back for a while.
    fn detach(&mut self, id: SessionId) {
        let Some(Session { place: Some((room_id, participant)), heard_at, .. }) = self.sessions.remove(&id)
        else {
            return;
        };
        let window = self.outbox.config.resume_window;
        if let Some(line) = self.line(room_id, participant) {
            line.detach(heard_at + window + RESUME_GRACE);
        }
        if window.is_zero() {
            self.part(room_id, participant, None, None);
            self.forget_if_empty(room_id);
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

    /// Checks what must be true of every server. For tests and simulators: costs a walk over everything.
    ///
    /// # Panics
    /// When the engine is at fault.
    pub fn check_invariants(&self) {
        for (id, (_, room)) in &self.rooms {
            assert_ne!(room.len(), 0, "an empty room is forgotten");
            room.check_invariants();
            for participant in room.participants.values() {
                participant.line.check_invariants(self.outbox.config.resume_buffer);
                assert_eq!(self.places.get(&participant.info.id), Some(id), "everybody is found");
                if let Some(session) = participant.line.session() {
                    let session = self.sessions.get(&session).expect("a connection that is used exists");
                    assert_eq!(session.place, Some((*id, participant.info.id)), "by its own participant");
                }
            }
        }
        let present: usize = self.rooms.values().map(|(_, room)| room.len()).sum();
        assert_eq!(self.places.len(), present, "nobody else is found");
    }
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

    pub(crate) fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}
