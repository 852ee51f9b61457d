//! Annex-B H.264: a byte stream of NAL units between start codes, without times (H.264 annex B).
//!
//! Frames are read and written in one canonical form, which is also what comes out of RTP, so that bytes can be
//! compared: a 4-byte start code before every NAL unit, nothing between them, no access unit delimiters and no filler.

use std::{
    io::{self, Read, Write},
    num::NonZeroU32,
    time::Duration,
};

use roomful_types::Codec;

use super::{
    MAX_FRAME_BYTES, MediaFrame, ReadError,
    h264::{find_start_code, is_kept, is_slice, starts_access_unit, units, without_trailing_zeros},
    read_up_to,
};

/// Reads access units. An iterator; it ends after the first error.
///
/// An access unit ends before a delimiter, a parameter set or SEI that follows a slice, and before a slice that begins
/// a picture. One that was cut off in its last NAL unit cannot be told from a whole one.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// What was read from the input and not used; behind a start code, once there was one.
    buffer: Vec<u8>,
    /// Bytes of the buffer that are used up.
    used: usize,
    /// Bytes of the buffer, from its beginning, known not to hold the beginning of a start code.
    scanned: usize,
    is_synchronized: bool,
    /// No more bytes come from the input.
    is_ended: bool,
    /// The access unit being put together, in canonical form.
    unit: Vec<u8>,
    has_slice: bool,
    index: u64,
    frame_rate: NonZeroU32,
}

impl<R: Read> Reader<R> {
    /// Takes a stream whose access units follow one another at `frame_rate` per second. Reads nothing yet.
    pub const fn new(input: R, frame_rate: NonZeroU32) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            used: 0,
            scanned: 0,
            is_synchronized: false,
            is_ended: false,
            unit: Vec::new(),
            has_slice: false,
            index: 0,
            frame_rate,
        }
    }

    /// Reads the next access unit; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ReadError::WrongFormat`] when the stream does not begin with a start code; [`ReadError::FrameTooLarge`];
    /// [`ReadError::Io`]. Nothing follows an error.
    pub fn next_frame(&mut self) -> Result<Option<MediaFrame>, ReadError> {
        let frame = self.read_frame();
        if frame.is_err() {
            self.is_ended = true;
            self.is_synchronized = false;
        }
        frame
    }

    fn read_frame(&mut self) -> Result<Option<MediaFrame>, ReadError> {
        if !self.is_synchronized && !self.synchronize()? {
            return Ok(None);
        }
        while let Some((from, to)) = self.read_unit()? {
            let nal_unit = &self.buffer[from..to];
            let frame = if self.has_slice && starts_access_unit(nal_unit) {
                Some(take_frame(&mut self.unit, &mut self.index, self.frame_rate))
            } else {
                None
            };
            self.has_slice = is_slice(nal_unit) || (self.has_slice && frame.is_none());
            if is_kept(nal_unit) {
                append(&mut self.unit, nal_unit);
            }
            if self.unit.len() > MAX_FRAME_BYTES {
                return Err(ReadError::FrameTooLarge { bytes: self.unit.len(), max: MAX_FRAME_BYTES });
            }
            if frame.is_some() {
                return Ok(frame);
            }
        }
        if !self.has_slice {
            return Ok(None);
        }
        self.has_slice = false;
        Ok(Some(take_frame(&mut self.unit, &mut self.index, self.frame_rate)))
    }

    /// Uses up the first start code and the zeros in front of it. `false`: nothing is there (any more).
    fn synchronize(&mut self) -> Result<bool, ReadError> {
        if self.is_ended {
            return Ok(false);
        }
        self.fill()?;
        if self.buffer.is_empty() {
            return Ok(false);
        }
        let at =
            find_start_code(&self.buffer, 0).filter(|at| self.buffer[..*at].iter().all(|byte| *byte == 0));
        let Some(at) = at else { return Err(ReadError::WrongFormat { expected: "an Annex-B byte stream" }) };
        self.used = at + 3;
        self.scanned = self.used;
        self.is_synchronized = true;
        Ok(true)
    }

    /// Uses up one NAL unit with the start code behind it and returns where it is in the buffer.
    fn read_unit(&mut self) -> Result<Option<(usize, usize)>, ReadError> {
        loop {
            let found = find_start_code(&self.buffer, self.scanned);
            let end = match found {
                Some(at) => at,
                None if self.is_ended => self.buffer.len(),
                None => {
                    // The next bytes may complete a start code whose first two are here.
                    self.scanned = self.buffer.len().saturating_sub(2).max(self.used);
                    self.fill()?;
                    continue;
                }
            };
            let from = self.used;
            let to = from + without_trailing_zeros(&self.buffer[from..end]).len();
            self.used = found.map_or(end, |at| at + 3);
            self.scanned = self.used;
            if from < to {
                return Ok(Some((from, to)));
            }
            if found.is_none() {
                return Ok(None);
            }
        }
    }

    /// Reads more bytes behind those that are not used up.
    fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.drain(..self.used);
        self.scanned -= self.used;
        self.used = 0;
        let length = self.buffer.len();
        if length > MAX_FRAME_BYTES {
            return Err(ReadError::FrameTooLarge { bytes: length, max: MAX_FRAME_BYTES });
        }
        self.buffer.resize(length + CHUNK_BYTES, 0);
        let read = read_up_to(&mut self.input, &mut self.buffer[length..]);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        self.is_ended = read? < CHUNK_BYTES;
        Ok(())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<MediaFrame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

/// Writes access units in canonical form, each whole and flushed at once. The format has no times.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    scratch: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Takes the output. The format has no header.
    pub const fn new(output: W) -> Self {
        Self { output, scratch: Vec::new() }
    }

    /// Writes one access unit, given with start codes of 3 or 4 bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when there is no NAL unit in it; what the output reports.
    pub fn write(&mut self, frame: &MediaFrame) -> io::Result<()> {
        self.scratch.clear();
        for unit in units(&frame.data).filter(|unit| is_kept(unit)) {
            append(&mut self.scratch, unit);
        }
        if self.scratch.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "frame has no NAL unit with a start code",
            ));
        }
        self.output.write_all(&self.scratch)?;
        self.output.flush()
    }

    /// Returns the output.
    ///
    /// # Errors
    /// What the output reports when it is flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

fn append(stream: &mut Vec<u8>, nal_unit: &[u8]) {
    stream.extend_from_slice(&START_CODE);
    stream.extend_from_slice(nal_unit);
}

fn take_frame(unit: &mut Vec<u8>, index: &mut u64, frame_rate: NonZeroU32) -> MediaFrame {
    let (media_time, end) = (frame_time(*index, frame_rate), frame_time(*index + 1, frame_rate));
    *index += 1;
    let is_keyframe = roomful_rtp::is_keyframe(Codec::H264, unit);
    MediaFrame {
        data: std::mem::take(unit).into(),
        media_time,
        duration: end - media_time,
        is_keyframe,
        audio_level: None,
    }
}

/// Computed from the index, so that nothing adds up over a long stream.
fn frame_time(index: u64, frame_rate: NonZeroU32) -> Duration {
    let nanos = u128::from(index) * 1_000_000_000 / u128::from(frame_rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns whether bytes look like the beginning of an H.264 byte stream: zeros, a start code, a unit that H.264 has.
pub(super) fn is_annexb(beginning: &[u8]) -> bool {
    let zeros = beginning.iter().take_while(|byte| **byte == 0).count();
    // MPEG program streams have bytes from 0x80 here, H.265 units have other types.
    let is_unit = |header: u8| header & 0x80 == 0 && is_kept(&[header]) || header == 9;
    zeros >= 2 && matches!(beginning[zeros..], [1, header, ..] if is_unit(header))
}

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const RATE: NonZeroU32 = NonZeroU32::new(30).unwrap();

    #[track_caller]
    fn check(stream: &[u8], expected: &[&[u8]]) {
        let read: Vec<_> = Reader::new(stream, RATE).map(|frame| frame.unwrap().data).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn access_units_end_where_h264_section_7_4_1_2_3_says() {
        let expected: [&[u8]; 2] = [
            &[0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x65, 0x88, 0, 0, 0, 1, 0x65, 0x48],
            &[0, 0, 0, 1, 0x41, 0x9a],
        ];
        // A slice that begins a picture; one that does not stays with the first.
        check(&[0, 0, 1, 0x67, 7, 0, 0, 1, 0x65, 0x88, 0, 0, 1, 0x65, 0x48, 0, 0, 1, 0x41, 0x9a], &expected);
        // Delimiters, which go, and padding.
        let with_delimiters = [
            &[0, 0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 7, 0, 0, 1, 0x65, 0x88, 0, 0, 1, 0x65, 0x48, 0, 0, 0][..],
            &[0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 0x9a, 0],
        ];
        check(&with_delimiters.concat(), &expected);
        // A parameter set after a slice begins the next.
        check(
            &[0, 0, 1, 0x41, 0x9a, 0, 0, 1, 0x67, 7, 0, 0, 1, 0x65, 0x88],
            &[&[0, 0, 0, 1, 0x41, 0x9a], &[0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x65, 0x88]],
        );
        check(&[0, 0, 1, 0x67, 7], &[]);
        check(&[], &[]);
    }

    #[test]
    fn what_is_no_byte_stream_is_refused_once() {
        let mut reader = Reader::new(&b"\0\0\0\x18ftypmp42"[..], RATE);
        assert!(matches!(reader.next(), Some(Err(ReadError::WrongFormat { .. }))));
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_unit_without_end_is_refused() {
        let endless = [0, 0, 1, 0x65, 0x88].into_iter().chain(std::iter::repeat_n(1, 2 * MAX_FRAME_BYTES));
        let stream: Vec<u8> = endless.collect();
        let mut reader = Reader::new(&stream[..], RATE);
        assert!(matches!(reader.next(), Some(Err(ReadError::FrameTooLarge { .. }))));
        assert!(reader.next().is_none());
    }

    #[test]
    fn the_beginning_tells_h264_from_others() {
        assert!(is_annexb(&[0, 0, 0, 1, 0x67]) && is_annexb(&[0, 0, 1, 9, 0xf0]));
        assert!(
            !is_annexb(&[0, 0, 0, 0x18]) && !is_annexb(&[0, 0, 1, 0xba]) && !is_annexb(&[0, 0, 0, 1, 0x40])
        );
        assert!(!is_annexb(&[0, 0]) && !is_annexb(&[1, 0x67]));
    }

    /// NAL units as encoders make them: no start code inside, no zero at the end.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(1..=255_u8, 1..200)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pictures in prop::collection::vec((any::<bool>(), body()), 1..30)) {
            let mut written = Vec::new();
            for (index, (is_keyframe, body)) in pictures.iter().enumerate() {
                let mut data = Vec::new();
                if *is_keyframe {
                    append(&mut data, &[0x67, 0x42]);
                    append(&mut data, &[0x68, 0xce]);
                }
                append(&mut data, &[&[if *is_keyframe { 0x65 } else { 0x41 }, 0x80], &body[..]].concat());
                let index = index as u64;
                let media_time = frame_time(index, RATE);
                written.push(MediaFrame {
                    data: data.into(),
                    media_time,
                    duration: frame_time(index + 1, RATE) - media_time,
                    is_keyframe: *is_keyframe,
                    audio_level: None,
                });
            }
            let mut writer = Writer::new(Vec::new());
            written.iter().for_each(|frame| writer.write(frame).unwrap());
            let file = writer.finish().unwrap();
            let read: Vec<_> = Reader::new(&file[..], RATE).map(Result::unwrap).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..99)) {
            for prefix in [&[][..], &[0, 0, 1]] {
                let stream = [prefix, &bytes].concat();
                prop_assert!(Reader::new(&stream[..], RATE).count() <= stream.len());
                let frame = MediaFrame {
                    data: Bytes::from(stream),
                    media_time: Duration::ZERO,
                    duration: Duration::ZERO,
                    is_keyframe: false,
                    audio_level: None,
                };
                let _ = Writer::new(Vec::new()).write(&frame);
            }
        }
    }
}
