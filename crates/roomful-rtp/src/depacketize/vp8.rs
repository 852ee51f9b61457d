//! VP8 payloads: a descriptor of 1 to 6 bytes, then a piece of the frame (RFC 7741 §4.2).

use super::Malformed;

/// Appends the piece of the frame that a payload carries.
pub(super) fn append(payload: &[u8], frame: &mut Vec<u8>) -> Result<(), Malformed> {
    let (descriptor, piece) = Descriptor::parse(payload).ok_or(Malformed)?;
    // S with PID 0 marks the first packet of a frame, and no other.
    if descriptor.starts_frame != frame.is_empty() {
        return Err(Malformed);
    }
    frame.extend_from_slice(piece);
    Ok(())
}

/// What a payload descriptor says, as far as forwarding and assembly need it.
pub(crate) struct Descriptor {
    /// The payload begins with the first byte of a frame: S is set, PID is 0.
    pub(crate) starts_frame: bool,
}

impl Descriptor {
    /// Reads the descriptor; returns what follows it, which is not empty. `None`: the payload is too short.
    pub(crate) fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (first, mut rest) = payload.split_first()?;
        if first & X != 0 {
            let (extensions, fields) = rest.split_first()?;
            let id_bytes = match (extensions & I != 0, fields.first()) {
                (false, _) => 0,
                (true, Some(id)) => 1 + usize::from(id & M != 0),
                (true, None) => return None,
            };
            let tl0picidx_bytes = usize::from(extensions & L != 0);
            let layer_bytes = usize::from(extensions & (T | K) != 0);
            rest = fields.get(id_bytes + tl0picidx_bytes + layer_bytes..)?;
        }
        let starts_frame = first & (S | PID) == S;
        (!rest.is_empty()).then_some((Self { starts_frame }, rest))
    }
}

/// Extended control bits are present.
const X: u8 = 0x80;
/// Start of a VP8 partition.
const S: u8 = 0x10;
/// Partition index. Bit 3 is reserved, so that a receiver ignores it.
const PID: u8 = 0x07;
/// A picture id is present, of 15 bits if its first byte has `M`.
const I: u8 = 0x80;
const M: u8 = 0x80;
/// TL0PICIDX is present.
const L: u8 = 0x40;
/// TID and Y are present, in the same byte as KEYIDX.
const T: u8 = 0x20;
/// KEYIDX is present.
const K: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &[u8], expected: Option<(bool, &[u8])>) {
        let parsed = Descriptor::parse(payload).map(|(descriptor, rest)| (descriptor.starts_frame, rest));
        assert_eq!(parsed, expected);
    }

    #[test]
    fn rfc_7741_section_4_2_optional_fields() {
        check(&[0x10, 1, 2], Some((true, &[1, 2])));
        check(&[0x90, 0x00, 1], Some((true, &[1])));
        check(&[0x90, I, 0x11, 1], Some((true, &[1])));
        check(&[0x90, I, 0x91, 0x11, 1], Some((true, &[1])));
        check(&[0x90, L, 9, 1], Some((true, &[1])));
        check(&[0x90, T, 9, 1], Some((true, &[1])));
        check(&[0x90, K, 9, 1], Some((true, &[1])));
        check(&[0xb0, I | L | T | K, 0x92, 0x34, 5, 6, 1], Some((true, &[1])));
    }

    #[test]
    fn rfc_7741_section_4_6_vp8_frame_in_several_packets() {
        // Key frame, two packets with 15-bit picture id 4711; the second partition begins in the second packet.
        let mut frame = Vec::new();
        assert_eq!(append(&[0x90, 0x80, 0x92, 0x67, 0x10, 1], &mut frame), Ok(()));
        assert_eq!(append(&[0x91, 0x80, 0x92, 0x67, 2, 3], &mut frame), Ok(()));
        assert_eq!(frame, [0x10, 1, 2, 3]);
        assert_eq!(append(&[0x10, 4], &mut frame), Err(Malformed));
        assert_eq!(append(&[0x00, 4], &mut Vec::new()), Err(Malformed));
    }

    #[test]
    fn every_cut_is_noticed() {
        let payload = [0xb0, I | L | T | K, 0x92, 0x34, 5, 6, 1];
        for length in 0..payload.len() {
            check(&payload[..length], None);
        }
    }
}
