//! Tests of the engine on virtual time. Scenarios are data: inputs, and everything that comes of them as text.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test that says what it looks for says enough")]

mod laws;
mod publishing;
mod reconnecting;
mod stages;
mod subscribing;
mod tokens;

use std::time::{Duration, Instant};

use roomful_protocol::{
    ClientMessage, DoneResponse, ErrorCode, ErrorResponse, JoinResponse, OfferId, OfferResponse,
    ParticipantInfo, ParticipantJoinedNotice, ParticipantLeftNotice, PublishResponse, RequestId, ResumeKey,
    RoomVersion, ServerMessage, SlotBoundNotice, SlotMids, SourcePausedNotice, StreamInfo,
    StreamPublishedNotice, StreamUnpublishedNotice, StreamUpdatedNotice, TokenTerm, TrackInfo, WIRE_VERSION,
};
use roomful_state::{Event, EventKind, TrackId};
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Rid, RoomId, StreamId, StreamKey};

use crate::{
    AddStream, AddSubscription, Client, ClientConfig, Command, CommandError, CommandId, Connect, Input,
    MediaCommand, MediaNotice, NewTrack, Output, Reply, TrackUpdate, UpdateStream,
};

/// Oneself; others have higher numbers.
const ME: u8 = 1;

/// A client, and the server and the media transport that a test plays by hand.
struct World {
    client: Client,
    start: Instant,
    now: Instant,
    last_command: u64,
    version: u64,
    /// Every request of the client, in order.
    asked: Vec<RequestId>,
    events: Vec<Event>,
}

impl World {
    /// Without reconnecting: who loses the connection has left.
    fn new() -> Self {
        let config = ClientConfig { reconnect_timeout: Duration::ZERO, ..ClientConfig::default() };
        Self::configured(config)
    }

    fn configured(config: ClientConfig) -> Self {
        let config = ClientConfig { initial_slots: 2, ..config };
        let now = Instant::now();
        Self {
            client: Client::new(config, RoomId::from_random([9; 16]), 42, now),
            start: now,
            now,
            last_command: 0,
            version: 1,
            asked: Vec::new(),
            events: Vec::new(),
        }
    }

    /// In the room with participants 2 and 3, of whom 2 publishes `cam`. No media yet.
    fn joined() -> Self {
        Self::new().join()
    }

    fn join(self) -> Self {
        let mut world = self;
        world.command(connect());
        world.input(Input::SignalOpened);
        world.input(Input::Signal(world.welcome(&[ME, 2, 3], &[stream(2, "cam")])));
        world
    }

    /// The same with media: `s0` sends audio, `t0` video, and there are two receive slots.
    fn with_media() -> Self {
        Self::joined().connect_media()
    }

    fn connect_media(self) -> Self {
        let mut world = self;
        world.media(offered(1, 1, 1, 2));
        world.answer_offer(1);
        world.media(MediaNotice::Negotiated { offer: OfferId(1) });
        world.media(MediaNotice::Connected);
        world
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        self.client.handle_input(input, self.now);
        let mut lines = Vec::new();
        loop {
            match self.client.poll_output() {
                Output::Wait { .. } => break,
                output => lines.extend(self.note(output)),
            }
        }
        self.client.check_invariants();
        lines
    }

    fn note(&mut self, output: Output) -> Option<String> {
        match output {
            Output::OpenSignal => Some("open signal".to_owned()),
            Output::CloseSignal => Some("close signal".to_owned()),
            Output::Send(message) => {
                let (request, text) = message_text(&message);
                self.asked.push(request);
                Some(format!("send {text}"))
            }
            Output::Media(command) => Some(command_text(&command)),
            Output::Event(event) => {
                let is_worth_telling = event.kind != EventKind::StateChanged;
                let name = is_worth_telling.then(|| event.name().to_owned());
                self.events.push(event);
                name
            }
            Output::Done(CommandId(id), result) => Some(format!("{id}: {}", result_text(result))),
            Output::Wait { .. } => None,
        }
    }

    fn command(&mut self, command: Command) -> Vec<String> {
        self.last_command += 1;
        self.input(Input::Command(CommandId(self.last_command), command))
    }

    fn withdraw(&mut self, id: u64) -> Vec<String> {
        self.input(Input::Withdraw(CommandId(id)))
    }

    fn media(&mut self, notice: MediaNotice) -> Vec<String> {
        self.input(Input::Media(notice))
    }

    fn hear(&mut self, message: impl Into<ServerMessage>) -> Vec<String> {
        self.input(Input::Signal(message.into()))
    }

    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.input(Input::Timeout)
    }

    /// The latest request that is not a ping.
    fn last(&self) -> RequestId {
        *self.asked.last().expect("something was asked")
    }

    fn grant(&mut self) -> Vec<String> {
        let request = self.last();
        self.hear(DoneResponse { request })
    }

    fn refuse(&mut self, code: ErrorCode) -> Vec<String> {
        let request = self.last();
        self.hear(ErrorResponse { request, code })
    }

    fn answer_offer(&mut self, id: u32) -> Vec<String> {
        let request = self.last();
        self.hear(OfferResponse { request, offer: OfferId(id), sdp: "answer".to_owned() })
    }

    /// The server publishes what was asked for last, as this stream.
    fn publish(&mut self, stream: StreamInfo) -> Vec<String> {
        let (request, stream_id) = (self.last(), stream.id);
        let mut lines = self.hear_published(stream);
        lines.extend(self.hear(PublishResponse { request, stream_id }));
        lines
    }

    fn hear_published(&mut self, stream: StreamInfo) -> Vec<String> {
        let version = self.next_version();
        self.hear(StreamPublishedNotice { version, stream })
    }

    fn hear_updated(&mut self, stream: StreamInfo) -> Vec<String> {
        let version = self.next_version();
        self.hear(StreamUpdatedNotice { version, stream })
    }

    fn hear_unpublished(&mut self, stream: &StreamInfo) -> Vec<String> {
        let (version, stream_id) = (self.next_version(), stream.id);
        self.hear(StreamUnpublishedNotice { version, stream_id })
    }

    fn hear_joined(&mut self, number: u8) -> Vec<String> {
        let version = self.next_version();
        self.hear(ParticipantJoinedNotice { version, participant: info(number) })
    }

    fn hear_left(&mut self, number: u8) -> Vec<String> {
        let version = self.next_version();
        self.hear(ParticipantLeftNotice { version, participant_id: person(number), reason: None })
    }

    fn next_version(&mut self) -> RoomVersion {
        self.version += 1;
        RoomVersion(self.version)
    }

    fn welcome(&self, participants: &[u8], streams: &[StreamInfo]) -> ServerMessage {
        JoinResponse {
            request: self.last(),
            wire_version: WIRE_VERSION,
            participant_id: person(ME),
            version: RoomVersion(self.version),
            participants: participants.iter().map(|number| info(*number)).collect(),
            streams: streams.to_vec(),
            term: TokenTerm { remaining_ms: 600_000, life_ms: 600_000 },
            resume_key: ResumeKey::from_random([5; 16]),
            resume_window_ms: 30_000,
        }
        .into()
    }

    /// When the engine wants to be woken, from the start.
    fn wait(&mut self) -> Option<Duration> {
        match self.client.poll_output() {
            Output::Wait { until, .. } => until.map(|until| until - self.start),
            output => panic!("{output:?} was left"),
        }
    }
}

/// Checks what an input came to, as lines.
#[track_caller]
fn check(seen: Vec<String>, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(seen, expected, "\n{}\n", seen.join("\n"));
}

fn result_text(result: Result<Reply, CommandError>) -> String {
    let track = |track: Option<TrackId>| track.map_or_else(|| "-".to_owned(), track_text);
    match result {
        Ok(Reply::Done) => "done".to_owned(),
        Ok(Reply::Published(_)) => "published".to_owned(),
        Ok(Reply::Subscribed { audio, video }) => format!("subscribed {} {}", track(audio), track(video)),
        Err(error) => format!("{error:?}"),
    }
}

/// Names a track: `r` and a number for one that is received.
fn track_text(TrackId(id): TrackId) -> String {
    match id.checked_sub(NewTrack::IDS) {
        Some(received) => format!("r{received}"),
        None => id.to_string(),
    }
}

fn command_text(command: &MediaCommand) -> String {
    let text = match command {
        MediaCommand::CreateOffer { offer, audio_senders, video_senders, slots, restart } => {
            let restart = if *restart { ", another path" } else { "" };
            format!("offer {}: {audio_senders}+{video_senders}, {slots} slots{restart}", offer.0)
        }
        MediaCommand::AcceptAnswer { offer, .. } => format!("answer {}", offer.0),
        MediaCommand::OpenSender { track, mid, codec, stream, .. } => {
            format!("send {} as {codec} of {stream} on {mid}", track_text(*track))
        }
        MediaCommand::SetActive { track, active: true } => format!("activate {}", track_text(*track)),
        MediaCommand::SetActive { track, active: false } => format!("silence {}", track_text(*track)),
        MediaCommand::SetPaused { track, rid, paused } => {
            let verb = if *paused { "pause" } else { "resume" };
            let rid = if *rid == Rid::High { String::new() } else { format!(" {rid}") };
            format!("{verb} {}{rid}", track_text(*track))
        }
        MediaCommand::CloseSender { track } => format!("close sender {}", track_text(*track)),
        MediaCommand::OpenReceiver { track, mid } => format!("receive {} on {mid}", track_text(*track)),
        MediaCommand::BindReceiver { track, codec, first_sequence, first_timestamp } => {
            format!("bind {} {codec} from {first_sequence} at {first_timestamp}", track_text(*track))
        }
        MediaCommand::CloseReceiver { track } => format!("close receiver {}", track_text(*track)),
        MediaCommand::Close => "close".to_owned(),
    };
    format!("media: {text}")
}

fn message_text(message: &ClientMessage) -> (RequestId, String) {
    let track = |name, track: Option<roomful_protocol::PublishedTrack>| {
        track.map(|one| format!(" {name}:{}@{}", one.mid, one.first_timestamp)).unwrap_or_default()
    };
    let toggle = |name, flag: Option<bool>| flag.map(|flag| format!(" {name}={flag}")).unwrap_or_default();
    let flags = |audio, video| match (audio, video) {
        (true, true) => "audio+video",
        (true, false) => "audio",
        (false, true) => "video",
        (false, false) => "nothing",
    };
    match message {
        ClientMessage::JoinRequest(one) => (one.request, format!("join with {}", one.token)),
        ClientMessage::LeaveRequest(one) => (one.request, "leave".to_owned()),
        ClientMessage::PingRequest(one) => (one.request, "ping".to_owned()),
        ClientMessage::OfferRequest(one) => {
            (one.request, format!("offer {} with {} slots", one.offer.0, one.slots.len()))
        }
        ClientMessage::PublishRequest(one) => {
            let tracks = [track("audio", one.audio), track("video", one.video)].concat();
            (one.request, format!("publish {}{tracks}", one.key))
        }
        ClientMessage::UpdateStreamRequest(one) => {
            let toggles = [toggle("audio", one.audio_enabled), toggle("video", one.video_enabled)].concat();
            let tracks = [track("audio", one.audio), track("video", one.video)].concat();
            (one.request, format!("update {}{toggles}{tracks}", one.key))
        }
        ClientMessage::UnpublishRequest(one) => (one.request, format!("unpublish {}", one.key)),
        ClientMessage::SubscribeRequest(one) => {
            let (who, flags) = (number_of(one.participant_id), flags(one.audio, one.video));
            (one.request, format!("subscribe {who} {} on {}: {flags}", one.key, one.slot))
        }
        ClientMessage::UpdateSubscriptionRequest(one) => {
            let (who, flags) = (number_of(one.participant_id), flags(one.audio, one.video));
            (one.request, format!("resubscribe {who} {}: {flags}", one.key))
        }
        ClientMessage::UnsubscribeRequest(one) => {
            (one.request, format!("unsubscribe {} {}", number_of(one.participant_id), one.key))
        }
        ClientMessage::ResumeRequest(one) => {
            (one.request, format!("resume with {} after {}", one.token, one.received))
        }
        ClientMessage::UpdateTokenRequest(one) => (one.request, format!("token {}", one.token)),
        ClientMessage::EnableMetricsRequest(one) => {
            (one.request, format!("metrics of {} every {} ms", one.participants.len(), one.interval_ms))
        }
        ClientMessage::DisableMetricsRequest(one) => (one.request, "no metrics".to_owned()),
        ClientMessage::MessageRequest(one) => (one.request, format!("say {}", one.message.payload)),
    }
}

fn person(number: u8) -> ParticipantId {
    ParticipantId::from_random([number; 16])
}

fn number_of(id: ParticipantId) -> u8 {
    id.as_bytes()[0]
}

fn info(number: u8) -> ParticipantInfo {
    ParticipantInfo {
        id: person(number),
        identity: None,
        context: None,
        can_receive_messages: true,
        telephone: false,
    }
}

fn key(text: &str) -> StreamKey {
    StreamKey::new(text).unwrap()
}

fn mid(text: &str) -> Mid {
    Mid::new(text).unwrap()
}

/// A stream with audio and video; its id follows from publisher and key.
fn stream(publisher: u8, name: &str) -> StreamInfo {
    let on = |codec| Some(TrackInfo { codec, enabled: true, censored: false });
    let byte = publisher.wrapping_mul(16) ^ name.bytes().fold(0, u8::wrapping_add);
    StreamInfo {
        id: StreamId::from_random([byte; 16]),
        participant_id: person(publisher),
        key: key(name),
        audio: on(Codec::Opus),
        video: on(Codec::Vp8),
    }
}

/// The transport made an offer: it sends audio on `s0…`, video on `t0…`, and receives on `a0`, `v0` and so on.
fn offered(id: u32, audio_senders: u16, video_senders: u16, slots: u16) -> MediaNotice {
    let mids = |letter, count: u16| (0..count).map(|index| mid(&format!("{letter}{index}"))).collect();
    let slot = |index| SlotMids { audio: mid(&format!("a{index}")), video: mid(&format!("v{index}")) };
    MediaNotice::Offered {
        offer: OfferId(id),
        sdp: "offer".to_owned(),
        audio_senders: mids("s", audio_senders),
        video_senders: mids("t", video_senders),
        slots: (0..slots).map(slot).collect(),
    }
}

fn opened(track: u64, first_timestamp: u32) -> MediaNotice {
    MediaNotice::SenderOpened { track: TrackId(track), first_timestamp }
}

fn connect() -> Command {
    Command::Connect(Connect { token: "token".to_owned(), context: None, enable_messages: true })
}

fn opus(track: u64) -> NewTrack {
    NewTrack { track: TrackId(track), codec: Codec::Opus, simulcast: false }
}

fn vp8(track: u64) -> NewTrack {
    NewTrack { track: TrackId(track), codec: Codec::Vp8, simulcast: false }
}

fn add(name: &str, audio: Option<NewTrack>, video: Option<NewTrack>) -> Command {
    Command::AddStream(AddStream { key: key(name), audio, video })
}

fn update(name: &str, audio: TrackUpdate, video: TrackUpdate) -> Command {
    Command::UpdateStream(UpdateStream { key: key(name), audio, video })
}

fn wish(publisher: u8, name: &str, audio: bool, video: bool) -> AddSubscription {
    AddSubscription {
        participant: person(publisher),
        key: key(name),
        audio,
        video,
        paused: false,
        preferred_layer: None,
        priority: 0,
    }
}

fn take(publisher: u8, name: &str) -> Command {
    Command::AddSubscription(wish(publisher, name, true, true))
}

fn release(publisher: u8, name: &str) -> Command {
    Command::RemoveSubscription(person(publisher), key(name))
}

fn bound(slot: u16, kind: MediaKind, stream: &StreamInfo) -> SlotBoundNotice {
    let codec = if kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 };
    SlotBoundNotice {
        slot,
        kind,
        stream_id: stream.id,
        codec,
        first_sequence: 7,
        first_timestamp: 900,
        rid: Rid::High,
    }
}

fn paused(stream: &StreamInfo, kind: MediaKind, paused: bool) -> SourcePausedNotice {
    SourcePausedNotice { stream_id: stream.id, kind, paused, rid: Rid::High }
}
