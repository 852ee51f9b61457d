//! Tests of both halves on virtual time. Scenarios are data: inputs, and everything that comes of them as text.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test that says what it looks for says enough")]

mod forwarder;
mod laws;
mod layers;
mod liveness;
mod media;
mod messages;
mod moderation;
mod requests;
mod resume;
mod rooms;
mod speaking;
mod tokens;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use roomful_protocol::{
    ChatMessage, ClientMessage, JoinRequest, LeaveRequest, MessageKind, MessageRequest, OfferId,
    OfferRequest, PingRequest, PublishRequest, PublishedTrack, RequestId, ServerMessage, SlotMids,
    StreamInfo, SubscribeRequest, TrackInfo, UnpublishRequest, UnsubscribeRequest, UpdateStreamRequest,
    UpdateSubscriptionRequest, UpdateTokenRequest, WIRE_VERSION,
};
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Permissions, Rid, RoomId, StreamId, StreamKey};

use crate::{
    Admission, AdmissionError, Grant, GrantId, Input, MediaCommand, MediaNotice, Output, RoomSessionId,
    SessionId, Sfu, SfuConfig, SourceId,
};

const ROOM: RoomId = RoomId::from_random([1; 16]);
const OTHER_ROOM: RoomId = RoomId::from_random([2; 16]);
const NO_ROOM: RoomId = RoomId::from_random([3; 16]);

/// Admits every token but a few; three participants fit into a room.
#[derive(Debug)]
struct Doorkeeper;

impl Admission for Doorkeeper {
    fn admit(&self, room: RoomId, token: &str) -> Result<Grant, AdmissionError> {
        if room == NO_ROOM {
            return Err(AdmissionError::UnknownRoom);
        }
        let nothing = Permissions { publish: false, subscribe: false, message: false, moderate: false };
        let grant = Grant {
            identity: None,
            context: None,
            permissions: Permissions::default(),
            max_participants: 3,
            id: GrantId([0; 16]),
            remaining: Duration::from_secs(600),
            life: Duration::from_secs(600),
        };
        match token {
            "short" => Ok(Grant { remaining: Duration::from_secs(20), ..grant }),
            "grace" => Ok(Grant { id: GrantId([1; 16]), identity: Some("grace".to_owned()), ..grant }),
            "other grant" => Ok(Grant { id: GrantId([3; 16]), ..grant }),
            "same grant" => Ok(Grant { id: GrantId([1; 16]), ..grant }),
            "same identity" => {
                Ok(Grant { id: GrantId([2; 16]), identity: Some("grace".to_owned()), ..grant })
            }
            // As many as there is room for.
            "crowd" => Ok(Grant { max_participants: 1000, ..grant }),
            "crowd's grace" => {
                Ok(Grant { identity: Some("grace".to_owned()), max_participants: 1000, ..grant })
            }
            "forged" => Err(AdmissionError::InvalidToken),
            "expired" => Err(AdmissionError::ExpiredToken),
            "guest" => Ok(Grant { permissions: nothing, ..grant }),
            "named" => Ok(Grant {
                identity: Some("ada".to_owned()),
                context: Some("from the token".to_owned()),
                ..grant
            }),
            _ => Ok(grant),
        }
    }
}

/// A server, its clients and the names of everything in it.
struct World {
    sfu: Sfu,
    start: Instant,
    now: Instant,
    last_request: u32,
    participants: BTreeMap<u64, ParticipantId>,
    streams: BTreeMap<String, StreamId>,
    room_session: Option<RoomSessionId>,
    /// What was told to each client.
    told: BTreeMap<u64, Vec<ServerMessage>>,
}

impl World {
    /// Without resumes: who is gone has left.
    fn new() -> Self {
        Self::configured(SfuConfig { resume_window: Duration::ZERO, ..SfuConfig::default() })
    }

    fn configured(config: SfuConfig) -> Self {
        let start = Instant::now();
        Self {
            sfu: Sfu::new(config, Box::new(Doorkeeper), [7; 32], start),
            start,
            now: start,
            last_request: 0,
            participants: BTreeMap::new(),
            streams: BTreeMap::new(),
            room_session: None,
            told: BTreeMap::new(),
        }
    }

    /// A room in which these sessions are, each with two receive slots.
    fn with(sessions: &[u64]) -> Self {
        let mut world = Self::new();
        sessions.iter().for_each(|session| world.enter(*session));
        world
    }

    /// The same where a lost connection can be made up for.
    fn resumable(sessions: &[u64]) -> Self {
        let mut world = Self::configured(SfuConfig::default());
        sessions.iter().for_each(|session| world.enter(*session));
        world
    }

    fn enter(&mut self, session: u64) {
        self.input(Input::Opened(SessionId(session)));
        self.ask(session, join("token"));
        self.ask(session, offer(1, 2));
        self.answer(session, 1);
    }

    fn input(&mut self, input: Input) -> Vec<Output> {
        self.sfu.handle_input(input, self.now);
        let mut outputs = Vec::new();
        loop {
            match self.sfu.poll_output() {
                Output::Wait { .. } => break,
                output => outputs.push(output),
            }
        }
        self.sfu.check_invariants();
        for output in &outputs {
            if let Output::SessionStarted(_, session) = output {
                self.room_session = Some(*session);
            }
            let Output::Send(sessions, message) = output else { continue };
            for SessionId(session) in sessions {
                self.told.entry(*session).or_default().push(message.clone());
                if let ServerMessage::JoinResponse(response) = message {
                    self.participants.insert(*session, response.participant_id);
                }
            }
            if let ServerMessage::StreamPublishedNotice(notice) = message {
                self.streams.insert(notice.stream.key.to_string(), notice.stream.id);
            }
        }
        outputs
    }

    /// A session sends a request.
    fn ask(&mut self, session: u64, request: impl Ask) -> Vec<Output> {
        self.last_request += 1;
        let message = request.message(RequestId(self.last_request), self);
        self.input(Input::Signal(SessionId(session), message))
    }

    /// The media shard answers an offer.
    fn answer(&mut self, session: u64, offer: u32) -> Vec<Output> {
        let (peer, answer) = (self.participants[&session], Ok(format!("answer {offer}")));
        self.input(Input::Media(MediaNotice::Answered { peer, offer: OfferId(offer), answer }))
    }

    fn pass(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.input(Input::Timeout)
    }

    #[track_caller]
    fn check(&mut self, session: u64, request: impl Ask, expected: &str) {
        let outputs = self.ask(session, request);
        self.expect(&outputs, expected);
    }

    #[track_caller]
    fn check_input(&mut self, input: Input, expected: &str) {
        let outputs = self.input(input);
        self.expect(&outputs, expected);
    }

    #[track_caller]
    fn expect(&self, outputs: &[Output], expected: &str) {
        let seen: Vec<String> = outputs.iter().map(|output| self.text(output)).collect();
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(seen, expected, "\n{}\n", seen.join("\n"));
    }

    fn text(&self, output: &Output) -> String {
        match output {
            Output::Send(sessions, message) => {
                let mut sessions: Vec<String> =
                    sessions.iter().map(|session| session.0.to_string()).collect();
                sessions.sort();
                format!("to {}: {}", sessions.join("+"), self.message_text(message))
            }
            Output::Close(session) => format!("close {}", session.0),
            Output::Media(command) => self.command_text(command),
            Output::SessionStarted(..) => "session starts".to_owned(),
            Output::SessionEnded(..) => "session ends".to_owned(),
            Output::Wait { .. } => "wait".to_owned(),
        }
    }

    fn message_text(&self, message: &ServerMessage) -> String {
        match message {
            ServerMessage::JoinResponse(message) => {
                let mut participants: Vec<String> =
                    message.participants.iter().map(|one| self.who(one.id)).collect();
                participants.sort();
                let streams: Vec<&str> = message.streams.iter().map(|one| one.key.as_str()).collect();
                let (who, version) = (self.who(message.participant_id), message.version.0);
                format!("welcome {who} to v{version} of {participants:?} {streams:?}").replace('"', "")
            }
            ServerMessage::OfferResponse(message) => format!("{} to {}", message.sdp, message.offer.0),
            ServerMessage::PublishResponse(message) => format!("published {}", self.what(message.stream_id)),
            ServerMessage::DoneResponse(_) => "done".to_owned(),
            ServerMessage::ErrorResponse(message) => format!("error {:?}", message.code),
            ServerMessage::ParticipantJoinedNotice(message) => {
                format!("v{} {} joined", message.version.0, self.who(message.participant.id))
            }
            ServerMessage::ParticipantLeftNotice(message) => {
                format!("v{} {} left", message.version.0, self.who(message.participant_id))
            }
            ServerMessage::StreamPublishedNotice(message) => {
                format!("v{} published {}", message.version.0, stream_text(&message.stream))
            }
            ServerMessage::StreamUpdatedNotice(message) => {
                format!("v{} updated {}", message.version.0, stream_text(&message.stream))
            }
            ServerMessage::StreamUnpublishedNotice(message) => {
                format!("v{} unpublished {}", message.version.0, self.what(message.stream_id))
            }
            ServerMessage::SlotBoundNotice(message) => {
                let (slot, what) = (message.slot, self.what(message.stream_id));
                let (sequence, timestamp) = (message.first_sequence, message.first_timestamp);
                format!("slot {slot} has {what} {} from {sequence} at {timestamp}", message.kind)
            }
            ServerMessage::SourcePausedNotice(message) => {
                let verb = if message.paused { "pause" } else { "resume" };
                let rid = if message.rid == Rid::High { String::new() } else { format!(" {}", message.rid) };
                format!("{verb} {} {}{rid}", self.what(message.stream_id), message.kind)
            }
            ServerMessage::MessageNotice(message) => {
                let to = match &message.recipients {
                    None => "all".to_owned(),
                    Some(list) => list.iter().map(|id| self.who(*id)).collect::<Vec<_>>().join("+"),
                };
                format!("{} says {} to {to}", self.who(message.sender), message.message.payload)
            }
            ServerMessage::ResumeResponse(message) => {
                let streams: Vec<&str> = message.streams.iter().map(|one| one.key.as_str()).collect();
                let (slots, sources) = (message.slots.len(), message.sources.len());
                let streams = format!("{streams:?}").replace('"', "");
                format!(
                    "welcome back to v{} of {streams}, {slots} slots, {sources} sources",
                    message.version.0
                )
            }
            ServerMessage::TokenResponse(message) => format!("token for {} ms", message.term.remaining_ms),
            ServerMessage::SpeakingNotice(message) => {
                let verb = if message.speaking { "speaks" } else { "is quiet" };
                let what = message.stream_id.map_or_else(|| "no stream".to_owned(), |id| self.what(id));
                format!("{} {verb} in {what}", self.who(message.participant_id))
            }
            ServerMessage::DominantSpeakerNotice(message) => {
                format!(
                    "loudest is {}",
                    message.participant_id.map_or_else(|| "nobody".to_owned(), |id| self.who(id))
                )
            }
            ServerMessage::NetworkMetricsNotice(message) => {
                format!("metrics of {}", message.participants.len())
            }
            ServerMessage::LayerChangedNotice(message) => match message.rid {
                Some(rid) => format!("{} comes at {rid}", self.what(message.stream_id)),
                None => format!("no room for {}", self.what(message.stream_id)),
            },
            ServerMessage::QualityNotice(message) => {
                format!("{} is at {}", self.what(message.stream_id), message.quality)
            }
            ServerMessage::DisconnectNotice(message) => format!("goodbye {:?}", message.reason),
        }
    }

    fn command_text(&self, command: &MediaCommand) -> String {
        let source = |source: &SourceId| format!("{} {}", self.what(source.stream), source.kind);
        match command {
            MediaCommand::AcceptOffer { peer, offer, slots, .. } => {
                format!("media: offer {} of {} with {} slots", offer.0, self.who(*peer), slots.len())
            }
            MediaCommand::RemovePeer { peer } => format!("media: remove {}", self.who(*peer)),
            MediaCommand::PutSource { source: id, peer, mid, codec, first_timestamp, .. } => {
                let (source, who) = (source(id), self.who(*peer));
                format!("media: put {source} of {who} {codec} on {mid} from {first_timestamp}")
            }
            MediaCommand::EnableSource { source: id, enabled } => {
                format!("media: {} {}", if *enabled { "enable" } else { "disable" }, source(id))
            }
            MediaCommand::RemoveSource { source: id } => format!("media: remove {}", source(id)),
            MediaCommand::Bind { peer, mid, source: id, layer } => {
                let layer = if *layer == Rid::High { String::new() } else { format!(" at {layer}") };
                format!("media: bind {}{layer} to {} on {mid}", source(id), self.who(*peer))
            }
            MediaCommand::SetLayer { peer, mid, layer } => {
                format!("media: {layer} to {} on {mid}", self.who(*peer))
            }
            MediaCommand::Unbind { peer, mid } => format!("media: unbind {} on {mid}", self.who(*peer)),
        }
    }

    fn who(&self, id: ParticipantId) -> String {
        let found = self.participants.iter().find(|(_, participant)| **participant == id);
        found.map_or_else(|| "new".to_owned(), |(session, _)| format!("p{session}"))
    }

    fn what(&self, id: StreamId) -> String {
        let found = self.streams.iter().find(|(_, stream)| **stream == id);
        found.map_or_else(|| "unknown".to_owned(), |(key, _)| key.clone())
    }

    fn source(&self, stream: &str, kind: MediaKind) -> SourceId {
        SourceId { stream: self.streams[stream], kind }
    }

    /// How long the engine wants to sleep at most.
    fn wait(&mut self) -> Duration {
        match self.sfu.poll_output() {
            Output::Wait { until, .. } => until - self.start,
            output => panic!("{output:?} was left"),
        }
    }
}

/// Something that becomes a request once it has a number.
trait Ask {
    fn message(self, request: RequestId, world: &World) -> ClientMessage;
}

impl<F: FnOnce(RequestId, &World) -> ClientMessage> Ask for F {
    fn message(self, request: RequestId, world: &World) -> ClientMessage {
        self(request, world)
    }
}

fn stream_text(stream: &StreamInfo) -> String {
    let track = |kind, track: Option<TrackInfo>| {
        let on = |track: TrackInfo| if track.enabled { "on" } else { "off" };
        let censored = |track: TrackInfo| if track.censored { "!" } else { "" };
        track.map(|track| format!(" {kind}:{}{}", on(track), censored(track))).unwrap_or_default()
    };
    format!("{}{}{}", stream.key, track("audio", stream.audio), track("video", stream.video))
}

fn key(text: &str) -> StreamKey {
    StreamKey::new(text).unwrap()
}

fn mid(text: &str) -> Mid {
    Mid::new(text).unwrap()
}

/// The receive slots of every offer: `a0` and `v0`, `a1` and `v1`, and so on.
fn slots(count: usize) -> Vec<SlotMids> {
    let slot = |index| SlotMids { audio: mid(&format!("a{index}")), video: mid(&format!("v{index}")) };
    (0..count).map(slot).collect()
}

fn audio(name: &str) -> PublishedTrack {
    PublishedTrack { mid: mid(name), codec: Codec::Opus, first_timestamp: 48, simulcast: false }
}

fn video(name: &str) -> PublishedTrack {
    PublishedTrack { mid: mid(name), codec: Codec::Vp8, first_timestamp: 90, simulcast: false }
}

fn join_request(request: RequestId, token: &str) -> JoinRequest {
    let (versions, token) = (vec![WIRE_VERSION], token.to_owned());
    JoinRequest { request, versions, room_id: ROOM, token, context: None, enable_messages: true }
}

fn join(token: &'static str) -> impl Ask {
    move |request, _: &World| join_request(request, token).into()
}

fn leave() -> impl Ask {
    |request, _: &World| LeaveRequest { request }.into()
}

fn ping() -> impl Ask {
    |request, _: &World| PingRequest { request, received: 0 }.into()
}

fn offer(id: u32, count: usize) -> impl Ask {
    offer_of(id, slots(count))
}

fn offer_of(id: u32, slots: Vec<SlotMids>) -> impl Ask {
    move |request, _: &World| OfferRequest { request, offer: OfferId(id), sdp: String::new(), slots }.into()
}

fn publish(name: &str, audio: Option<PublishedTrack>, video: Option<PublishedTrack>) -> impl Ask {
    let key = key(name);
    move |request, _: &World| PublishRequest { request, key, audio, video }.into()
}

/// An update that changes nothing yet.
fn update(name: &str) -> UpdateStreamRequest {
    UpdateStreamRequest {
        request: RequestId(0),
        key: key(name),
        audio_enabled: None,
        video_enabled: None,
        audio: None,
        video: None,
    }
}

impl Ask for UpdateStreamRequest {
    fn message(self, request: RequestId, _: &World) -> ClientMessage {
        Self { request, ..self }.into()
    }
}

fn unpublish(name: &str) -> impl Ask {
    let key = key(name);
    move |request, _: &World| UnpublishRequest { request, key }.into()
}

fn subscribe(publisher: u64, name: &str, slot: u16, audio: bool, video: bool) -> impl Ask {
    let key = key(name);
    move |request, world: &World| {
        let participant_id = world.id(publisher);
        SubscribeRequest {
            request,
            participant_id,
            key,
            slot,
            audio,
            video,
            paused: false,
            preferred_layer: None,
            priority: 0,
        }
        .into()
    }
}

fn resubscribe(publisher: u64, name: &str, audio: bool, video: bool) -> impl Ask {
    let key = key(name);
    move |request, world: &World| {
        let participant_id = world.id(publisher);
        UpdateSubscriptionRequest {
            request,
            participant_id,
            key,
            audio,
            video,
            paused: false,
            preferred_layer: None,
            priority: 0,
        }
        .into()
    }
}

fn unsubscribe(publisher: u64, name: &str) -> impl Ask {
    let key = key(name);
    move |request, world: &World| {
        UnsubscribeRequest { request, participant_id: world.id(publisher), key }.into()
    }
}

fn say(payload: &str, recipients: Option<&[u64]>) -> impl Ask {
    let message = ChatMessage { kind: MessageKind::Text, payload: payload.into(), meta: None };
    let recipients = recipients.map(<[u64]>::to_vec);
    move |request, world: &World| {
        let recipients = recipients.map(|list| list.iter().map(|session| world.id(*session)).collect());
        MessageRequest { request, message, recipients }.into()
    }
}

impl World {
    /// Who is behind a session; a stranger for one that never joined.
    fn id(&self, session: u64) -> ParticipantId {
        self.participants.get(&session).copied().unwrap_or(ParticipantId::from_random([0xee; 16]))
    }
}
