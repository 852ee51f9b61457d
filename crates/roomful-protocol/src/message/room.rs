//! Who and what is in a room, and what is said in it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use roomful_types::{Codec, ParticipantId, StreamId, StreamKey};
use serde::{Deserialize, Serialize};

use super::{RequestId, RoomVersion};

/// One participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ParticipantInfo {
    /// Its id.
    #[n(0)]
    pub id: ParticipantId,
    /// The application's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cbor(n(1), with = "crate::binary::optional_text", has_nil)]
    pub identity: Option<Arc<str>>,
    /// What the application wants others to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cbor(n(2), with = "crate::binary::optional_text", has_nil)]
    pub context: Option<Arc<str>>,
    /// Whether messages are delivered to it.
    #[n(3)]
    pub can_receive_messages: bool,
    /// Whether it is on the telephone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    #[cbor(n(4), skip_if = "super::is_false")]
    pub telephone: bool,
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
    /// Whether a moderator withholds it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub censored: bool,
}

/// Somebody came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ParticipantJoinedNotice {
    /// The room's version with this change.
    #[n(0)]
    pub version: RoomVersion,
    /// Who.
    #[n(1)]
    pub participant: ParticipantInfo,
}

/// Somebody went, and all of its streams with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ParticipantLeftNotice {
    /// The room's version with this change.
    #[n(0)]
    pub version: RoomVersion,
    /// Who.
    #[n(1)]
    pub participant_id: ParticipantId,
    /// Why, when there is more to say than that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(2)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct StreamPublishedNotice {
    /// The room's version with this change.
    #[n(0)]
    pub version: RoomVersion,
    /// The stream.
    #[n(1)]
    pub stream: StreamInfo,
}

/// A track of a stream was muted, unmuted or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct StreamUpdatedNotice {
    /// The room's version with this change.
    #[n(0)]
    pub version: RoomVersion,
    /// The stream as it is now.
    #[n(1)]
    pub stream: StreamInfo,
}

/// A stream disappeared, and every subscription to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct StreamUnpublishedNotice {
    /// The room's version with this change.
    #[n(0)]
    pub version: RoomVersion,
    /// Which stream.
    #[n(1)]
    pub stream_id: StreamId,
}

/// Sends a message to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct MessageRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The message.
    #[n(1)]
    pub message: ChatMessage,
    /// To whom; to everybody, the sender included, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(2)]
    pub recipients: Option<Vec<ParticipantId>>,
}

/// A message between applications. The server does not look inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ChatMessage {
    /// What the payload is.
    #[n(0)]
    pub kind: MessageKind,
    /// The payload, at most [`MESSAGE_TEXT_MAX`](crate::limits::MESSAGE_TEXT_MAX) bytes.
    #[cbor(n(1), with = "crate::binary::text")]
    pub payload: Arc<str>,
    /// Anything beside the payload, with the same limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cbor(n(2), with = "crate::binary::optional_text", has_nil)]
    pub meta: Option<Arc<str>>,
}

/// What the payload of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum MessageKind {
    /// Text.
    #[n(0)]
    Text,
}

/// A message arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct MessageNotice {
    /// Increases from message to message, with gaps where one was not for this client.
    #[n(0)]
    pub delivery: u64,
    /// From whom.
    #[n(1)]
    pub sender: ParticipantId,
    /// The message.
    #[n(2)]
    pub message: ChatMessage,
    /// To whom; to everybody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cbor(n(3), with = "crate::binary::optional_list", has_nil)]
    pub recipients: Option<Arc<[ParticipantId]>>,
}
