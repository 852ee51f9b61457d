//! Opus payloads: one encoded packet each, as it is (RFC 7587 §4.2).

use super::{PacketizeError, Payloads};

pub(super) fn packetize(
    frame: &[u8],
    max_payload: usize,
    payloads: &mut Payloads,
) -> Result<(), PacketizeError> {
    if frame.len() > max_payload {
        return Err(PacketizeError::TooLarge { length: frame.len(), limit: max_payload });
    }
    payloads.push(&[], frame);
    Ok(())
}
