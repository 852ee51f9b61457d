//! What can go wrong for a user of a room.

use std::fmt;

use roomful_client::CommandError;
use roomful_protocol::ErrorCode;
use roomful_types::DisconnectReason;

/// Why a call failed. Programs look at the [`kind`](Self::kind), people read the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(CommandError);

/// What kind of failure it is, by who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call makes no sense in this state of the room: connect first, or not again.
    WrongState,
    /// A key, a participant or a stream that does not exist, or exists already.
    InvalidArgument,
    /// The token is not valid, or no longer. Ask the application's server for a new one.
    Unauthorized,
    /// The token does not permit it.
    Forbidden,
    /// A limit of the room or of the server is reached.
    LimitReached,
    /// The server cannot be reached, or the connection to it was lost.
    Network,
    /// Signalling works, but no media gets through: UDP is blocked on the way.
    MediaUnreachable,
    /// The server did not answer in time.
    TimedOut,
    /// The room was left while the call was under way.
    Disconnected,
    /// Client and server do not understand each other, or the server failed.
    Server,
}

impl Error {
    /// Returns what kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self.0 {
            CommandError::NotConnected | CommandError::AlreadyConnected => ErrorKind::WrongState,
            CommandError::KeyInUse
            | CommandError::TrackInUse
            | CommandError::WrongKind
            | CommandError::UnknownParticipant
            | CommandError::UnknownStream
            | CommandError::OwnStream
            | CommandError::AlreadySubscribed
            | CommandError::NotSubscribed
            | CommandError::MessageTooLarge { .. } => ErrorKind::InvalidArgument,
            CommandError::NoSlotFree(_) | CommandError::TooManyCalls(_) => ErrorKind::LimitReached,
            CommandError::TimedOut => ErrorKind::TimedOut,
            CommandError::MediaUnreachable => ErrorKind::MediaUnreachable,
            CommandError::Unreachable => ErrorKind::Network,
            CommandError::Disconnected(reason) => kind_of_reason(reason),
            CommandError::Refused(code) => kind_of_code(code),
        }
    }

    /// Returns whether the same call may succeed later without anything else being done.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.0, CommandError::Refused(ErrorCode::RateLimited | ErrorCode::Internal))
            || matches!(
                self.kind(),
                ErrorKind::Network
                    | ErrorKind::MediaUnreachable
                    | ErrorKind::TimedOut
                    | ErrorKind::LimitReached
            )
    }
}

const fn kind_of_reason(reason: DisconnectReason) -> ErrorKind {
    match reason {
        DisconnectReason::NetworkError => ErrorKind::Network,
        DisconnectReason::TimedOut => ErrorKind::TimedOut,
        DisconnectReason::Unauthorized => ErrorKind::Unauthorized,
        DisconnectReason::Forbidden => ErrorKind::Forbidden,
        DisconnectReason::RoomFull => ErrorKind::LimitReached,
        DisconnectReason::ProtocolError => ErrorKind::Server,
        DisconnectReason::Kicked => ErrorKind::Forbidden,
        DisconnectReason::UserInitiated
        | DisconnectReason::SessionEnded
        | DisconnectReason::RoomExpired
        | DisconnectReason::DuplicateIdentity
        | _ => ErrorKind::Disconnected,
    }
}

const fn kind_of_code(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => ErrorKind::Unauthorized,
        ErrorCode::Forbidden | ErrorCode::Kicked | ErrorCode::DuplicateIdentity => ErrorKind::Forbidden,
        ErrorCode::ResumeExpired | ErrorCode::MessagesLost => ErrorKind::Network,
        ErrorCode::RoomFull | ErrorCode::LimitReached | ErrorCode::RateLimited => ErrorKind::LimitReached,
        ErrorCode::UnknownRoom
        | ErrorCode::UnknownParticipant
        | ErrorCode::UnknownStream
        | ErrorCode::UnknownRecipient
        | ErrorCode::KeyInUse
        | ErrorCode::OwnStream
        | ErrorCode::AlreadySubscribed
        | ErrorCode::NotSubscribed
        | ErrorCode::TooLarge => ErrorKind::InvalidArgument,
        ErrorCode::UnsupportedVersion
        | ErrorCode::SlotUnavailable
        | ErrorCode::MidUnavailable
        | ErrorCode::BadOffer
        | ErrorCode::BadRequest
        | ErrorCode::Internal
        | ErrorCode::Unknown => ErrorKind::Server,
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        Self(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}
