//! Signalling by WebSocket (RFC 6455): one message each way is one WebSocket message.

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use roomful_protocol::{ClientMessage, Encoding, limits};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{ClientRequestBuilder, Message, protocol::WebSocketConfig},
};

use super::{BoxError, Incoming, Outgoing, converse, provide_crypto};
use crate::network::SignalEvent;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where servers offer signalling.
const PATH: &str = "/v2/signal";

pub(super) async fn run(
    server_url: &str,
    to_send: mpsc::UnboundedReceiver<ClientMessage>,
    events: &mpsc::Sender<SignalEvent>,
) -> Result<(), BoxError> {
    provide_crypto();
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::SIGNAL_TO_CLIENT_MAX))
        .max_frame_size(Some(limits::SIGNAL_TO_CLIENT_MAX));
    let encoding = Encoding::Binary;
    let request = ClientRequestBuilder::new(websocket_url(server_url).parse()?)
        .with_sub_protocol(encoding.subprotocol());
    // Small messages that somebody waits for: no waiting for more of them.
    let disable_nagle = true;
    let (socket, _) = connect_async_with_config(request, Some(config), disable_nagle).await?;
    let (sink, stream) = socket.split();
    converse(Sink(sink), Stream(stream), encoding, to_send, events).await
}

struct Sink(SplitSink<Socket, Message>);

struct Stream(SplitStream<Socket>);

impl Outgoing for Sink {
    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), BoxError> {
        Ok(self.0.send(Message::Binary(bytes.into())).await?)
    }

    async fn close(&mut self) {
        // The server may be gone already; then there is nobody to say good-bye to.
        let _ = self.0.close().await;
    }
}

impl Incoming for Stream {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        while let Some(message) = self.0.next().await {
            match message? {
                Message::Binary(bytes) => return Ok(Some(bytes.into())),
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(None)
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
