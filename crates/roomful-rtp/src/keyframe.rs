//! Tells key frames, where a receiver may begin, from the others.

use roomful_types::Codec;

use crate::{
    depacketize::vp8::Descriptor,
    nal::{self, Aggregated, AnnexB},
};

/// Returns whether a whole encoded frame can be decoded without those before it.
///
/// * `frame`: as [`Packetizer::packetize`](crate::Packetizer::packetize) takes it.
///
/// H.264: the access unit has an IDR picture, or parameter sets before its first slice. Opus: always. Anything that is
/// not a frame of this codec is no key frame.
///
/// Source: RFC 6386 §9.1 (VP8); H.264 §7.4.1.2.4.
#[must_use]
pub fn is_keyframe(codec: Codec, frame: &[u8]) -> bool {
    match codec {
        Codec::Opus => true,
        Codec::Vp8 => frame.first().is_some_and(|tag| is_vp8_key(*tag)),
        Codec::H264 => AnnexB::new(frame).is_some_and(|units| units.is_keyframe()),
    }
}

/// Returns whether an RTP payload begins a key frame, so that a receiver can start with its packet.
///
/// VP8: the first packet of a key frame. H.264: a packet with an SPS, or with the beginning of an IDR picture; if
/// they are in separate packets, both answers are `true`, and the first in sequence is where to start. Opus: any
/// payload but an empty one. Reads a few bytes of the payload, of a STAP-A a few per unit.
///
/// Source: RFC 7741 §4.2 (S, PID), §4.3 (P); RFC 6184 §5.4 to §5.8.
#[must_use]
pub fn starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => !payload.is_empty(),
        Codec::Vp8 => Descriptor::parse(payload)
            .is_some_and(|(descriptor, body)| descriptor.starts_frame && is_vp8_key(body[0])),
        Codec::H264 => has_unit(payload, |unit_type, body| match unit_type {
            nal::SPS => true,
            // The first bit of a slice header is set when first_mb_in_slice is 0 (H.264 §7.3.3, §9.1): other slices
            // of the picture do not begin it.
            nal::IDR => body.first().is_some_and(|byte| byte & 0x80 != 0),
            _ => false,
        }),
    }
}

/// Returns whether a payload that follows a gap is certainly the first of a frame that a receiver can start with.
///
/// Stricter than [`starts_keyframe`] for an IDR picture without SPS: its SPS may have been in the gap.
pub(crate) fn surely_starts_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus | Codec::Vp8 => starts_keyframe(codec, payload),
        Codec::H264 => has_unit(payload, |unit_type, _| unit_type == nal::SPS),
    }
}

/// Returns whether a NAL unit that begins in this payload has a type and a body as `wanted`.
fn has_unit(payload: &[u8], wanted: impl Fn(u8, &[u8]) -> bool) -> bool {
    let Some((header, body)) = payload.split_first() else { return false };
    match nal::unit_type(*header) {
        nal::STAP_A => Aggregated::new(body)
            .map_while(|unit| unit?.split_first())
            .any(|(header, body)| wanted(nal::unit_type(*header), body)),
        nal::FU_A => body.split_first().is_some_and(|(fu_header, fragment)| {
            fu_header & nal::FU_START != 0 && wanted(nal::unit_type(*fu_header), fragment)
        }),
        single => wanted(single, body),
    }
}

/// Reads the inverse key frame flag P of the VP8 payload header.
const fn is_vp8_key(tag: u8) -> bool {
    tag & 1 == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(codec: Codec, payload: &[u8], expected: bool) {
        assert_eq!(starts_keyframe(codec, payload), expected);
    }

    #[test]
    fn rfc_7741_section_4_6_1_key_frame_in_a_single_packet() {
        // X = 0, S = 1, PID = 0; then P = 0. The next two differ in P and in S, the last in PID.
        check(Codec::Vp8, &[0x10, 0x50, 0, 0], true);
        check(Codec::Vp8, &[0x10, 0x51, 0, 0], false);
        check(Codec::Vp8, &[0x00, 0x50, 0, 0], false);
        check(Codec::Vp8, &[0x11, 0x50, 0, 0], false);
        check(Codec::Vp8, &[0x10], false);
    }

    #[test]
    fn rfc_6184_section_5_payload_structures() {
        check(Codec::H264, &[0x67, 1], true);
        check(Codec::H264, &[0x65, 0x88], true);
        check(Codec::H264, &[0x65, 0x40], false); // a later slice of the picture
        check(Codec::H264, &[0x41, 0x88], false);
        check(Codec::H264, &[24, 0, 1, 6, 0, 2, 0x67, 1], true);
        check(Codec::H264, &[24, 0, 1, 6, 0, 9, 0x67, 1], false);
        check(Codec::H264, &[0x7c, 0x85, 0x88], true);
        check(Codec::H264, &[0x7c, 0x05, 0x88], false); // a later fragment
        check(Codec::H264, &[0x7c, 0x81, 0x88], false);
        check(Codec::H264, &[0x7c], false);
    }

    #[test]
    fn a_whole_access_unit_is_judged_by_what_decides_first() {
        assert!(is_keyframe(Codec::H264, &[0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 1]));
        assert!(is_keyframe(Codec::H264, &[0, 0, 1, 0x65, 1]));
        assert!(is_keyframe(Codec::H264, &[0, 0, 1, 0, 0, 1, 0x65, 1]));
        assert!(!is_keyframe(Codec::H264, &[0, 0, 1, 6, 1, 0, 0, 1, 0x41, 1]));
        assert!(!is_keyframe(Codec::H264, &[0x65, 1]));
        assert!(is_keyframe(Codec::Vp8, &[0x50]) && !is_keyframe(Codec::Vp8, &[0x51]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for codec in [Codec::Opus, Codec::Vp8, Codec::H264] {
                let _ = is_keyframe(codec, &bytes);
                prop_assert!(!surely_starts_keyframe(codec, &bytes) || starts_keyframe(codec, &bytes));
            }
        }
    }
}
