//! Every bound of the protocol, in one table. Sizes in bytes.

/// Longest encoded message to the server. Leaves room for a [`MESSAGE_TEXT_MAX`] payload and meta in escaped JSON.
pub const SIGNAL_TO_SERVER_MAX: usize = 1 << 20;

/// Longest encoded message to a client. A snapshot of 10,000 participants is about 4 MB.
pub const SIGNAL_TO_CLIENT_MAX: usize = 8 << 20;

/// Longest payload, and longest meta, of a text message (the contract's 64 KiB).
pub const MESSAGE_TEXT_MAX: usize = 64 << 10;

/// Longest application context of a participant. Everybody in the room gets a copy.
pub const CONTEXT_MAX: usize = 8 << 10;

/// Longest session description. A hundred media sections are about 120 kB.
pub const SDP_MAX: usize = 256 << 10;

/// Most receive slots of one client. Two media sections each; the answer must stay under [`SDP_MAX`].
pub const SLOTS_MAX: usize = 64;

/// Most recipients that one message names. More than that is a broadcast.
pub const RECIPIENTS_MAX: usize = 1000;

/// Most protocol versions that a join request offers.
pub const VERSIONS_MAX: usize = 16;

/// Most participants that one request for network metrics names.
pub const METRICS_PARTICIPANTS_MAX: usize = 1000;

/// Shortest and longest time between two reports of network metrics, in milliseconds.
pub const METRICS_INTERVAL_MS: std::ops::RangeInclusive<u32> = 1000..=60_000;

/// Most participants that a resume is told of as removed by a moderator: few enough to fit beside the snapshot of a room.
pub const KICKED_MAX: usize = 8192;

/// Answers that a server keeps for one client, to repeat them after a resume. More than a client may ask at once.
pub const ANSWERS_MAX: usize = 512;
