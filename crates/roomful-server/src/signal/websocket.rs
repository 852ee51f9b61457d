//! Signalling by WebSocket (RFC 6455). The client chooses the encoding by the subprotocol that it asks for; without one it is
//! JSON.

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::Response,
    routing::get,
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use roomful_protocol::Encoding;
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

use super::{NotAMessage, Signal};

/// Where clients connect to.
const PATH: &str = "/v2/signal";

pub(crate) fn router(signal: Signal) -> Router {
    Router::new().route(PATH, get(upgrade)).with_state(signal)
}

async fn upgrade(upgrade: WebSocketUpgrade, State(signal): State<Signal>) -> Response {
    upgrade
        .max_message_size(signal.max_bytes)
        .max_frame_size(signal.max_bytes)
        .protocols(Encoding::ALL.map(Encoding::subprotocol))
        .on_upgrade(async move |socket| {
            let asked = socket.protocol().map(|protocol| protocol.as_bytes().to_vec());
            let is_asked = |encoding: &Encoding| asked.as_deref() == Some(encoding.subprotocol().as_bytes());
            let encoding = Encoding::ALL.into_iter().find(is_asked).unwrap_or(Encoding::Json);
            let (sink, stream) = socket.split();
            signal.converse(encoding, Sink(sink, encoding), Stream(stream, encoding)).await;
        })
}

struct Sink(SplitSink<WebSocket, Message>, Encoding);

struct Stream(SplitStream<WebSocket>, Encoding);

impl super::Sink for Sink {
    async fn send(&mut self, message: Bytes) -> bool {
        let message = match self.1 {
            Encoding::Json => Utf8Bytes::try_from(message).map(Message::Text),
            Encoding::Binary => Ok(Message::Binary(message)),
        };
        match message {
            Ok(message) => self.0.send(message).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn close(&mut self) {
        // The peer may be gone already; then there is nobody to say good-bye to.
        let _ = self.0.close().await;
    }
}

impl super::Stream for Stream {
    async fn recv(&mut self) -> Option<Result<Bytes, NotAMessage>> {
        loop {
            return match (self.0.next().await?, self.1) {
                (Ok(Message::Text(text)), Encoding::Json) => Some(Ok(text.into())),
                (Ok(Message::Binary(bytes)), Encoding::Binary) => Some(Ok(bytes)),
                (Ok(Message::Ping(_) | Message::Pong(_)), _) => continue,
                (Ok(Message::Close(_)), _) => None,
                (Ok(Message::Text(_) | Message::Binary(_)), _) => Some(Err(NotAMessage)),
                (Err(error), _) => (!is_loss(error)).then_some(Err(NotAMessage)),
            };
        }
    }
}

/// Returns whether an error is the network's: the client said nothing wrong, and may come back.
fn is_loss(error: axum::Error) -> bool {
    let error = error.into_inner().downcast::<tungstenite::Error>();
    error.is_ok_and(|error| match *error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Io(_)
        | tungstenite::Error::Tls(_)
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
        tungstenite::Error::Capacity(_)
        | tungstenite::Error::Protocol(_)
        | tungstenite::Error::WriteBufferFull(_)
        | tungstenite::Error::Utf8(_)
        | tungstenite::Error::AttackAttempt
        | tungstenite::Error::Url(_)
        | tungstenite::Error::Http(_)
        | tungstenite::Error::HttpFormat(_) => false,
    })
}
