//! Why a stay in a room is over.

use std::fmt;

/// Why a stay in a room is over; always the true reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The application asked for it.
    UserInitiated,
    /// The connection to the server was lost.
    NetworkError,
    /// The server did not answer in time.
    TimedOut,
    /// The token is not valid, or no longer.
    Unauthorized,
    /// The token does not permit it.
    Forbidden,
    /// A moderator removed the participant.
    Kicked,
    /// The session of the room was ended.
    SessionEnded,
    /// The room does not exist, or no longer.
    RoomExpired,
    /// Somebody else joined under the same identity.
    DuplicateIdentity,
    /// The room is full.
    RoomFull,
    /// Client and server do not understand each other.
    ProtocolError,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::UserInitiated => "left as asked",
            Self::NetworkError => "the connection to the server was lost",
            Self::TimedOut => "the server did not answer in time",
            Self::Unauthorized => "the client token is not valid, or no longer",
            Self::Forbidden => "the client token does not permit it",
            Self::Kicked => "a moderator removed the participant",
            Self::SessionEnded => "the session of the room was ended",
            Self::RoomExpired => "the room does not exist, or no longer",
            Self::DuplicateIdentity => "somebody else joined under the same identity",
            Self::RoomFull => "the room is full",
            Self::ProtocolError => "client and server do not understand each other",
        })
    }
}
