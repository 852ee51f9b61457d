//! Splits encoded frames into RTP payloads.

use std::fmt;

use roomful_types::Codec;

use crate::limits::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, MIN_PAYLOAD_BYTES};

mod h264;
mod opus;
mod vp8;

/// Splits the frames of one outgoing track into RTP payloads, in sending order.
#[derive(Debug, Clone)]
pub struct Packetizer {
    format: Format,
    max_payload: usize,
}

impl Packetizer {
    /// Makes a packetizer for one track.
    ///
    /// * `max_payload`: bytes for payload in one packet, after header and extensions;
    ///   [`MIN_PAYLOAD_BYTES`] ..= [`MAX_PAYLOAD_BYTES`].
    ///
    /// # Panics
    /// When `max_payload` is outside that range.
    #[must_use]
    pub fn new(codec: Codec, max_payload: usize) -> Self {
        assert!(
            (MIN_PAYLOAD_BYTES..=MAX_PAYLOAD_BYTES).contains(&max_payload),
            "payload of {max_payload} bytes is outside {MIN_PAYLOAD_BYTES} to {MAX_PAYLOAD_BYTES}"
        );
        let format = match codec {
            Codec::Opus => Format::Opus,
            Codec::Vp8 => Format::Vp8 { picture_id: 0 },
            Codec::H264 => Format::H264,
        };
        Self { format, max_payload }
    }

    /// Splits one encoded frame; clears and fills `payloads`.
    ///
    /// * `frame`: one VP8 frame, one Opus packet, or one H.264 access unit with Annex-B start codes of 3 or 4 bytes;
    ///   1 B ..= [`MAX_FRAME_BYTES`].
    ///
    /// No payload is empty or longer than the limit. For video, the last one belongs to the packet that carries the
    /// marker bit. The bytes are copied once; nothing is allocated once `payloads` has grown to the size of the frames.
    ///
    /// From an access unit, delimiters and filler data are left out, as are the types that H.264 leaves unspecified:
    /// a decoder ignores all of them.
    ///
    /// # Errors
    /// [`PacketizeError`]; `payloads` is then empty, and the next frame is not affected.
    ///
    /// Source: RFC 7741 §4.2; RFC 6184 §5.6 (single NAL unit), §5.7.1 (STAP-A), §5.8 (FU-A); RFC 7587 §4.2.
    pub fn packetize(&mut self, frame: &[u8], payloads: &mut Payloads) -> Result<(), PacketizeError> {
        payloads.clear();
        if frame.is_empty() {
            return Err(PacketizeError::Empty);
        }
        if frame.len() > MAX_FRAME_BYTES {
            return Err(PacketizeError::TooLarge { length: frame.len(), limit: MAX_FRAME_BYTES });
        }
        match &mut self.format {
            Format::Opus => opus::packetize(frame, self.max_payload, payloads),
            Format::Vp8 { picture_id } => {
                vp8::packetize(frame, *picture_id, self.max_payload, payloads);
                *picture_id = vp8::next_picture_id(*picture_id);
                Ok(())
            }
            Format::H264 => h264::packetize(frame, self.max_payload, payloads),
        }
    }
}

/// The payloads of one frame: their bytes in one reusable buffer, and where each ends.
#[derive(Clone, Default)]
pub struct Payloads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// Makes an empty buffer; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }

    /// Returns the number of payloads.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are no payloads.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the payloads in sending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator + Clone {
        self.ends.iter().enumerate().map(|(index, end)| {
            let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous]);
            &self.bytes[start..*end]
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn reserve(&mut self, bytes: usize, payloads: usize) {
        self.bytes.reserve(bytes);
        self.ends.reserve(payloads);
    }

    /// Appends one whole payload.
    fn push(&mut self, header: &[u8], body: &[u8]) {
        self.extend(header);
        self.extend(body);
        self.end();
    }

    /// Appends to the payload that [`Payloads::end`] will close.
    fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

impl fmt::Debug for Payloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payloads").field("bytes", &self.bytes.len()).field("ends", &self.ends).finish()
    }
}

/// Why a frame cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketizeError {
    /// Nothing in the frame is to be sent.
    #[error("frame is empty")]
    Empty,
    /// An H.264 frame is not in Annex-B form; length-prefixed NAL units (AVCC) have to be converted first.
    #[error("frame does not begin with an Annex-B start code")]
    NoStartCode,
    /// The frame exceeds a limit: any frame that of [`MAX_FRAME_BYTES`], an Opus frame that of one packet.
    #[error("frame of {length} bytes exceeds limit of {limit}")]
    TooLarge {
        /// Bytes seen.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// How frames are split, with what goes on from frame to frame.
#[derive(Debug, Clone, Copy)]
enum Format {
    Opus,
    Vp8 { picture_id: u16 },
    H264,
}

/// Splits `bytes` into as few pieces of at most `max` bytes as possible, whose lengths differ by one at most.
///
/// Even pieces, because a short last packet costs as much as a full one and makes the pacer's burst uneven.
fn even_pieces(bytes: &[u8], max: usize) -> impl ExactSizeIterator<Item = &[u8]> {
    let count = bytes.len().div_ceil(max);
    let (length, longer) =
        (bytes.len().checked_div(count).unwrap_or(0), bytes.len().checked_rem(count).unwrap_or(0));
    (0..count).map(move |index| {
        let start = index * length + index.min(longer);
        &bytes[start..start + length + usize::from(index < longer)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_and_even() {
        let bytes: Vec<u8> = (0..=255).collect();
        for (max, expected) in [(256, vec![256]), (255, vec![128, 128]), (100, vec![86, 85, 85])] {
            let pieces: Vec<_> = even_pieces(&bytes, max).collect();
            assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), expected);
            assert_eq!(pieces.concat(), bytes);
        }
        assert_eq!(even_pieces(&[], 64).len(), 0);
    }
}
