//! A link for media: a UDP proxy in front of the server that loses, delays and counts.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet, time::sleep};

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Delay(Duration),
}

/// Decides about each datagram.
pub(crate) trait Link: FnMut(Way, &[u8]) -> Fate + Send + 'static {}

impl<T: FnMut(Way, &[u8]) -> Fate + Send + 'static> Link for T {}

/// Datagrams by way and RTP payload type.
type Counts = HashMap<(Way, u8), u64>;

/// The payload type that our clients and server use for Opus.
pub(crate) const OPUS: u8 = 111;
const VP8: u8 = 96;

pub(crate) struct Proxy {
    address: SocketAddr,
    server: watch::Sender<Option<SocketAddr>>,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

struct State {
    link: Box<dyn Link>,
    passed: Counts,
    dropped: Counts,
}

impl Proxy {
    pub(crate) async fn bind(link: impl Link) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = socket.local_addr().expect("bound");
        let (server, known) = watch::channel(None);
        let link = Box::new(link);
        let state = Arc::new(Mutex::new(State { link, passed: Counts::new(), dropped: Counts::new() }));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::new(socket), known, state.clone()));
        Self { address, server, state, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// Returns how many RTP packets passed that way: of audio, and of anything else.
    pub(crate) fn passed(&self, way: Way) -> (u64, u64) {
        of_kinds(&self.state.lock().expect("nobody panics").passed, way)
    }

    /// Returns how many RTP packets of VP8 passed that way; repairs, and probes of the bandwidth, are none.
    pub(crate) fn pictures(&self, way: Way) -> u64 {
        self.state.lock().expect("nobody panics").passed.get(&(way, VP8)).copied().unwrap_or_default()
    }

    /// Returns how many RTP packets were dropped that way: of audio, and of anything else.
    pub(crate) fn dropped(&self, way: Way) -> (u64, u64) {
        of_kinds(&self.state.lock().expect("nobody panics").dropped, way)
    }
}

fn of_kinds(counts: &Counts, way: Way) -> (u64, u64) {
    let of = |is_audio: bool| {
        counts
            .iter()
            .filter(|((one, kind), _)| *one == way && (*kind == OPUS) == is_audio)
            .map(|(_, n)| n)
            .sum()
    };
    (of(true), of(false))
}

/// Returns the payload type when it is RTP: neither STUN nor DTLS (RFC 7983 §7) nor RTCP (RFC 5761 §4).
pub(crate) fn payload_type(datagram: &[u8]) -> Option<u8> {
    let (first, second) = (*datagram.first()?, *datagram.get(1)?);
    ((128..192).contains(&first) && !(192..=223).contains(&second)).then_some(second & 0x7f)
}

async fn run(
    socket: Arc<UdpSocket>,
    mut server: watch::Receiver<Option<SocketAddr>>,
    state: Arc<Mutex<State>>,
) {
    let server = server.wait_for(Option::is_some).await.expect("the world lives").expect("just seen");
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let upstream = match clients.entry(client) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let upstream = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
                upstream.connect(server).await.expect("loopback is there");
                let upstream = new.insert(Arc::new(upstream)).clone();
                tasks.spawn(run_back(upstream.clone(), socket.clone(), client, state.clone()));
                upstream
            }
        };
        pass(&state, Way::ToServer, &buffer[..length], move |datagram| async move {
            // A server that is gone is no fault of the link.
            let _ = upstream.send(&datagram).await;
        })
        .await;
    }
}

async fn run_back(
    upstream: Arc<UdpSocket>,
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    state: Arc<Mutex<State>>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length) = upstream.recv(&mut buffer).await else { continue };
        let socket = socket.clone();
        pass(&state, Way::ToClient, &buffer[..length], move |datagram| async move {
            let _ = socket.send_to(&datagram, client).await;
        })
        .await;
    }
}

async fn pass<F: Future<Output = ()> + Send + 'static>(
    state: &Mutex<State>,
    way: Way,
    datagram: &[u8],
    send: impl FnOnce(Vec<u8>) -> F + Send + 'static,
) {
    let fate = {
        let mut state = state.lock().expect("nobody panics");
        let fate = (state.link)(way, datagram);
        if let Some(kind) = payload_type(datagram) {
            let counts = if fate == Fate::Drop { &mut state.dropped } else { &mut state.passed };
            *counts.entry((way, kind)).or_default() += 1;
        }
        fate
    };
    let sending = send(datagram.to_vec());
    match fate {
        Fate::Pass => sending.await,
        Fate::Drop => {}
        Fate::Delay(time) => drop(tokio::spawn(async move {
            sleep(time).await;
            sending.await;
        })),
    }
}
