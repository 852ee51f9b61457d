//! One message of every kind at least, and of those with optional parts one with and one without.

use roomful_protocol::*;
use roomful_types::{Codec, MediaKind, Mid, ParticipantId, Rid, RoomId, StreamId, StreamKey};

type Samples<M> = Vec<(&'static str, M)>;

const REQUEST: RequestId = RequestId(7);
const ROOM: RoomId = RoomId::from_random([0x11; 16]);
const ADA: ParticipantId = ParticipantId::from_random([0xaa; 16]);
const BOB: ParticipantId = ParticipantId::from_random([0xbb; 16]);
const STREAM: StreamId = StreamId::from_random([0xcc; 16]);
const TERM: TokenTerm = TokenTerm { remaining_ms: 598_000, life_ms: 600_000 };

fn resume_key() -> ResumeKey {
    ResumeKey::from_random([0x4d; 16])
}

fn key() -> StreamKey {
    StreamKey::new("self").expect("short")
}

fn mid(text: &str) -> Mid {
    Mid::new(text).expect("short")
}

fn slots() -> Vec<SlotMids> {
    vec![SlotMids { audio: mid("2"), video: mid("3") }]
}

fn audio() -> PublishedTrack {
    PublishedTrack { mid: mid("0"), codec: Codec::Opus, first_timestamp: 960, simulcast: false }
}

fn video() -> PublishedTrack {
    PublishedTrack { mid: mid("1"), codec: Codec::Vp8, first_timestamp: 3000, simulcast: true }
}

fn ada() -> ParticipantInfo {
    ParticipantInfo {
        id: ADA,
        identity: Some("ada@example.org".into()),
        context: Some(r#"{"name":"Ada"}"#.into()),
        can_receive_messages: true,
        telephone: false,
    }
}

fn caller() -> ParticipantInfo {
    ParticipantInfo { id: BOB, identity: None, context: None, can_receive_messages: false, telephone: true }
}

fn stream() -> StreamInfo {
    StreamInfo {
        id: STREAM,
        participant_id: ADA,
        key: key(),
        audio: Some(TrackInfo { codec: Codec::Opus, enabled: true, censored: false }),
        video: Some(TrackInfo { codec: Codec::H264, enabled: false, censored: true }),
    }
}

fn bound() -> SlotBoundNotice {
    SlotBoundNotice {
        slot: 0,
        kind: MediaKind::Video,
        stream_id: STREAM,
        codec: Codec::Vp8,
        first_sequence: 4711,
        first_timestamp: 90_000,
        rid: Rid::High,
    }
}

fn message() -> ChatMessage {
    ChatMessage { kind: MessageKind::Text, payload: "hello \u{1f44b}".into(), meta: Some("greeting".into()) }
}

pub(crate) fn client() -> Samples<ClientMessage> {
    vec![
        (
            "join_request",
            JoinRequest {
                request: RequestId(1),
                versions: vec![WIRE_VERSION],
                room_id: ROOM,
                token: "eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(),
                context: Some("opaque".to_owned()),
                enable_messages: true,
            }
            .into(),
        ),
        (
            "resume_request",
            ResumeRequest {
                request: RequestId(9),
                versions: vec![WIRE_VERSION],
                room_id: ROOM,
                participant_id: ADA,
                resume_key: resume_key(),
                token: "eyJhbGciOiJIUzI1NiJ9.e30.c2ln".to_owned(),
                received: 41,
            }
            .into(),
        ),
        ("leave_request", LeaveRequest { request: REQUEST }.into()),
        ("ping_request", PingRequest { request: REQUEST, received: 41 }.into()),
        (
            "offer_request",
            OfferRequest {
                request: REQUEST, offer: OfferId(1), sdp: "v=0\r\n…".to_owned(), slots: slots()
            }
            .into(),
        ),
        (
            "publish_request",
            PublishRequest { request: REQUEST, key: key(), audio: Some(audio()), video: Some(video()) }
                .into(),
        ),
        (
            "publish_request.nothing",
            PublishRequest { request: REQUEST, key: key(), audio: None, video: None }.into(),
        ),
        (
            "update_stream_request",
            UpdateStreamRequest {
                request: REQUEST,
                key: key(),
                audio_enabled: Some(false),
                video_enabled: None,
                audio: None,
                video: Some(video()),
            }
            .into(),
        ),
        ("unpublish_request", UnpublishRequest { request: REQUEST, key: key() }.into()),
        (
            "subscribe_request",
            SubscribeRequest {
                request: REQUEST,
                participant_id: ADA,
                key: key(),
                slot: 0,
                audio: true,
                video: true,
                paused: false,
                preferred_layer: None,
                priority: 0,
            }
            .into(),
        ),
        (
            "update_subscription_request",
            UpdateSubscriptionRequest {
                request: REQUEST,
                participant_id: ADA,
                key: key(),
                audio: true,
                video: true,
                paused: true,
                preferred_layer: Some(Rid::Medium),
                priority: 3,
            }
            .into(),
        ),
        (
            "unsubscribe_request",
            UnsubscribeRequest { request: REQUEST, participant_id: ADA, key: key() }.into(),
        ),
        (
            "message_request",
            MessageRequest { request: REQUEST, message: message(), recipients: Some(vec![ADA, BOB]) }.into(),
        ),
        (
            "message_request.broadcast",
            MessageRequest {
                request: REQUEST,
                message: ChatMessage { meta: None, ..message() },
                recipients: None,
            }
            .into(),
        ),
        ("update_token_request", UpdateTokenRequest { request: REQUEST, token: "ey…".to_owned() }.into()),
        (
            "enable_metrics_request",
            EnableMetricsRequest {
                request: REQUEST,
                participants: vec![ADA],
                include_streams: true,
                interval_ms: 5000,
            }
            .into(),
        ),
        (
            "disable_metrics_request",
            DisableMetricsRequest { request: REQUEST, participants: Some(vec![ADA]) }.into(),
        ),
    ]
}

pub(crate) fn server() -> Samples<ServerMessage> {
    let quality = TrackMetricsInfo { stream_id: STREAM, kind: MediaKind::Audio, outbound: true, quality: 5 };
    vec![
        (
            "join_response",
            JoinResponse {
                request: RequestId(1),
                wire_version: WIRE_VERSION,
                participant_id: ADA,
                version: RoomVersion(12),
                participants: vec![ada(), caller()],
                streams: vec![stream()],
                term: TERM,
                resume_key: resume_key(),
                resume_window_ms: 30_000,
            }
            .into(),
        ),
        (
            "resume_response",
            ResumeResponse {
                request: RequestId(9),
                wire_version: WIRE_VERSION,
                version: RoomVersion(15),
                participants: vec![ada()],
                streams: vec![stream()],
                slots: vec![bound()],
                sources: vec![SourcePausedNotice {
                    stream_id: STREAM,
                    kind: MediaKind::Audio,
                    paused: false,
                    rid: Rid::High,
                }],
                speaking: vec![SpeakingNotice {
                    participant_id: ADA,
                    stream_id: Some(STREAM),
                    speaking: true,
                }],
                dominant_speaker: Some(ADA),
                term: TERM,
                kicked: vec![BOB],
                held_back: vec![STREAM],
            }
            .into(),
        ),
        ("token_response", TokenResponse { request: REQUEST, term: TERM }.into()),
        (
            "offer_response",
            OfferResponse { request: REQUEST, offer: OfferId(1), sdp: "v=0\r\n…".to_owned() }.into(),
        ),
        ("publish_response", PublishResponse { request: REQUEST, stream_id: STREAM }.into()),
        ("done_response", DoneResponse { request: REQUEST }.into()),
        ("error_response", ErrorResponse { request: REQUEST, code: ErrorCode::KeyInUse }.into()),
        (
            "participant_joined_notice",
            ParticipantJoinedNotice { version: RoomVersion(13), participant: ada() }.into(),
        ),
        (
            "participant_left_notice",
            ParticipantLeftNotice {
                version: RoomVersion(14),
                participant_id: ADA,
                reason: Some(LeaveReason::Kicked),
            }
            .into(),
        ),
        (
            "stream_published_notice",
            StreamPublishedNotice { version: RoomVersion(15), stream: stream() }.into(),
        ),
        ("stream_updated_notice", StreamUpdatedNotice { version: RoomVersion(16), stream: stream() }.into()),
        (
            "stream_unpublished_notice",
            StreamUnpublishedNotice { version: RoomVersion(17), stream_id: STREAM }.into(),
        ),
        ("slot_bound_notice", bound().into()),
        (
            "source_paused_notice",
            SourcePausedNotice { stream_id: STREAM, kind: MediaKind::Video, paused: true, rid: Rid::Low }
                .into(),
        ),
        (
            "message_notice",
            MessageNotice { delivery: 42, sender: ADA, message: message(), recipients: Some([BOB].into()) }
                .into(),
        ),
        (
            "message_notice.broadcast",
            MessageNotice { delivery: 43, sender: ADA, message: message(), recipients: None }.into(),
        ),
        (
            "speaking_notice",
            SpeakingNotice { participant_id: ADA, stream_id: Some(STREAM), speaking: true }.into(),
        ),
        (
            "speaking_notice.telephone",
            SpeakingNotice { participant_id: BOB, stream_id: None, speaking: false }.into(),
        ),
        ("dominant_speaker_notice", DominantSpeakerNotice { participant_id: Some(ADA) }.into()),
        (
            "network_metrics_notice",
            NetworkMetricsNotice {
                participants: vec![
                    ParticipantMetricsInfo { participant_id: ADA, quality: 5, tracks: Some(vec![quality]) },
                    ParticipantMetricsInfo { participant_id: BOB, quality: 0, tracks: None },
                ],
            }
            .into(),
        ),
        ("layer_changed_notice", LayerChangedNotice { stream_id: STREAM, rid: Some(Rid::Medium) }.into()),
        ("layer_changed_notice.none", LayerChangedNotice { stream_id: STREAM, rid: None }.into()),
        ("quality_notice", QualityNotice { stream_id: STREAM, quality: 3 }.into()),
        ("disconnect_notice", DisconnectNotice { reason: DisconnectReason::RoomExpired }.into()),
    ]
}
