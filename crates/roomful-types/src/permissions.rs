//! What a participant may do.

use serde::{Deserialize, Serialize};

/// The rights that a join token grants. All but moderation are granted unless the token says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// May publish streams.
    pub publish: bool,
    /// May subscribe to streams of others.
    pub subscribe: bool,
    /// May send messages.
    pub message: bool,
    /// May moderate others.
    pub moderate: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { publish: true, subscribe: true, message: true, moderate: false }
    }
}
