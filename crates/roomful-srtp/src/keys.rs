//! Master keys and what is derived from them (RFC 3711 §4.3).

use std::fmt;

use aws_lc_rs::{
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Profile;

/// The master keys of both directions.
#[derive(Debug)]
pub struct KeyingMaterial {
    /// What the DTLS client sends is sealed with this.
    pub client: MasterKey,
    /// What the DTLS server sends is sealed with this.
    pub server: MasterKey,
}

/// The master key and salt of one direction. Wiped when dropped, and in one place until then, whoever is given them: a move copies no secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    #[zeroize(skip)]
    profile: Profile,
    key: Box<[u8; KEY_MAX]>,
    salt: Box<[u8; SALT_MAX]>,
}

/// Keys, salts or exported bytes have another length than their profile's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{seen} bytes where the profile has {wanted}")]
pub struct WrongLength {
    /// Bytes given.
    pub seen: usize,
    /// Bytes needed.
    pub wanted: usize,
}

/// What a derived key is for (RFC 3711 §4.3.2).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Label {
    RtpKey = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

const KEY_MAX: usize = 32;
const SALT_MAX: usize = 14;

impl KeyingMaterial {
    /// Takes what DTLS exported under `EXTRACTOR-dtls_srtp` apart (RFC 5764 §4.2).
    ///
    /// # Errors
    /// [`WrongLength`] unless there are [`Profile::keying_material_bytes`].
    pub fn split(profile: Profile, exported: &[u8]) -> Result<Self, WrongLength> {
        check(exported, profile.keying_material_bytes())?;
        let (keys, salts) = exported.split_at(2 * profile.key_bytes());
        let (client_key, server_key) = keys.split_at(profile.key_bytes());
        let (client_salt, server_salt) = salts.split_at(profile.salt_bytes());
        Ok(Self {
            client: MasterKey::new(profile, client_key, client_salt)?,
            server: MasterKey::new(profile, server_key, server_salt)?,
        })
    }
}

impl MasterKey {
    /// Takes a key and its salt.
    ///
    /// # Errors
    /// [`WrongLength`] unless they have [`Profile::key_bytes`] and [`Profile::salt_bytes`].
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, WrongLength> {
        check(key, profile.key_bytes())?;
        check(salt, profile.salt_bytes())?;
        let mut master = Self { profile, key: Box::new([0; KEY_MAX]), salt: Box::new([0; SALT_MAX]) };
        master.key[..key.len()].copy_from_slice(key);
        // A short salt is as if zeros followed (RFC 7714 §11).
        master.salt[..salt.len()].copy_from_slice(salt);
        Ok(master)
    }

    pub(crate) const fn profile(&self) -> Profile {
        self.profile
    }

    /// Derives a key or a salt: the key stream of AES in counter mode under the master key.
    pub(crate) fn derive(&self, label: Label, out: &mut [u8]) {
        let algorithm = if self.profile.key_bytes() == 32 { &AES_256 } else { &AES_128 };
        let key = UnboundCipherKey::new(algorithm, &self.key[..self.profile.key_bytes()]);
        let key =
            EncryptingKey::ctr(key.expect("a key of its algorithm's length")).expect("AES has this mode");
        let mut counter = [0; 16];
        counter[..SALT_MAX].copy_from_slice(&*self.salt);
        counter[7] ^= label as u8;
        out.fill(0);
        let counter = EncryptionContext::Iv128(FixedLength::from(counter));
        key.less_safe_encrypt(out, counter).expect("a counter of the block's length");
    }
}

impl fmt::Debug for MasterKey {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

const fn check(bytes: &[u8], wanted: usize) -> Result<(), WrongLength> {
    if bytes.len() == wanted { Ok(()) } else { Err(WrongLength { seen: bytes.len(), wanted }) }
}
