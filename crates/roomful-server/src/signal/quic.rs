//! Signalling over QUIC (RFC 9000): one bidirectional stream per client, each message in the binary encoding behind its length
//! (four bytes, most significant first). A client that changes its address keeps its connection (RFC 9000 §9).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{
    Endpoint, Incoming, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use roomful_protocol::Encoding;
use roomful_types::Fingerprint;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{task::JoinSet, time::timeout};

use super::{NotAMessage, Signal};
use crate::config::QuicIdentity;

/// What both sides call the protocol (ALPN, RFC 7301).
const ALPN: &[u8] = b"roomful/1";

/// How long a client may be silent. Packets that show that it lives go three times as often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take from its first packet to its stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Clients that may be setting up at once; more have to try again, so that a flood of first packets costs no memory.
const INCOMING_MAX: usize = 1024;

/// Where QUIC clients come in.
#[derive(Debug)]
pub(crate) struct Listener {
    endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Fingerprint,
}

impl Listener {
    /// Takes the address and makes the certificate ready.
    pub(crate) fn bind(address: SocketAddr, identity: &QuicIdentity) -> io::Result<Self> {
        let (chain, key) = match identity {
            QuicIdentity::SelfSigned => self_signed()?,
            QuicIdentity::Pem { certificates, key } => {
                let chain: Result<Vec<_>, _> =
                    CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(invalid)?;
                (chain.map_err(invalid)?, key)
            }
        };
        let first = chain.first().ok_or_else(|| invalid("there is no certificate in the file"))?;
        let fingerprint = Fingerprint::of(first);
        let endpoint = Endpoint::server(config(chain, key)?, address)?;
        let address = endpoint.local_addr()?;
        Ok(Self { endpoint, address, fingerprint })
    }

    /// Serves clients until dropped.
    pub(crate) async fn run(self, signal: Signal) {
        let mut clients = JoinSet::new();
        while let Some(incoming) = self.endpoint.accept().await {
            while clients.try_join_next().is_some() {}
            if self.endpoint.open_connections() >= INCOMING_MAX && !incoming.remote_address_validated() {
                // Who answers from the address that it claims may go on.
                let _ = incoming.retry();
                continue;
            }
            clients.spawn(serve(incoming, signal.clone()));
        }
    }
}

async fn serve(incoming: Incoming, signal: Signal) {
    let open = async {
        let connection = incoming.await.ok()?;
        let (send, recv) = connection.accept_bi().await.ok()?;
        Some((connection, send, recv))
    };
    let Ok(Some((connection, send, recv))) = timeout(OPEN_TIMEOUT, open).await else { return };
    signal.converse(Encoding::Binary, Sink(send), Stream(recv, signal.max_bytes)).await;
    connection.close(VarInt::from_u32(0), b"");
}

struct Sink(SendStream);

/// With the longest message that is read.
struct Stream(RecvStream, usize);

impl super::Sink for Sink {
    async fn send(&mut self, message: Bytes) -> bool {
        let Ok(length) = u32::try_from(message.len()) else { return false };
        let length = Bytes::copy_from_slice(&length.to_be_bytes());
        self.0.write_all_chunks(&mut [length, message]).await.is_ok()
    }

    async fn close(&mut self) {
        // Until the client has got everything, or is gone.
        if self.0.finish().is_ok() {
            let _ = self.0.stopped().await;
        }
    }
}

impl super::Stream for Stream {
    async fn recv(&mut self) -> Option<Result<Bytes, NotAMessage>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await.ok()?;
        let length = u32::from_be_bytes(length) as usize;
        if length > self.1 {
            return Some(Err(NotAMessage));
        }
        let mut message = vec![0; length];
        self.0.read_exact(&mut message).await.ok()?;
        Some(Ok(message.into()))
    }
}

fn self_signed() -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    Ok((vec![cert.der().clone()], key))
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(invalid)?;
    let mut tls = builder.with_no_client_auth().with_single_cert(chain, key).map_err(invalid)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(invalid)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE_TIMEOUT.try_into().map_err(invalid)?));
    transport.keep_alive_interval(Some(IDLE_TIMEOUT / 3));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
