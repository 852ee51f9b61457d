//! The signalling connection: one task that moves messages between the server and the driver.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use roomful_protocol::{ClientMessage, ServerMessage, SignalDecodeError, decode, encode, limits};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{Error, Message, protocol::WebSocketConfig},
};

/// A connection, from the wish to open it on. Dropping it sends what was given to it, then closes.
#[derive(Debug)]
pub(crate) struct Signal {
    outgoing: mpsc::UnboundedSender<ClientMessage>,
    events: mpsc::Receiver<SignalEvent>,
    task: AbortHandle,
    is_open: bool,
}

/// What a connection reports.
#[derive(Debug)]
pub(crate) enum SignalEvent {
    Opened,
    Message(ServerMessage),
    Malformed,
    Closed,
}

/// Messages that wait for the driver; then the connection reads no more, and the server waits.
const INCOMING_MAX: usize = 256;

/// How long one message may wait for a network that takes nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where servers offer signalling.
const PATH: &str = "/v2/signal";

impl Signal {
    /// Starts to connect.
    pub(crate) fn open(server_url: &str) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(INCOMING_MAX);
        let url = websocket_url(server_url);
        let task: JoinHandle<()> = tokio::spawn(async move {
            if let Err(error) = converse(&url, to_send, &sender).await {
                tracing::debug!(%error, "signalling ended");
            }
            // Without its driver there is nobody to tell.
            let _ = sender.send(SignalEvent::Closed).await;
        });
        Self { outgoing, events, task: task.abort_handle(), is_open: false }
    }

    pub(crate) fn send(&self, message: ClientMessage) {
        // A connection that is gone says so through its events.
        let _ = self.outgoing.send(message);
    }

    /// Waits for the next event. May be dropped at any time without losing one.
    pub(crate) async fn recv(&mut self) -> SignalEvent {
        let event = self.events.recv().await.unwrap_or(SignalEvent::Closed);
        self.is_open |= matches!(event, SignalEvent::Opened);
        event
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        if !self.is_open {
            // Nobody is there to say good-bye to, and connecting may take the system minutes to give up.
            self.task.abort();
        }
    }
}

async fn converse(
    url: &str,
    mut to_send: mpsc::UnboundedReceiver<ClientMessage>,
    events: &mpsc::Sender<SignalEvent>,
) -> Result<(), Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An application that wants another one has installed it by now; a race with it is its to win.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::SIGNAL_TO_CLIENT_MAX))
        .max_frame_size(Some(limits::SIGNAL_TO_CLIENT_MAX));
    // Small messages that somebody waits for: no waiting for more of them.
    let disable_nagle = true;
    let (socket, _) = connect_async_with_config(url, Some(config), disable_nagle).await?;
    let (mut sink, mut stream) = socket.split();
    let _ = events.send(SignalEvent::Opened).await;
    loop {
        tokio::select! {
            // What was said last must leave also when the driver is gone and the server goes on talking.
            biased;
            message = to_send.recv() => match message {
                Some(message) => {
                    let sent = timeout(SEND_TIMEOUT, sink.send(Message::Text(encode(&message).into()))).await;
                    sent.unwrap_or(Err(Error::ConnectionClosed))?;
                }
                None => {
                    let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
                    return Ok(());
                }
            },
            message = stream.next() => {
                let event = match message {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Err(error)) => return Err(error),
                    Some(Ok(Message::Text(text))) => match decode(&text) {
                        Ok(message) => SignalEvent::Message(message),
                        // Of a later version of the protocol: not for us.
                        Err(SignalDecodeError::UnknownKind) => continue,
                        Err(SignalDecodeError::Malformed) => SignalEvent::Malformed,
                    },
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                };
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Turns the server's address into that of its signalling.
fn websocket_url(server_url: &str) -> String {
    let server = server_url.trim_end_matches('/');
    let address = match server.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => server.to_owned(),
        None => format!("ws://{server}"),
    };
    address + PATH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_the_server_decides_about_tls() {
        for (server, expected) in [
            ("http://127.0.0.1:7070", "ws://127.0.0.1:7070/v2/signal"),
            ("https://rooms.example/", "wss://rooms.example/v2/signal"),
            ("wss://rooms.example", "wss://rooms.example/v2/signal"),
            ("localhost:7070", "ws://localhost:7070/v2/signal"),
        ] {
            assert_eq!(websocket_url(server), expected);
        }
    }
}
