//! Who may enter which room: asked of the shell, which has the keys, the store and the clock.

use std::time::Duration;

use roomful_protocol::ErrorCode;
use roomful_types::{Permissions, RoomId};

/// Checks join tokens.
pub trait Admission: std::fmt::Debug + Send {
    /// Checks a token for a room.
    ///
    /// # Errors
    /// Says who must act: see [`AdmissionError`].
    fn admit(&self, room: RoomId, token: &str) -> Result<Grant, AdmissionError>;
}

/// What a valid token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The application's own name for who joins.
    pub identity: Option<String>,
    /// What others shall know about the participant; wins over what the client says.
    pub context: Option<String>,
    /// What the participant may do.
    pub permissions: Permissions,
    /// How many participants the room may have, this one included.
    pub max_participants: u32,
    /// What all tokens of one issue share, however often they are refreshed. Who is removed by a moderator is kept out by it.
    pub id: GrantId,
    /// How long the token is still valid.
    pub remaining: Duration,
    /// How long it is valid in all.
    pub life: Duration,
}

/// Names a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub [u8; 16]);

/// Why somebody may not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Malformed, forged, of the wrong kind, or for another room.
    #[error("token is not valid for this room")]
    InvalidToken,
    /// Valid once.
    #[error("token has expired")]
    ExpiredToken,
    /// The room does not exist, or no longer.
    #[error("room does not exist")]
    UnknownRoom,
}

impl From<AdmissionError> for ErrorCode {
    fn from(error: AdmissionError) -> Self {
        match error {
            AdmissionError::InvalidToken => Self::Unauthorized,
            AdmissionError::ExpiredToken => Self::TokenExpired,
            AdmissionError::UnknownRoom => Self::UnknownRoom,
        }
    }
}
