//! Opus payloads: the whole payload is the frame (RFC 7587 §4.2).

pub(super) fn append(payload: &[u8], frame: &mut Vec<u8>) {
    frame.extend_from_slice(payload);
}
