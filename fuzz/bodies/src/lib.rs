//! What the fuzz targets do with their bytes. Each body is a function that must not panic, whatever it is given.
//!
//! The targets themselves are in `fuzz/fuzz_targets`, five lines each; `cargo xtask fuzz` runs them, and `tests/replay.rs` gives every
//! file of `fuzz/corpus` to its body again.

mod parsers;
mod stateful;

pub use parsers::{
    depacketize, media_receive, protocol_decode, rtcp, rtp_helpers, rtp_opened, sdp, srtp_open, token,
};
pub use stateful::{client_inputs, sfu_inputs, state_actions};

/// What one target does with its bytes.
pub type Body = fn(&[u8]);

/// Every body by the name of its target.
pub const BODIES: [(&str, Body); 12] = [
    ("protocol_decode", protocol_decode),
    ("sdp", sdp),
    ("rtp_helpers", rtp_helpers),
    ("depacketize", depacketize),
    ("media_receive", media_receive),
    ("rtcp", rtcp),
    ("rtp_opened", rtp_opened),
    ("srtp_open", srtp_open),
    ("token", token),
    ("state_actions", state_actions),
    ("client_inputs", client_inputs),
    ("sfu_inputs", sfu_inputs),
];
