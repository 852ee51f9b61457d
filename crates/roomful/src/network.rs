//! Where a room's bytes go: through this machine's network, or through one that a simulator gives.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
};

use roomful_protocol::{ClientMessage, ServerMessage};
use roomful_udp::{Arrival, Batch, Socket, local_addresses};
use tokio::{sync::mpsc, task::AbortHandle};

pub use roomful_media::Datagram;
pub use roomful_protocol::{Encoding, SignalDecodeError};

use crate::{options::RoomOptions, signal};

/// A way to reach a server. A room asks it for connections when it needs them, within its tokio runtime.
pub trait Network: fmt::Debug + Send + Sync {
    /// Starts to connect to the server that the options name.
    fn open_signal(&self, options: &RoomOptions) -> SignalLink;

    /// Returns the sockets for the media of one stay. A datagram is sent by the first that can.
    fn open_media(&self) -> Vec<Box<dyn MediaSocket>>;
}

/// A datagram socket.
pub trait MediaSocket: fmt::Debug + Send {
    /// Returns the addresses at which others may reach it by now.
    fn local_addresses(&self) -> Vec<SocketAddr>;

    /// Waits until something can be received.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Hands on some of the datagrams that are there; false when there are no more.
    fn receive(&mut self, each: &mut dyn FnMut(Datagram<'_>)) -> bool;

    /// Takes a datagram to send from one of its addresses; false when it cannot reach the destination.
    fn send(&mut self, source: IpAddr, destination: SocketAddr, bytes: &[u8]) -> bool;

    /// Sends what was taken.
    fn flush(&mut self);
}

/// What a signalling connection reports. `Opened` is the first, unless it comes to nothing; `Closed` is the last.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub enum SignalEvent {
    /// The server can be talked to.
    Opened,
    /// The server said something.
    Message(ServerMessage),
    /// The server said something that is no message.
    Malformed,
    /// The connection is over, or could not be made.
    Closed,
}

/// A signalling connection, from the wish to open it on: one task that moves messages. Dropping it sends what was given to it,
/// then closes.
#[derive(Debug)]
pub struct SignalLink {
    outgoing: mpsc::UnboundedSender<ClientMessage>,
    events: mpsc::Receiver<SignalEvent>,
    task: AbortHandle,
    is_open: bool,
}

/// Messages that wait for the driver; then the connection reads no more, and the server waits.
const INCOMING_MAX: usize = 256;

impl SignalLink {
    /// Starts the task of a connection. It gets the messages to send and reports events; the last one, [`SignalEvent::Closed`], is
    /// reported for it when it ends. The end of the messages to send asks it to say good-bye and end.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(
        run: impl FnOnce(mpsc::UnboundedReceiver<ClientMessage>, mpsc::Sender<SignalEvent>) -> F,
    ) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(INCOMING_MAX);
        let running = run(to_send, sender.clone());
        let task = tokio::spawn(async move {
            running.await;
            // Without its driver there is nobody to tell.
            let _ = sender.send(SignalEvent::Closed).await;
        });
        Self { outgoing, events, task: task.abort_handle(), is_open: false }
    }

    pub(crate) fn send(&self, message: ClientMessage) {
        // A connection that is gone says so through its events.
        let _ = self.outgoing.send(message);
    }

    /// Waits for the next event. May be dropped at any time without losing one.
    pub(crate) async fn recv(&mut self) -> SignalEvent {
        let event = self.events.recv().await.unwrap_or(SignalEvent::Closed);
        self.is_open |= matches!(event, SignalEvent::Opened);
        event
    }
}

impl Drop for SignalLink {
    fn drop(&mut self) {
        if !self.is_open {
            // Nobody is there to say good-bye to, and connecting may take the system minutes to give up.
            self.task.abort();
        }
    }
}

/// The network of this machine: WebSocket or QUIC for signalling, UDP for media.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    fn open_signal(&self, options: &RoomOptions) -> SignalLink {
        signal::open(options)
    }

    fn open_media(&self) -> Vec<Box<dyn MediaSocket>> {
        let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        // A machine may lack one of the two families.
        let sockets = any.into_iter().filter_map(|any| Socket::bind(SocketAddr::new(any, 0)).ok());
        sockets.map(|socket| Box::new(UdpMedia { socket, batch: Batch::new() }) as _).collect()
    }
}

#[derive(Debug)]
struct UdpMedia {
    socket: Socket,
    batch: Batch,
}

impl MediaSocket for UdpMedia {
    fn local_addresses(&self) -> Vec<SocketAddr> {
        let local = self.socket.local_addr();
        let own = local_addresses(local.ip()).unwrap_or_default();
        own.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Errors of a UDP socket are about single datagrams; receiving finds out.
        self.socket.poll_readable(context).map(drop)
    }

    fn receive(&mut self, each: &mut dyn FnMut(Datagram<'_>)) -> bool {
        let received = self.socket.receive(|arrival| {
            let Arrival { source, destination, bytes } = arrival;
            each(Datagram { source, destination, bytes });
        });
        match received {
            Ok(count) => count > 0,
            Err(error) => {
                tracing::debug!(%error, "receiving");
                true
            }
        }
    }

    fn send(&mut self, source: IpAddr, destination: SocketAddr, bytes: &[u8]) -> bool {
        let can_reach = self.socket.local_addr().is_ipv4() == destination.is_ipv4();
        if can_reach {
            self.batch.push(&self.socket, source, destination, bytes);
        }
        can_reach
    }

    fn flush(&mut self) {
        self.batch.flush(&self.socket, crate::clock::now());
    }
}
