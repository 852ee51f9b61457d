//! Addresses: which of ours a datagram came to.

use std::net::SocketAddr;

/// One datagram as it came.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Which local candidate address it came to.
    pub destination: SocketAddr,
    /// The payload of the UDP datagram.
    pub bytes: &'a [u8],
}
