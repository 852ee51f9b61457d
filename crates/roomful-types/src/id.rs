//! Ids: 16 random bytes where the server makes them, short bounded text where people do.

use std::{fmt, str::FromStr, sync::Arc};

use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Declares an id of 16 bytes, written as a UUID (RFC 9562).
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id (UUID version 4) from 16 random bytes.
            #[must_use]
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// Returns the 16 bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                // A byte string of 16, in one piece: half of most messages is ids.
                let mut string = [0x40 | 16; 17];
                string[1..].copy_from_slice(self.as_bytes());
                e.writer_mut().write_all(&string).map_err(encode::Error::write)
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                const STRING: u8 = 0x40 | 16;
                let start = d.position();
                if let Some([STRING, bytes @ ..]) =
                    d.input().get(start..).and_then(|rest| rest.first_chunk::<17>())
                {
                    d.set_position(start + 17);
                    return Ok(Self(Uuid::from_bytes(*bytes)));
                }
                let uuid = Uuid::from_slice(d.bytes()?);
                uuid.map(Self).map_err(|_| decode::Error::message("not the 16 bytes of an id"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::NotUuid)
            }
        }
    };
}

uuid_id! {
    /// A room, as the server named it when it was made.
    RoomId
}
uuid_id! {
    /// One stay of one participant in one room. Made by the server, never chosen by the client.
    ParticipantId
}
uuid_id! {
    /// One publication of a stream. The same key published again is a new stream.
    StreamId
}

/// The name under which a participant publishes a stream: 1 ..= 64 bytes of UTF-8 without control characters.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey(Arc<str>);

impl StreamKey {
    /// Longest key, in bytes: enough for a UUID or a readable name, short enough to repeat in every notice.
    pub const MAX_BYTES: usize = 64;

    /// Checks and takes a key.
    ///
    /// # Errors
    /// [`InvalidId::Length`] outside 1 ..= 64 bytes, [`InvalidId::Control`] when it has a control character.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(InvalidId::Length { length: text.len(), max: Self::MAX_BYTES });
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidId::Control);
        }
        Ok(Self(text.into()))
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A media section id: 1 ..= 16 token characters (RFC 9143; RFC 8852 §3.3 carries it in RTP).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mid {
    bytes: [u8; Self::MAX_BYTES],
    length: u8,
}

impl Mid {
    /// Longest mid, in bytes: what fits the one-byte RTP header extension (RFC 8285 §4.2).
    pub const MAX_BYTES: usize = 16;

    /// Checks and takes a mid.
    ///
    /// # Errors
    /// [`InvalidId::Length`] outside 1 ..= 16 bytes, [`InvalidId::Control`] when a byte is not printable ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let length = text.len();
        if length == 0 || length > Self::MAX_BYTES {
            return Err(InvalidId::Length { length, max: Self::MAX_BYTES });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidId::Control);
        }
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[..length].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, length: length as u8 })
    }

    /// Returns the mid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("checked to be ASCII when made")
    }
}

/// Declares the text forms of an id that is bounded text.
macro_rules! text_id {
    ($name:ident) => {
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                Self::new(d.str()?).map_err(|_| decode::Error::message("not a valid id"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;

            fn try_from(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_id!(StreamKey);
text_id!(Mid);

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Too short or too long.
    #[error("length of {length} bytes is outside 1 to {max}")]
    Length {
        /// Bytes seen.
        length: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character that cannot be in it.
    #[error("contains a character that is not allowed")]
    Control,
    /// Not a UUID.
    #[error("is not a UUID")]
    NotUuid,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_key_is_bounded() {
        assert_eq!(StreamKey::new(""), Err(InvalidId::Length { length: 0, max: 64 }));
        assert_eq!(StreamKey::new(&"k".repeat(65)), Err(InvalidId::Length { length: 65, max: 64 }));
        assert_eq!(StreamKey::new("a\nb"), Err(InvalidId::Control));
        assert!(StreamKey::new(&"k".repeat(64)).is_ok());
    }

    #[test]
    fn a_mid_is_bounded() {
        assert_eq!(Mid::new("0").map(|mid| mid.to_string()), Ok("0".to_owned()));
        assert_eq!(Mid::new("ä"), Err(InvalidId::Control));
        assert!(Mid::new(&"m".repeat(17)).is_err());
    }

    proptest! {
        #[test]
        fn text_ids_survive_json(text in "[ -~]{1,16}") {
            let key = StreamKey::new(&text).expect("printable and short");
            let json = serde_json::to_string(&key).expect("text serializes");
            prop_assert_eq!(serde_json::from_str::<StreamKey>(&json).expect("just written"), key);
        }

        #[test]
        fn uuid_ids_survive_text(bytes: [u8; 16]) {
            let id = ParticipantId::from_random(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
