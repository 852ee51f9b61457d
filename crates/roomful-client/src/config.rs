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
    /// How long a lost connection is tried to be made again. Default 30 s, which is what servers wait by default; the server's
    /// own limit holds when it is shorter. Zero ends the stay when the connection does.
    pub reconnect_timeout: Duration,
    /// How long the first pause between two attempts is; each next one is twice as long. Default 250 ms.
    pub reconnect_first_delay: Duration,
    /// The longest pause between two attempts. Default 2 s: a network that is back is used soon, and a server that comes back
    /// is not flooded, because pauses are drawn between half and all of it.
    pub reconnect_max_delay: Duration,
    /// How long one attempt may take. Default 4 s: a first packet that is lost is sent again after 1 s and after 3.
    pub reconnect_attempt_timeout: Duration,
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
            reconnect_timeout: Duration::from_secs(30),
            reconnect_first_delay: Duration::from_millis(250),
            reconnect_max_delay: Duration::from_secs(2),
            reconnect_attempt_timeout: Duration::from_secs(4),
            initial_slots: 4,
        }
    }
}
