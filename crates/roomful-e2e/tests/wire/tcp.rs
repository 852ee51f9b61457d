//! A TCP relay that can be cut: what is on it dies, and nothing gets through until it is mended. Or frozen: what is on it says
//! nothing any more and does not end either.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) struct TcpWire {
    address: SocketAddr,
    whole: watch::Sender<bool>,
    /// How many connections were made until it was frozen.
    frozen: watch::Sender<u64>,
    made: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl TcpWire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("bound");
        let (whole, mut is_whole) = watch::channel(true);
        let (frozen, is_frozen) = watch::channel(0);
        let made = Arc::<AtomicU64>::default();
        let last = made.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut relays = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = is_whole.changed() => {
                        if !*is_whole.borrow_and_update() {
                            relays.shutdown().await;
                        }
                        continue;
                    }
                };
                let Ok((mut client, _)) = accepted else { continue };
                if !*is_whole.borrow() {
                    continue;
                }
                let (number, mut is_frozen) = (last.fetch_add(1, Ordering::Relaxed), is_frozen.clone());
                relays.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else { return };
                    let freezing = async { is_frozen.wait_for(|frozen| number < *frozen).await.map(drop) };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Both ends stay open.
                        _ = freezing => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, whole, frozen, made, _task: task }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }

    /// Passes nothing more on the connections that there are; new ones are as ever.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(self.made.load(Ordering::Relaxed));
    }
}
