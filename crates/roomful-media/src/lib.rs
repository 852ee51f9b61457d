//! One peer of real-time media: ICE, DTLS and session descriptions by str0m, frames and packets by `roomful-rtp`.
//!
//! [`ClientPeer`] sends and receives whole encoded frames; [`ServerPeer`] passes RTP packets through. Both are sans-IO: after
//! each call that changes a peer, drain `poll_output` until it answers `Wait`. They deliberately know nothing of rooms, streams
//! or signalling, and no type of str0m leaves this crate.

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
pub use server::{Measure, Output as ServerOutput, ReceivedPacket, SentPacket, ServerPeer};
pub use stun::local_ufrag;

#[cfg(test)]
mod tests;
