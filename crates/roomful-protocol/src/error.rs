//! The reasons for which a server refuses a request.

use serde::{Deserialize, Serialize};

/// Why a request was refused. The text says who must act; programs look at the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No version in common.
    #[error("client and server have no protocol version in common; update the older one")]
    UnsupportedVersion,
    /// The token is malformed, forged, of the wrong kind or for another room.
    #[error("the client token is not valid for this room; ask the application's server for a new one")]
    Unauthorized,
    /// The token was valid once.
    #[error("the client token has expired; ask the application's server for a new one")]
    TokenExpired,
    /// The token does not grant this.
    #[error("the client token does not permit this")]
    Forbidden,
    /// No such room.
    #[error("the room does not exist; create it first")]
    UnknownRoom,
    /// The room has as many participants as it may have.
    #[error("the room is full")]
    RoomFull,
    /// No such participant in the room.
    #[error("no such participant in the room")]
    UnknownParticipant,
    /// The participant publishes no stream with this key.
    #[error("the participant publishes no stream with this key")]
    UnknownStream,
    /// One of the recipients is not in the room.
    #[error("one of the recipients is not in the room; nothing was sent")]
    UnknownRecipient,
    /// The participant already publishes a stream with this key.
    #[error("the key is already in use; choose another or remove the stream first")]
    KeyInUse,
    /// A participant cannot subscribe to itself.
    #[error("one's own stream cannot be subscribed to")]
    OwnStream,
    /// There is a subscription already.
    #[error("already subscribed; update the subscription instead")]
    AlreadySubscribed,
    /// There is no such subscription.
    #[error("not subscribed to this stream")]
    NotSubscribed,
    /// The receive slot is taken or was never offered.
    #[error("the receive slot is taken or was never offered")]
    SlotUnavailable,
    /// The media section was never offered for sending or is already used by a stream.
    #[error("the media section is not available for publishing")]
    MidUnavailable,
    /// A message or a field is too long.
    #[error("longer than allowed")]
    TooLarge,
    /// A count reached its limit.
    #[error("the limit is reached")]
    LimitReached,
    /// Too many requests in too short a time.
    #[error("too many requests; slow down")]
    RateLimited,
    /// The session description cannot be accepted.
    #[error("the session description was not accepted")]
    BadOffer,
    /// The request makes no sense here, for example one before joining or a second join.
    #[error("the request is not possible in this state")]
    BadRequest,
    /// A moderator removed this participant, or one with its grant or identity.
    #[error("removed by a moderator; not admitted again while this session of the room lasts")]
    Kicked,
    /// The identity is in the room already, and the server refuses a second one.
    #[error("somebody with this identity is in the room already")]
    DuplicateIdentity,
    /// The stay is over or was never there.
    #[error("the stay cannot be resumed: it is over; join again")]
    ResumeExpired,
    /// More messages arrived meanwhile than the server keeps.
    #[error("the stay cannot be resumed: more messages were missed than the server keeps; join again")]
    MessagesLost,
    /// The server could not do it.
    #[error("the server failed; try again later")]
    Internal,
    /// A code that this version does not know.
    #[serde(other)]
    #[error("refused for a reason that this version does not know")]
    Unknown,
}
