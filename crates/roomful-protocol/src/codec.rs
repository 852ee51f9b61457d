//! Messages to text and back.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::message::{ClientMessage, ServerMessage};

/// One direction of the conversation.
pub trait Signal: Serialize + DeserializeOwned {
    /// Every kind that this version knows, as it stands in `type`.
    const KINDS: &'static [&'static str];
}

impl Signal for ClientMessage {
    const KINDS: &'static [&'static str] = Self::KINDS;
}

impl Signal for ServerMessage {
    const KINDS: &'static [&'static str] = Self::KINDS;
}

/// Writes a message as one JSON object.
///
/// # Panics
/// Never: every message is made of text, numbers, lists and objects with text keys.
#[must_use]
pub fn encode<M: Signal>(message: &M) -> String {
    serde_json::to_string(message).expect("messages hold only what JSON can say")
}

/// Reads a message. Unknown fields are skipped.
///
/// # Errors
/// [`SignalDecodeError::UnknownKind`] for a message of a later version, which may be ignored;
/// [`SignalDecodeError::Malformed`] for anything else that is not a message.
pub fn decode<M: Signal>(text: &str) -> Result<M, SignalDecodeError> {
    serde_json::from_str(text).map_err(|_| {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, rename = "type")]
            kind: std::borrow::Cow<'a, str>,
        }
        match serde_json::from_str::<Kind<'_>>(text) {
            Ok(Kind { kind }) if !M::KINDS.contains(&&*kind) => SignalDecodeError::UnknownKind,
            _ => SignalDecodeError::Malformed,
        }
    })
}

/// Why a text is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalDecodeError {
    /// Well-formed, but of a kind that this version does not know.
    #[error("message of an unknown kind")]
    UnknownKind,
    /// Not JSON, a field missing, or a value outside its range.
    #[error("malformed message")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{LeaveRequest, PingRequest, RequestId};

    #[test]
    fn an_unknown_field_is_skipped() {
        let text = r#"{"type":"ping_request","request":3,"later":{"a":[1]}}"#;
        assert_eq!(decode(text), Ok(ClientMessage::PingRequest(PingRequest { request: RequestId(3) })));
    }

    #[test]
    fn an_unknown_kind_is_reported_as_such() {
        let decoded = decode::<ClientMessage>(r#"{"type":"teleport_request","request":3}"#);
        assert_eq!(decoded, Err(SignalDecodeError::UnknownKind));
    }

    #[test]
    fn a_known_kind_with_a_missing_field_is_malformed() {
        assert_eq!(decode::<ClientMessage>(r#"{"type":"leave_request"}"#), Err(SignalDecodeError::Malformed));
        assert_eq!(decode::<ClientMessage>("[]"), Err(SignalDecodeError::Malformed));
    }

    #[test]
    fn every_known_kind_is_listed_once() {
        let text = encode(&ClientMessage::LeaveRequest(LeaveRequest { request: RequestId(0) }));
        assert!(ClientMessage::KINDS.iter().any(|kind| text.contains(kind)));
        for kinds in [ClientMessage::KINDS, ServerMessage::KINDS] {
            let distinct: std::collections::BTreeSet<_> = kinds.iter().collect();
            assert_eq!(distinct.len(), kinds.len());
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in ".{0,200}") {
            let _ = decode::<ClientMessage>(&text);
            let _ = decode::<ServerMessage>(&text);
        }

        #[test]
        fn no_json_object_makes_decoding_panic(kind in prop::sample::select(ClientMessage::KINDS), value in any::<i64>()) {
            let _ = decode::<ClientMessage>(&format!(r#"{{"type":"{kind}","request":{value},"sdp":{value}}}"#));
        }
    }
}
