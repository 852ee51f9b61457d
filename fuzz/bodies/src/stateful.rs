//! Machines that remember: bytes are a list of steps, and what must always be true is checked after each.

use std::time::{Duration, Instant};

use roomful_client::{
    AddStream, AddSubscription, Client, ClientConfig, Command, CommandId, Connect, EnableMetrics, Input,
    MediaNotice, NewTrack, Output, SendMessage, TrackUpdate, UpdateStream,
};
use roomful_protocol::{ClientMessage, Encoding, OfferId, ServerMessage, SlotMids};
use roomful_sfu::{
    Admission, AdmissionError, Grant, GrantId, Input as SfuInput, MediaCommand, MediaNotice as SfuNotice,
    ModerationRequest, Output as SfuOutput, SectionMeasure, Selection, SessionId, Sfu, SfuConfig, SourceId,
};
use roomful_state::{
    Action, LeaveReason, Message, Origin, Participant, State, Stream, StreamIds, Subscription, TrackId, apply,
};
use roomful_types::{
    AudioLevel, Bitrate, Codec, DisconnectReason, MediaKind, Mid, ParticipantId, Permissions, Rid, RoomId,
    StreamId, StreamKey,
};

const ROOM: RoomId = RoomId::from_random([1; 16]);

fn person(byte: u8) -> ParticipantId {
    ParticipantId::from_random([byte % 6; 16])
}

fn key(byte: u8) -> StreamKey {
    StreamKey::new(["camera", "screen", "extra"][usize::from(byte) % 3]).expect("short")
}

fn mid(text: &str) -> Mid {
    Mid::new(text).expect("short")
}

/// Any actions in any order leave a state that holds.
///
/// # Panics
/// When they do not.
pub fn state_actions(data: &[u8]) {
    let mut state = State::new();
    let mut events = Vec::new();
    for step in data.chunks_exact(4) {
        let [what, a, b, c] = [step[0], step[1], step[2], step[3]];
        let before = state.clone();
        let rendered = rendering(&before);
        apply(&mut state, action(what, a, b, c), &mut events);
        state.check_invariants();
        assert_eq!(rendering(&before), rendered, "an old snapshot never changes");
        events.drain(..).for_each(|event| event.state.check_invariants());
    }
}

/// Returns all that a snapshot shows.
fn rendering(state: &State) -> String {
    let participants: Vec<_> = state.participants().collect();
    let streams: Vec<_> = state.streams().collect();
    let subscriptions: Vec<_> = state.subscriptions().collect();
    let version = state.version();
    format!("{version} {:?} {participants:?} {streams:?} {subscriptions:?}", state.status())
}

fn action(what: u8, a: u8, b: u8, c: u8) -> Action {
    let participant = |byte| Participant {
        id: person(byte),
        identity: None,
        context: None,
        streams: StreamIds::default(),
        can_receive_messages: true,
        origin: if byte % 5 == 4 { Origin::TelephonyEngine } else { Origin::Remote },
    };
    let stream_id = StreamId::from_random([b % 8; 16]);
    let stream = Stream {
        id: stream_id,
        key: key(c),
        participant_id: person(a),
        origin: Origin::Remote,
        is_audio_enabled: c & 8 == 0,
        is_video_enabled: c & 16 == 0,
        is_audio_censored: c & 32 == 0,
        is_video_censored: c & 64 == 0,
        audio_track: None,
        video_track: None,
        is_configured: false,
    };
    let kind = if c & 1 == 0 { MediaKind::Audio } else { MediaKind::Video };
    let subscription = Subscription {
        participant_id: person(a),
        key: key(c),
        audio: true,
        video: c & 1 == 0,
        is_paused: c & 2 == 0,
        preferred_layer: None,
        priority: 0,
        layer: None,
    };
    let (participants, streams) = (vec![participant(0), participant(a)], vec![stream.clone()]);
    match what % 18 {
        0 => Action::Connecting,
        1 => Action::Joined { local: person(0), version: u64::from(b), participants, streams },
        2 => Action::Reconnecting,
        3 => Action::Resumed { version: u64::from(b), participants, streams },
        4 => Action::Disconnecting,
        5 => Action::Disconnected { reason: DisconnectReason::Kicked },
        6 => Action::ParticipantJoined { participant: participant(a) },
        7 => Action::ParticipantLeft { participant: person(a), reason: Some(LeaveReason::Kicked) },
        8 => Action::StreamPublished { stream },
        9 => Action::StreamUnpublished { stream: stream_id },
        10 => Action::TrackToggled { stream: stream_id, kind, enabled: c & 2 == 0 },
        11 => Action::TrackCensored { stream: stream_id, kind, censored: c & 2 == 0 },
        12 => Action::SpeakingChanged {
            participant: person(a),
            stream: (c & 4 == 0).then_some(stream_id),
            speaking: c & 2 == 0,
        },
        13 => Action::DominantSpeakerChanged { participant: (c & 1 == 0).then(|| person(a)) },
        14 => Action::SubscriptionStarted {
            subscription,
            audio_track: Some(TrackId(c.into())),
            video_track: None,
        },
        15 => Action::SubscriptionReconfigured { subscription, audio_track: None, video_track: None },
        16 => Action::SubscriptionEnded { participant: person(a), key: key(c) },
        _ => Action::LayerChanged { stream: stream_id, layer: (c & 1 == 0).then_some(Rid::Low) },
    }
}

/// Splits bytes into steps: what, two bytes, and a message behind its length.
fn steps(mut data: &[u8]) -> impl Iterator<Item = ([u8; 3], &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = data.split_at_checked(4)?;
        let (message, rest) = rest.split_at(usize::from(head[3]).min(rest.len()));
        data = rest;
        Some(([head[0], head[1], head[2]], message))
    })
}

/// A client survives any server and any program.
///
/// # Panics
/// When it does not, or when a command is answered twice.
pub fn client_inputs(data: &[u8]) {
    let mut now = Instant::now();
    let mut client = Client::new(ClientConfig::default(), ROOM, 7, now);
    let (mut last, mut open) = (0, std::collections::BTreeSet::new());
    for ([what, a, b], message) in steps(data) {
        now += Duration::from_millis(u64::from(b) * 20);
        let input = match what % 10 {
            0..=2 => match Encoding::Binary.decode::<ServerMessage>(message) {
                Ok(message) => Input::Signal(message),
                Err(_) => Input::Malformed,
            },
            3 => Input::SignalOpened,
            4 => Input::SignalClosed,
            5 | 6 => {
                last += 1;
                open.insert(CommandId(last));
                Input::Command(CommandId(last), command(a, b))
            }
            7 => {
                let id = CommandId(u64::from(a) % (last + 1));
                open.remove(&id);
                Input::Withdraw(id)
            }
            8 => Input::Media(media_notice(a, b)),
            _ => Input::Timeout,
        };
        client.handle_input(input, now);
        loop {
            match client.poll_output() {
                Output::Wait { .. } => break,
                Output::Done(id, _) => {
                    assert!(open.remove(&id), "{id:?} is answered twice, or was withdrawn")
                }
                Output::OpenSignal
                | Output::Send(_)
                | Output::CloseSignal
                | Output::Media(_)
                | Output::Event(_) => {}
            }
        }
        client.state().check_invariants();
    }
}

fn command(a: u8, b: u8) -> Command {
    let track = |id: u8, codec| NewTrack { track: TrackId(id.into()), codec, simulcast: false };
    let wish = AddSubscription {
        participant: person(a),
        key: key(b),
        audio: true,
        video: a & 1 == 0,
        paused: b & 1 == 0,
        preferred_layer: None,
        priority: 0,
    };
    match a % 12 {
        0 => Command::Connect(Connect { token: "t".to_owned(), context: None, enable_messages: true }),
        1 => Command::Disconnect,
        2 => {
            let (audio, video) = (Some(track(b, Codec::Opus)), Some(track(b.wrapping_add(1), Codec::Vp8)));
            Command::AddStream(AddStream { key: key(b), audio, video })
        }
        3 => Command::RemoveStream(key(b)),
        4 => Command::AddSubscription(wish),
        5 => Command::UpdateSubscription(wish),
        6 => Command::RemoveSubscription(person(a), key(b)),
        7 => {
            let audio = if b & 1 == 0 { TrackUpdate::Mute } else { TrackUpdate::Keep };
            let video = TrackUpdate::Replace(track(b, Codec::Vp8));
            Command::UpdateStream(UpdateStream { key: key(b), audio, video })
        }
        8 => {
            let recipients = (b & 1 == 0).then(|| vec![person(b)]);
            Command::SendMessage(SendMessage { message: Message::text("hello"), recipients })
        }
        9 => Command::UpdateToken("another".to_owned()),
        10 => Command::EnableMetrics(EnableMetrics {
            participants: vec![person(b)],
            include_streams: b & 1 == 0,
            interval: Duration::from_secs(u64::from(b)),
        }),
        _ => Command::DisableMetrics((b & 1 == 0).then(|| vec![person(b)])),
    }
}

fn media_notice(a: u8, b: u8) -> MediaNotice {
    let offer = OfferId(u32::from(b % 4));
    match a % 6 {
        0 => MediaNotice::Offered {
            offer,
            sdp: "v=0".to_owned(),
            audio_senders: vec![mid("s0")],
            video_senders: vec![mid("t0")],
            slots: vec![SlotMids { audio: mid("a0"), video: mid("v0") }],
        },
        1 => MediaNotice::Negotiated { offer },
        2 => MediaNotice::Connected,
        3 => MediaNotice::Disconnected,
        4 => MediaNotice::Failed,
        _ => MediaNotice::SenderOpened { track: TrackId(b.into()), first_timestamp: 7 },
    }
}

/// Admits everybody, by few grants and identities.
#[derive(Debug)]
struct Everybody;

impl Admission for Everybody {
    fn admit(&self, room: RoomId, token: &str) -> Result<Grant, AdmissionError> {
        let byte = token.bytes().next().unwrap_or_default();
        let hour = Duration::from_secs(3600);
        (room == ROOM).then_some(()).ok_or(AdmissionError::UnknownRoom)?;
        Ok(Grant {
            identity: (byte & 1 == 1).then(|| (byte % 4).to_string()),
            context: None,
            permissions: Permissions::default(),
            max_participants: 4,
            id: GrantId([byte % 4; 16]),
            remaining: hour,
            life: hour,
        })
    }
}

/// A server survives any clients.
///
/// # Panics
/// When it does not.
pub fn sfu_inputs(data: &[u8]) {
    let mut now = Instant::now();
    let mut sfu = Sfu::new(SfuConfig::default(), Box::new(Everybody), [7; 32], now);
    // Clients cannot guess ids; in a fuzzer's messages the first byte of one says whose is meant.
    let mut known: Vec<ParticipantId> = Vec::new();
    // No connection has the name of another: one that is opened anew gets the next.
    let (mut connections, mut opened) = ([SessionId(0); 6], 0);
    let (mut running, mut sources) = (None, Vec::new());
    for ([what, a, b], message) in steps(data) {
        now += Duration::from_millis(u64::from(b) * 20);
        let connection = &mut connections[usize::from(a % 6)];
        if what % 10 == 0 {
            opened += 1;
            *connection = SessionId(opened);
        }
        let session = *connection;
        let somebody = known.get(usize::from(b) % known.len().max(1)).copied();
        let input = match (what % 10, somebody) {
            (0, _) => SfuInput::Opened(session),
            (1..=4, _) => match Encoding::Binary.decode::<ClientMessage>(message) {
                Ok(message) => SfuInput::Signal(session, addressed(message, &known)),
                Err(_) => SfuInput::Malformed(session),
            },
            (5, _) => SfuInput::Closed(session),
            (6, Some(peer)) => {
                let source = sources.get(usize::from(a) % sources.len().max(1)).copied();
                SfuInput::Media(sfu_notice(peer, source, a, b))
            }
            (7, Some(who)) => {
                if let Some(session) = running {
                    // Who is not there any more cannot be moderated.
                    let _ = sfu.moderate(session, &moderation(who, a, b), now);
                }
                SfuInput::Timeout
            }
            (8, _) if a == 0 && b == 0 => SfuInput::RoomDeleted(ROOM),
            (_, _) => SfuInput::Timeout,
        };
        sfu.handle_input(input, now);
        loop {
            match sfu.poll_output() {
                SfuOutput::Wait { .. } => break,
                SfuOutput::Send(_, ServerMessage::JoinResponse(response)) => {
                    known.push(response.participant_id)
                }
                SfuOutput::Media(MediaCommand::PutSource { source, .. }) => sources.push(source),
                SfuOutput::Media(MediaCommand::RemovePeer { peer }) => known.retain(|one| *one != peer),
                SfuOutput::SessionStarted(_, session) => running = Some(session),
                SfuOutput::SessionEnded(..) => running = None,
                SfuOutput::Send(..) | SfuOutput::Close(_) | SfuOutput::Media(_) => {}
            }
        }
        sfu.check_invariants();
    }
}

/// Makes a report of a media shard; one about a source may be late, or untrue.
fn sfu_notice(peer: ParticipantId, source: Option<SourceId>, a: u8, b: u8) -> SfuNotice {
    let section = mid(["a0", "v0", "s0"][usize::from(a) % 3]);
    let layer = Rid::ALL[usize::from(a) % 3];
    if let Some(source) = source.filter(|_| b & 0x80 != 0) {
        return match b % 4 {
            0 => SfuNotice::Bound {
                peer,
                mid: section,
                source,
                codec: Codec::Vp8,
                first_sequence: a.into(),
                first_timestamp: b.into(),
                layer,
            },
            1 => SfuNotice::Switched { peer, mid: section, source, layer },
            2 => SfuNotice::Rates { peer, source, rates: [Some(Bitrate::from_kbps(a.into())), None, None] },
            _ => {
                let level = (a & 1 == 0).then(|| AudioLevel::from_negative_dbov(a / 2));
                SfuNotice::Speaking { peer, source, level }
            }
        };
    }
    match b % 3 {
        0 => SfuNotice::Answered { peer, offer: OfferId(u32::from(a % 4)), answer: Ok("v=0".to_owned()) },
        1 => {
            let available = (a > 0).then(|| Bitrate::from_kbps(u64::from(a) * 20));
            SfuNotice::Estimated { peer, available }
        }
        _ => {
            let measure = SectionMeasure {
                mid: section,
                is_inbound: a & 4 == 0,
                packets: u64::from(b),
                progress: u64::from(a),
                fraction_lost: b,
                jitter: Duration::from_millis(a.into()),
                round_trip_time: None,
            };
            SfuNotice::Measured { peer, measure }
        }
    }
}

fn moderation(who: ParticipantId, a: u8, b: u8) -> ModerationRequest {
    let who = if a & 1 == 0 { Selection::These([who].into()) } else { Selection::AllBut([who].into()) };
    match b % 8 {
        0 => ModerationRequest::Kick(who),
        1 if a == 1 => ModerationRequest::EndSession,
        _ => ModerationRequest::Censor {
            who,
            stream: (b & 8 == 0).then(|| key(b)),
            kind: MediaKind::ALL[usize::from(b >> 4) % 2],
            censored: a & 2 == 0,
        },
    }
}

/// Replaces the ids in a message by those of participants that are there.
fn addressed(message: ClientMessage, known: &[ParticipantId]) -> ClientMessage {
    let real = |id: ParticipantId| {
        known.get(usize::from(id.as_bytes()[0]) % known.len().max(1)).copied().unwrap_or(id)
    };
    match message {
        ClientMessage::JoinRequest(mut message) => {
            message.room_id = ROOM;
            message.into()
        }
        ClientMessage::ResumeRequest(mut message) => {
            message.room_id = ROOM;
            message.participant_id = real(message.participant_id);
            message.into()
        }
        ClientMessage::SubscribeRequest(mut message) => {
            message.participant_id = real(message.participant_id);
            message.into()
        }
        ClientMessage::UpdateSubscriptionRequest(mut message) => {
            message.participant_id = real(message.participant_id);
            message.into()
        }
        ClientMessage::UnsubscribeRequest(mut message) => {
            message.participant_id = real(message.participant_id);
            message.into()
        }
        ClientMessage::MessageRequest(mut message) => {
            message.recipients = message.recipients.map(|list| list.into_iter().map(real).collect());
            message.into()
        }
        ClientMessage::EnableMetricsRequest(mut message) => {
            message.participants = message.participants.into_iter().map(real).collect();
            message.into()
        }
        ClientMessage::LeaveRequest(_)
        | ClientMessage::PingRequest(_)
        | ClientMessage::OfferRequest(_)
        | ClientMessage::PublishRequest(_)
        | ClientMessage::UpdateStreamRequest(_)
        | ClientMessage::UnpublishRequest(_)
        | ClientMessage::UpdateTokenRequest(_)
        | ClientMessage::DisableMetricsRequest(_) => message,
    }
}
