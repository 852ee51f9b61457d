//! Settings of the server, each with its default and why.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};

use roomful_protocol::limits;
use roomful_sfu::SfuConfig;

/// Settings of [`Server`](crate::Server).
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where REST and signalling are served. Default `0.0.0.0:7070`; put a proxy with TLS in front of it.
    pub http: SocketAddr,
    /// Where all media comes and goes, UDP. Default `0.0.0.0:7071`.
    pub media: SocketAddr,
    /// Where signalling over QUIC is served, UDP, and with which certificate. Default none: QUIC has no proxy with TLS in front of
    /// it, so it needs a certificate of its own.
    pub quic: Option<(SocketAddr, QuicIdentity)>,
    /// Where clients reach the media port, when it is not at the machine's own addresses: behind a NAT, the public address and
    /// the port that leads to `media`. Empty by default: all the machine's own addresses are offered.
    pub advertised: Vec<SocketAddr>,
    /// The key that REST requests carry, and that client tokens are signed with. At least 32 bytes.
    pub api_key: String,
    /// How many participants a room may have that does not say. Default 100.
    pub max_participants: u32,
    /// Longest signalling message that is read, encoded, in bytes; whoever sends a longer one is cut off, and so text messages have to
    /// fit too. [`SIGNAL_BYTES`](Self::SIGNAL_BYTES); default the most.
    pub max_signal_bytes: usize,
    /// Settings of the engine.
    pub sfu: SfuConfig,
}

impl ServerConfig {
    /// Least length of an API key, in bytes: 128 bits in hexadecimal.
    pub const API_KEY_MIN_BYTES: usize = 32;

    /// What `max_signal_bytes` may be: at least the session description of some thirty slots, at most the protocol's 1 MiB.
    pub const SIGNAL_BYTES: RangeInclusive<usize> = (64 << 10)..=limits::SIGNAL_TO_SERVER_MAX;

    /// Makes the default settings for a server that others can reach.
    #[must_use]
    pub fn new(api_key: impl Into<String>) -> Self {
        let any = Ipv4Addr::UNSPECIFIED;
        Self {
            http: SocketAddr::from((any, 7070)),
            media: SocketAddr::from((any, 7071)),
            quic: None,
            advertised: Vec::new(),
            api_key: api_key.into(),
            max_participants: 100,
            max_signal_bytes: limits::SIGNAL_TO_SERVER_MAX,
            sfu: SfuConfig::default(),
        }
    }

    /// Makes the settings of a server on loopback only, on ports that are free.
    #[must_use]
    pub fn loopback(api_key: impl Into<String>) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let quic = Some((free, QuicIdentity::SelfSigned));
        Self { http: free, media: free, quic, ..Self::new(api_key) }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Says which setting is wrong and what to do.
    pub const fn validate(&self) -> Result<(), InvalidConfig> {
        if self.api_key.len() < Self::API_KEY_MIN_BYTES {
            return Err(InvalidConfig::ShortApiKey { length: self.api_key.len() });
        }
        if self.max_participants == 0 {
            return Err(InvalidConfig::NoParticipants);
        }
        let (least, most) = (*Self::SIGNAL_BYTES.start(), *Self::SIGNAL_BYTES.end());
        if self.max_signal_bytes < least || self.max_signal_bytes > most {
            return Err(InvalidConfig::SignalBytes { bytes: self.max_signal_bytes });
        }
        let SfuConfig { requests_per_second, request_burst, .. } = self.sfu;
        if requests_per_second == 0 || request_burst < SfuConfig::REQUEST_BURST_MIN {
            return Err(InvalidConfig::FewRequests { requests_per_second, request_burst });
        }
        Ok(())
    }
}

/// With which certificate QUIC is served.
#[derive(Clone)]
pub enum QuicIdentity {
    /// One made at the start, that clients know by its fingerprint. For development and for clients that are told the fingerprint.
    SelfSigned,
    /// One of an authority that clients trust.
    Pem {
        /// The chain of certificates in PEM, the server's own first.
        certificates: String,
        /// The private key in PEM.
        key: String,
    },
}

impl fmt::Debug for QuicIdentity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "SelfSigned",
            Self::Pem { .. } => "Pem",
        })
    }
}

impl fmt::Debug for ServerConfig {
    /// Leaves the API key out: whoever reads a log must not be able to make tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, media, advertised, .. } = self;
        f.debug_struct("ServerConfig")
            .field("http", http)
            .field("media", media)
            .field("advertised", advertised)
            .finish_non_exhaustive()
    }
}

/// Which setting is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// The key can be guessed.
    #[error("the API key has {length} bytes, at least 32 are needed; make one with `openssl rand -hex 32`")]
    ShortApiKey {
        /// Bytes seen.
        length: usize,
    },
    /// Nobody could ever join.
    #[error("a room must take at least one participant")]
    NoParticipants,
    /// Nobody could ever join, or offer media.
    #[error(
        "{requests_per_second} requests per second, {request_burst} at once, let no client in; choose at least 1 and 33"
    )]
    FewRequests {
        /// How many a client may send per second.
        requests_per_second: u32,
        /// How many at once.
        request_burst: u32,
    },
    /// Too short for clients, or longer than any sends.
    #[error("max_signal_bytes is {bytes}; choose 65536 to 1048576")]
    SignalBytes {
        /// Bytes asked for.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_with_which_no_client_could_live_are_refused() {
        let with = |change: fn(&mut ServerConfig)| {
            let mut config = ServerConfig::new("0123456789abcdef0123456789abcdef");
            change(&mut config);
            config.validate()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(
            with(|config| config.api_key = "short".into()),
            Err(InvalidConfig::ShortApiKey { length: 5 })
        );
        assert_eq!(with(|config| config.max_participants = 0), Err(InvalidConfig::NoParticipants));
        assert_eq!(with(|config| config.max_signal_bytes = 65_536), Ok(()));
        let few = |requests_per_second, request_burst| {
            Err(InvalidConfig::FewRequests { requests_per_second, request_burst })
        };
        assert_eq!(with(|config| config.sfu.requests_per_second = 0), few(0, 200));
        assert_eq!(with(|config| config.sfu.request_burst = 32), few(100, 32));
        assert_eq!(with(|config| config.sfu.request_burst = 33), Ok(()));
        for (refused, bytes) in [
            (with(|config| config.max_signal_bytes = 65_535), 65_535),
            (with(|config| config.max_signal_bytes = 1_048_577), 1_048_577),
        ] {
            assert_eq!(refused, Err(InvalidConfig::SignalBytes { bytes }));
        }
    }
}
