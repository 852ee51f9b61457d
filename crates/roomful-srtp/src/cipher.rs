//! The transforms: AES-GCM (RFC 7714), and AES in counter mode with HMAC-SHA1 (RFC 3711 §4.1.1, §4.2.1).

use std::fmt;

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time::verify_slices_are_equal,
    hmac,
    iv::FixedLength,
};
use zeroize::Zeroizing;

use crate::{MasterKey, Profile, header::RTCP_HEADER, keys::Label};

/// The session keys of one direction.
pub(crate) struct Ciphers {
    pub(crate) profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
}

enum Cipher {
    Gcm { key: LessSafeKey, salt: Zeroizing<[u8; NONCE_LEN]> },
    Cm(Box<Cm>),
}

/// Boxed: the schedules are large, and few peers need them.
struct Cm {
    key: EncryptingKey,
    salt: Zeroizing<[u8; CM_SALT]>,
    authentication: hmac::Key,
}

/// A packet is not what its sender sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

/// The flag before an SRTCP index: the packet is encrypted (RFC 3711 §3.4).
pub(crate) const ENCRYPTED: u32 = 1 << 31;

const KEY_MAX: usize = 32;
const CM_SALT: usize = 14;
const SHA1_KEY: usize = 20;
const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;
const INDEX: usize = 4;

impl Ciphers {
    pub(crate) fn new(master: &MasterKey) -> Self {
        let profile = master.profile();
        let rtp = Cipher::new(master, [Label::RtpKey, Label::RtpAuthentication, Label::RtpSalt]);
        let rtcp = Cipher::new(master, [Label::RtcpKey, Label::RtcpAuthentication, Label::RtcpSalt]);
        Self { profile, rtp, rtcp }
    }

    /// Takes session keys as they are, the same for RTP and RTCP, as the vectors of the RFCs do.
    #[cfg(test)]
    pub(crate) fn of_session(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        let cipher = || Cipher::of_session(profile, key, &[0; SHA1_KEY], salt);
        Self { profile, rtp: cipher(), rtcp: cipher() }
    }

    /// Seals an RTP packet whose first `length` bytes are there, with room for the tag behind them.
    pub(crate) fn seal_rtp(&self, ssrc: u32, index: u64, header: usize, packet: &mut [u8], length: usize) {
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut(header);
                let (payload, rest) = rest.split_at_mut(length - header.len());
                let tag =
                    key.seal_in_place_separate_tag(rtp_nonce(salt, ssrc, index), Aad::from(header), payload);
                rest[..GCM_TAG].copy_from_slice(tag.expect("packets are short").as_ref());
            }
            Cipher::Cm(cm) => {
                let Cm { key, salt, authentication } = &**cm;
                apply_key_stream(key, rtp_counter(salt, ssrc, index), &mut packet[header..length]);
                let tag = sign(authentication, &packet[..length], rollover(index));
                packet[length..length + SHA1_TAG].copy_from_slice(&tag);
            }
        }
    }

    /// Opens an RTP packet. Returns its length without the tag.
    pub(crate) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        header: usize,
        packet: &mut [u8],
    ) -> Result<usize, Forged> {
        let length = packet.len().checked_sub(self.profile.rtp_overhead()).filter(|length| *length >= header);
        let length = length.ok_or(Forged)?;
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut(header);
                let nonce = rtp_nonce(salt, ssrc, index);
                key.open_in_place(nonce, Aad::from(header), sealed).map_err(|_| Forged)?;
            }
            Cipher::Cm(cm) => {
                let Cm { key, salt, authentication } = &**cm;
                let tag = sign(authentication, &packet[..length], rollover(index));
                verify_slices_are_equal(&tag, &packet[length..]).map_err(|_| Forged)?;
                apply_key_stream(key, rtp_counter(salt, ssrc, index), &mut packet[header..length]);
            }
        }
        Ok(length)
    }

    /// Seals an RTCP packet whose first `length` bytes are there, with room for tag and index behind them.
    pub(crate) fn seal_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8], length: usize) {
        let word = (ENCRYPTED | index).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER);
                let (body, rest) = rest.split_at_mut(length - RTCP_HEADER);
                let aad = rtcp_aad(header, word);
                let tag = key.seal_in_place_separate_tag(rtcp_nonce(salt, ssrc, index), Aad::from(aad), body);
                rest[..GCM_TAG].copy_from_slice(tag.expect("packets are short").as_ref());
                rest[GCM_TAG..GCM_TAG + INDEX].copy_from_slice(&word);
            }
            Cipher::Cm(cm) => {
                let Cm { key, salt, authentication } = &**cm;
                let counter = rtp_counter(salt, ssrc, index.into());
                apply_key_stream(key, counter, &mut packet[RTCP_HEADER..length]);
                let tag = sign(authentication, &packet[..length], word);
                packet[length..length + INDEX].copy_from_slice(&word);
                packet[length + INDEX..length + INDEX + SHA1_TAG].copy_from_slice(&tag);
            }
        }
    }

    /// Returns the flag and the index that an RTCP packet carries; they are not authentic yet.
    pub(crate) fn rtcp_word(&self, packet: &[u8]) -> Option<u32> {
        let end = match self.rtcp {
            Cipher::Gcm { .. } => packet.len(),
            Cipher::Cm(_) => packet.len().checked_sub(SHA1_TAG)?,
        };
        packet[..end].last_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// Opens an RTCP packet that carries this index. Returns its length without index and tag.
    pub(crate) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Result<usize, Forged> {
        let length =
            packet.len().checked_sub(self.profile.rtcp_overhead()).filter(|length| *length >= RTCP_HEADER);
        let length = length.ok_or(Forged)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER);
                let sealed = rest.len() - INDEX;
                let (nonce, aad) = (rtcp_nonce(salt, ssrc, index), rtcp_aad(header, word));
                key.open_in_place(nonce, Aad::from(aad), &mut rest[..sealed]).map_err(|_| Forged)?;
            }
            Cipher::Cm(cm) => {
                let Cm { key, salt, authentication } = &**cm;
                let tag = sign(authentication, &packet[..length], word);
                verify_slices_are_equal(&tag, &packet[length + INDEX..]).map_err(|_| Forged)?;
                let counter = rtp_counter(salt, ssrc, index.into());
                apply_key_stream(key, counter, &mut packet[RTCP_HEADER..length]);
            }
        }
        Ok(length)
    }
}

impl fmt::Debug for Ciphers {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ciphers").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Cipher {
    fn new(master: &MasterKey, [key, authentication, salt]: [Label; 3]) -> Self {
        let profile = master.profile();
        let (mut keys, mut secret) = (Zeroizing::new([0; KEY_MAX]), Zeroizing::new([0; SHA1_KEY]));
        let (keys, mut salts) = (&mut keys[..profile.key_bytes()], Zeroizing::new([0; CM_SALT]));
        let salts = &mut salts[..profile.salt_bytes()];
        master.derive(key, keys);
        master.derive(authentication, &mut *secret);
        master.derive(salt, salts);
        Self::of_session(profile, keys, &secret, salts)
    }

    fn of_session(profile: Profile, key: &[u8], authentication: &[u8; SHA1_KEY], salt: &[u8]) -> Self {
        let gcm = |algorithm| {
            let key = UnboundKey::new(algorithm, key).expect("a key of its algorithm's length");
            Self::Gcm {
                key: LessSafeKey::new(key),
                salt: Zeroizing::new(salt.try_into().expect("of its profile's length")),
            }
        };
        match profile {
            Profile::AeadAes256Gcm => gcm(&AES_256_GCM),
            Profile::AeadAes128Gcm => gcm(&AES_128_GCM),
            Profile::Aes128CmSha1_80 => {
                let key = UnboundCipherKey::new(&AES_128, key).expect("a key of its algorithm's length");
                Self::Cm(Box::new(Cm {
                    key: EncryptingKey::ctr(key).expect("AES has this mode"),
                    salt: Zeroizing::new(salt.try_into().expect("of its profile's length")),
                    authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
                }))
            }
        }
    }
}

/// RFC 7714 §8.1.
fn rtp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    salted(nonce, salt)
}

/// RFC 7714 §9.1.
fn rtcp_nonce(salt: &[u8; NONCE_LEN], ssrc: u32, index: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    salted(nonce, salt)
}

fn salted(mut nonce: [u8; NONCE_LEN], salt: &[u8; NONCE_LEN]) -> Nonce {
    nonce.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2.
fn rtcp_aad(header: &[u8], word: [u8; INDEX]) -> [u8; RTCP_HEADER + INDEX] {
    let mut aad = [0; RTCP_HEADER + INDEX];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&word);
    aad
}

/// The first counter block of a packet (RFC 3711 §4.1.1).
fn rtp_counter(salt: &[u8; CM_SALT], ssrc: u32, index: u64) -> [u8; 16] {
    let mut counter = [0; 16];
    counter[..CM_SALT].copy_from_slice(salt);
    let ssrc = ssrc.to_be_bytes();
    counter[4..8].iter_mut().zip(ssrc).for_each(|(byte, ssrc)| *byte ^= ssrc);
    let index = index.to_be_bytes();
    counter[8..14].iter_mut().zip(&index[2..]).for_each(|(byte, index)| *byte ^= index);
    counter
}

fn apply_key_stream(key: &EncryptingKey, counter: [u8; 16], bytes: &mut [u8]) {
    let counter = EncryptionContext::Iv128(FixedLength::from(counter));
    key.less_safe_encrypt(bytes, counter).expect("a counter of the block's length");
}

/// The upper 32 bits of an index: how often the sequence number has wrapped.
const fn rollover(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn sign(key: &hmac::Key, packet: &[u8], end: [u8; 4]) -> [u8; SHA1_TAG] {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(&end);
    *context.sign().as_ref().first_chunk().expect("SHA-1 gives 20 bytes")
}
