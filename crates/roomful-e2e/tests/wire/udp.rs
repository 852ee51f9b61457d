//! A UDP relay that loses a share of all datagrams, both ways.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

pub(crate) struct UdpWire {
    address: SocketAddr,
    server: watch::Sender<Option<SocketAddr>>,
    loss: Arc<Loss>,
    /// How often everybody got another address at the server's side.
    bindings: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// The share that is lost, and the chances so far.
#[derive(Default)]
struct Loss {
    share: AtomicU64,
    drawn: AtomicU64,
}

impl Loss {
    /// Draws one chance after the other from a fixed sequence, so that every run loses the same.
    fn takes_next(&self) -> bool {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let chance = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
        chance < f64::from_bits(self.share.load(Ordering::Relaxed))
    }
}

impl UdpWire {
    pub(crate) async fn bind() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports"));
        let address = socket.local_addr().expect("bound");
        let (server, known) = watch::channel(None);
        let loss = Arc::<Loss>::default();
        let mut tasks = JoinSet::new();
        let bindings = Arc::<AtomicU64>::default();
        tasks.spawn(run(socket, known, loss.clone(), bindings.clone()));
        Self { address, server, loss, bindings, _tasks: tasks }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// Loses this share from now on, 0 ..= 1.
    pub(crate) fn set_loss(&self, share: f64) {
        self.loss.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// Lets everybody come from another address from now on, as a NAT does that forgot its bindings. Nothing gets through to the old ones.
    pub(crate) fn rebind(&self) {
        self.bindings.fetch_add(1, Ordering::Relaxed);
    }
}

async fn run(
    socket: Arc<UdpSocket>,
    mut server: watch::Receiver<Option<SocketAddr>>,
    loss: Arc<Loss>,
    bindings: Arc<AtomicU64>,
) {
    let server = server.wait_for(Option::is_some).await.expect("the relay lives").expect("just seen");
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let (mut tasks, mut binding) = (JoinSet::new(), 0);
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let latest = bindings.load(Ordering::Relaxed);
        if std::mem::replace(&mut binding, latest) != latest {
            clients.clear();
            tasks = JoinSet::new();
        }
        let upstream = match clients.get(&client) {
            Some(upstream) => upstream.clone(),
            None => {
                let upstream =
                    Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports"));
                upstream.connect(server).await.expect("loopback is there");
                tasks.spawn(run_back(upstream.clone(), socket.clone(), client, loss.clone()));
                clients.insert(client, upstream.clone());
                upstream
            }
        };
        if !loss.takes_next() {
            // A server that is gone is no fault of the relay.
            let _ = upstream.send(&buffer[..length]).await;
        }
    }
}

async fn run_back(upstream: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, loss: Arc<Loss>) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length) = upstream.recv(&mut buffer).await else { continue };
        if !loss.takes_next() {
            let _ = socket.send_to(&buffer[..length], client).await;
        }
    }
}
