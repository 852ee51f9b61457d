//! A media shard: one thread with its own socket, its peers and its routes.
//!
//! One turn: take in all that has arrived, forward subscriber by subscriber, let timers run, send everything.

mod peers;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use roomful_media::Transmit;
use roomful_sfu::{Egress, Forwarder, Input, MediaCommand, MediaNotice, OfferError, OutgoingPacket};
use roomful_types::{Mid, ParticipantId};
use roomful_udp::{Batch, Socket, local_addresses};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use self::peers::{Peers, Turn};
use crate::{clock, control};

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// By the deciding engine.
    Media(MediaCommand),
    /// To end.
    Stop,
}

/// A running shard, from outside.
#[derive(Debug)]
pub(crate) struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    local: SocketAddr,
    counters: Arc<Counters>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What a shard has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) forwarded: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

pub(crate) struct Shard {
    socket: Socket,
    batch: Batch,
    /// Addresses that datagrams can be sent from; behind a NAT, the advertised ones are not among them.
    own: Vec<IpAddr>,
    /// What the peers sent in this turn.
    outgoing: Vec<Transmit>,
    peers: Peers,
    forwarder: Forwarder,
    commands: mpsc::UnboundedReceiver<Command>,
    control: mpsc::UnboundedSender<control::Event>,
    counters: Arc<Counters>,
}

/// Receive calls per turn, so that timers and commands get their turn under load.
const RECEIVES_PER_TURN: usize = 16;

impl Handle {
    pub(crate) fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    pub(crate) const fn local_address(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) async fn stop(mut self) {
        let _ = self.commands.send(Command::Stop);
        let Some(thread) = self.thread.take() else { return };
        // Joining blocks for one turn of the shard at most; not on a thread of the runtime all the same.
        let _ = tokio::task::spawn_blocking(|| thread.join()).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread ends by itself; nobody waits for it here.
        let _ = self.commands.send(Command::Stop);
    }
}

impl Shard {
    /// Binds the socket and starts the thread.
    pub(crate) async fn start(
        address: SocketAddr,
        advertised: Vec<SocketAddr>,
        seed: u64,
        control: mpsc::UnboundedSender<control::Event>,
    ) -> io::Result<Handle> {
        let (sender, commands) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let shared = counters.clone();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async move {
                match Self::bind(address, advertised, seed, commands, control, shared) {
                    Ok(shard) => {
                        if ready.send(Ok(shard.socket.local_addr())).is_ok() {
                            shard.run().await;
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        };
        let thread = thread::Builder::new().name("roomful-shard".into()).spawn(run)?;
        let local = started.await.map_err(|_| io::Error::other("the shard's thread ended at once"))??;
        Ok(Handle { commands: sender, local, counters, thread: Some(thread) })
    }

    fn bind(
        address: SocketAddr,
        mut advertised: Vec<SocketAddr>,
        seed: u64,
        commands: mpsc::UnboundedReceiver<Command>,
        control: mpsc::UnboundedSender<control::Event>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let socket = Socket::bind(address)?;
        let local = socket.local_addr();
        let own = match local.ip().is_unspecified() {
            true => local_addresses(local.ip())?,
            false => vec![local.ip()],
        };
        if advertised.is_empty() {
            advertised = own.iter().map(|ip| SocketAddr::new(*ip, local.port())).collect();
        }
        let peers = Peers::new(advertised);
        let forwarder = Forwarder::new(seed);
        Ok(Self {
            socket,
            batch: Batch::new(),
            own,
            outgoing: Vec::new(),
            peers,
            forwarder,
            commands,
            control,
            counters,
        })
    }

    async fn run(mut self) {
        loop {
            let deadline = self.deadline();
            let command = tokio::select! {
                // Errors of a UDP socket are about single datagrams; the next turn finds out.
                _ = self.socket.readable() => None,
                _ = self.socket.writable(), if self.batch.is_waiting() => None,
                command = self.commands.recv() => Some(command.unwrap_or(Command::Stop)),
                () = sleep_until(deadline.into()) => None,
            };
            let now = clock::now();
            // Commands before packets: a publisher hears that it is taken after the command to forward was given.
            let command = command.or_else(|| self.commands.try_recv().ok());
            if let Some(command) = command
                && !self.on_commands(command, now)
            {
                return;
            }
            self.receive(now);
            self.forward(now);
            let (peers, mut turn) = self.turn(now);
            peers.run_timers(&mut turn);
            // What repairs gave is forwarded in this turn too.
            self.forward(now);
            self.flush();
        }
    }

    fn deadline(&self) -> Instant {
        let peers = self.peers.deadline();
        let idle = clock::now() + Duration::from_secs(60);
        peers.into_iter().chain(self.forwarder.deadline()).min().unwrap_or(idle)
    }

    /// Carries out everything that waits; false to end.
    fn on_commands(&mut self, first: Command, now: Instant) -> bool {
        let mut next = Some(first);
        while let Some(command) = next {
            let Command::Media(command) = command else { return false };
            self.on_command(&command, now);
            next = self.commands.try_recv().ok();
        }
        true
    }

    fn on_command(&mut self, command: &MediaCommand, now: Instant) {
        match command {
            MediaCommand::AcceptOffer { peer, offer, sdp, slots } => {
                let pairs: Vec<(Mid, Mid)> = slots.iter().map(|slot| (slot.audio, slot.video)).collect();
                let (peers, mut turn) = self.turn(now);
                let answer = peers.accept_offer(*peer, sdp, &pairs, &mut turn).ok_or(OfferError);
                let is_accepted = answer.is_ok();
                self.tell(MediaNotice::Answered { peer: *peer, offer: *offer, answer });
                if !is_accepted {
                    // Slots that nobody can receive on are none.
                    return;
                }
            }
            MediaCommand::RemovePeer { peer } => self.peers.remove(*peer),
            MediaCommand::PutSource { .. }
            | MediaCommand::EnableSource { .. }
            | MediaCommand::RemoveSource { .. }
            | MediaCommand::Bind { .. }
            | MediaCommand::Unbind { .. } => {}
        }
        self.forwarder.handle_command(command, now);
    }

    fn receive(&mut self, now: Instant) {
        let Self { socket, outgoing, peers, forwarder, counters, .. } = self;
        let mut turn = Turn { now, forwarder, outgoing, counters };
        for _ in 0..RECEIVES_PER_TURN {
            match socket.receive(|arrival| peers.receive(&arrival, &mut turn)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "receiving"),
            }
        }
    }

    fn forward(&mut self, now: Instant) {
        let mut egress = ShardEgress { peers: &mut self.peers, touched: Vec::new() };
        self.forwarder.forward(&mut egress, now);
        let touched = egress.touched;
        let (peers, mut turn) = self.turn(now);
        for peer in touched {
            peers.step(peer, &mut turn);
        }
        while let Some(notice) = self.forwarder.poll_notice() {
            self.tell(notice);
        }
    }

    fn flush(&mut self) {
        for Transmit { source, destination, bytes } in self.outgoing.drain(..) {
            let any = self.socket.local_addr().ip();
            let source = if self.own.contains(&source.ip()) { source.ip() } else { any };
            self.batch.push(&self.socket, source, destination, &bytes);
        }
        self.batch.flush(&self.socket);
        self.counters.forwarded.store(self.forwarder.packets_forwarded(), Ordering::Relaxed);
    }

    fn turn(&mut self, now: Instant) -> (&mut Peers, Turn<'_>) {
        let Self { outgoing, peers, forwarder, counters, .. } = self;
        (peers, Turn { now, forwarder, outgoing, counters })
    }

    fn tell(&self, notice: MediaNotice) {
        // Without its control task the server is stopping.
        let _ = self.control.send(control::Event::Engine(Input::Media(notice)));
    }
}

/// Queues packets at the peers that they are for; each peer then takes one step.
struct ShardEgress<'a> {
    peers: &'a mut Peers,
    touched: Vec<ParticipantId>,
}

impl Egress for ShardEgress<'_> {
    fn send(&mut self, peer: ParticipantId, packets: &[OutgoingPacket]) {
        self.peers.send(peer, packets);
        self.touched.push(peer);
    }

    fn request_keyframe(&mut self, peer: ParticipantId, mid: Mid) {
        self.peers.request_keyframe(peer, mid);
        self.touched.push(peer);
    }

    fn forget(&mut self, peer: ParticipantId, mid: Mid) {
        self.peers.forget_history(peer, mid);
    }
}
