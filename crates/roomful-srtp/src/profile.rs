//! Which ciphers a session uses, and what they add to a packet.

/// A protection profile of DTLS-SRTP (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_256_GCM`: what browsers choose.
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`: for older peers; several times slower.
    Aes128CmSha1_80,
}

impl Profile {
    /// All of them, the one to prefer first.
    pub const ALL: [Self; 3] = [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::Aes128CmSha1_80];

    /// Length of a master key, in bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
        }
    }

    /// Length of a master salt, in bytes.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Length of what DTLS exports for both directions together (RFC 5764 §4.2), in bytes.
    #[must_use]
    pub const fn keying_material_bytes(self) -> usize {
        2 * (self.key_bytes() + self.salt_bytes())
    }

    /// What sealing adds to an RTP packet, in bytes: the tag.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// What sealing adds to an RTCP packet, in bytes: the tag, and the index with its flag.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + 4
    }
}
