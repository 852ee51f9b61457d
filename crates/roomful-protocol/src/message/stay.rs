//! How a client comes, goes on after a lost connection, shows that it may stay, and goes.

use minicbor::{Decode, Encode};
use roomful_types::{ParticipantId, RoomId, StreamId};
use serde::{Deserialize, Serialize};

use super::{
    ParticipantInfo, RequestId, RoomVersion, SlotBoundNotice, SourcePausedNotice, SpeakingNotice, StreamInfo,
};
use crate::error::ErrorCode;

/// Asks to enter a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct JoinRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Protocol versions that the client speaks, best first.
    #[n(1)]
    pub versions: Vec<u16>,
    /// The room to enter.
    #[n(2)]
    pub room_id: RoomId,
    /// The access token for it.
    #[n(3)]
    pub token: String,
    /// What the application wants others to know about this participant; a context in the token wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(4)]
    pub context: Option<String>,
    /// Whether messages shall be delivered to this participant.
    #[n(5)]
    pub enable_messages: bool,
}

/// The client is in the room, and this is what the room looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct JoinResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// The protocol version to speak from now on.
    #[n(1)]
    pub wire_version: u16,
    /// Who the client is.
    #[n(2)]
    pub participant_id: ParticipantId,
    /// The version of the room that the lists below show; the next notice has the next one.
    #[n(3)]
    pub version: RoomVersion,
    /// Everybody in the room, the client included.
    #[n(4)]
    pub participants: Vec<ParticipantInfo>,
    /// Every stream in the room.
    #[n(5)]
    pub streams: Vec<StreamInfo>,
    /// How long the token is valid.
    #[n(6)]
    pub term: TokenTerm,
    /// What a [`ResumeRequest`] must show.
    #[n(7)]
    pub resume_key: ResumeKey,
    /// For how many milliseconds after its connection is lost the stay can be resumed.
    #[n(8)]
    pub resume_window_ms: u32,
}

/// How long a token is valid, in durations, so that no clocks need to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct TokenTerm {
    /// Milliseconds until it ends.
    #[n(0)]
    pub remaining_ms: u64,
    /// Milliseconds from its beginning to its end.
    #[n(1)]
    pub life_ms: u64,
}

/// The secret by which a server knows again who lost the connection. 16 random bytes, written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct ResumeKey(#[cbor(with = "crate::binary::uuid")] uuid::Uuid);

impl ResumeKey {
    /// Makes a key of 16 bytes that nobody can guess.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }
}

impl std::fmt::Debug for ResumeKey {
    /// Whoever reads a log must not be able to take a stay over.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeKey(…)")
    }
}

/// Asks to go on with a stay whose connection was lost. Requests that are still unanswered are sent again behind it, with
/// their old numbers; the server carries each out once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ResumeRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// Protocol versions that the client speaks, best first.
    #[n(1)]
    pub versions: Vec<u16>,
    /// The room.
    #[n(2)]
    pub room_id: RoomId,
    /// Who the client was, and is.
    #[n(3)]
    pub participant_id: ParticipantId,
    /// The secret from the [`JoinResponse`].
    #[n(4)]
    pub resume_key: ResumeKey,
    /// The newest access token.
    #[n(5)]
    pub token: String,
    /// The highest number of a [`MessageNotice`](super::MessageNotice) that arrived; 0 before the first.
    #[n(6)]
    pub received: u64,
}

/// The stay goes on, and this is what the room looks like. Messages that were missed follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ResumeResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// The protocol version to speak from now on.
    #[n(1)]
    pub wire_version: u16,
    /// The version of the room that the lists below show; the next notice has the next one.
    #[n(2)]
    pub version: RoomVersion,
    /// Everybody in the room, the client included.
    #[n(3)]
    pub participants: Vec<ParticipantInfo>,
    /// Every stream in the room.
    #[n(4)]
    pub streams: Vec<StreamInfo>,
    /// What is on each slot of the client.
    #[n(5)]
    pub slots: Vec<SlotBoundNotice>,
    /// Which of the client's tracks are taken.
    #[n(6)]
    pub sources: Vec<SourcePausedNotice>,
    /// Who speaks.
    #[n(7)]
    pub speaking: Vec<SpeakingNotice>,
    /// Who speaks loudest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[n(8)]
    pub dominant_speaker: Option<ParticipantId>,
    /// How long the token is valid.
    #[n(9)]
    pub term: TokenTerm,
    /// Who was removed by a moderator since anybody lost a connection who may still resume, the latest
    /// [`KICKED_MAX`](crate::limits::KICKED_MAX).
    #[n(10)]
    pub kicked: Vec<ParticipantId>,
    /// Whose video is subscribed to and does not come, because not everything gets through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cbor(n(11), default, skip_if = "Vec::is_empty")]
    pub held_back: Vec<StreamId>,
}

/// Presents a newer token for the same room and identity. The old one stays in force when this one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct UpdateTokenRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The access token.
    #[n(1)]
    pub token: String,
}

/// The newer token is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct TokenResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// How long the token is valid.
    #[n(1)]
    pub term: TokenTerm,
}

/// Asks to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct LeaveRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
}

/// Shows that the client lives; answered by a [`DoneResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct PingRequest {
    /// Number of this request.
    #[n(0)]
    pub request: RequestId,
    /// The highest number of a [`MessageNotice`](super::MessageNotice) that arrived: the server need not keep it any longer.
    #[serde(default)]
    #[cbor(n(1), default)]
    pub received: u64,
}

/// The request is fulfilled, and there is nothing more to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct DoneResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
}

/// The request is refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ErrorResponse {
    /// Number of the request.
    #[n(0)]
    pub request: RequestId,
    /// Why.
    #[n(1)]
    pub code: ErrorCode,
}

/// The server ends this stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct DisconnectNotice {
    /// Why.
    #[n(0)]
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
    /// A moderator ended the session of the room.
    SessionEnded,
    /// The room was deleted.
    RoomExpired,
    /// The token ended.
    Unauthorized,
    /// Somebody else joined under the same identity.
    DuplicateIdentity,
    /// A moderator removed the participant.
    Kicked,
    /// The server failed at the media of this stay.
    MediaFailed,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}
