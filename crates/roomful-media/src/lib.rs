//! One peer of real-time media: ICE, DTLS and session descriptions by str0m, frames and packets by `roomful-rtp`.
//!
//! [`ClientPeer`] sends and receives whole encoded frames; [`ServerPeer`] passes RTP packets through. Both are sans-IO: after
//! each call that changes a peer, drain `poll_output`. What a server's peers send is put into one [`Outgoing`] of the shard, sealed in
//! place. They deliberately know nothing of rooms, streams or signalling, and no type of str0m leaves this crate.

mod candidates;
mod client;
mod dtls;
mod rtc;
mod sdp;
mod server;
mod stun;

pub use candidates::Datagram;
pub use client::{
    ClientConfig, ClientPeer, Delivery, Offer, Output as ClientOutput, PeerStats, ReceivedFrame,
    ReceiverStats, SenderStats, SentFrame,
};
pub use dtls::ServerCertificate;
pub use rtc::{MediaError, Transmit};
pub use server::{
    Datagrams, Measure, Outgoing, Output as ServerOutput, ReceivedPacket, SentPacket, ServerPeer, Traffic,
};
pub use stun::local_ufrag;

#[cfg(feature = "__sim")]
#[doc(hidden)]
pub use dtls::simulated;

/// What the fuzzer calls. Not for others.
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz {
    use std::time::Instant;

    use crate::ServerPeer;

    /// Lets a peer hear RTCP as if SRTCP had opened it.
    pub fn hear(peer: &mut ServerPeer, packet: &[u8], now: Instant) {
        peer.hear(packet, now);
    }

    /// Lets a peer take in a packet as if SRTP had opened it: with this many bytes of header, under this extended number. Returns where
    /// its payload is, if it is anybody's.
    pub fn take(
        peer: &mut ServerPeer,
        packet: &[u8],
        header: usize,
        index: u64,
        now: Instant,
    ) -> Option<std::ops::Range<usize>> {
        peer.take_opened(packet, header, index, now).map(|(_, payload)| payload)
    }

    /// Returns the sources that a peer sends from.
    #[must_use]
    pub fn sources(peer: &ServerPeer) -> Vec<u32> {
        peer.sources()
    }
}

#[cfg(test)]
mod tests;
