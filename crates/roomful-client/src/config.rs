//! Settings of the client engine, each with its default and why.

use std::time::Duration;

/// Settings of [`Client`](crate::Client).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How long connecting may take. Default 30 s.
    pub connect_timeout: Duration,
    /// How long any other request may take, media set-up included. Default 10 s.
    pub request_timeout: Duration,
    /// How long the server may take to say good-bye. Default 2 s: leaving must be quick on a dead network too.
    pub disconnect_timeout: Duration,
    /// How often the client shows that it lives. Default 5 s. A server that is silent for three times as long is lost.
    pub keepalive: Duration,
    /// Receive slots of the first offer. Default 4. More of them save an offer when many streams are taken at once; each
    /// costs two media sections.
    pub initial_slots: u16,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            disconnect_timeout: Duration::from_secs(2),
            keepalive: Duration::from_secs(5),
            initial_slots: 4,
        }
    }
}
