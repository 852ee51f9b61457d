//! The task that moves everything between the rooms of a simulation and their server.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use roomful::network::SignalEvent;
use roomful_protocol::{ClientMessage, ServerMessage};
use roomful_sfu::{ModerationError, ModerationRequest, SessionId};
use roomful_shard::Datagram;
use roomful_types::RoomId;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use crate::{
    Faults, Input, Link, LinkConfig, Nat, NatConfig, Output, ServerMachine, ordered::Ordered,
    timeline::Timeline,
};

/// Numbers a network of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NetworkId(pub(super) u32);

/// What the task is told.
pub(super) enum Told {
    /// There is one more network, with this link up and this one down.
    Network(NetworkId, LinkConfig, LinkConfig),
    /// A network treats datagrams otherwise.
    Configure(NetworkId, LinkConfig, LinkConfig),
    /// A network loses this share of datagrams.
    MediaLoss(NetworkId, f64),
    /// What is behind a network is behind such a NAT from now on; or the NAT that it is behind forgets everything.
    Nat(NetworkId, NatConfig),
    Rebind(NetworkId),
    /// A network is cut: its connections die, and none can be made until it is mended.
    Cut(NetworkId, bool),
    /// A room connects; what it is told goes here.
    Open(SessionId, NetworkId, mpsc::UnboundedSender<SignalEvent>),
    /// A room says something.
    Signal(SessionId, ClientMessage),
    /// A room ends its connection.
    Close(SessionId),
    /// A socket can be reached at an address.
    Bind(SocketAddr, NetworkId, mpsc::UnboundedSender<Arrived>),
    /// A socket is no longer there.
    Unbind(SocketAddr),
    /// A room sends a datagram.
    Datagram(Arrived),
    /// A moderator wants something.
    Moderate(RoomId, ModerationRequest, oneshot::Sender<Result<(), ModerationError>>),
    /// A room is deleted.
    DeleteRoom(RoomId),
    /// The server does these things wrong from now on.
    Faults(Box<Faults>),
}

/// A datagram that arrives somewhere.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// What is on its way.
enum Flight {
    Opened(SessionId),
    ToServer(SessionId, ClientMessage),
    ClosedByClient(SessionId),
    ToClient(SessionId, ServerMessage),
    ClosedByServer(SessionId),
    DatagramToServer(Arrived),
    DatagramToClient(Arrived),
}

struct Path {
    up: Link,
    down: Link,
    /// What datagrams pass besides, up and down.
    media: [Link; 2],
    /// What signalling passes, up and down.
    signal: [Ordered<Flight>; 2],
    nat: Option<Nat>,
    is_cut: bool,
}

struct Connection {
    network: NetworkId,
    events: mpsc::UnboundedSender<SignalEvent>,
}

pub(super) struct Hub {
    machine: ServerMachine,
    paths: BTreeMap<NetworkId, Path>,
    connections: BTreeMap<SessionId, Connection>,
    sockets: HashMap<SocketAddr, (NetworkId, mpsc::UnboundedSender<Arrived>)>,
    flights: Timeline<Flight>,
    told: mpsc::UnboundedReceiver<Told>,
    seed: u64,
}

impl Hub {
    pub(super) fn new(machine: ServerMachine, told: mpsc::UnboundedReceiver<Told>, seed: u64) -> Self {
        Self {
            machine,
            paths: BTreeMap::new(),
            connections: BTreeMap::new(),
            sockets: HashMap::new(),
            flights: Timeline::default(),
            told,
            seed,
        }
    }

    /// Runs until nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        loop {
            let until = self.settle();
            tokio::select! {
                told = self.told.recv() => {
                    let Some(told) = told else { return };
                    self.on_told(told);
                    while let Ok(told) = self.told.try_recv() {
                        self.on_told(told);
                    }
                }
                () = sleep_until(until.into()) => {}
            }
        }
    }

    /// Delivers everything that is due and lets the server act on it. Returns when to come back.
    fn settle(&mut self) -> Instant {
        loop {
            let now = now();
            while let Some(flight) = self.flights.take_due(now) {
                self.land(flight, now);
            }
            self.machine.handle_input(Input::Timeout, now);
            let until = self.drain(now);
            let until = self.flights.next_at().map_or(until, |at| at.min(until));
            if until > now {
                return until;
            }
        }
    }

    fn on_told(&mut self, told: Told) {
        let now = now();
        match told {
            Told::Network(id, up, down) => {
                let mut link = |config| {
                    self.seed = self.seed.wrapping_add(1);
                    Link::new(config, self.seed)
                };
                let media = [(); 2].map(|()| link(LinkConfig::default()));
                let (up_link, down_link) = (link(up), link(down));
                let signal = [Ordered::new(up, self.seed), Ordered::new(down, !self.seed)];
                let path = Path { up: up_link, down: down_link, media, signal, nat: None, is_cut: false };
                self.paths.insert(id, path);
            }
            Told::Configure(id, up, down) => {
                if let Some(path) = self.paths.get_mut(&id) {
                    path.up.configure(up);
                    path.down.configure(down);
                    let late = [path.signal[0].configure(up, now), path.signal[1].configure(down, now)];
                    for (at, flight) in late.into_iter().flatten() {
                        self.flights.put(at, flight);
                    }
                }
            }
            Told::MediaLoss(id, share) => {
                if let Some(path) = self.paths.get_mut(&id) {
                    for media in &mut path.media {
                        media.configure(LinkConfig { loss: share, ..LinkConfig::default() });
                    }
                }
            }
            Told::Nat(id, config) => {
                if let Some(path) = self.paths.get_mut(&id) {
                    let outside = u32::from(Ipv4Addr::new(10, 2, 0, 0)) + id.0;
                    path.nat = Some(Nat::new(config, Ipv4Addr::from(outside).into()));
                }
            }
            Told::Rebind(id) => {
                if let Some(nat) = self.paths.get_mut(&id).and_then(|path| path.nat.as_mut()) {
                    nat.rebind();
                }
            }
            Told::Cut(id, is_cut) => self.cut(id, is_cut, now),
            Told::Open(session, network, events) => {
                if self.paths.get(&network).is_some_and(|path| !path.is_cut) {
                    self.connections.insert(session, Connection { network, events });
                    self.fly_up(session, Flight::Opened(session), now);
                }
            }
            Told::Signal(session, message) => self.fly_up(session, Flight::ToServer(session, message), now),
            Told::Close(session) => self.fly_up(session, Flight::ClosedByClient(session), now),
            Told::Bind(address, network, socket) => {
                self.sockets.insert(address, (network, socket));
            }
            Told::Unbind(address) => {
                self.sockets.remove(&address);
            }
            Told::Datagram(datagram) => self.on_datagram_up(datagram, now),
            Told::Moderate(room, request, reply) => {
                let result = self.machine.moderate(room, &request, now);
                // Who does not wait any more does not need to know.
                let _ = reply.send(result);
            }
            Told::DeleteRoom(room) => self.machine.delete_room(room, now),
            Told::Faults(faults) => self.machine.faults = *faults,
        }
    }

    fn cut(&mut self, id: NetworkId, is_cut: bool, now: Instant) {
        let Some(path) = self.paths.get_mut(&id) else { return };
        path.is_cut = is_cut;
        if !is_cut {
            return;
        }
        let dead = self.connections.iter().filter(|(_, connection)| connection.network == id);
        for session in dead.map(|(session, _)| *session).collect::<Vec<_>>() {
            self.connections.remove(&session);
            self.machine.handle_input(Input::Closed(session), now);
        }
    }

    fn land(&mut self, flight: Flight, now: Instant) {
        match flight {
            Flight::Opened(session) => {
                if let Some(connection) = self.connections.get(&session) {
                    // Fails when the room gave up, which the end of its task says too.
                    let _ = connection.events.send(SignalEvent::Opened);
                    self.machine.handle_input(Input::Opened(session), now);
                }
            }
            Flight::ToServer(session, message) => {
                if self.connections.contains_key(&session) {
                    self.machine.handle_input(Input::Signal(session, message), now);
                }
            }
            Flight::ClosedByClient(session) => {
                if self.connections.remove(&session).is_some() {
                    self.machine.handle_input(Input::Closed(session), now);
                }
            }
            Flight::ToClient(session, message) => {
                if let Some(connection) = self.connections.get(&session) {
                    let _ = connection.events.send(SignalEvent::Message(message));
                }
            }
            Flight::ClosedByServer(session) => {
                self.connections.remove(&session);
            }
            Flight::DatagramToServer(Arrived { source, destination, bytes }) => {
                let datagram = Datagram { source, destination, bytes: &bytes };
                self.machine.handle_input(Input::Datagram(datagram), now);
            }
            Flight::DatagramToClient(mut datagram) => {
                let nat = self.paths.values_mut().filter_map(|path| path.nat.as_mut());
                if let Some(nat) = nat.into_iter().find(|nat| nat.owns(datagram.destination)) {
                    let inside = nat.incoming(datagram.source, datagram.destination, now);
                    let Some(inside) = inside else { return };
                    datagram.destination = inside;
                }
                if let Some((_, socket)) = self.sockets.get(&datagram.destination) {
                    let _ = socket.send(datagram);
                }
            }
        }
    }

    /// Carries out what the server wants. Returns when it wants to be called again.
    fn drain(&mut self, now: Instant) -> Instant {
        loop {
            match self.machine.poll_output() {
                Output::Wait(until) => return until,
                Output::Send(session, message) => {
                    self.fly_down(session, Flight::ToClient(session, message), now);
                }
                Output::Close(session) => self.fly_down(session, Flight::ClosedByServer(session), now),
                Output::Transmit(transmit) => {
                    let Some(path) = self.path_to(transmit.destination).filter(|path| !path.is_cut) else {
                        continue;
                    };
                    let roomful_media::Transmit { source, destination, bytes } = transmit;
                    if path.media[1].send(bytes.len(), now)[0].is_none() {
                        continue;
                    }
                    for at in path.down.send(bytes.len(), now).into_iter().flatten() {
                        let datagram = Arrived { source, destination, bytes: bytes.clone() };
                        self.flights.put(at, Flight::DatagramToClient(datagram));
                    }
                }
                // Rooms of the SDK have real media.
                Output::Media(_) => {}
            }
        }
    }

    /// Returns the path to whoever has this address, or whose NAT has it.
    fn path_to(&mut self, address: SocketAddr) -> Option<&mut Path> {
        if let Some((network, _)) = self.sockets.get(&address) {
            return self.paths.get_mut(network).filter(|path| path.nat.is_none());
        }
        self.paths.values_mut().find(|path| path.nat.as_ref().is_some_and(|nat| nat.owns(address)))
    }

    fn on_datagram_up(&mut self, mut datagram: Arrived, now: Instant) {
        let Some((network, _)) = self.sockets.get(&datagram.source) else { return };
        let Some(path) = self.paths.get_mut(network) else { return };
        if let Some(nat) = &mut path.nat {
            datagram.source = nat.outgoing(datagram.source, datagram.destination, now);
        }
        if path.is_cut {
            return;
        }
        if path.media[0].send(datagram.bytes.len(), now)[0].is_none() {
            return;
        }
        for at in path.up.send(datagram.bytes.len(), now).into_iter().flatten() {
            let Arrived { source, destination, ref bytes } = datagram;
            let copy = Arrived { source, destination, bytes: bytes.clone() };
            self.flights.put(at, Flight::DatagramToServer(copy));
        }
    }

    fn fly_up(&mut self, session: SessionId, flight: Flight, now: Instant) {
        self.fly(session, flight, 0, now);
    }

    fn fly_down(&mut self, session: SessionId, flight: Flight, now: Instant) {
        self.fly(session, flight, 1, now);
    }

    /// Sends a message in order and without loss.
    fn fly(&mut self, session: SessionId, flight: Flight, way: usize, now: Instant) {
        let Some(connection) = self.connections.get(&session) else { return };
        let Some(path) = self.paths.get_mut(&connection.network) else { return };
        if let Some((at, flight)) = path.signal[way].send(flight, now) {
            self.flights.put(at, flight);
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
