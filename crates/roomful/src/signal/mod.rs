//! Signalling over this machine's network.

mod quic;
mod websocket;

use std::{future::Future, time::Duration};

use roomful_protocol::{ClientMessage, Encoding, SignalDecodeError};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    network::{SignalEvent, SignalLink},
    options::RoomOptions,
};

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

/// How long one message may wait for a network that takes nothing.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the good-bye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts to connect: over QUIC to a server whose address begins with `quic://`, by WebSocket to any other.
pub(crate) fn open(options: &RoomOptions) -> SignalLink {
    let (url, fingerprint) = (options.server_url.clone(), options.server_fingerprint);
    SignalLink::spawn(|to_send, events| async move {
        let ended = match url.strip_prefix("quic://") {
            Some(server) => quic::run(server, fingerprint, to_send, &events).await,
            None => websocket::run(&url, to_send, &events).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "signalling ended");
        }
    })
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
                Err(SignalDecodeError::UnknownKind) => {
                    tracing::debug!("message of an unknown kind ignored");
                    continue;
                }
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
