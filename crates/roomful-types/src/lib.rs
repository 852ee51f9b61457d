//! The words that every other crate of roomful uses: who, what and how fast.
//!
//! It deliberately holds no behaviour beyond parsing, printing and conversion, knows no protocol, and depends on
//! nothing of ours.

mod disconnect;
mod fingerprint;
mod id;
mod media;
mod permissions;

pub use disconnect::DisconnectReason;
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use id::{InvalidId, Mid, ParticipantId, RoomId, StreamId, StreamKey};
pub use media::{AudioLevel, Bitrate, Codec, MediaKind, PassedExtensions, Rid, UnknownCodec, UnknownRid};
pub use permissions::Permissions;
