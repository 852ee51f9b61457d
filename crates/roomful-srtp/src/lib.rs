//! SRTP and SRTCP (RFC 3711) with AES-GCM (RFC 7714) or AES-CM and HMAC-SHA1: packets are sealed and opened in place.
//!
//! * [`KeyingMaterial`] takes what DTLS exported (RFC 5764 §4.2) apart into one master key per direction.
//! * [`Sealer`] seals what one side sends. **It never seals a number twice**, whatever its caller asks for.
//! * [`Opener`] opens what the other side sends. Nothing is believed before it is authenticated, and nothing is opened twice.
//! * [`ReplayWindow`] is how both know what was there.
//!
//! It deliberately knows no re-keying, no MKI, no multicast and no unencrypted packets: WebRTC has none of them (RFC 8827 §6.5), and
//! what is not there cannot be got wrong. There is no clock, socket or random source in it.
//!
//! Our copies of all keys and salts are wiped when dropped. What AWS-LC holds of them, it wipes itself when a context is freed;
//! what its constructors leave on the stack while a context is made is overwritten by what follows there, not wiped.
//!
//! ```
//! use roomful_srtp::{KeyingMaterial, Opener, Profile, Sealer};
//!
//! let profile = Profile::AeadAes256Gcm;
//! let exported = vec![7; profile.keying_material_bytes()]; // from DTLS, the same on both sides
//! let keys = KeyingMaterial::split(profile, &exported)?;
//! let mut opener = Opener::new(&keys.server);
//! let mut sealer = Sealer::new(keys.server);
//!
//! let mut packet = *b"\x80\x60\x00\x01\x00\x00\x00\x00\x00\x00\x00\x2ahello................";
//! let stream = sealer.add_stream(42)?;
//! let length = sealer.seal_rtp(stream, 1, &mut packet, 17)?;
//! let opened = opener.open_rtp(&mut packet[..length])?;
//! assert_eq!((opened.ssrc, opened.index), (42, 1));
//! assert_eq!(&packet[opened.payload()], b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cipher;
mod header;
mod keys;
mod opener;
mod profile;
mod sealer;
mod window;

pub use keys::{KeyingMaterial, MasterKey, WrongLength};
pub use opener::{OpenError, OpenedRtp, Opener};
pub use profile::Profile;
pub use sealer::{SealError, Sealer, StreamHandle};
pub use window::ReplayWindow;

#[cfg(test)]
mod tests;
