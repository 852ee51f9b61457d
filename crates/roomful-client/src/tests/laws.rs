//! Laws that hold whatever applications, servers and networks do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use roomful_protocol::DisconnectNotice;
use roomful_state::{Message, Status};

use super::*;
use crate::SendMessage;

const KEYS: [&str; 2] = ["cam", "screen"];

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Command(Wish),
    /// Withdraw the n-th latest command.
    Withdraw(u64),
    /// The server takes the next request in; refuses it, if that is possible.
    Serve(bool),
    /// The next message of the server arrives.
    Deliver,
    /// The media transport reports what it did next.
    Media,
    MediaFails,
    /// Another participant publishes or takes back.
    Toggle(usize),
    Comes,
    Goes,
    Passes(u64),
    Fault(Fault),
}

#[derive(Debug, Clone)]
enum Wish {
    Connect,
    Disconnect,
    Add(usize, Option<u64>, Option<u64>),
    Update(usize, Option<Option<u64>>, Option<Option<u64>>),
    Remove(usize),
    Take(usize, bool, bool),
    Retake(usize, bool, bool),
    Release(usize),
    Say,
}

/// What only a broken server or network does.
#[derive(Debug, Clone)]
enum Fault {
    Lose,
    Repeat(usize),
    Swap,
    Bound(u16, usize),
    Closed,
    Goodbye,
    Malformed,
    Opened(u64),
}

fn wish_() -> impl Strategy<Value = Wish> {
    let key = || 0..KEYS.len();
    let track = || prop::option::of(1..6_u64);
    let change = || prop::option::of(prop::option::of(1..6_u64));
    let flag = any::<bool>;
    prop_oneof![
        2 => Just(Wish::Connect),
        1 => Just(Wish::Disconnect),
        6 => (key(), track(), track()).prop_map(|(key, audio, video)| Wish::Add(key, audio, video)),
        6 => (key(), change(), change()).prop_map(|(key, audio, video)| Wish::Update(key, audio, video)),
        3 => key().prop_map(Wish::Remove),
        6 => (key(), flag(), flag()).prop_map(|(key, audio, video)| Wish::Take(key, audio, video)),
        4 => (key(), flag(), flag()).prop_map(|(key, audio, video)| Wish::Retake(key, audio, video)),
        3 => key().prop_map(Wish::Release),
        1 => Just(Wish::Say),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => wish_().prop_map(Step::Command),
        4 => (0..4_u64).prop_map(Step::Withdraw),
        16 => prop::bool::weighted(0.15).prop_map(Step::Serve),
        16 => Just(Step::Deliver),
        12 => Just(Step::Media),
        1 => Just(Step::MediaFails),
        4 => (0..KEYS.len()).prop_map(Step::Toggle),
        1 => Just(Step::Comes),
        1 => Just(Step::Goes),
        3 => (0..6_000_u64).prop_map(Step::Passes),
    ]
}

fn fault() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        4 => Just(Fault::Lose),
        4 => (0..8_usize).prop_map(Fault::Repeat),
        4 => Just(Fault::Swap),
        2 => (0..4_u16, 0..KEYS.len()).prop_map(|(slot, key)| Fault::Bound(slot, key)),
        1 => Just(Fault::Closed),
        1 => Just(Fault::Goodbye),
        1 => Just(Fault::Malformed),
        2 => (1..6_u64).prop_map(Fault::Opened),
    ];
    fault.prop_map(Step::Fault)
}

/// A client with a small server and media transport, between which nothing arrives before a step says so.
struct Rig {
    client: Client,
    now: Instant,
    last_command: u64,
    /// Commands that somebody waits for, and until when at most.
    waiting: BTreeMap<u64, Instant>,
    to_server: VecDeque<ClientMessage>,
    to_client: VecDeque<ServerMessage>,
    delivered: VecDeque<ServerMessage>,
    from_media: VecDeque<MediaNotice>,
    is_opening: bool,
    senders: BTreeSet<TrackId>,
    receivers: BTreeSet<TrackId>,
    sections: BTreeMap<Mid, TrackId>,
    room: Room,
}

/// The room at the server.
#[derive(Default)]
struct Room {
    version: u64,
    made: u8,
    /// Whether the client is in it, and participant 3.
    is_joined: bool,
    is_other_here: bool,
    own: BTreeMap<StreamKey, StreamInfo>,
    others: BTreeMap<StreamKey, StreamInfo>,
    taken: BTreeMap<StreamKey, (u16, bool, bool)>,
    slots: u16,
}

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(
                ClientConfig { initial_slots: 1, ..ClientConfig::default() },
                RoomId::from_random([9; 16]),
                42,
                now,
            ),
            now,
            last_command: 0,
            waiting: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            delivered: VecDeque::new(),
            from_media: VecDeque::new(),
            is_opening: false,
            senders: BTreeSet::new(),
            receivers: BTreeSet::new(),
            sections: BTreeMap::new(),
            room: Room::default(),
        }
    }

    /// Hands one input in, takes everything out, and returns when to come back.
    fn input(&mut self, input: Input) -> Option<Instant> {
        self.client.handle_input(input, self.now);
        loop {
            match self.client.poll_output() {
                Output::OpenSignal => self.is_opening = true,
                Output::Send(message) => self.to_server.push_back(message),
                Output::CloseSignal => {
                    self.is_opening = false;
                    self.to_server.clear();
                    self.to_client.clear();
                    self.room.forget_client();
                }
                Output::Media(command) => self.on_media(command),
                Output::Event(event) => event.state.check_invariants(),
                Output::Done(CommandId(id), _) => {
                    let deadline =
                        self.waiting.remove(&id).expect("a command settles once, if not withdrawn");
                    assert!(self.now <= deadline, "a command settles in time");
                }
                Output::Wait { until, .. } => {
                    self.client.check_invariants();
                    return until;
                }
            }
        }
    }

    fn on_media(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, restart: _ } => {
                self.from_media.push_back(offered(offer.0, audio_senders, video_senders, slots));
            }
            MediaCommand::AcceptAnswer { offer, .. } => {
                self.from_media.push_back(MediaNotice::Negotiated { offer });
                self.from_media.push_back(MediaNotice::Connected);
            }
            MediaCommand::OpenSender { track, mid, .. } => {
                if let Some(earlier) = self.sections.insert(mid, track) {
                    // Displaced; it is closed later, or opened again.
                    assert_ne!(earlier, track);
                }
                self.senders.insert(track);
                self.from_media.push_back(MediaNotice::SenderOpened { track, first_timestamp: 7 });
            }
            MediaCommand::CloseSender { track } => {
                self.senders.remove(&track);
                self.sections.retain(|_, user| *user != track);
            }
            MediaCommand::SetActive { track, active: true } => {
                assert!(self.senders.contains(&track), "what is sent is open");
            }
            MediaCommand::SetActive { active: false, .. } | MediaCommand::SetPaused { .. } => {}
            MediaCommand::OpenReceiver { track, .. } => {
                assert!(self.receivers.insert(track), "a received track is never used twice");
            }
            MediaCommand::BindReceiver { track, .. } => {
                assert!(self.receivers.contains(&track), "what is bound is open");
            }
            MediaCommand::CloseReceiver { track } => {
                assert!(self.receivers.remove(&track), "a track is closed once");
            }
            MediaCommand::Close => {
                self.senders.clear();
                self.receivers.clear();
                self.sections.clear();
                self.from_media.clear();
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Command(wish) => self.command(wish),
            Step::Withdraw(age) => {
                let id = self.last_command.saturating_sub(age);
                self.waiting.remove(&id);
                self.input(Input::Withdraw(CommandId(id)));
            }
            Step::Serve(is_refused) => self.serve(is_refused),
            Step::Deliver => {
                let Some(message) = self.to_client.pop_front() else { return };
                self.delivered.push_back(message.clone());
                self.input(Input::Signal(message));
            }
            Step::Media => {
                if let Some(notice) = self.from_media.pop_front() {
                    self.input(Input::Media(notice));
                }
            }
            Step::MediaFails => {
                self.input(Input::Media(MediaNotice::Failed));
                // As a connection that heals.
                self.from_media.push_back(MediaNotice::Connected);
            }
            Step::Toggle(key) => {
                let message = self.room.toggle(KEYS[key]);
                self.tell(message);
            }
            Step::Comes | Step::Goes => {
                let message = self.room.come_or_go(matches!(step, Step::Comes));
                self.tell(message);
            }
            Step::Passes(millis) => self.pass(Duration::from_millis(millis)),
            Step::Fault(fault) => self.fault(fault),
        }
    }

    fn command(&mut self, wish: Wish) {
        let change = |change: Option<Option<u64>>, make: fn(u64) -> NewTrack| match change {
            None => TrackUpdate::Keep,
            Some(None) => TrackUpdate::Mute,
            Some(Some(track)) => TrackUpdate::Replace(make(track)),
        };
        // Tracks of audio and video have ids of their own.
        let face = |track| vp8(track + 10);
        let subscription = |key: usize, audio, video| super::wish(2, KEYS[key], audio, video);
        let (seconds, command) = match wish {
            Wish::Connect => (30, connect()),
            Wish::Disconnect => (2, Command::Disconnect),
            Wish::Add(key, audio, video) => (10, add(KEYS[key], audio.map(opus), video.map(face))),
            Wish::Update(key, audio, video) => {
                (10, update(KEYS[key], change(audio, opus), change(video, |track| vp8(track + 10))))
            }
            Wish::Remove(name) => (10, Command::RemoveStream(key(KEYS[name]))),
            Wish::Take(key, audio, video) => (10, Command::AddSubscription(subscription(key, audio, video))),
            Wish::Retake(key, audio, video) => {
                (10, Command::UpdateSubscription(subscription(key, audio, video)))
            }
            Wish::Release(key) => (10, release(2, KEYS[key])),
            Wish::Say => {
                (10, Command::SendMessage(SendMessage { message: Message::text("hello"), recipients: None }))
            }
        };
        self.last_command += 1;
        self.waiting.insert(self.last_command, self.now + Duration::from_secs(seconds));
        self.input(Input::Command(CommandId(self.last_command), command));
    }

    fn serve(&mut self, is_refused: bool) {
        if std::mem::take(&mut self.is_opening) {
            self.input(Input::SignalOpened);
        } else if let Some(request) = self.to_server.pop_front() {
            self.to_client.extend(self.room.serve(request, is_refused));
        }
    }

    fn tell(&mut self, message: Option<ServerMessage>) {
        self.to_client.extend(message.filter(|_| self.room.is_joined));
    }

    /// Lets time pass, waking the engine whenever it wants.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(until) = self.input(Input::Timeout).filter(|until| *until <= end) {
            assert!(until > self.now || time.is_zero(), "the engine does not spin");
            self.now = self.now.max(until);
        }
        self.now = end;
        self.input(Input::Timeout);
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Lose => {
                self.to_client.pop_front();
            }
            Fault::Repeat(age) => {
                if let Some(message) = self.delivered.iter().rev().nth(age).cloned() {
                    self.input(Input::Signal(message));
                }
            }
            Fault::Swap => {
                if self.to_client.len() > 1 {
                    self.to_client.swap(0, 1);
                }
            }
            Fault::Bound(slot, name) => {
                if let Some(stream) = self.room.others.get(&key(KEYS[name])) {
                    let notice = bound(slot, MediaKind::Video, stream);
                    self.input(Input::Signal(notice.into()));
                }
            }
            Fault::Closed => {
                self.input(Input::SignalClosed);
            }
            Fault::Goodbye => {
                let reason = roomful_protocol::DisconnectReason::Kicked;
                self.input(Input::Signal(DisconnectNotice { reason }.into()));
            }
            Fault::Malformed => {
                self.input(Input::Malformed);
            }
            Fault::Opened(track) => {
                self.input(Input::Media(opened(track, 1)));
            }
        }
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.serve(false);
            self.step(Step::Deliver);
            self.step(Step::Media);
        }
        assert!(self.to_server.is_empty() && self.to_client.is_empty() && self.from_media.is_empty());
    }

    /// Checks that client, server and media agree when nothing is under way.
    fn check_agreement(&self) {
        let state = self.client.state();
        if state.status() != Status::Connected {
            return;
        }
        let own = state.participant_streams(person(ME));
        assert!(own.keys().eq(self.room.own.keys()), "{:?} {:?}", own.keys(), self.room.own.keys());
        let tracks = own.values().flat_map(|stream| [stream.audio_track, stream.video_track]).flatten();
        assert_eq!(tracks.collect::<BTreeSet<_>>(), self.senders, "open are the tracks of one's streams");
        let in_use: BTreeSet<TrackId> = self.sections.values().copied().collect();
        assert_eq!(in_use, self.senders, "each on its section");

        let taken: BTreeMap<_, _> =
            state.subscriptions().map(|one| (one.key.clone(), (one.audio, one.video))).collect();
        let at_server: BTreeMap<_, _> =
            self.room.taken.iter().map(|(key, (_, audio, video))| (key.clone(), (*audio, *video))).collect();
        assert_eq!(taken, at_server);
        let streams = state.subscriptions().filter_map(|one| state.participant_stream(person(2), &one.key));
        let tracks = streams.flat_map(|stream| [stream.audio_track, stream.video_track]).flatten();
        assert_eq!(tracks.collect::<BTreeSet<_>>(), self.receivers, "open are the tracks of subscriptions");

        let (free_senders, free_slots) = self.client.negotiation.free();
        let (senders, slots) = self.client.negotiation.all();
        assert_eq!(senders - free_senders, self.senders.len());
        assert_eq!(slots - free_slots, taken.len());
        assert_eq!(state.version(), self.room.version);
    }
}

impl Room {
    fn forget_client(&mut self) {
        self.is_joined = false;
        self.own.clear();
        self.taken.clear();
        self.slots = 0;
    }

    fn next_version(&mut self) -> RoomVersion {
        self.version += 1;
        RoomVersion(self.version)
    }

    fn new_stream(&mut self, publisher: u8, name: &StreamKey) -> StreamInfo {
        self.made = self.made.wrapping_add(1);
        StreamInfo { id: StreamId::from_random([self.made; 16]), ..stream(publisher, name.as_str()) }
    }

    fn toggle(&mut self, name: &str) -> Option<ServerMessage> {
        let name = key(name);
        let version = self.next_version();
        self.taken.remove(&name);
        if let Some(stream) = self.others.remove(&name) {
            return Some(StreamUnpublishedNotice { version, stream_id: stream.id }.into());
        }
        let stream = self.new_stream(2, &name);
        self.others.insert(name, stream.clone());
        Some(StreamPublishedNotice { version, stream }.into())
    }

    fn come_or_go(&mut self, comes: bool) -> Option<ServerMessage> {
        if comes == std::mem::replace(&mut self.is_other_here, comes) {
            return None;
        }
        let version = self.next_version();
        Some(match comes {
            true => ParticipantJoinedNotice { version, participant: info(3) }.into(),
            false => ParticipantLeftNotice { version, participant_id: person(3), reason: None }.into(),
        })
    }

    fn serve(&mut self, request: ClientMessage, is_refused: bool) -> Vec<ServerMessage> {
        let (request_id, _) = message_text(&request);
        let mut messages = Vec::new();
        let reply = match self.decide(request, is_refused, &mut messages) {
            Ok(Some(reply)) => reply,
            Ok(None) => DoneResponse { request: request_id }.into(),
            Err(code) => ErrorResponse { request: request_id, code }.into(),
        };
        messages.push(reply);
        messages
    }

    fn decide(
        &mut self,
        request: ClientMessage,
        is_refused: bool,
        notices: &mut Vec<ServerMessage>,
    ) -> Result<Option<ServerMessage>, ErrorCode> {
        let is_giving_back =
            matches!(request, ClientMessage::UnpublishRequest(_) | ClientMessage::UnsubscribeRequest(_));
        if is_refused && !is_giving_back {
            return Err(ErrorCode::RateLimited);
        }
        match request {
            ClientMessage::JoinRequest(join) => {
                self.is_joined = true;
                let version = self.next_version();
                let others = self.is_other_here.then_some(3);
                let participants = [ME, 2].into_iter().chain(others).map(info).collect();
                return Ok(Some(
                    JoinResponse {
                        request: join.request,
                        wire_version: WIRE_VERSION,
                        participant_id: person(ME),
                        version,
                        participants,
                        streams: self.others.values().cloned().collect(),
                        term: TokenTerm { remaining_ms: 600_000, life_ms: 600_000 },
                        resume_key: ResumeKey::from_random([5; 16]),
                        // Lost connections are tests of their own: here each loss ends the stay.
                        resume_window_ms: 0,
                    }
                    .into(),
                ));
            }
            ClientMessage::LeaveRequest(_) => self.forget_client(),
            ClientMessage::PingRequest(_)
            | ClientMessage::MessageRequest(_)
            | ClientMessage::ResumeRequest(_)
            | ClientMessage::UpdateTokenRequest(_)
            | ClientMessage::EnableMetricsRequest(_)
            | ClientMessage::DisableMetricsRequest(_) => {}
            ClientMessage::OfferRequest(offer) => {
                self.slots = offer.slots.len() as u16;
                let (request, sdp) = (offer.request, "answer".to_owned());
                return Ok(Some(OfferResponse { request, offer: offer.offer, sdp }.into()));
            }
            ClientMessage::PublishRequest(publish) => {
                if self.own.contains_key(&publish.key) {
                    return Err(ErrorCode::KeyInUse);
                }
                let mut stream = self.new_stream(ME, &publish.key);
                stream.audio = stream.audio.filter(|_| publish.audio.is_some());
                stream.video = stream.video.filter(|_| publish.video.is_some());
                self.own.insert(publish.key, stream.clone());
                let (version, stream_id) = (self.next_version(), stream.id);
                notices.push(StreamPublishedNotice { version, stream }.into());
                return Ok(Some(PublishResponse { request: publish.request, stream_id }.into()));
            }
            ClientMessage::UpdateStreamRequest(update) => {
                let stream = self.own.get_mut(&update.key).ok_or(ErrorCode::UnknownStream)?;
                let changes = [
                    (&mut stream.audio, update.audio, update.audio_enabled),
                    (&mut stream.video, update.video, update.video_enabled),
                ];
                for (track, new, enabled) in changes {
                    if let Some(new) = new {
                        *track = Some(TrackInfo { codec: new.codec, enabled: true, censored: false });
                    }
                    if let (Some(track), Some(enabled)) = (track, enabled) {
                        track.enabled = enabled;
                    }
                }
                let stream = stream.clone();
                notices.push(StreamUpdatedNotice { version: self.next_version(), stream }.into());
            }
            ClientMessage::UnpublishRequest(unpublish) => {
                let stream_id = self.own.remove(&unpublish.key).ok_or(ErrorCode::UnknownStream)?.id;
                notices.push(StreamUnpublishedNotice { version: self.next_version(), stream_id }.into());
            }
            ClientMessage::SubscribeRequest(one) => {
                if !self.others.contains_key(&one.key) {
                    return Err(ErrorCode::UnknownStream);
                }
                if self.taken.contains_key(&one.key) {
                    return Err(ErrorCode::AlreadySubscribed);
                }
                let is_taken = self.taken.values().any(|(slot, ..)| *slot == one.slot);
                assert!(!is_taken && one.slot < self.slots, "a client asks for free slots only");
                self.taken.insert(one.key, (one.slot, one.audio, one.video));
            }
            ClientMessage::UpdateSubscriptionRequest(one) => {
                let taken = self.taken.get_mut(&one.key).ok_or(ErrorCode::NotSubscribed)?;
                (taken.1, taken.2) = (one.audio, one.video);
            }
            ClientMessage::UnsubscribeRequest(one) => {
                self.taken.remove(&one.key).ok_or(ErrorCode::NotSubscribed)?;
            }
        }
        Ok(None)
    }
}

/// The rest of every run: nothing waits for ever, and disconnecting leaves nothing.
fn finish(rig: &mut Rig) {
    rig.pass(Duration::from_secs(31));
    assert!(rig.waiting.is_empty(), "{:?} never settled", rig.waiting);
    rig.command(Wish::Disconnect);
    rig.pass(Duration::from_secs(3));
    assert!(rig.waiting.is_empty());
    assert!(rig.client.is_empty(), "{:?}", rig.client);
    assert!(rig.senders.is_empty() && rig.receivers.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn client_and_server_agree_in_the_end(steps in prop::collection::vec(step(), 1..200)) {
        let mut rig = Rig::new();
        rig.command(Wish::Connect);
        for _ in 0..4 {
            rig.serve(false);
            rig.step(Step::Deliver);
        }
        for step in steps {
            rig.step(step);
        }
        rig.settle();
        rig.check_agreement();
        finish(&mut rig);
    }

    #[test]
    fn every_command_settles_once_and_in_time(
        steps in prop::collection::vec(prop_oneof![5 => step(), 1 => fault()], 1..200),
    ) {
        let mut rig = Rig::new();
        rig.command(Wish::Connect);
        for step in steps {
            rig.step(step);
        }
        finish(&mut rig);
    }
}
