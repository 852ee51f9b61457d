//! Media files: readers and writers for IVF, Annex-B H.264 and Ogg Opus, and [`Playhead`], which plays them.
//!
//! * [`ivf`], [`annexb`] and [`ogg`] each have a `Reader` and a `Writer` of [`MediaFrame`]s. A file that was cut off in
//!   mid-write reads as far as it goes; a writer puts every frame out whole.
//! * [`Clip`] is a whole file in memory; [`Playhead`] gives the frames of clips in the order of their media time, over
//!   loops and jumps to key frames.
//!
//! Nothing here decodes or encodes, waits, or reads a clock. What is read is bounded and never panics.

pub mod annexb;
mod clip;
mod h264;
pub mod ivf;
pub mod ogg;
mod opus;
mod playhead;
#[cfg(test)]
mod tests;
mod vp8;

use std::{io, time::Duration};

use bytes::Bytes;
pub use clip::{Clip, ClipError, OpenError};
pub use playhead::Playhead;
use roomful_types::{AudioLevel, Codec};

/// One encoded frame: a picture, or an Opus packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFrame {
    /// The encoded bytes; for H.264 one access unit with start codes.
    pub data: Bytes,
    /// When it is to be shown or heard, from the beginning of the file.
    pub media_time: Duration,
    /// How long it is shown or heard.
    pub duration: Duration,
    /// Whether it can be decoded without those before it. Every Opus packet counts as one.
    pub is_keyframe: bool,
    /// How loud it is, where that is known: files of audio have it beside them ([`Clip::with_audio_levels`]).
    pub audio_level: Option<AudioLevel>,
}

/// Why a file cannot be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file begins in another way than its format wants.
    #[error("not {expected}")]
    WrongFormat {
        /// What was expected.
        expected: &'static str,
    },
    /// A part of the file contradicts its format.
    #[error("damaged: {what}")]
    Damaged {
        /// What was seen.
        what: &'static str,
    },
    /// A frame longer than any encoder makes.
    #[error("frame of {bytes} bytes or more exceeds limit of {max}")]
    FrameTooLarge {
        /// Bytes seen.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// Reads width and height, in pixels, from an encoded frame.
///
/// `None` for audio, for VP8 frames that are not key frames, for access units without a sequence parameter set that
/// tells, and for what is no frame at all.
///
/// Source: RFC 6386 §9.1; H.264 §7.3.2.1.1, §7.4.2.1.1.
#[must_use]
pub fn resolution(codec: Codec, frame: &[u8]) -> Option<(u16, u16)> {
    match codec {
        Codec::Opus => None,
        Codec::Vp8 => vp8::resolution(frame),
        Codec::H264 => {
            h264::units(frame).find(|unit| h264::is_parameter_set(unit)).and_then(h264::resolution)
        }
    }
}

/// Longest frame that is read: what the packetizer takes.
const MAX_FRAME_BYTES: usize = roomful_rtp::limits::MAX_FRAME_BYTES;

/// Fills `buffer`, or says how many bytes there were before the input ended.
fn read_up_to(input: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
