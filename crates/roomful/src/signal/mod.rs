//! The signalling connection: one task that moves messages between the server and the driver.

mod quic;
mod websocket;

use std::{future::Future, time::Duration};

use roomful_protocol::{ClientMessage, Encoding, ServerMessage, SignalDecodeError};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use crate::options::RoomOptions;

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

/// Why a connection ended.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The sending half of a transport.
trait Outgoing: Send {
    /// Sends one message.
    fn send(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Says that nothing more comes.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The receiving half of a transport.
trait Incoming: Send {
    /// Returns the next message, none at the end.
    fn recv(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, BoxError>> + Send;
}

/// Messages that wait for the driver; then the connection reads no more, and the server waits.
const INCOMING_MAX: usize = 256;

/// How long one message may wait for a network that takes nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Signal {
    /// Starts to connect: over QUIC to a server whose address begins with `quic://`, by WebSocket to any other.
    pub(crate) fn open(options: &RoomOptions) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel(INCOMING_MAX);
        let (url, fingerprint) = (options.server_url.clone(), options.server_fingerprint);
        let task: JoinHandle<()> = tokio::spawn(async move {
            let ended = match url.strip_prefix("quic://") {
                Some(server) => quic::run(server, fingerprint, to_send, &sender).await,
                None => websocket::run(&url, to_send, &sender).await,
            };
            if let Err(error) = ended {
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

/// Moves messages until one side ends the conversation.
async fn converse(
    mut sink: impl Outgoing,
    mut stream: impl Incoming,
    encoding: Encoding,
    mut to_send: mpsc::UnboundedReceiver<ClientMessage>,
    events: &mpsc::Sender<SignalEvent>,
) -> Result<(), BoxError> {
    let _ = events.send(SignalEvent::Opened).await;
    let sending = async {
        while let Some(message) = to_send.recv().await {
            timeout(SEND_TIMEOUT, sink.send(encoding.encode(&message))).await??;
        }
        let _ = timeout(CLOSE_TIMEOUT, sink.close()).await;
        Ok(())
    };
    let receiving = async {
        while let Some(bytes) = stream.recv().await? {
            let event = match encoding.decode(&bytes) {
                Ok(message) => SignalEvent::Message(message),
                // Of a later version of the protocol: not for us.
                Err(SignalDecodeError::UnknownKind) => continue,
                Err(SignalDecodeError::Malformed) => SignalEvent::Malformed,
            };
            if events.send(event).await.is_err() {
                // The driver is gone; what it said last still leaves.
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        ended = sending => ended,
        ended = receiving => ended,
    }
}

/// Installs the backend of TLS, unless the application has chosen one.
fn provide_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An application that wants another one has installed it by now; a race with it is its to win.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}
