//! The signalling WebSocket: text messages of `roomful-protocol`, one task per client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
    routing::get,
};
use futures_util::{SinkExt, StreamExt};
use roomful_protocol::{ClientMessage, SignalDecodeError, decode, limits};
use roomful_sfu::{Input, SessionId};
use tokio::{sync::mpsc, time::timeout};

use crate::control::{Event, OUTGOING_MAX, Outgoing};

/// How long one message may wait for a client that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where clients connect to.
pub(crate) const PATH: &str = "/v2/signal";

/// What a connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) control: mpsc::Sender<Event>,
    pub(crate) last_session: Arc<AtomicU64>,
}

pub(crate) fn router(signal: Signal) -> Router {
    Router::new().route(PATH, get(upgrade)).with_state(signal)
}

async fn upgrade(upgrade: WebSocketUpgrade, State(signal): State<Signal>) -> Response {
    upgrade
        .max_message_size(limits::SIGNAL_TO_SERVER_MAX)
        .max_frame_size(limits::SIGNAL_TO_SERVER_MAX)
        .on_upgrade(move |socket| converse(socket, signal))
}

async fn converse(socket: WebSocket, signal: Signal) {
    let session = SessionId(signal.last_session.fetch_add(1, Ordering::Relaxed));
    let (outgoing, mut to_send) = mpsc::channel(OUTGOING_MAX);
    let (mut sink, mut stream) = socket.split();
    let tell = async |input| signal.control.send(Event::Engine(input)).await.is_ok();
    if signal.control.send(Event::Opened(session, outgoing)).await.is_err() {
        return;
    }
    let sending = async {
        while let Some(Outgoing::Text(text)) = to_send.recv().await {
            let sent = timeout(SEND_TIMEOUT, sink.send(Message::Text(text.as_ref().into()))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        // The peer may be gone already; then there is nobody to say good-bye to.
        let _ = timeout(SEND_TIMEOUT, sink.close()).await;
    };
    let receiving = async {
        while let Some(message) = stream.next().await {
            let input = match message {
                Ok(Message::Text(text)) => match decode::<ClientMessage>(&text) {
                    Ok(message) => Input::Signal(session, message),
                    // Of a later version: it may be ignored.
                    Err(SignalDecodeError::UnknownKind) => continue,
                    Err(SignalDecodeError::Malformed) => Input::Malformed(session),
                },
                Ok(Message::Binary(_)) => Input::Malformed(session),
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(Message::Close(_)) => return,
                // Too long, or not a WebSocket frame at all, or gone.
                Err(_) => Input::Malformed(session),
            };
            let is_over = matches!(input, Input::Malformed(_));
            if !tell(input).await {
                return;
            }
            if is_over {
                // The engine says why and closes; until then there is nothing more to hear.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    tell(Input::Closed(session)).await;
}
