//! DTLS by dimpl, configured once per process.
//!
//! Building a dimpl configuration runs the self-test of its cryptography, about 0.85 ms; str0m's own provider does so for
//! every peer.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use str0m::{
    config::{DtlsCert, DtlsVersion},
    crypto::{
        CryptoError, CryptoProvider,
        dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion},
        from_feature_flags,
    },
};

/// The certificate of a server, shared by all its peers.
#[derive(Clone)]
pub struct ServerCertificate(pub(crate) DtlsCert);

impl ServerCertificate {
    /// Makes a new self-signed certificate. Peers trust it by the fingerprint in the session description (RFC 8122).
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    #[must_use]
    pub fn generate() -> Self {
        Self(
            CachedDtls
                .generate_certificate()
                .expect("a self-signed certificate needs nothing but random bytes"),
        )
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

/// Returns the cryptography of every peer.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(CryptoProvider { dtls_provider: &CachedDtls, ..from_feature_flags() }))
        .clone()
}

#[derive(Debug)]
struct CachedDtls;

impl DtlsProvider for CachedDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = config(mtu)?;
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert.clone(), now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert.clone(), now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert.clone(), now),
            other => return Err(CryptoError::Other(format!("DTLS version {other} is not supported"))),
        };
        Ok(Box::new(Dtls(dtls)))
    }
}

/// Returns the configuration of every peer. All of a process have the same MTU, so the first one's serves.
fn config(mtu: Option<usize>) -> Result<Arc<dimpl::Config>, CryptoError> {
    static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    // ICE verifies that the peer can be reached at its address, so the cookie exchange would only cost a round trip.
    let builder = dimpl::Config::builder().use_server_cookie(false);
    let builder = match mtu {
        Some(mtu) => builder.mtu(mtu),
        None => builder,
    };
    let config = builder.build().map_err(|error| CryptoError::Other(error.to_string()))?;
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

struct Dtls(dimpl::Dtls);

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Dtls {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
