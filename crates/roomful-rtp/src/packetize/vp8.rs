//! VP8 payloads (RFC 7741 §4.2): a descriptor with a 15-bit picture id, then a piece of the frame.

use super::{Payloads, even_pieces};

pub(super) fn packetize(frame: &[u8], picture_id: u16, max_payload: usize, payloads: &mut Payloads) {
    let pieces = even_pieces(frame, max_payload - DESCRIPTOR_BYTES);
    payloads.reserve(frame.len() + pieces.len() * DESCRIPTOR_BYTES, pieces.len());
    let [id_high, id_low] = picture_id.to_be_bytes();
    let mut start_of_partition = S;
    for piece in pieces {
        // The partition index stays 0: packets may begin anywhere, and the frame is one piece to a receiver.
        payloads.push(&[X | start_of_partition, I, M | id_high, id_low], piece);
        start_of_partition = 0;
    }
}

/// Returns the picture id of the next frame; 15 bits, so it wraps after 0x7fff.
pub(super) const fn next_picture_id(picture_id: u16) -> u16 {
    (picture_id + 1) & 0x7fff
}

/// Two bytes of flags, two of picture id.
const DESCRIPTOR_BYTES: usize = 4;
/// Extended control bits are present.
const X: u8 = 0x80;
/// Start of a VP8 partition.
const S: u8 = 0x10;
/// A picture id is present.
const I: u8 = 0x80;
/// The picture id has 15 bits.
const M: u8 = 0x80;

#[cfg(test)]
mod tests {
    use roomful_types::Codec;

    use super::*;
    use crate::Packetizer;

    #[test]
    fn rfc_7741_section_4_2_descriptor() {
        let mut payloads = Payloads::new();
        packetize(&[7; 100], 0x1234, 64, &mut payloads);
        let packets: Vec<_> = payloads.iter().collect();
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0][..5], [0b1001_0000, 0b1000_0000, 0x80 | 0x12, 0x34, 7]);
        assert_eq!(packets[1][..5], [0b1000_0000, 0b1000_0000, 0x80 | 0x12, 0x34, 7]);
        assert_eq!(packets.iter().map(|packet| packet.len()).collect::<Vec<_>>(), [54, 54]);
    }

    #[test]
    fn picture_ids_count_frames_and_wrap_at_15_bits() {
        let (mut packetizer, mut payloads) = (Packetizer::new(Codec::Vp8, 64), Payloads::new());
        for id in 0..3 {
            packetizer.packetize(&[1; 100], &mut payloads).unwrap();
            assert!(payloads.iter().all(|payload| payload[2..4] == [0x80, id]));
        }
        assert_eq!(next_picture_id(0x7ffe), 0x7fff);
        assert_eq!(next_picture_id(0x7fff), 0);
    }
}
