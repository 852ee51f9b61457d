//! One participant's way to the fake server.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use roomful::{
    RoomOptions,
    network::{Datagram, MediaSocket, Network, SignalLink},
};
use roomful_sfu::SessionId;
use tokio::sync::mpsc;

use super::hub::{Arrived, NetworkId, Told};
use crate::{LinkConfig, NatConfig};

/// A network between rooms and a fake server, with a link in each direction.
pub struct FakeNetwork {
    id: NetworkId,
    hub: mpsc::UnboundedSender<Told>,
    sessions: Arc<AtomicU64>,
    links: Mutex<[LinkConfig; 2]>,
    hosts: Arc<Mutex<Hosts>>,
}

/// Where the sockets of a network are.
#[derive(Debug)]
struct Hosts {
    ip: Ipv4Addr,
    next_port: u16,
}

impl FakeNetwork {
    pub(super) fn new(
        id: NetworkId,
        hub: mpsc::UnboundedSender<Told>,
        sessions: Arc<AtomicU64>,
        link: LinkConfig,
    ) -> Self {
        // Without its task the simulation is over.
        let _ = hub.send(Told::Network(id, link, link));
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + id.0 * 256 + 1);
        let hosts = Arc::new(Mutex::new(Hosts { ip, next_port: 40_000 }));
        Self { id, hub, sessions, links: Mutex::new([link; 2]), hosts }
    }

    /// Treats what passes otherwise from now on, in both directions.
    pub fn set_link(&self, link: LinkConfig) {
        self.set_links(link, link);
    }

    /// Treats what goes to the server and what comes from it otherwise from now on.
    pub fn set_links(&self, up: LinkConfig, down: LinkConfig) {
        *self.links.lock() = [up, down];
        let _ = self.hub.send(Told::Configure(self.id, up, down));
    }

    /// Lets nothing through while `is_down`: connections stay open and stall, datagrams are lost.
    pub fn set_down(&self, is_down: bool) {
        let [up, down] = self.links.lock().map(|link| LinkConfig { is_down, ..link });
        self.set_links(up, down);
    }

    /// Loses this share of datagrams, both ways, 0 ..= 1; connections are not concerned.
    pub fn set_media_loss(&self, share: f64) {
        let _ = self.hub.send(Told::MediaLoss(self.id, share));
    }

    /// Puts whatever is behind this network behind a NAT from now on: the server sees addresses of the NAT's, and what it sends is let in
    /// as the NAT likes. Connections are not concerned.
    pub fn set_nat(&self, nat: NatConfig) {
        let _ = self.hub.send(Told::Nat(self.id, nat));
    }

    /// Lets the NAT forget everything: sockets are seen at other addresses, without knowing.
    pub fn rebind_nat(&self) {
        let _ = self.hub.send(Told::Rebind(self.id));
    }

    /// Breaks every connection; none can be made, and no datagram passes, until [`mend`](Self::mend).
    pub fn cut(&self) {
        let _ = self.hub.send(Told::Cut(self.id, true));
    }

    /// Undoes [`cut`](Self::cut).
    pub fn mend(&self) {
        let _ = self.hub.send(Told::Cut(self.id, false));
    }

    /// Moves to another address: sockets are reachable there, and no longer where they were.
    pub fn roam(&self) {
        let mut hosts = self.hosts.lock();
        hosts.ip = Ipv4Addr::from(u32::from(hosts.ip) + 1);
    }
}

impl fmt::Debug for FakeNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeNetwork").field("id", &self.id.0).finish_non_exhaustive()
    }
}

impl Network for FakeNetwork {
    fn open_signal(&self, _: &RoomOptions) -> SignalLink {
        let (hub, network) = (self.hub.clone(), self.id);
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        SignalLink::spawn(move |mut to_send, events| async move {
            let (sender, mut incoming) = mpsc::unbounded_channel();
            if hub.send(Told::Open(session, network, sender)).is_err() {
                return;
            }
            loop {
                tokio::select! {
                    message = to_send.recv() => {
                        let told = match message {
                            Some(message) => Told::Signal(session, message),
                            None => Told::Close(session),
                        };
                        let is_over = matches!(told, Told::Close(_));
                        if hub.send(told).is_err() || is_over {
                            return;
                        }
                    }
                    event = incoming.recv() => {
                        let Some(event) = event else { return };
                        if events.send(event).await.is_err() {
                            let _ = hub.send(Told::Close(session));
                            return;
                        }
                    }
                }
            }
        })
    }

    fn open_media(&self) -> Vec<Box<dyn MediaSocket>> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let port = {
            let mut hosts = self.hosts.lock();
            hosts.next_port += 1;
            hosts.next_port
        };
        let mut socket = FakeSocket {
            network: self.id,
            hosts: self.hosts.clone(),
            hub: self.hub.clone(),
            port,
            bound: None,
            sender,
            incoming,
            next: None,
        };
        socket.bind();
        vec![Box::new(socket)]
    }
}

#[derive(Debug)]
struct FakeSocket {
    network: NetworkId,
    hosts: Arc<Mutex<Hosts>>,
    hub: mpsc::UnboundedSender<Told>,
    port: u16,
    bound: Option<SocketAddr>,
    sender: mpsc::UnboundedSender<Arrived>,
    incoming: mpsc::UnboundedReceiver<Arrived>,
    next: Option<Arrived>,
}

impl FakeSocket {
    /// Follows the network to its address.
    fn bind(&mut self) -> SocketAddr {
        let address = SocketAddr::new(IpAddr::V4(self.hosts.lock().ip), self.port);
        if self.bound != Some(address) {
            if let Some(earlier) = self.bound.replace(address) {
                let _ = self.hub.send(Told::Unbind(earlier));
            }
            let _ = self.hub.send(Told::Bind(address, self.network, self.sender.clone()));
        }
        address
    }
}

impl MediaSocket for FakeSocket {
    fn local_addresses(&self) -> Vec<SocketAddr> {
        vec![SocketAddr::new(IpAddr::V4(self.hosts.lock().ip), self.port)]
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.next.is_none() {
            match self.incoming.poll_recv(context) {
                Poll::Ready(Some(datagram)) => self.next = Some(datagram),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(Datagram<'_>)) -> bool {
        let next = self.next.take().or_else(|| self.incoming.try_recv().ok());
        let Some(Arrived { source, destination, bytes }) = next else { return false };
        each(Datagram { source, destination, bytes: &bytes });
        true
    }

    fn send(&mut self, source: IpAddr, destination: SocketAddr, bytes: &[u8]) -> bool {
        let address = self.bind();
        // As a system refuses to send from an address that it no longer has.
        if source == address.ip() {
            let datagram = Arrived { source: address, destination, bytes: bytes.to_vec() };
            let _ = self.hub.send(Told::Datagram(datagram));
        }
        true
    }

    fn flush(&mut self) {}
}

impl Drop for FakeSocket {
    fn drop(&mut self) {
        if let Some(address) = self.bound {
            let _ = self.hub.send(Told::Unbind(address));
        }
    }
}
