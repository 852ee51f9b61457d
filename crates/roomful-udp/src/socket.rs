//! The socket and what arrives on it.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::{io::Interest, net::UdpSocket};

use crate::batch::Link;

/// A bound UDP socket.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// One buffer per message of a receive call, each as long as what GRO may join.
    buffers: [Box<[u8]>; RECEIVE_BUFFERS],
    metas: [RecvMeta; RECEIVE_BUFFERS],
}

/// One datagram as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To which address and port of ours it was sent.
    pub destination: SocketAddr,
    /// Its payload.
    pub bytes: &'a [u8],
}

/// Kernel buffer for either direction. At 200,000 packets per second it holds about 15 ms.
const KERNEL_BUFFER: usize = 4 << 20;

/// Largest datagram taken in; ours are at most 1200 bytes.
const MAX_DATAGRAM: usize = 1500;

impl Socket {
    /// Binds a socket. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Those of binding, for example an address in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The kernel caps both at its own limits; smaller ones only cost losses under load.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let local = io.local_addr()?;
        let size = MAX_DATAGRAM * state.gro_segments();
        // Each zeroed by the system when it is first used: most sockets never fill more than one.
        let buffers = std::array::from_fn(|_| vec![0; size].into_boxed_slice());
        let metas = [RecvMeta::default(); RECEIVE_BUFFERS];
        Ok(Self { io, state, local, buffers, metas })
    }

    /// Returns the address that it is bound to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits until something can be received. May be dropped at any time.
    ///
    /// # Errors
    /// Those of the runtime, when it shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// The same for those who wait for several sockets by hand. Wakes only the task that asked last.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(context)
    }

    /// Waits until something can be sent. May be dropped at any time.
    ///
    /// # Errors
    /// Those of the runtime, when it shuts down.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Receives what one call of the kernel gives and hands on each datagram that is not empty. Returns 0 when there was nothing
    /// to receive, and how many there were otherwise.
    ///
    /// # Errors
    /// Those of the socket. On some systems an earlier send to a closed port shows here; receiving may go on.
    pub fn receive(&mut self, mut each: impl FnMut(Arrival<'_>)) -> io::Result<usize> {
        let mut slices = self.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
        let receive = || self.state.recv((&self.io).into(), &mut slices, &mut self.metas);
        let messages = match self.io.try_io(Interest::READABLE, receive) {
            Ok(messages) => messages,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut count = 0;
        for (buffer, meta) in self.buffers.iter().zip(&self.metas).take(messages) {
            let destination = SocketAddr::new(meta.dst_ip.unwrap_or(self.local.ip()), self.local.port());
            let received = buffer.get(..meta.len).unwrap_or_default();
            for bytes in received.chunks(meta.stride.max(1)) {
                each(Arrival { source: meta.addr, destination, bytes });
                count += 1;
            }
        }
        // An empty datagram is none to hand on, but something was there.
        Ok(count.max(messages))
    }
}

impl Link for Socket {
    fn send(
        &self,
        source: IpAddr,
        destination: SocketAddr,
        contents: &[u8],
        segment: usize,
    ) -> io::Result<()> {
        let segment_size = (segment < contents.len()).then_some(segment);
        // A socket bound to one address sends from it anyway.
        let src_ip = Some(source).filter(|ip| self.local.ip().is_unspecified() && !ip.is_unspecified());
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip };
        // Not through the runtime: a socket that it never waited for counts as not writable there.
        let sent = self.state.try_send((&self.io).into(), &transmit);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // The runtime must learn of it, or waiting for room would return at once.
            let _ = self.io.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        sent
    }

    fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }
}

/// Receive buffers of one socket, at most as many as one call of the system fills; each may be 96 kB with GRO.
const RECEIVE_BUFFERS: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };

/// Returns the addresses of this machine at which others of the same family as `like` may reach it, loopback last. Addresses of
/// one link only (fe80::/10, 169.254/16) are left out.
///
/// # Errors
/// Those of the system.
pub fn local_addresses(like: IpAddr) -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .filter(|address| address.is_ipv4() == like.is_ipv4())
        .collect();
    addresses.sort_by_key(|address| (address.is_loopback(), *address));
    addresses.dedup();
    Ok(addresses)
}
