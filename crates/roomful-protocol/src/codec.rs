//! Messages to bytes and back, in two encodings.

use minicbor::{Decode, Decoder, Encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One direction of the conversation.
pub trait Signal:
    Serialize + DeserializeOwned + Encode<()> + for<'b> Decode<'b, ()> + sealed::Sealed
{
    /// Every kind that this version knows, as it stands in the `type` of the JSON encoding.
    const KINDS: &'static [&'static str];
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::ClientMessage {}
    impl Sealed for crate::ServerMessage {}
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// One JSON object (RFC 8259), its kind in the field `type`: for people and browsers.
    Json,
    /// CBOR (RFC 8949): an array of the number of the kind and an array that holds the message, a map whose keys are the
    /// numbers of the fields.
    Binary,
}

impl Encoding {
    /// Both, the one to prefer first.
    pub const ALL: [Self; 2] = [Self::Binary, Self::Json];

    /// Returns the WebSocket subprotocol (RFC 6455 §1.9) that stands for it.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "roomful.json",
            Self::Binary => "roomful.cbor",
        }
    }

    /// Writes a message.
    #[must_use]
    pub fn encode<M: Signal>(self, message: &M) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_SIZE);
        self.encode_into(message, &mut bytes);
        bytes
    }

    /// Writes a message behind what is in a buffer, which may be used again and again.
    ///
    /// # Panics
    /// Never: every message is made of what both encodings can say, and memory takes all of it.
    pub fn encode_into<M: Signal>(self, message: &M, bytes: &mut Vec<u8>) {
        match self {
            Self::Json => {
                serde_json::to_writer(bytes, message).expect("messages hold only what JSON can say");
            }
            Self::Binary => minicbor::encode(message, bytes).expect("writing to memory does not fail"),
        }
    }

    /// Reads a message. Unknown fields are skipped.
    ///
    /// # Errors
    /// [`SignalDecodeError::UnknownKind`] for a message of a later version, which may be ignored;
    /// [`SignalDecodeError::Malformed`] for anything else that is not one message.
    pub fn decode<M: Signal>(self, bytes: &[u8]) -> Result<M, SignalDecodeError> {
        match self {
            Self::Json => decode_json(bytes),
            Self::Binary => decode_binary(bytes),
        }
    }
}

/// What most messages fit into, so that writing one allocates once.
const USUAL_SIZE: usize = 256;

fn decode_json<M: Signal>(bytes: &[u8]) -> Result<M, SignalDecodeError> {
    serde_json::from_slice(bytes).map_err(|_| {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            kind: std::borrow::Cow<'a, str>,
        }
        match serde_json::from_slice::<Kind<'_>>(bytes) {
            Ok(Kind { kind }) if !M::KINDS.contains(&&*kind) => SignalDecodeError::UnknownKind,
            _ => SignalDecodeError::Malformed,
        }
    })
}

fn decode_binary<M: Signal>(bytes: &[u8]) -> Result<M, SignalDecodeError> {
    let mut decoder = Decoder::new(bytes);
    match decoder.decode() {
        Ok(message) if decoder.position() == bytes.len() => Ok(message),
        Ok(_) => Err(SignalDecodeError::Malformed),
        Err(_) => {
            // A field may be at fault as well as the kind, and both say `unknown variant`: only the kind may be ignored.
            let mut head = Decoder::new(bytes);
            let kind = head.array().and_then(|_| head.u64());
            match kind {
                Ok(kind) if kind >= M::KINDS.len() as u64 => Err(SignalDecodeError::UnknownKind),
                Ok(_) | Err(_) => Err(SignalDecodeError::Malformed),
            }
        }
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalDecodeError {
    /// Well-formed, but of a kind that this version does not know.
    #[error("message of an unknown kind")]
    UnknownKind,
    /// Not of this encoding, a field missing, or a value outside its range.
    #[error("malformed message")]
    Malformed,
}
