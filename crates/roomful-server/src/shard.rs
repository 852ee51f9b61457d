//! The thread of a media shard: moves bytes between its socket and the machine, and commands and notices between that and control.
//!
//! One turn: take in all that has arrived, let the machine forward it, send everything.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
};

use parking_lot::Mutex;
use roomful_sfu::{Input, MediaCommand};
use roomful_shard::{Datagram, Datagrams, Output, Shard, ShardStats};
use roomful_udp::{Arrival, Batch, Socket, local_addresses};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

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
    stats: Arc<Mutex<ShardStats>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A shard and its socket.
struct Runner {
    socket: Socket,
    batch: Batch,
    /// Addresses that datagrams can be sent from; behind a NAT, the advertised ones are not among them.
    own: Vec<IpAddr>,
    shard: Shard,
    commands: mpsc::UnboundedReceiver<Command>,
    control: mpsc::UnboundedSender<control::Event>,
    stats: Arc<Mutex<ShardStats>>,
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

    pub(crate) fn stats(&self) -> ShardStats {
        *self.stats.lock()
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

/// Binds the socket and starts the thread.
pub(crate) async fn start(
    address: SocketAddr,
    advertised: Vec<SocketAddr>,
    seed: u64,
    control: mpsc::UnboundedSender<control::Event>,
) -> io::Result<Handle> {
    let (sender, commands) = mpsc::unbounded_channel();
    let (ready, started) = oneshot::channel();
    let stats = Arc::new(Mutex::new(ShardStats::default()));
    let shared = stats.clone();
    let run = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async move {
            match Runner::bind(address, advertised, seed, commands, control, shared) {
                Ok(runner) => {
                    if ready.send(Ok(runner.socket.local_addr())).is_ok() {
                        runner.run().await;
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    };
    let thread = thread::Builder::new().name("roomful-shard".into()).spawn(run)?;
    let local = started.await.map_err(|_| io::Error::other("the shard's thread ended at once"))??;
    Ok(Handle { commands: sender, local, stats, thread: Some(thread) })
}

impl Runner {
    fn bind(
        address: SocketAddr,
        mut advertised: Vec<SocketAddr>,
        seed: u64,
        commands: mpsc::UnboundedReceiver<Command>,
        control: mpsc::UnboundedSender<control::Event>,
        stats: Arc<Mutex<ShardStats>>,
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
        let shard = Shard::new(advertised, seed, clock::now(), clock::wall());
        Ok(Self { socket, batch: Batch::new(), own, shard, commands, control, stats })
    }

    async fn run(mut self) {
        loop {
            let Some(deadline) = self.drain() else { return };
            let command = tokio::select! {
                biased;
                // There is more to be sent at once; whatever came meanwhile is seen before.
                () = tokio::task::yield_now(), if deadline <= clock::now() => None,
                // Errors of a UDP socket are about single datagrams; the next turn finds out.
                _ = self.socket.readable() => None,
                _ = self.socket.writable(), if self.batch.is_waiting() => None,
                command = self.commands.recv() => Some(command.unwrap_or(Command::Stop)),
                () = sleep_until(deadline.into()) => None,
            };
            // Commands before packets: a publisher hears that it is taken after the command to forward was given.
            let command = command.or_else(|| self.commands.try_recv().ok());
            if let Some(command) = command
                && !self.on_commands(command)
            {
                return;
            }
            self.receive();
            // What was sealed and refused leaves first; until then nothing more is sealed.
            self.batch.flush(&self.socket, clock::now());
            self.shard.set_blocked(self.batch.is_waiting());
            self.shard.handle_timeout(clock::now());
        }
    }

    /// Carries out everything that waits; false to end.
    fn on_commands(&mut self, first: Command) -> bool {
        let mut next = Some(first);
        while let Some(command) = next {
            let Command::Media(command) = command else { return false };
            self.shard.handle_command(&command, clock::now());
            next = self.commands.try_recv().ok();
        }
        true
    }

    fn receive(&mut self) {
        let now = clock::now();
        let Self { socket, shard, .. } = self;
        for _ in 0..RECEIVES_PER_TURN {
            let each = |arrival: Arrival<'_>| {
                let Arrival { source, destination, bytes } = arrival;
                shard.handle_datagram(Datagram { source, destination, bytes }, now);
            };
            match socket.receive(each) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "receiving"),
            }
        }
    }

    /// Sends what the shard has to send and tells what it has to tell. Returns when it wants to be called again; none when nobody
    /// listens any more.
    fn drain(&mut self) -> Option<std::time::Instant> {
        let any = self.socket.local_addr().ip();
        let until = loop {
            match self.shard.poll_output() {
                Output::Transmit(Datagrams { source, destination, segment, bytes }) => {
                    let source = if self.own.contains(&source.ip()) { source.ip() } else { any };
                    self.batch.push_run(&self.socket, source, destination, segment, bytes);
                }
                Output::Notice(notice) => {
                    self.control.send(control::Event::Engine(Input::Media(notice))).ok()?;
                }
                Output::Wait(until) => break until,
            }
        };
        if let Some(mut stats) = self.stats.try_lock() {
            // Whoever reads them now reads those of the last turn.
            *stats = self.shard.stats();
        }
        Some(until)
    }
}
