//! Settings of the server engine, each with its default and why.

use std::time::Duration;

use roomful_protocol::limits;

use crate::allowance::Rate;

/// Settings of [`Sfu`](crate::Sfu).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SfuConfig {
    /// How long a connection may take from opening to its join request. Default 10 s: a slow mobile network twice over.
    /// Connections that wait cost a socket each.
    pub join_timeout: Duration,
    /// How long a joined client may be silent. Default 15 s: three of a client's keep-alive intervals. Until then the
    /// others see a participant whose network died without a word.
    pub silence_timeout: Duration,
    /// Most streams of one participant. Default 16: a camera, a screen and room for more. Every stream is in everybody's
    /// snapshot.
    pub max_streams_per_participant: usize,
    /// How long a participant whose connection is lost stays in the room, to go on where it was. Default 30 s. Everybody else
    /// sees it during that time. Zero lets it go at once.
    pub resume_window: Duration,
    /// Bytes of messages kept for one participant until it has acknowledged them, so that a resume misses none. Default 1 MiB.
    /// When more arrive, the oldest are given up, and a resume that would need them is refused.
    pub resume_buffer: usize,
    /// What happens when somebody joins under an identity that is in the room. Default: the newer one replaces the older.
    pub duplicate_identity: DuplicateIdentity,
    /// Requests per second that one participant may send, averaged. Default 100; at least 1.
    pub requests_per_second: u32,
    /// Requests that one participant may send at once. Default 200: subscribing to a whole room after joining. At least
    /// [`REQUEST_BURST_MIN`](Self::REQUEST_BURST_MIN).
    pub request_burst: u32,
    /// Longest payload, and longest meta, of a text message, in bytes. Default, and most, 64 KiB.
    pub max_message_bytes: usize,
    /// Text messages per second that one participant may send, averaged. Default 50: everybody in the room gets a copy. They are
    /// requests too.
    pub messages_per_second: u32,
    /// Text messages that one participant may send at once. Default 100.
    pub message_burst: u32,
}

/// What a resume may be late: it was not silent when it was last heard, a half-open connection takes a while to be noticed,
/// and the way back to the server another.
pub(crate) const RESUME_GRACE: Duration = Duration::from_secs(10);

impl SfuConfig {
    /// Least requests at once with which everything can be asked for: so many counts the longest message, an offer as ten.
    pub const REQUEST_BURST_MIN: u32 = 33;

    /// Returns how long somebody may have been away, at most, who still may resume: a connection that is lost may not seem so yet.
    pub(crate) fn absence(&self) -> Duration {
        self.silence_timeout + self.resume_window + RESUME_GRACE
    }

    pub(crate) const fn request_rate(&self) -> Rate {
        Rate { per_second: self.requests_per_second, burst: self.request_burst }
    }

    pub(crate) const fn message_rate(&self) -> Rate {
        Rate { per_second: self.messages_per_second, burst: self.message_burst }
    }
}

/// What happens when somebody joins under an identity that is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DuplicateIdentity {
    /// Who was in the room leaves.
    Replace,
    /// Who comes is refused.
    Refuse,
    /// Both are in the room.
    Allow,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            join_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(15),
            max_streams_per_participant: 16,
            resume_window: Duration::from_secs(30),
            resume_buffer: 1 << 20,
            duplicate_identity: DuplicateIdentity::Replace,
            requests_per_second: 100,
            request_burst: 200,
            max_message_bytes: limits::MESSAGE_TEXT_MAX,
            messages_per_second: 50,
            message_burst: 100,
        }
    }
}
