//! Puts the payloads of one frame together.

use roomful_types::Codec;

use crate::{is_keyframe, limits::MAX_FRAME_BYTES};

mod h264;
mod opus;
pub(crate) mod vp8;

/// The bytes of the frame whose payloads come in, one after another and without gaps.
#[derive(Debug)]
pub(crate) struct FrameBytes {
    codec: Codec,
    bytes: Vec<u8>,
    /// Type of the NAL unit whose last fragment is still to come.
    fragment: Option<u8>,
    /// Length of the frame before: the best guess for the next, so that most frames cost one allocation.
    usual: usize,
}

impl FrameBytes {
    pub(crate) const fn new(codec: Codec) -> Self {
        Self { codec, bytes: Vec::new(), fragment: None, usual: 0 }
    }

    /// Appends what one payload carries.
    ///
    /// * `is_last`: the frame is known to end with it.
    pub(crate) fn push(&mut self, payload: &[u8], is_last: bool) -> Result<(), Malformed> {
        if self.bytes.capacity() == 0 {
            let usual = if is_last { 0 } else { self.usual };
            self.bytes.reserve_exact(usual.max(payload.len() + 4));
        }
        match self.codec {
            Codec::Opus => opus::append(payload, &mut self.bytes),
            Codec::Vp8 => vp8::append(payload, &mut self.bytes)?,
            Codec::H264 => h264::append(payload, &mut self.fragment, &mut self.bytes)?,
        }
        if self.bytes.len() > MAX_FRAME_BYTES { Err(Malformed) } else { Ok(()) }
    }

    /// Returns whether what is there makes the frame a key frame.
    pub(crate) fn is_keyframe(&self) -> bool {
        is_keyframe(self.codec, &self.bytes)
    }

    /// Ends the frame and returns its bytes.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, Malformed> {
        if self.fragment.is_some() || self.bytes.is_empty() {
            self.clear();
            return Err(Malformed);
        }
        self.usual = self.bytes.len();
        Ok(std::mem::take(&mut self.bytes))
    }

    /// Forgets the frame; its buffer serves the next.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.fragment = None;
    }
}

/// A payload that is not of the agreed format, or not at this place of a frame. Why does not matter: the frame is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_payloads_make_it_panic(payloads: Vec<Vec<u8>>) {
            for codec in [Codec::Opus, Codec::Vp8, Codec::H264] {
                let mut frame = FrameBytes::new(codec);
                for payload in &payloads {
                    let _ = frame.push(payload, false);
                }
                let _ = frame.is_keyframe();
                let _ = frame.finish();
            }
        }
    }

    #[test]
    fn a_frame_that_ends_within_a_fragmented_unit_is_malformed() {
        let mut frame = FrameBytes::new(Codec::H264);
        frame.push(&[0x7c, 0x85, 1], true).unwrap();
        assert_eq!(frame.finish(), Err(Malformed));
        frame.push(&[0x65, 1], true).unwrap();
        assert_eq!(frame.finish(), Ok(vec![0, 0, 0, 1, 0x65, 1]));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_malformed() {
        let mut frame = FrameBytes::new(Codec::H264);
        frame.push(&[0x7c, 0x85, 1], false).unwrap();
        let fragment = [&[0x7c, 0x05][..], &[1; 65_000]].concat();
        let pushed = (0..).find_map(|count| frame.push(&fragment, false).err().map(|_| count));
        assert_eq!(pushed, Some(64));
    }
}
