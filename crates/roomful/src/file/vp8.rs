//! What a VP8 key frame says about itself (RFC 6386 §9.1).

/// Reads width and height from a key frame: 14 bits each, behind the frame tag and the start code.
pub(super) fn resolution(frame: &[u8]) -> Option<(u16, u16)> {
    let [tag, _, _, 0x9d, 0x01, 0x2a, width_low, width_high, height_low, height_high, ..] = *frame else {
        return None;
    };
    let size = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    (tag & 1 == 0).then(|| (size(width_low, width_high), size(height_low, height_high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_frame_has_a_size() {
        let mut frame = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0x01, 9];
        assert_eq!(resolution(&frame), Some((640, 360)));
        frame[0] |= 1;
        assert_eq!(resolution(&frame), None);
        assert_eq!(resolution(&[]), None);
    }
}
