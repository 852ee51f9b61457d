//! The bounds of this crate, each with its reason.

use std::time::Duration;

/// Longest encoded frame, in bytes, in either direction: a 4K key frame at the highest quality stays below it.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Smallest payload a packetizer can be asked for: below this, headers would outweigh what they carry.
pub const MIN_PAYLOAD_BYTES: usize = 64;

/// Largest payload a packetizer can be asked for: what a UDP datagram and the 16-bit sizes inside a STAP-A
/// (RFC 6184 §5.7.1) can say.
pub const MAX_PAYLOAD_BYTES: usize = 65_535;

/// Most NAL units put into one STAP-A: parameter sets and SEI of one access unit are fewer in practice.
pub const MAX_AGGREGATED_UNITS: usize = 16;

/// Most sequence numbers an assembler can be told to hold: half of the 16-bit space, beyond which "earlier" and
/// "later" cannot be told apart on the wire (RFC 3550 §A.1).
pub const MAX_BUFFERED_PACKETS: usize = 1 << 15;

/// Shortest time an assembler can be told to wait: with none at all, it would ask for a key frame without end.
pub const MIN_WAIT: Duration = Duration::from_millis(1);

/// Longest time that the first packet of video is waited for. A receiver that has seen nothing of a stream does not know what to ask for
/// again, and there is no picture yet that a new key frame would have to be paid for with.
pub const FIRST_WAIT: Duration = Duration::from_millis(300);

/// First sequence numbers of a stream stay below this: a receiver that misses the first packets would otherwise guess
/// the wrong SRTP rollover counter, which starts at 0 (RFC 3711 §3.3.1).
pub const FIRST_SEQUENCE_END: u64 = 1 << 15;
