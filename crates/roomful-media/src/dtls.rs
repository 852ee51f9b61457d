//! DTLS by dimpl, configured once per process.
//!
//! Building a dimpl configuration runs the self-test of its cryptography, about 0.85 ms; str0m's own provider does so for
//! every peer.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use aws_lc_rs::rand;
use roomful_srtp::{KeyingMaterial, MasterKey, Profile};

use str0m::{
    Rtc, RtcConfig,
    config::{DtlsCert, DtlsVersion},
    crypto::{
        CryptoError, CryptoProvider,
        dtls::{
            DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, KeyingMaterial as Exported,
            ProtocolVersion, SrtpProfile,
        },
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
        Ok(Box::new(Dtls { dtls, keys: WITHHELD.take() }))
    }
}

/// Returns the configuration of every peer. All of a process have the same MTU, so the first one's serves.
fn config(mtu: Option<usize>) -> Result<Arc<dimpl::Config>, CryptoError> {
    static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
    #[cfg(feature = "__sim")]
    if let Some(seed) = simulated::next_seed() {
        let builder = dimpl::Config::builder().use_server_cookie(false).dangerously_set_rng_seed(seed);
        let config = builder.build().map_err(|error| CryptoError::Other(error.to_string()))?;
        return Ok(Arc::new(config));
    }
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

/// Peers whose ids and timing come from a seed.
#[cfg(feature = "__sim")]
pub mod simulated {
    use std::cell::Cell;

    thread_local! {
        static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Lets peers that are made in this thread from now on draw the names of ICE, SSRCs, first numbers and when they repeat messages of
    /// their handshakes from a seed. Nothing of that is a secret then; keys still come from the operating system.
    pub fn seed_peers(seed: u64) {
        SEED.set(Some(seed));
        fastrand::seed(seed);
    }

    /// Returns another seed for each peer.
    pub(super) fn next_seed() -> Option<u64> {
        let seed = SEED.get()?;
        SEED.set(Some(seed.wrapping_add(1)));
        Some(seed)
    }
}

/// The keys of a peer whose RTP is ours. str0m never has them.
///
/// Our copies are wiped. dimpl's are not all: the list of bytes that it exports is freed as it is (its type gives nobody leave to write to
/// it), and the master secret, from which they could be derived anew, stays in its connection until that is dropped.
#[derive(Clone, Default)]
pub(crate) struct WithheldKeys(Arc<Mutex<Option<Keys>>>);

/// What two sides agreed on.
pub(crate) struct Keys {
    /// For what we send.
    pub(crate) local: MasterKey,
    /// For what the other side sends.
    pub(crate) remote: MasterKey,
}

thread_local! {
    /// Where the next DTLS instance of this thread puts its keys: str0m makes one while it is built, and hands nothing through.
    static WITHHELD: RefCell<Option<WithheldKeys>> = const { RefCell::new(None) };
}

/// Builds a peer whose keys are withheld from str0m.
pub(crate) fn build_withholding(config: RtcConfig, now: Instant) -> (Rtc, WithheldKeys) {
    let keys = WithheldKeys::default();
    WITHHELD.set(Some(keys.clone()));
    let rtc = config.build(now);
    WITHHELD.set(None);
    (rtc, keys)
}

impl WithheldKeys {
    /// Takes the keys, once the handshake is through.
    pub(crate) fn take(&self) -> Option<Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps what was exported. Returns random bytes to be handed on in its place: two senders with one key would be none.
    fn withhold(&self, exported: &Exported, profile: SrtpProfile, is_client: bool) -> Option<Exported> {
        let profile = match profile {
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
            _ => return None,
        };
        let KeyingMaterial { client, server } = KeyingMaterial::split(profile, exported).ok()?;
        let (local, remote) = if is_client { (client, server) } else { (server, client) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Keys { local, remote });
        let mut random = vec![0; exported.len()];
        rand::fill(&mut random).expect("the operating system gives random bytes");
        Some(Exported::new(&random))
    }
}

impl fmt::Debug for WithheldKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithheldKeys")
    }
}

#[cfg(test)]
thread_local! {
    /// What tests want to be agreed on, whatever was: both sides are of one thread there.
    pub(crate) static FORCED: std::cell::Cell<Option<(SrtpProfile, Profile)>> = const { std::cell::Cell::new(None) };
}

/// Makes another profile of what was agreed on; its keys are the first of those that both sides exported.
#[cfg(test)]
fn forced(output: DtlsOutput<'_>) -> DtlsOutput<'_> {
    match (output, FORCED.get()) {
        (DtlsOutput::KeyingMaterial(exported, _), Some((theirs, ours))) => {
            DtlsOutput::KeyingMaterial(Exported::new(&exported[..ours.keying_material_bytes()]), theirs)
        }
        (output, _) => output,
    }
}

struct Dtls {
    dtls: dimpl::Dtls,
    /// None where str0m does all of the media.
    keys: Option<WithheldKeys>,
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dtls")
    }
}

impl DtlsInstance for Dtls {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        #[cfg(test)]
        let output = forced(output);
        match (output, &self.keys) {
            (DtlsOutput::KeyingMaterial(exported, profile), Some(keys)) => {
                let random = keys.withhold(&exported, profile, self.dtls.is_active());
                // With a profile that we do not know, the association comes to nothing.
                DtlsOutput::KeyingMaterial(random.unwrap_or_else(|| Exported::new(&[])), profile)
            }
            (output, _) => output,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
