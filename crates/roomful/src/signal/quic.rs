//! Signalling over QUIC (RFC 9000): one bidirectional stream, each message behind its length. The connection survives a change
//! of the client's address (RFC 9000 §9).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::select_ok;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use roomful_protocol::{ClientMessage, Encoding, limits};
use roomful_types::Fingerprint;
use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::lookup_host, sync::mpsc, time::sleep};

use super::{BoxError, Incoming, Outgoing, converse, provide_crypto};
use crate::network::SignalEvent;

/// What both sides call the protocol (ALPN, RFC 7301).
const ALPN: &[u8] = b"roomful/1";

/// How long the network may be silent. Packets that show that it lives go three times as often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one address of a server may be tried alone, and how many are.
const HEAD_START: Duration = Duration::from_millis(250);
const ADDRESSES_MAX: usize = 8;

pub(super) async fn run(
    server: &str,
    fingerprint: Option<Fingerprint>,
    to_send: mpsc::UnboundedReceiver<ClientMessage>,
    events: &mpsc::Sender<SignalEvent>,
) -> Result<(), BoxError> {
    provide_crypto();
    let server = server.trim_end_matches('/');
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
    let (endpoint, connection) = connect(lookup_host(server).await?, host, &config(fingerprint)?).await?;
    let (send, recv) = connection.open_bi().await?;
    let ended =
        converse(Sink(send, connection.clone()), Stream(recv), Encoding::Binary, to_send, events).await;
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    ended
}

/// Connects to whichever address answers first; each gets a head start over the next (RFC 8305 §5).
async fn connect(
    addresses: impl Iterator<Item = SocketAddr>,
    host: &str,
    config: &ClientConfig,
) -> Result<(Endpoint, Connection), BoxError> {
    let attempt = async |number: u32, address: SocketAddr| -> Result<_, BoxError> {
        sleep(HEAD_START * number).await;
        let any = match address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let endpoint = Endpoint::client(SocketAddr::new(any, 0))?;
        let connection = endpoint.connect_with(config.clone(), address, host)?.await?;
        Ok((endpoint, connection))
    };
    let attempts: Vec<_> = (0..)
        .zip(addresses.take(ADDRESSES_MAX))
        .map(|(number, address)| Box::pin(attempt(number, address)))
        .collect();
    if attempts.is_empty() {
        return Err("the server's name has no address".into());
    }
    let (connected, _) = select_ok(attempts).await?;
    Ok(connected)
}

struct Sink(SendStream, Connection);

struct Stream(RecvStream);

impl Outgoing for Sink {
    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), BoxError> {
        self.0.write_all(&u32::try_from(bytes.len())?.to_be_bytes()).await?;
        Ok(self.0.write_all(&bytes).await?)
    }

    async fn close(&mut self) {
        // Until the server has got everything and closes in turn.
        if self.0.finish().is_ok() {
            self.1.closed().await;
        }
    }
}

impl Incoming for Stream {
    async fn recv(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length).await {
            Ok(()) => {}
            Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > limits::SIGNAL_TO_CLIENT_MAX {
            return Err("the server's message is longer than allowed".into());
        }
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await?;
        Ok(Some(bytes))
    }
}

/// Trusts the one certificate of this fingerprint or, without one, what the system trusts.
fn config(fingerprint: Option<Fingerprint>) -> Result<ClientConfig, BoxError> {
    let provider = CryptoProvider::get_default().ok_or("no backend of TLS is installed")?.clone();
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = match fingerprint {
        Some(fingerprint) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { fingerprint, provider }))
            .with_no_client_auth(),
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?));
    transport.keep_alive_interval(Some(IDLE_TIMEOUT / 3));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Accepts one certificate, whoever signed it and whatever it is called.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match Fingerprint::of(certificate) == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use quinn::{ServerConfig, crypto::rustls::QuicServerConfig};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn an_address_that_does_not_answer_holds_nobody_up() {
        provide_crypto();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("they belong together");
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = QuicServerConfig::try_from(tls).expect("TLS 1.3 is there");
        let any = ([127, 0, 0, 1], 0).into();
        let server =
            Endpoint::server(ServerConfig::with_crypto(Arc::new(tls)), any).expect("loopback has ports");
        let alive = server.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                drop(incoming.await)
            }
        });
        // It takes what comes and says nothing.
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has ports");
        let dead = silent.local_addr().expect("bound");

        let config = config(Some(Fingerprint::of(cert.der()))).expect("a good one");
        let addresses = [dead, alive];
        let connecting = connect(addresses.into_iter(), "localhost", &config);
        let (_endpoint, connection) =
            tokio::time::timeout(IDLE_TIMEOUT / 3, connecting).await.expect("in time").expect("connects");
        assert_eq!(connection.remote_address(), alive);
        assert!(connect(std::iter::empty(), "localhost", &config).await.is_err());
    }
}
