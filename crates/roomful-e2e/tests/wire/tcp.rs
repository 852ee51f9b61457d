//! A TCP relay that can be cut: what is on it dies, and nothing gets through until it is mended.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) struct TcpWire {
    address: SocketAddr,
    whole: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl TcpWire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("bound");
        let (whole, mut is_whole) = watch::channel(true);
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
                relays.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, whole, _task: task }
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
}
