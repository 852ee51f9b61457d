//! A relay for signalling that listens in, and can make the server's words late.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use roomful_protocol::{ClientMessage, Encoding, OfferRequest};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_tungstenite::{
    accept_hdr_async, connect_async,
    tungstenite::{
        ClientRequestBuilder, Message,
        handshake::server::{Request, Response},
        http::HeaderValue,
    },
};

use super::World;

pub(crate) struct SignalTap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<ClientMessage>>>,
    frozen: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl SignalTap {
    /// Leads to the server of a world. What it says arrives `delay` later, in order.
    pub(crate) async fn start(world: &World, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("bound");
        let (server, heard) = (world.server.http_address(), Arc::<Mutex<Vec<ClientMessage>>>::default());
        let mut tasks = JoinSet::new();
        let listening = heard.clone();
        let (frozen, is_frozen) = watch::channel(false);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (listening, mut is_frozen) = (listening.clone(), is_frozen.clone());
                connections.spawn(async move {
                    let relaying = relay(client, server, delay, listening);
                    let mut relaying = std::pin::pin!(relaying);
                    tokio::select! {
                        () = &mut relaying => return,
                        frozen = is_frozen.wait_for(|frozen| *frozen) => drop(frozen),
                    }
                    // Stays connected, and says and hears nothing any more.
                    std::future::pending().await
                });
            }
        });
        Self { address, heard, frozen, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes nothing on any more, as a network that died without a word.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Returns the last offer that a client made.
    pub(crate) fn last_offer(&self) -> Option<OfferRequest> {
        let heard = self.heard.lock().expect("nobody panics");
        heard.iter().rev().find_map(|message| {
            let ClientMessage::OfferRequest(offer) = message else { return None };
            Some(offer.clone())
        })
    }

    /// Returns how many offers clients have made.
    pub(crate) fn offers(&self) -> usize {
        let heard = self.heard.lock().expect("nobody panics");
        heard.iter().filter(|message| matches!(message, ClientMessage::OfferRequest(_))).count()
    }
}

async fn relay(
    client: TcpStream,
    server: SocketAddr,
    delay: Duration,
    heard: Arc<Mutex<Vec<ClientMessage>>>,
) {
    let protocol = Encoding::Binary.subprotocol();
    #[expect(clippy::result_large_err, reason = "the callback's type is not ours")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        Ok(response)
    };
    let Ok(client) = accept_hdr_async(client, choose).await else { return };
    let url = format!("ws://{server}/v2/signal").parse().expect("an address");
    let request = ClientRequestBuilder::new(url).with_sub_protocol(protocol);
    let Ok((server, _)) = connect_async(request).await else { return };
    let ((mut to_client, mut from_client), (mut to_server, mut from_server)) =
        (client.split(), server.split());
    let (late, mut due) = mpsc::unbounded_channel();
    let forth = async {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Binary(bytes) = &message {
                heard.lock().expect("nobody panics").extend(Encoding::Binary.decode(bytes));
            }
            if to_server.send(message).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        while let Some(Ok(message)) = from_server.next().await {
            // Fails never: the other end is in this function.
            let _ = late.send((Instant::now() + delay, message));
        }
    };
    let delivering = async {
        while let Some((at, message)) = due.recv().await {
            sleep_until(at).await;
            if to_client.send(message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
        () = delivering => {}
    }
}
