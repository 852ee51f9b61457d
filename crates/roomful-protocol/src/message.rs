//! The messages. A request carries a number that its response repeats; a notice about the room carries the version
//! of the room that it leads to.

use std::sync::Arc;

use roomful_types::{Codec, MediaKind, Mid, ParticipantId, RoomId, StreamId, StreamKey};
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;

/// The version of the protocol that this crate speaks.
pub const WIRE_VERSION: u16 = 1;

/// Declares a direction: an enum over message structs, tagged by `type`, and the list of its kinds.
macro_rules! direction {
    ($(#[$doc:meta])* $name:ident { $($kind:literal $variant:ident: $what:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        pub enum $name {
            $(#[doc = $what] #[serde(rename = $kind)] $variant($variant),)*
        }

        impl $name {
            pub(crate) const KINDS: &'static [&'static str] = &[$($kind),*];
        }

        $(impl From<$variant> for $name {
            fn from(message: $variant) -> Self {
                Self::$variant(message)
            }
        })*
    };
}

direction! {
    /// What a client says. The first message is a [`JoinRequest`].
    ClientMessage {
        "join_request" JoinRequest: "Asks to enter a room.",
        "leave_request" LeaveRequest: "Asks to leave.",
        "ping_request" PingRequest: "Shows that the client lives.",
        "offer_request" OfferRequest: "Offers media sections.",
        "publish_request" PublishRequest: "Asks to publish a stream.",
        "update_stream_request" UpdateStreamRequest: "Mutes, unmutes or replaces tracks.",
        "unpublish_request" UnpublishRequest: "Takes a stream back.",
        "subscribe_request" SubscribeRequest: "Asks for a stream of another participant.",
        "update_subscription_request" UpdateSubscriptionRequest: "Changes what is wanted of a stream.",
        "unsubscribe_request" UnsubscribeRequest: "Ends a subscription.",
        "message_request" MessageRequest: "Sends a message to others.",
    }
}

direction! {
    /// What a server says.
    ServerMessage {
        "join_response" JoinResponse: "The client is in the room.",
        "offer_response" OfferResponse: "The answer to an offer.",
        "publish_response" PublishResponse: "The stream is published.",
        "done_response" DoneResponse: "The request is fulfilled.",
        "error_response" ErrorResponse: "The request is refused.",
        "participant_joined_notice" ParticipantJoinedNotice: "Somebody came.",
        "participant_left_notice" ParticipantLeftNotice: "Somebody went.",
        "stream_published_notice" StreamPublishedNotice: "A stream appeared.",
        "stream_updated_notice" StreamUpdatedNotice: "A track was muted, unmuted or replaced.",
        "stream_unpublished_notice" StreamUnpublishedNotice: "A stream disappeared.",
        "slot_bound_notice" SlotBoundNotice: "Media of a stream begins on a slot.",
        "source_paused_notice" SourcePausedNotice: "Nobody, or somebody again, takes the publisher's media.",
        "message_notice" MessageNotice: "A message arrived.",
        "disconnect_notice" DisconnectNotice: "The server ends this stay.",
    }
}

/// Numbers a request of one connection; its response repeats the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u32);

/// Numbers the changes of a room, without gaps; the next change has the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoomVersion(pub u64);

/// Numbers the offers of one stay. The same number again gets the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferId(pub u32);

/// Asks to enter a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Number of this request.
    pub request: RequestId,
    /// Protocol versions that the client speaks, best first.
    pub versions: Vec<u16>,
    /// The room to enter.
    pub room_id: RoomId,
    /// The access token for it.
    pub token: String,
    /// What the application wants others to know about this participant; a context in the token wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether messages shall be delivered to this participant.
    pub enable_messages: bool,
}

/// The client is in the room, and this is what the room looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinResponse {
    /// Number of the request.
    pub request: RequestId,
    /// The protocol version to speak from now on.
    pub wire_version: u16,
    /// Who the client is.
    pub participant_id: ParticipantId,
    /// The version of the room that the lists below show; the next notice has the next one.
    pub version: RoomVersion,
    /// Everybody in the room, the client included.
    pub participants: Vec<ParticipantInfo>,
    /// Every stream in the room.
    pub streams: Vec<StreamInfo>,
}

/// Asks to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveRequest {
    /// Number of this request.
    pub request: RequestId,
}

/// Shows that the client lives; answered by a [`DoneResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingRequest {
    /// Number of this request.
    pub request: RequestId,
}

/// Offers media sections (RFC 3264, JSEP of RFC 9429).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRequest {
    /// Number of this request.
    pub request: RequestId,
    /// Number of the offer, increasing.
    pub offer: OfferId,
    /// The session description.
    pub sdp: String,
    /// All receive slots of the offer, in the order of their index.
    pub slots: Vec<SlotMids>,
}

/// The two receiving media sections of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMids {
    /// The section that receives audio.
    pub audio: Mid,
    /// The section that receives video.
    pub video: Mid,
}

impl SlotMids {
    /// Returns the section for one kind.
    #[must_use]
    pub const fn of(&self, kind: MediaKind) -> Mid {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferResponse {
    /// Number of the request.
    pub request: RequestId,
    /// Number of the offer that is answered.
    pub offer: OfferId,
    /// The session description.
    pub sdp: String,
}

/// Asks to publish a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Number of this request.
    pub request: RequestId,
    /// The stream's name, unique among the participant's streams.
    pub key: StreamKey,
    /// What is sent as audio, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<PublishedTrack>,
    /// What is sent as video, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<PublishedTrack>,
}

/// Where and how one track is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTrack {
    /// The media section that carries it.
    pub mid: Mid,
    /// How it is encoded.
    pub codec: Codec,
    /// Its first RTP timestamp on that section; what is older belongs to an earlier occupant.
    pub first_timestamp: u32,
}

/// The stream is published. The [`StreamPublishedNotice`] came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishResponse {
    /// Number of the request.
    pub request: RequestId,
    /// The id of the new stream.
    pub stream_id: StreamId,
}

/// Mutes, unmutes or replaces tracks of a stream. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStreamRequest {
    /// Number of this request.
    pub request: RequestId,
    /// The stream's name.
    pub key: StreamKey,
    /// Whether audio is meant to be heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_enabled: Option<bool>,
    /// Whether video is meant to be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_enabled: Option<bool>,
    /// What is sent as audio from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<PublishedTrack>,
    /// What is sent as video from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<PublishedTrack>,
}

/// Takes a stream back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpublishRequest {
    /// Number of this request.
    pub request: RequestId,
    /// The stream's name.
    pub key: StreamKey,
}

/// Asks for a stream of another participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeRequest {
    /// Number of this request.
    pub request: RequestId,
    /// Who publishes it.
    pub participant_id: ParticipantId,
    /// Its name.
    pub key: StreamKey,
    /// The index of the slot on which it shall arrive. The client chooses, because only the client knows which of
    /// its slots it takes for free.
    pub slot: u16,
    /// Whether audio is wanted.
    pub audio: bool,
    /// Whether video is wanted.
    pub video: bool,
}

/// Changes what is wanted of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSubscriptionRequest {
    /// Number of this request.
    pub request: RequestId,
    /// Who publishes it.
    pub participant_id: ParticipantId,
    /// Its name.
    pub key: StreamKey,
    /// Whether audio is wanted.
    pub audio: bool,
    /// Whether video is wanted.
    pub video: bool,
}

/// Ends a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsubscribeRequest {
    /// Number of this request.
    pub request: RequestId,
    /// Who publishes the stream.
    pub participant_id: ParticipantId,
    /// Its name.
    pub key: StreamKey,
}

/// Sends a message to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRequest {
    /// Number of this request.
    pub request: RequestId,
    /// The message.
    pub message: ChatMessage,
    /// To whom; to everybody, the sender included, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Vec<ParticipantId>>,
}

/// A message between applications. The server does not look inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// What the payload is.
    pub kind: MessageKind,
    /// The payload, at most [`MESSAGE_TEXT_MAX`](crate::limits::MESSAGE_TEXT_MAX) bytes.
    pub payload: Arc<str>,
    /// Anything beside the payload, with the same limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Arc<str>>,
}

/// What the payload of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Text.
    Text,
}

/// The request is fulfilled, and there is nothing more to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneResponse {
    /// Number of the request.
    pub request: RequestId,
}

/// The request is refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// Number of the request.
    pub request: RequestId,
    /// Why.
    pub code: ErrorCode,
}

/// One participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantInfo {
    /// Its id.
    pub id: ParticipantId,
    /// The application's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<str>>,
    /// What the application wants others to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Arc<str>>,
    /// Whether messages are delivered to it.
    pub can_receive_messages: bool,
}

/// One published stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its id.
    pub id: StreamId,
    /// Who publishes it.
    pub participant_id: ParticipantId,
    /// Its name among the publisher's streams.
    pub key: StreamKey,
    /// Its audio track, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<TrackInfo>,
    /// Its video track, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<TrackInfo>,
}

/// What others know of one track of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackInfo {
    /// How it is encoded.
    pub codec: Codec,
    /// Whether its publisher means it to be seen or heard.
    pub enabled: bool,
}

/// Somebody came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantJoinedNotice {
    /// The room's version with this change.
    pub version: RoomVersion,
    /// Who.
    pub participant: ParticipantInfo,
}

/// Somebody went, and all of its streams with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantLeftNotice {
    /// The room's version with this change.
    pub version: RoomVersion,
    /// Who.
    pub participant_id: ParticipantId,
    /// Why, when there is more to say than that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<LeaveReason>,
}

/// Why a participant left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// A moderator removed it.
    Kicked,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A stream appeared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPublishedNotice {
    /// The room's version with this change.
    pub version: RoomVersion,
    /// The stream.
    pub stream: StreamInfo,
}

/// A track of a stream was muted, unmuted or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamUpdatedNotice {
    /// The room's version with this change.
    pub version: RoomVersion,
    /// The stream as it is now.
    pub stream: StreamInfo,
}

/// A stream disappeared, and every subscription to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamUnpublishedNotice {
    /// The room's version with this change.
    pub version: RoomVersion,
    /// Which stream.
    pub stream_id: StreamId,
}

/// Media of a stream begins on a slot. Packets of the slot's section before this point belong to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotBoundNotice {
    /// The slot's index.
    pub slot: u16,
    /// Which of the slot's two sections.
    pub kind: MediaKind,
    /// Whose media it is.
    pub stream_id: StreamId,
    /// How it is encoded.
    pub codec: Codec,
    /// The first sequence number of the occupant on this section.
    pub first_sequence: u16,
    /// The first RTP timestamp of the occupant on this section.
    pub first_timestamp: u32,
}

/// Nobody takes this media of yours any more, or somebody takes it again. While paused it need not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePausedNotice {
    /// The stream.
    pub stream_id: StreamId,
    /// Which of its tracks.
    pub kind: MediaKind,
    /// Whether it is paused.
    pub paused: bool,
}

/// A message arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageNotice {
    /// From whom.
    pub sender: ParticipantId,
    /// The message.
    pub message: ChatMessage,
    /// To whom; to everybody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<Arc<[ParticipantId]>>,
}

/// The server ends this stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisconnectNotice {
    /// Why.
    pub reason: DisconnectReason,
}

/// Why a server ends a stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisconnectReason {
    /// The client sent what is not allowed, or not what was due.
    ProtocolError,
    /// The client was silent for too long.
    TimedOut,
    /// The session of the room ended, for example because the room was deleted.
    SessionEnded,
    /// A moderator removed the participant.
    Kicked,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}
