//! Laws that hold whatever clients send.

use std::collections::BTreeSet;

use proptest::prelude::*;
use roomful_protocol::{JoinResponse, ParticipantInfo};

use super::*;

const SESSIONS: u64 = 3;
const KEYS: [&str; 2] = ["cam", "screen"];

/// What a client, the shard or the clock does next.
#[derive(Debug, Clone)]
enum Step {
    Open(u64),
    Close(u64),
    Join(u64, bool),
    Leave(u64),
    Ping(u64),
    Offer(u64, u32, usize),
    Answer(u64, u32, bool),
    Bound(u64, usize, u16),
    Publish(u64, usize, Option<u8>, Option<u8>),
    Update(u64, usize, Option<bool>, Option<bool>, Option<u8>, Option<u8>),
    Unpublish(u64, usize),
    Subscribe(u64, u64, usize, u16, bool, bool),
    Resubscribe(u64, u64, usize, bool, bool),
    Unsubscribe(u64, u64, usize),
    Say(u64, Option<u64>),
    Pass(u64),
    Malformed(u64),
    Delete,
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 0..SESSIONS;
    let key = || 0..KEYS.len();
    let section = || prop::option::of(0..4_u8);
    let flag = any::<bool>;
    let toggle = || prop::option::of(any::<bool>());
    prop_oneof![
        4 => session().prop_map(Step::Open),
        1 => session().prop_map(Step::Close),
        6 => (session(), flag()).prop_map(|(who, messages)| Step::Join(who, messages)),
        1 => session().prop_map(Step::Leave),
        1 => session().prop_map(Step::Ping),
        4 => (session(), 1..4_u32, 0..4_usize).prop_map(|(who, id, slots)| Step::Offer(who, id, slots)),
        4 => (session(), 1..4_u32, prop::bool::weighted(0.8)).prop_map(|(who, id, ok)| Step::Answer(who, id, ok)),
        1 => (session(), key(), 0..3_u16).prop_map(|(who, key, slot)| Step::Bound(who, key, slot)),
        6 => (session(), key(), section(), section()).prop_map(|(who, key, audio, video)| Step::Publish(who, key, audio, video)),
        4 => (session(), key(), toggle(), toggle(), section(), section())
            .prop_map(|(who, key, a, v, audio, video)| Step::Update(who, key, a, v, audio, video)),
        2 => (session(), key()).prop_map(|(who, key)| Step::Unpublish(who, key)),
        8 => (session(), session(), key(), 0..3_u16, flag(), flag())
            .prop_map(|(who, of, key, slot, audio, video)| Step::Subscribe(who, of, key, slot, audio, video)),
        4 => (session(), session(), key(), flag(), flag())
            .prop_map(|(who, of, key, audio, video)| Step::Resubscribe(who, of, key, audio, video)),
        2 => (session(), session(), key()).prop_map(|(who, of, key)| Step::Unsubscribe(who, of, key)),
        1 => (session(), prop::option::of(session())).prop_map(|(who, to)| Step::Say(who, to)),
        2 => (0..8_u64).prop_map(Step::Pass),
        1 => session().prop_map(Step::Malformed),
        1 => Just(Step::Delete),
    ]
}

/// Carries steps out and watches what each client sees. A connection that ended is opened again under a new number.
struct Watcher {
    world: World,
    /// The number of each client's latest connection.
    connections: BTreeMap<u64, u64>,
    /// Requests without an answer, by connection.
    asked: BTreeMap<u64, BTreeSet<RequestId>>,
    views: BTreeMap<u64, View>,
    media: Media,
}

/// What the media shard and the publishers were told.
#[derive(Debug, Default)]
struct Media {
    routes: BTreeMap<(ParticipantId, Mid), SourceId>,
    sources: BTreeMap<SourceId, ParticipantId>,
    paused: BTreeSet<SourceId>,
    /// Of which publishers know whether they are taken.
    told: BTreeSet<SourceId>,
}

impl Media {
    fn hear(&mut self, command: &MediaCommand) {
        match *command {
            MediaCommand::AcceptOffer { .. } => {}
            MediaCommand::EnableSource { source, .. } => assert!(self.sources.contains_key(&source)),
            MediaCommand::PutSource { source, peer, .. } => {
                self.sources.insert(source, peer);
            }
            MediaCommand::SetLayer { .. } => {}
            MediaCommand::Bind { peer, mid, source, .. } => {
                assert!(self.sources.contains_key(&source), "only what is there can be bound");
                assert_eq!(self.routes.insert((peer, mid), source), None, "a section is unbound first");
            }
            MediaCommand::Unbind { peer, mid } => {
                self.routes.remove(&(peer, mid));
            }
            MediaCommand::RemoveSource { source } => {
                assert!(self.sources.remove(&source).is_some());
                self.routes.retain(|_, route| *route != source);
            }
            MediaCommand::RemovePeer { peer } => {
                self.routes.retain(|(taker, _), _| *taker != peer);
                self.sources.retain(|_, publisher| *publisher != peer);
            }
        }
    }

    fn check(&self, sfu: &Sfu) {
        let (routes, sources) = sfu.routes();
        assert_eq!(self.routes, routes, "the shard forwards what is subscribed to");
        assert!(self.sources.keys().eq(&sources), "the shard knows the room's sources");
        let taken: BTreeSet<&SourceId> = routes.values().collect();
        for source in &sources {
            let is_needed = taken.contains(source) || source.kind == MediaKind::Audio;
            assert_eq!(self.paused.contains(source), !is_needed, "paused is what nobody takes");
            assert_eq!(self.told.contains(source), sources.contains(source), "and publishers know");
        }
    }
}

/// A room as one connection sees it, made from what it was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct View {
    version: u64,
    participants: BTreeMap<ParticipantId, ParticipantInfo>,
    streams: BTreeMap<StreamId, StreamInfo>,
}

impl View {
    fn new(response: &JoinResponse) -> Self {
        Self {
            version: response.version.0,
            participants: response.participants.iter().map(|one| (one.id, one.clone())).collect(),
            streams: response.streams.iter().map(|one| (one.id, one.clone())).collect(),
        }
    }

    fn hear(&mut self, message: &ServerMessage) {
        let Some(version) = version_of(message) else { return };
        assert_eq!(version, self.version + 1, "versions have no gaps");
        self.version = version;
        match message {
            ServerMessage::ParticipantJoinedNotice(notice) => {
                let earlier = self.participants.insert(notice.participant.id, notice.participant.clone());
                assert_eq!(earlier, None);
            }
            ServerMessage::ParticipantLeftNotice(notice) => {
                assert!(self.participants.remove(&notice.participant_id).is_some());
                self.streams.retain(|_, stream| stream.participant_id != notice.participant_id);
            }
            ServerMessage::StreamPublishedNotice(notice) => {
                assert_eq!(self.streams.insert(notice.stream.id, notice.stream.clone()), None);
            }
            ServerMessage::StreamUpdatedNotice(notice) => {
                let earlier = self.streams.insert(notice.stream.id, notice.stream.clone());
                assert!(
                    earlier.is_some_and(|earlier| earlier != notice.stream),
                    "an update changes something"
                );
            }
            ServerMessage::StreamUnpublishedNotice(notice) => {
                assert!(self.streams.remove(&notice.stream_id).is_some());
            }
            other => panic!("{other:?} has no version"),
        }
    }
}

impl Watcher {
    fn new() -> Self {
        Self {
            world: World::new(),
            connections: BTreeMap::new(),
            asked: BTreeMap::new(),
            views: BTreeMap::new(),
            media: Media::default(),
        }
    }

    fn connection(&self, client: u64) -> u64 {
        self.connections.get(&client).copied().unwrap_or(client)
    }

    fn input(&mut self, input: Input) {
        let outputs = self.world.input(input);
        for output in &outputs {
            match output {
                Output::Send(sessions, message) => {
                    for SessionId(session) in sessions {
                        self.hear(*session, message);
                    }
                }
                Output::Close(SessionId(session)) => self.forget(*session),
                Output::Media(command) => self.media.hear(command),
                Output::SessionStarted(..) | Output::SessionEnded(..) | Output::Wait { .. } => {}
            }
        }
        self.media.check(&self.world.sfu);
        let mut views = self.views.values();
        let Some(first) = views.next() else { return };
        assert!(views.all(|view| view == first), "all see the same room");
    }

    fn hear(&mut self, session: u64, message: &ServerMessage) {
        assert!(self.asked.contains_key(&session), "nothing is said to a closed connection");
        if let Some(request) = answered_by(message) {
            let asked = self.asked.get_mut(&session).expect("checked above");
            assert!(asked.remove(&request), "{message:?} answers a request that waits for it");
        }
        if let ServerMessage::SourcePausedNotice(notice) = message {
            let source = SourceId { stream: notice.stream_id, kind: notice.kind };
            let is_known = !self.media.told.insert(source);
            let is_new = match notice.paused {
                true => self.media.paused.insert(source),
                false => self.media.paused.remove(&source),
            };
            assert!(is_new || !is_known, "a publisher hears of changes only");
        }
        if let ServerMessage::JoinResponse(response) = message {
            let view = View::new(response);
            assert!(view.participants.contains_key(&response.participant_id), "a snapshot has oneself");
            self.views.insert(session, view);
        } else if let Some(view) = self.views.get_mut(&session) {
            view.hear(message);
        }
    }

    fn forget(&mut self, session: u64) {
        self.asked.remove(&session);
        self.views.remove(&session);
        let client = session % SESSIONS;
        self.connections.insert(client, self.connection(client) + SESSIONS);
    }

    fn ask(&mut self, client: u64, ask: impl Ask) {
        let session = self.connection(client);
        self.world.last_request += 1;
        let request = RequestId(self.world.last_request);
        let Some(asked) = self.asked.get_mut(&session) else { return };
        asked.insert(request);
        let message = ask.message(request, &self.world);
        let is_offer = matches!(message, ClientMessage::OfferRequest(_));
        self.input(Input::Signal(SessionId(session), message));
        let waits = self.asked.get(&session).is_some_and(|asked| asked.contains(&request));
        assert!(is_offer || !waits, "only the answer to an offer comes later");
    }

    fn step(&mut self, step: Step) {
        let peer = |watcher: &Self, client: u64| watcher.world.id(watcher.connection(client));
        let track = |mid_of: fn(&str) -> PublishedTrack, section: Option<u8>| {
            section.map(|section| match section {
                0 => mid_of("a1"),
                other => mid_of(&format!("x{other}")),
            })
        };
        match step {
            Step::Open(client) => {
                let session = self.connection(client);
                if let std::collections::btree_map::Entry::Vacant(entry) = self.asked.entry(session) {
                    entry.insert(BTreeSet::new());
                    self.input(Input::Opened(SessionId(session)));
                }
            }
            Step::Close(client) => {
                let session = self.connection(client);
                self.forget(session);
                self.input(Input::Closed(SessionId(session)));
            }
            Step::Join(client, enable_messages) => self.ask(client, move |request, _: &World| {
                JoinRequest { enable_messages, ..join_request(request, "token") }.into()
            }),
            Step::Leave(client) => self.ask(client, leave()),
            Step::Ping(client) => self.ask(client, ping()),
            Step::Offer(client, id, slots) => self.ask(client, offer(id, slots)),
            Step::Answer(client, id, is_accepted) => {
                let answer = if is_accepted { Ok(String::new()) } else { Err(crate::OfferError) };
                let (peer, offer) = (peer(self, client), OfferId(id));
                self.input(Input::Media(MediaNotice::Answered { peer, offer, answer }));
            }
            Step::Bound(client, key, slot) => {
                let Some(stream) = self.world.streams.get(KEYS[key]).copied() else { return };
                self.input(Input::Media(MediaNotice::Bound {
                    peer: peer(self, client),
                    mid: mid(&format!("v{slot}")),
                    source: SourceId { stream, kind: MediaKind::Video },
                    codec: Codec::Vp8,
                    first_sequence: 0,
                    first_timestamp: 0,
                    layer: Rid::High,
                }));
            }
            Step::Publish(client, key, sound, picture) => {
                self.ask(client, publish(KEYS[key], track(audio, sound), track(video, picture)));
            }
            Step::Update(client, key, audio_enabled, video_enabled, sound, picture) => {
                let (audio, video) = (track(audio, sound), track(video, picture));
                let update =
                    UpdateStreamRequest { audio_enabled, video_enabled, audio, video, ..update(KEYS[key]) };
                self.ask(client, update);
            }
            Step::Unpublish(client, key) => self.ask(client, unpublish(KEYS[key])),
            Step::Subscribe(client, of, key, slot, audio, video) => {
                self.ask(client, subscribe(self.connection(of), KEYS[key], slot, audio, video));
            }
            Step::Resubscribe(client, of, key, audio, video) => {
                self.ask(client, resubscribe(self.connection(of), KEYS[key], audio, video));
            }
            Step::Unsubscribe(client, of, key) => {
                self.ask(client, unsubscribe(self.connection(of), KEYS[key]));
            }
            Step::Say(client, to) => {
                let to = to.map(|to| vec![self.connection(to)]);
                self.ask(client, say("hello", to.as_deref()));
            }
            Step::Pass(seconds) => {
                self.world.now += Duration::from_secs(seconds);
                self.input(Input::Timeout);
            }
            Step::Malformed(client) => self.input(Input::Malformed(SessionId(self.connection(client)))),
            Step::Delete => self.input(Input::RoomDeleted(ROOM)),
        }
    }
}

/// Returns the version of the room that a notice leads to.
pub(super) fn version_of(message: &ServerMessage) -> Option<u64> {
    match message {
        ServerMessage::ParticipantJoinedNotice(notice) => Some(notice.version.0),
        ServerMessage::ParticipantLeftNotice(notice) => Some(notice.version.0),
        ServerMessage::StreamPublishedNotice(notice) => Some(notice.version.0),
        ServerMessage::StreamUpdatedNotice(notice) => Some(notice.version.0),
        ServerMessage::StreamUnpublishedNotice(notice) => Some(notice.version.0),
        _ => None,
    }
}

fn answered_by(message: &ServerMessage) -> Option<RequestId> {
    match message {
        ServerMessage::JoinResponse(response) => Some(response.request),
        ServerMessage::OfferResponse(response) => Some(response.request),
        ServerMessage::PublishResponse(response) => Some(response.request),
        ServerMessage::DoneResponse(response) => Some(response.request),
        ServerMessage::ErrorResponse(response) => Some(response.request),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_every_view_is_the_room(steps in prop::collection::vec(step(), 1..200)) {
        let mut watcher = Watcher::new();
        for client in 0..SESSIONS {
            watcher.step(Step::Open(client));
            watcher.step(Step::Join(client, true));
        }
        for step in steps {
            watcher.step(step);
        }
        // In the end the shard answers whatever offer it still has.
        for client in 0..SESSIONS {
            for id in 1..4 {
                watcher.step(Step::Answer(client, id, true));
            }
        }
        prop_assert!(watcher.asked.values().all(BTreeSet::is_empty), "{:?}", watcher.asked);
        // And whoever joins last sees what those who are there see.
        watcher.step(Step::Close(0));
        watcher.step(Step::Open(0));
        watcher.step(Step::Join(0, true));
    }
}
