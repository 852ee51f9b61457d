//! Settings of the server engine, each with its default and why.

use std::time::Duration;

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
    /// Requests per second that one connection may send, averaged. Default 100.
    pub requests_per_second: u32,
    /// Requests that one connection may send at once. Default 200: subscribing to a whole room after joining.
    pub request_burst: u32,
}

impl Default for SfuConfig {
    fn default() -> Self {
        Self {
            join_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(15),
            max_streams_per_participant: 16,
            requests_per_second: 100,
            request_burst: 200,
        }
    }
}
