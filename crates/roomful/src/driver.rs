//! The task behind a connected room: moves bytes between the engine, the media transport, the sockets and the program.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use roomful_client::{
    Client, Command, CommandError, CommandId, Input, MediaCommand, MediaTransport, Output, Reply,
};
use roomful_media::PeerStats;
use roomful_state::{Status, TrackId};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

use crate::{
    clock,
    events::Hub,
    network::{MediaSocket, Network, SignalEvent, SignalLink},
    options::RoomOptions,
    stats::WebRtcStats,
    track::{LocalTrack, RemoteTracks, Wake},
    transport::Transport,
};

/// What the room's handles ask of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    Command(Box<Ordered>),
    Withdraw(CommandId),
    /// How the audio and the video track of a stream do.
    Stats(Option<TrackId>, Option<TrackId>, oneshot::Sender<WebRtcStats>),
}

/// A command, and what to do with its result.
#[derive(Debug)]
pub(crate) struct Ordered {
    pub(crate) id: CommandId,
    pub(crate) command: Command,
    /// The tracks that the command speaks of.
    pub(crate) tracks: Vec<LocalTrack>,
    /// Who waits, if anybody.
    pub(crate) reply: Option<oneshot::Sender<Result<Outcome, CommandError>>>,
    /// What takes the command back, should nobody take its result.
    pub(crate) undo: Option<Command>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tracks: RemoteTracks,
}

/// Where handles find the driver, and where the engine rests while there is none.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) requests: Option<mpsc::UnboundedSender<Request>>,
    pub(crate) resting: Option<Client>,
    pub(crate) last_command: u64,
    pub(crate) stats: PeerStats,
}

impl Seat {
    pub(crate) const fn next_command(&mut self) -> CommandId {
        self.last_command += 1;
        CommandId(self.last_command)
    }
}

pub(crate) struct Driver {
    /// Taken out when the driver ends as it should.
    client: Option<Client>,
    transport: Transport,
    network: Arc<dyn Network>,
    sockets: Vec<Box<dyn MediaSocket>>,
    signal: Option<SignalLink>,
    options: Arc<RoomOptions>,
    hub: Arc<Hub>,
    seat: Weak<Mutex<Seat>>,
    requests: mpsc::UnboundedReceiver<Request>,
    waiting: HashMap<CommandId, Waiting>,
    wake: Arc<Wake>,
}

struct Waiting {
    reply: Option<oneshot::Sender<Result<Outcome, CommandError>>>,
    undo: Option<Command>,
    /// Tracks that it is about.
    tracks: Vec<LocalTrack>,
}

/// Receive calls per socket and turn, so that timers and commands get their turn under load.
const RECEIVES_PER_TURN: usize = 8;

impl Driver {
    /// Makes the driver of one stay. Call it within a tokio runtime.
    pub(crate) fn new(
        client: Client,
        network: Arc<dyn Network>,
        options: Arc<RoomOptions>,
        hub: Arc<Hub>,
        seat: Weak<Mutex<Seat>>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> Self {
        let wake = Arc::new(Wake::new());
        let sockets = network.open_media();
        let addresses = sockets.iter().flat_map(|socket| socket.local_addresses()).collect();
        let mut config = roomful_media::ClientConfig::default();
        config.initial_bitrate = options.initial_bitrate;
        config.max_receive_bitrate = options.max_receive_bitrate;
        Self {
            client: Some(client),
            transport: Transport::new(config, addresses, wake.clone()),
            network,
            sockets,
            signal: None,
            options,
            hub,
            seat,
            requests,
            waiting: HashMap::new(),
            wake,
        }
    }

    /// Runs until the room is disconnected and nobody waits for anything.
    pub(crate) async fn run(mut self) {
        let mut has_handles = true;
        loop {
            let until = self.settle();
            if self.client().state().status() == Status::Disconnected && self.waiting.is_empty() {
                match self.rest() {
                    Some(awake) => {
                        self = awake;
                        continue;
                    }
                    None => return,
                }
            }
            let sockets = &mut self.sockets;
            tokio::select! {
                request = self.requests.recv(), if has_handles => match request {
                    Some(request) => self.on_request(request),
                    None => {
                        // The last handle is gone, and nobody is left to leave the room but us.
                        has_handles = false;
                        self.order(Command::Disconnect);
                    }
                },
                event = next_event(&mut self.signal) => self.on_signal(event),
                index = poll_fn(|context| poll_readable(sockets, context)) => self.receive(index),
                () = self.wake.notified() => {}
                () = sleep_until(until.into()) => self.input(Input::Timeout),
            }
        }
    }

    /// Moves everything that can move now. Returns when to come back at the latest.
    fn settle(&mut self) -> Instant {
        loop {
            let now = clock::now();
            if self.transport.send_frames(now) {
                // In the next turn: a writer that never stops must not keep everything else waiting.
                self.wake.notify_one();
            }
            let media = self.transmit();
            while let Some(notice) = self.transport.poll_notice() {
                self.input(Input::Media(notice));
            }
            if media.is_some_and(|at| at <= now) {
                self.transport.handle_timeout(clock::now());
            } else {
                let engine = self.drain();
                // Commands of the engine may have given the transport something to say.
                let media = self.transmit();
                let latest = now + Duration::from_secs(3600);
                return [engine, media].into_iter().flatten().fold(latest, Instant::min);
            }
        }
    }

    /// Sends what the transport has to send. Returns when to let its time pass.
    fn transmit(&mut self) -> Option<Instant> {
        let until = loop {
            match self.transport.poll() {
                Ok(transmit) => {
                    let (source, destination) = (transmit.source.ip(), transmit.destination);
                    // What none can reach is lost, as it would be on the way.
                    self.sockets.iter_mut().any(|socket| socket.send(source, destination, &transmit.bytes));
                }
                Err(until) => break until,
            }
        };
        self.sockets.iter_mut().for_each(|socket| socket.flush());
        if let Some(seat) = self.seat.upgrade() {
            seat.lock().stats = self.transport.stats();
        }
        until
    }

    fn input(&mut self, input: Input) {
        self.client().handle_input(input, clock::now());
        self.drain();
    }

    /// Carries out what the engine wants. Returns when it wants to be called again.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.client().poll_output() {
                Output::Wait { until, .. } => return until,
                Output::OpenSignal => {
                    self.look_for_addresses();
                    self.signal = Some(self.network.open_signal(&self.options));
                }
                Output::Send(message) => {
                    if let Some(signal) = &self.signal {
                        signal.send(message);
                    }
                }
                Output::CloseSignal => self.signal = None,
                Output::Media(command) => {
                    if matches!(command, MediaCommand::CreateOffer { restart: true, .. }) {
                        // Over QUIC signalling goes on when the network changes, and only media looks for a new path.
                        self.look_for_addresses();
                    }
                    if let MediaCommand::OpenSender { track, .. } = &command {
                        // Not before: what is closed until then may be the same track.
                        let mut tracks = self.waiting.values().flat_map(|waiting| &waiting.tracks);
                        if let Some(local) = tracks.find(|local| local.id() == *track) {
                            self.transport.know(local.clone());
                        }
                    }
                    self.transport.handle_command(command, clock::now());
                }
                Output::Event(event) => self.hub.tell(event),
                Output::Done(id, result) => self.on_done(id, result),
            }
        }
    }

    /// Notes the addresses that this machine has by now. A network that changed has other ones.
    fn look_for_addresses(&mut self) {
        for socket in &self.sockets {
            for address in socket.local_addresses() {
                self.transport.add_address(address);
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Withdraw(id) => {
                self.waiting.remove(&id);
                self.input(Input::Withdraw(id));
            }
            Request::Stats(audio, video, reply) => {
                // Who does not wait any more does not need to know.
                let _ = reply.send(self.transport.stream_stats(audio, video));
            }
            Request::Command(ordered) => {
                let Ordered { id, command, tracks, reply, undo } = *ordered;
                self.waiting.insert(id, Waiting { reply, undo, tracks });
                self.input(Input::Command(id, command));
            }
        }
    }

    fn on_done(&mut self, id: CommandId, result: Result<Reply, CommandError>) {
        let Some(Waiting { reply, undo, .. }) = self.waiting.remove(&id) else { return };
        let outcome = result.map(|reply| match reply {
            Reply::Subscribed { audio, video } => {
                let audio = self.transport.take_opened(audio);
                let video = self.transport.take_opened(video);
                Outcome { tracks: RemoteTracks { audio, video } }
            }
            Reply::Done | Reply::Published(_) => Outcome { tracks: RemoteTracks::default() },
        });
        let is_success = outcome.is_ok();
        let is_taken = reply.is_none_or(|reply| reply.send(outcome).is_ok());
        if let Some(undo) = undo.filter(|_| is_success && !is_taken) {
            self.order(undo);
        }
    }

    /// Gives the engine a command whose result nobody waits for.
    fn order(&mut self, command: Command) {
        // Without a seat there are no handles, and so no other numbers to collide with.
        let id = self.seat.upgrade().map_or(CommandId(u64::MAX), |seat| seat.lock().next_command());
        self.waiting.insert(id, Waiting { reply: None, undo: None, tracks: Vec::new() });
        self.client().handle_input(Input::Command(id, command), clock::now());
        // Drained by whoever is draining now, or by the next turn.
    }

    fn on_signal(&mut self, event: SignalEvent) {
        let input = match event {
            SignalEvent::Opened => Input::SignalOpened,
            SignalEvent::Message(message) => Input::Signal(message),
            SignalEvent::Malformed => Input::Malformed,
            SignalEvent::Closed => {
                self.signal = None;
                Input::SignalClosed
            }
        };
        self.input(input);
    }

    fn receive(&mut self, index: usize) {
        let now = clock::now();
        let Self { sockets, transport, .. } = self;
        let socket = &mut sockets[index];
        for _ in 0..RECEIVES_PER_TURN {
            if !socket.receive(&mut |datagram| transport.handle_datagram(datagram, now)) {
                return;
            }
        }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("only the end of the driver takes it")
    }

    /// Lays the engine to rest and ends, unless somebody asked for something meanwhile.
    fn rest(mut self) -> Option<Self> {
        let seat = self.seat.upgrade()?;
        let mut seat = seat.lock();
        // Handles send under this lock, so what is not there now will find no driver.
        if let Ok(request) = self.requests.try_recv() {
            drop(seat);
            self.on_request(request);
            return Some(self);
        }
        seat.requests = None;
        seat.resting = self.client.take();
        None
    }
}

impl Drop for Driver {
    /// Dropped with its runtime, or by a panic: the room is told, and can connect again.
    fn drop(&mut self) {
        let Some(mut client) = self.client.take() else { return };
        client.handle_input(Input::SignalClosed, clock::now());
        loop {
            match client.poll_output() {
                Output::Wait { .. } => break,
                Output::Event(event) => self.hub.tell(event),
                Output::OpenSignal
                | Output::CloseSignal
                | Output::Send(_)
                | Output::Media(_)
                | Output::Done(..) => {}
            }
        }
        if let Some(seat) = self.seat.upgrade() {
            let mut seat = seat.lock();
            (seat.requests, seat.resting) = (None, Some(client));
        }
    }
}

async fn next_event(signal: &mut Option<SignalLink>) -> SignalEvent {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Returns the index of a socket that can be received from.
fn poll_readable(sockets: &mut [Box<dyn MediaSocket>], context: &mut Context<'_>) -> Poll<usize> {
    let is_readable = |socket: &mut Box<dyn MediaSocket>| socket.poll_readable(context).is_ready();
    sockets.iter_mut().position(is_readable).map_or(Poll::Pending, Poll::Ready)
}
