//! IVF: VP8, VP9 and AV1 frames behind a header of 32 bytes each file and 12 bytes each frame.
//!
//! The format has no standard; this follows the files that libvpx, libaom and ffmpeg make.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use bytes::Bytes;
use roomful_types::Codec;

use super::{MAX_FRAME_BYTES, MediaFrame, ReadError, read_up_to};

/// Reads frames. An iterator; it ends after the first error.
///
/// A last frame that was cut off is left out. Frames without bytes are skipped.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    /// The frame whose duration is known as soon as the next one is, and its time stamp.
    ahead: Option<(Bytes, u64)>,
    /// From one time stamp to the next: what the last frame, which has no next, gets too.
    step: Option<u64>,
    is_done: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError::WrongFormat`] when it is not the header of an IVF file with a known codec;
    /// [`ReadError::Damaged`] when its time base has a zero; [`ReadError::Io`].
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut bytes = [0; HEADER_BYTES];
        let length = read_up_to(&mut input, &mut bytes)?;
        let header = Header::parse(&bytes[..length])?;
        let mut rest =
            u64::from(u16::from_le_bytes([bytes[6], bytes[7]])).saturating_sub(HEADER_BYTES as u64);
        while rest > 0 {
            let mut more = [0; 64];
            let wanted = rest.min(64) as usize;
            if read_up_to(&mut input, &mut more[..wanted])? < wanted {
                break;
            }
            rest -= wanted as u64;
        }
        Ok(Self { input, header, ahead: None, step: None, is_done: false })
    }

    /// Returns what the file says about itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError::FrameTooLarge`], [`ReadError::Io`]. Nothing follows an error.
    pub fn next_frame(&mut self) -> Result<Option<MediaFrame>, ReadError> {
        if self.ahead.is_none() {
            self.ahead = self.read_frame()?;
        }
        let Some((data, ticks)) = self.ahead.take() else { return Ok(None) };
        self.ahead = self.read_frame()?;
        if let Some((_, next)) = &self.ahead {
            self.step = Some(next.saturating_sub(ticks));
        }
        let media_time = self.header.time(ticks);
        let until_end = |step| self.header.time(ticks.saturating_add(step)).saturating_sub(media_time);
        let duration = self.step.map_or(DEFAULT_DURATION, until_end);
        let is_keyframe = self.header.fourcc.is_keyframe(&data);
        Ok(Some(MediaFrame { data, media_time, duration, is_keyframe, audio_level: None }))
    }

    fn read_frame(&mut self) -> Result<Option<(Bytes, u64)>, ReadError> {
        while !self.is_done {
            self.is_done = true; // unless this frame is whole
            let mut header = [0; FRAME_HEADER_BYTES];
            if read_up_to(&mut self.input, &mut header)? < FRAME_HEADER_BYTES {
                break;
            }
            let [s0, s1, s2, s3, t0, t1, t2, t3, t4, t5, t6, t7] = header;
            let length = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
            if length > MAX_FRAME_BYTES {
                return Err(ReadError::FrameTooLarge { bytes: length, max: MAX_FRAME_BYTES });
            }
            let mut data = Vec::new();
            (&mut self.input).take(length as u64).read_to_end(&mut data)?;
            if data.len() < length {
                break;
            }
            self.is_done = false;
            if !data.is_empty() {
                return Ok(Some((data.into(), u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]))));
            }
        }
        Ok(None)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<MediaFrame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

/// Writes frames, each whole and flushed at once, so that the file can be played whenever the writing stops.
///
/// Times are written in units of 1/90,000 s. The number of frames in the header is 0 until [`finish`](Self::finish).
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// Where in the output the file begins.
    begin: u64,
    frame_count: u32,
    scratch: Vec<u8>,
}

impl<W: Write + Seek> Writer<W> {
    /// Writes the header.
    ///
    /// * `resolution`: width and height of the first frame, in pixels.
    ///
    /// # Errors
    /// What the output reports.
    pub fn new(mut output: W, fourcc: FourCc, resolution: (u16, u16)) -> io::Result<Self> {
        let header = Header { fourcc, resolution, time_base: (TICKS_PER_SECOND, 1), frame_count: 0 };
        let begin = output.stream_position()?;
        output.write_all(&header.to_bytes())?;
        output.flush()?;
        Ok(Self { output, begin, frame_count: 0, scratch: Vec::new() })
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is longer than 4 MiB; what the output reports.
    pub fn write(&mut self, frame: &MediaFrame) -> io::Result<()> {
        if frame.data.len() > MAX_FRAME_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame exceeds limit of 4 MiB"));
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&(frame.data.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(&Codec::Vp8.ticks(frame.media_time).to_le_bytes());
        self.scratch.extend_from_slice(&frame.data);
        self.output.write_all(&self.scratch)?;
        self.output.flush()?;
        self.frame_count = self.frame_count.saturating_add(1);
        Ok(())
    }

    /// Puts the number of frames into the header and returns the output.
    ///
    /// # Errors
    /// What the output reports.
    pub fn finish(mut self) -> io::Result<W> {
        let end = self.output.stream_position()?;
        self.output.seek(SeekFrom::Start(self.begin.saturating_add(FRAME_COUNT_OFFSET)))?;
        self.output.write_all(&self.frame_count.to_le_bytes())?;
        self.output.seek(SeekFrom::Start(end))?;
        self.output.flush()?;
        Ok(self.output)
    }
}

/// What the beginning of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The codec.
    pub fourcc: FourCc,
    /// Width and height, in pixels.
    pub resolution: (u16, u16),
    /// The time stamps' unit as `(rate, scale)`: one is `scale / rate` seconds. Neither is 0.
    pub time_base: (u32, u32),
    /// How many frames there are; 0 when the writer did not know, and not to be trusted otherwise.
    pub frame_count: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let wrong = ReadError::WrongFormat { expected: "an IVF file" };
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>().filter(|bytes| bytes.starts_with(SIGNATURE))
        else {
            return Err(wrong);
        };
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let fourcc = FourCc::from_bytes([bytes[8], bytes[9], bytes[10], bytes[11]])
            .ok_or(ReadError::WrongFormat { expected: "an IVF file with VP8, VP9 or AV1" })?;
        let time_base = (long(16), long(20));
        if time_base.0 == 0 || time_base.1 == 0 {
            return Err(ReadError::Damaged { what: "time base with a zero" });
        }
        Ok(Self { fourcc, resolution: (short(12), short(14)), time_base, frame_count: long(24) })
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(SIGNATURE);
        bytes[6..8].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes[8..12].copy_from_slice(self.fourcc.as_bytes());
        bytes[12..14].copy_from_slice(&self.resolution.0.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.resolution.1.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.time_base.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.time_base.1.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.frame_count.to_le_bytes());
        bytes
    }

    /// Converts a time stamp, rounded to the nearest nanosecond; at most 584 years.
    fn time(&self, ticks: u64) -> Duration {
        let (rate, scale) = (u128::from(self.time_base.0), u128::from(self.time_base.1));
        // 64 and 32 bits leave room for the factor of 10⁹, which has 30, in 128.
        let nanos = (u128::from(ticks) * scale * 1_000_000_000 + rate / 2) / rate;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The codecs that IVF files carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FourCc {
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1, in the low-overhead format, one temporal unit each frame.
    Av1,
}

impl FourCc {
    /// Returns the four characters.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8; 4] {
        match self {
            Self::Vp8 => b"VP80",
            Self::Vp9 => b"VP90",
            Self::Av1 => b"AV01",
        }
    }

    /// Returns the codec, if roomful forwards it.
    #[must_use]
    pub const fn codec(self) -> Option<Codec> {
        match self {
            Self::Vp8 => Some(Codec::Vp8),
            Self::Vp9 | Self::Av1 => None,
        }
    }

    fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        [Self::Vp8, Self::Vp9, Self::Av1].into_iter().find(|known| *known.as_bytes() == bytes)
    }

    fn is_keyframe(self, frame: &[u8]) -> bool {
        match self {
            Self::Vp8 => roomful_rtp::is_keyframe(Codec::Vp8, frame),
            Self::Vp9 => frame.first().is_some_and(|byte| is_vp9_key(*byte)),
            Self::Av1 => has_sequence_header(frame),
        }
    }
}

/// Reads the first byte of the uncompressed header of VP9: marker (2 bits), profile (2, and one more in profile 3),
/// show_existing_frame, frame_type, which is 0 for a key frame. Source: VP9 bitstream specification §6.2.
const fn is_vp9_key(byte: u8) -> bool {
    let below_profile = if byte >> 4 & 3 == 3 { byte << 1 } else { byte };
    byte >> 6 == 2 && below_profile & 0b1100 == 0
}

/// Returns whether a temporal unit of AV1 has a sequence header, as those with key frames do.
///
/// Source: AV1 bitstream specification §5.3 (OBU header, size), §7.5 (a sequence header begins a coded video sequence).
fn has_sequence_header(mut unit: &[u8]) -> bool {
    while let [header, rest @ ..] = unit {
        if header >> 3 & 0xf == 1 {
            return true;
        }
        let (has_extension, has_size) = (header & 4 != 0, header & 2 != 0);
        let behind = rest.get(usize::from(has_extension)..).filter(|_| has_size);
        let Some((size, body)) = behind.and_then(leb128) else { return false };
        let Some(next) = body.get(size..) else { return false };
        unit = next;
    }
    false
}

/// Reads a number of up to 8 bytes, 7 bits each (AV1 §4.10.5), and returns what is behind it too.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (index * 7);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

pub(super) const SIGNATURE: &[u8] = b"DKIF";
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;
const FRAME_COUNT_OFFSET: u64 = 24;

/// The RTP clock of video, so that times survive exactly.
const TICKS_PER_SECOND: u32 = 90_000;

/// What a frame without neighbours gets: chosen, since nothing tells.
const DEFAULT_DURATION: Duration = Duration::from_nanos(33_333_333);

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_cut_off_anywhere_reads_up_to_there() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), FourCc::Vp8, (160, 90)).unwrap();
        for index in 0..3_u64 {
            writer.write(&frame(index * 3_000, 3_000, &[index as u8; 5])).unwrap();
        }
        let whole = writer.output.get_ref().clone(); // as after kill -9
        for length in 0..whole.len() {
            let read = Reader::new(&whole[..length]).map(|reader| reader.map(Result::unwrap).count());
            match read {
                Ok(count) => assert_eq!(count, (length - HEADER_BYTES) / (FRAME_HEADER_BYTES + 5)),
                Err(_) => assert!(length < HEADER_BYTES),
            }
        }
    }

    #[test]
    fn finish_puts_the_frame_count_in() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), FourCc::Av1, (1, 2)).unwrap();
        writer.write(&frame(0, 1, &[1])).unwrap();
        let file = writer.finish().unwrap().into_inner();
        let header = *Reader::new(&file[..]).unwrap().header();
        assert_eq!(
            header,
            Header { fourcc: FourCc::Av1, resolution: (1, 2), time_base: (90_000, 1), frame_count: 1 }
        );
    }

    #[test]
    fn other_files_are_refused() {
        let mut header =
            Header { fourcc: FourCc::Vp8, resolution: (1, 1), time_base: (30, 1), frame_count: 0 }.to_bytes();
        assert!(Reader::new(&header[..]).is_ok());
        header[11] = b'X';
        assert!(matches!(Reader::new(&header[..]), Err(ReadError::WrongFormat { .. })));
        assert!(matches!(Reader::new(&b"RIFF"[..]), Err(ReadError::WrongFormat { .. })));
        let zero = Header { fourcc: FourCc::Vp8, resolution: (1, 1), time_base: (0, 1), frame_count: 0 };
        assert!(matches!(Reader::new(&zero.to_bytes()[..]), Err(ReadError::Damaged { .. })));
    }

    #[test]
    fn key_frames_of_each_codec() {
        assert!(is_vp9_key(0b1000_0010) && !is_vp9_key(0b1000_0110) && !is_vp9_key(0b1000_1000));
        assert!(is_vp9_key(0b1011_0001) && !is_vp9_key(0b1011_0010) && !is_vp9_key(0b0000_0000));
        let delimiter = [0b0001_0010, 0];
        assert!(has_sequence_header(&[delimiter[0], delimiter[1], 0b0000_1010, 1, 0]));
        assert!(!has_sequence_header(&[delimiter[0], delimiter[1], 0b0011_0010, 1, 0]));
        assert!(FourCc::Vp8.is_keyframe(&[0x10]) && !FourCc::Vp8.is_keyframe(&[0x11]));
    }

    fn frame(ticks: u64, duration: u64, data: &[u8]) -> MediaFrame {
        let media_time = Codec::Vp8.time(ticks);
        MediaFrame {
            data: Bytes::copy_from_slice(data),
            media_time,
            duration: Codec::Vp8.time(ticks + duration) - media_time,
            is_keyframe: FourCc::Vp8.is_keyframe(data),
            audio_level: None,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            frames in prop::collection::vec((1..90_000_u64, prop::collection::vec(any::<u8>(), 1..50)), 2..20),
        ) {
            let mut ticks = 0;
            let mut written = Vec::new();
            for (duration, data) in &frames {
                written.push(frame(ticks, *duration, data));
                ticks += duration;
            }
            let mut writer = Writer::new(Cursor::new(Vec::new()), FourCc::Vp8, (640, 360)).unwrap();
            written.iter().for_each(|frame| writer.write(frame).unwrap());
            let file = writer.finish().unwrap().into_inner();
            let read: Vec<_> = Reader::new(&file[..]).unwrap().map(Result::unwrap).collect();
            // The file does not say how long the last one lasts.
            let step = frames[frames.len() - 2].0;
            let last = written.len() - 1;
            written[last] = frame(ticks - frames[last].0, step, &frames[last].1);
            prop_assert_eq!(read, written);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, fourcc in 0..3_usize, base: (u32, u32)) {
            let fourcc = [FourCc::Vp8, FourCc::Vp9, FourCc::Av1][fourcc];
            let header = Header { fourcc, resolution: (1, 1), time_base: base, frame_count: 0 };
            let mut file = header.to_bytes().to_vec();
            file.extend_from_slice(&(bytes.len() as u32 / 2).to_le_bytes());
            file.extend_from_slice(&bytes);
            for file in [&file, &bytes] {
                if let Ok(reader) = Reader::new(&file[..]) {
                    prop_assert!(reader.count() <= file.len());
                }
            }
        }
    }
}
