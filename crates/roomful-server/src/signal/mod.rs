//! Signalling: messages of `roomful-protocol`, one task per client.

pub(crate) mod quic;
pub(crate) mod websocket;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use roomful_protocol::{ClientMessage, Encoding, SignalDecodeError};
use roomful_sfu::{Input, SessionId};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    control::{Connection, Event},
    outgoing,
};

/// How long one message may wait for a client that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    control: mpsc::Sender<Event>,
    last_session: Arc<AtomicU64>,
    /// How many clients are talked to.
    live: Arc<watch::Sender<usize>>,
    /// Longest message that is read.
    max_bytes: usize,
}

/// The sending half of a transport.
trait Sink: Send {
    /// Sends one message; false when it cannot be sent.
    fn send(&mut self, message: Bytes) -> impl Future<Output = bool> + Send;

    /// Says good-bye.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The receiving half of a transport.
trait Stream: Send {
    /// Returns the next message, none at the end.
    ///
    /// # Errors
    /// [`NotAMessage`] when something else came.
    fn recv(&mut self) -> impl Future<Output = Option<Result<Bytes, NotAMessage>>> + Send;
}

/// Too long, of another encoding, or not of the transport at all.
struct NotAMessage;

impl Signal {
    pub(crate) fn new(
        control: mpsc::Sender<Event>,
        live: Arc<watch::Sender<usize>>,
        max_bytes: usize,
    ) -> Self {
        Self { control, last_session: Arc::new(AtomicU64::new(0)), live, max_bytes }
    }

    /// Moves messages between one client and the engine until one of them ends it.
    async fn converse(&self, encoding: Encoding, mut sink: impl Sink, mut stream: impl Stream) {
        let session = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed));
        let (outgoing, mut to_send) = outgoing::queue();
        let tell = async |input| self.control.send(Event::Engine(input)).await.is_ok();
        let connection = Connection { encoding, outgoing };
        if self.control.send(Event::Opened(session, connection)).await.is_err() {
            return;
        }
        let sending = async {
            while let Some(message) = to_send.recv().await {
                let length = message.len();
                if !timeout(SEND_TIMEOUT, sink.send(message)).await.unwrap_or(false) {
                    return;
                }
                to_send.said(length);
            }
            let _ = timeout(SEND_TIMEOUT, sink.close()).await;
        };
        let receiving = async {
            while let Some(message) = stream.recv().await {
                let decoded = message.map(|bytes| encoding.decode::<ClientMessage>(&bytes));
                let input = match decoded {
                    Ok(Ok(message)) => Input::Signal(session, message),
                    // Of a later version: it may be ignored.
                    Ok(Err(SignalDecodeError::UnknownKind)) => {
                        tracing::debug!(session = session.0, "message of an unknown kind ignored");
                        continue;
                    }
                    Ok(Err(SignalDecodeError::Malformed)) | Err(NotAMessage) => Input::Malformed(session),
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
        self.live.send_modify(|live| *live += 1);
        tokio::select! {
            () = sending => {}
            () = receiving => {}
        }
        self.live.send_modify(|live| *live -= 1);
        tell(Input::Closed(session)).await;
    }
}
