//! A whole media file in memory.

use std::{
    fs::{self, File},
    io::{BufReader, Cursor, Read, Seek},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::Duration,
};

use roomful_types::{AudioLevel, Codec, MediaKind};

use super::{MediaFrame, ReadError, annexb, ivf, ogg, read_up_to, resolution};

/// The frames of one audio or video file, ready to be played any number of times. Cheap to clone.
///
/// There is at least one frame; the first begins at media time 0 and, of video, is a key frame; media times increase and
/// durations are not 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    codec: Codec,
    resolution: Option<(u16, u16)>,
    frames: Arc<[MediaFrame]>,
}

impl Clip {
    /// Reads an IVF file with VP8, an Annex-B H.264 file (taken to have 30 frames per second) or an Ogg Opus file, told
    /// apart by how they begin.
    ///
    /// Holds at most 1 GiB. How loud audio is stands in a file beside it, `voice.ogg.levels` beside `voice.ogg`, as
    /// [`with_audio_levels`](Self::with_audio_levels) reads it; without one it is unknown.
    ///
    /// # Errors
    /// [`OpenError`], with the path, the cause and what to do about it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with_frame_rate(path, DEFAULT_FRAME_RATE)
    }

    /// As [`open`](Self::open), with the frame rate of H.264, in frames per second, whose files have no times.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_frame_rate(path: impl AsRef<Path>, frame_rate: NonZeroU32) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |path: &Path, cause| OpenError { name: path.display().to_string(), cause };
        let clip = File::open(path)
            .map_err(|error| ClipError::Read(error.into()))
            .and_then(|file| Self::read(BufReader::new(file), frame_rate))
            .map_err(|cause| failed(path, cause))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(LEVELS_ENDING);
        let beside = Path::new(&beside);
        if clip.codec.kind() == MediaKind::Video || !beside.exists() {
            return Ok(clip);
        }
        fs::read_to_string(beside)
            .map_err(|error| ClipError::Read(error.into()))
            .and_then(|levels| clip.with_audio_levels(&levels))
            .map_err(|cause| failed(beside, cause))
    }

    /// As [`open`](Self::open), from bytes that are already in memory.
    ///
    /// * `name`: stands for the path in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, OpenError> {
        Self::read(Cursor::new(bytes), DEFAULT_FRAME_RATE)
            .map_err(|cause| OpenError { name: name.to_owned(), cause })
    }

    /// Takes frames that come from elsewhere. Those of video before the first key frame are left out, and media time is
    /// moved so that it begins at 0.
    ///
    /// # Errors
    /// [`ClipError::Empty`], [`ClipError::NoKeyframe`], [`ClipError::TooLong`], [`ClipError::TimeNotIncreasing`].
    pub fn new(
        codec: Codec,
        resolution: Option<(u16, u16)>,
        mut frames: Vec<MediaFrame>,
    ) -> Result<Self, ClipError> {
        if frames.is_empty() {
            return Err(ClipError::Empty);
        }
        let first = frames.iter().position(|frame| frame.is_keyframe).ok_or(ClipError::NoKeyframe)?;
        frames.drain(..first);
        let start = frames[0].media_time;
        for index in 0..frames.len() {
            let increases = index == 0 || frames[index - 1].media_time + start < frames[index].media_time;
            if !increases || frames[index].duration.is_zero() {
                return Err(ClipError::TimeNotIncreasing { frame: first + index });
            }
            frames[index].media_time -= start;
            if frames[index].media_time.saturating_add(frames[index].duration) > MAX_DURATION {
                return Err(ClipError::TooLong);
            }
        }
        Ok(Self { codec, resolution, frames: frames.into() })
    }

    /// Says how loud each frame is.
    ///
    /// * `levels`: a line for each frame, with its level in −dBov as a number from 0, the loudest, to 127, silence (RFC 6464 §3).
    ///
    /// # Errors
    /// [`ClipError::Levels`].
    pub fn with_audio_levels(mut self, levels: &str) -> Result<Self, ClipError> {
        let mut lines = levels.lines();
        let frames = self.frames.iter().enumerate().map(|(index, frame)| {
            let level = lines.next().and_then(|line| line.parse().ok()).filter(|level| *level <= 127);
            let level = level.ok_or(ClipError::Levels { line: index + 1 })?;
            Ok(MediaFrame { audio_level: Some(AudioLevel::from_negative_dbov(level)), ..frame.clone() })
        });
        self.frames = frames.collect::<Result<_, ClipError>>()?;
        match lines.next() {
            None => Ok(self),
            Some(_) => Err(ClipError::Levels { line: self.frames.len() + 1 }),
        }
    }

    /// Returns how the frames are encoded.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Returns width and height in pixels; `None` for audio, and when the file does not tell.
    #[must_use]
    pub const fn resolution(&self) -> Option<(u16, u16)> {
        self.resolution
    }

    /// Returns the frames in the order of their media time.
    #[must_use]
    pub const fn frames(&self) -> &Arc<[MediaFrame]> {
        &self.frames
    }

    /// Returns how long it plays: to the end of its last frame.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.frames.last().map_or(Duration::ZERO, |frame| frame.media_time + frame.duration)
    }

    fn read(mut input: impl Read + Seek, frame_rate: NonZeroU32) -> Result<Self, ClipError> {
        let mut beginning = [0; 16];
        let length = read_up_to(&mut input, &mut beginning).map_err(ReadError::from)?;
        input.rewind().map_err(ReadError::from)?;
        match &beginning[..length] {
            [] => Err(ClipError::Empty),
            bytes if bytes.starts_with(ivf::SIGNATURE) => {
                let reader = ivf::Reader::new(input)?;
                let header = *reader.header();
                let codec = header.fourcc.codec().ok_or(ClipError::UnsupportedCodec(header.fourcc))?;
                Self::new(codec, Some(header.resolution), collect(reader)?)
            }
            bytes if bytes.starts_with(ogg::SIGNATURE) => {
                Self::new(Codec::Opus, None, collect(ogg::Reader::new(input)?)?)
            }
            bytes if annexb::is_annexb(bytes) => {
                let frames = collect(annexb::Reader::new(input, frame_rate))?;
                let size = frames.iter().find_map(|frame| resolution(Codec::H264, &frame.data));
                Self::new(Codec::H264, size, frames)
            }
            _ => Err(ClipError::UnknownFormat),
        }
    }
}

/// Why a file cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("cannot play {name}: {cause}; {}", .cause.next_step())]
pub struct OpenError {
    /// The path, or the name given.
    pub name: String,
    /// What is wrong with it.
    pub cause: ClipError,
}

/// What is wrong with a file that is to be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It begins like none of the known formats.
    #[error("it is neither IVF, Annex-B H.264 nor Ogg Opus")]
    UnknownFormat,
    /// It has a codec that can be read and written, but not sent.
    #[error("{0:?} cannot be sent")]
    UnsupportedCodec(ivf::FourCc),
    /// It has no frames.
    #[error("it has no frames")]
    Empty,
    /// It is video without a key frame.
    #[error("it has no key frame")]
    NoKeyframe,
    /// It holds more than fits into memory.
    #[error("it holds more than {max} bytes")]
    TooLarge {
        /// Bytes allowed, the overhead for each frame included.
        max: usize,
    },
    /// It plays for longer than 30 days.
    #[error("it plays for more than 30 days")]
    TooLong,
    /// A frame is shown no later than the one before it, or for no time.
    #[error("frame {frame} has no time of its own")]
    TimeNotIncreasing {
        /// Its number in the file, from 0.
        frame: usize,
    },
    /// The audio levels beside it are not a number from 0 to 127 for each of its frames.
    #[error("line {line} is not the audio level of a frame, 0 to 127")]
    Levels {
        /// The first wrong line, from 1.
        line: usize,
    },
}

impl ClipError {
    /// Returns what the person who gave the file can do about it.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Read(ReadError::Io(_)) => "check that the path names a file you may read",
            Self::Levels { .. } => "make it again for this file, or remove it",
            Self::TooLarge { .. } | Self::TooLong => "cut it into shorter files",
            Self::Read(
                ReadError::WrongFormat { .. } | ReadError::Damaged { .. } | ReadError::FrameTooLarge { .. },
            )
            | Self::UnknownFormat
            | Self::UnsupportedCodec(_)
            | Self::Empty
            | Self::NoKeyframe
            | Self::TimeNotIncreasing { .. } => {
                "make one with: ffmpeg -i INPUT -c:v libvpx -auto-alt-ref 0 video.ivf -c:a libopus audio.ogg"
            }
        }
    }
}

fn collect(
    frames: impl Iterator<Item = Result<MediaFrame, ReadError>>,
) -> Result<Vec<MediaFrame>, ClipError> {
    let mut total = 0_usize;
    frames
        .map(|frame| {
            let frame = frame?;
            total = total.saturating_add(frame.data.len() + size_of::<MediaFrame>());
            if total > MAX_CLIP_BYTES { Err(ClipError::TooLarge { max: MAX_CLIP_BYTES }) } else { Ok(frame) }
        })
        .collect()
}

/// What the name of a file with audio levels has more than that of the file beside it.
const LEVELS_ENDING: &str = ".levels";

/// What most cameras and encoders give.
const DEFAULT_FRAME_RATE: NonZeroU32 = NonZeroU32::new(30).expect("not 0");

/// Clips stay in memory: an hour of video at 2 Mbit/s fits.
const MAX_CLIP_BYTES: usize = 1 << 30;

/// Far longer than anything that fits; keeps sums of times small.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn frame(start: u64, duration: u64, is_keyframe: bool) -> MediaFrame {
        MediaFrame {
            data: Bytes::from_static(&[1]),
            media_time: Duration::from_millis(start),
            duration: Duration::from_millis(duration),
            is_keyframe,
            audio_level: None,
        }
    }

    #[test]
    fn every_frame_has_a_level_or_the_levels_are_refused() {
        let clip = || Clip::new(Codec::Opus, None, vec![frame(0, 20, true), frame(20, 20, true)]).unwrap();
        let loud = clip().with_audio_levels("0\n127\n").unwrap();
        let levels: Vec<_> = loud.frames().iter().map(|frame| frame.audio_level).collect();
        assert_eq!(levels, [0, 127].map(|level| Some(AudioLevel::from_negative_dbov(level))));
        for (levels, wrong) in [("", 1), ("1", 2), ("1\n128", 2), ("1\n-2", 2), ("1\n2\n3", 3)] {
            let refused = clip().with_audio_levels(levels);
            assert!(matches!(refused, Err(ClipError::Levels { line }) if line == wrong), "{levels:?}");
        }
    }

    #[test]
    fn a_clip_begins_at_zero_with_a_key_frame() {
        let clip =
            Clip::new(Codec::Vp8, None, vec![frame(5, 5, false), frame(10, 5, true), frame(15, 7, false)])
                .unwrap();
        assert_eq!(clip.frames()[..], [frame(0, 5, true), frame(5, 7, false)]);
        assert_eq!(clip.duration(), Duration::from_millis(12));
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let new = |frames| Clip::new(Codec::Vp8, None, frames).unwrap_err();
        assert!(matches!(new(vec![]), ClipError::Empty));
        assert!(matches!(new(vec![frame(0, 5, false)]), ClipError::NoKeyframe));
        assert!(matches!(
            new(vec![frame(3, 5, true), frame(3, 5, true)]),
            ClipError::TimeNotIncreasing { frame: 1 }
        ));
        assert!(matches!(new(vec![frame(0, 0, true)]), ClipError::TimeNotIncreasing { frame: 0 }));
        assert!(matches!(new(vec![frame(0, u64::MAX, true)]), ClipError::TooLong));
    }

    #[test]
    fn an_error_names_the_file_the_cause_and_the_next_step() {
        let text = Clip::parse("a.mp4", b"\0\0\0\x18ftypmp42").unwrap_err().to_string();
        assert!(
            text.starts_with(
                "cannot play a.mp4: it is neither IVF, Annex-B H.264 nor Ogg Opus; make one with"
            )
        );
        let folder = tempfile::tempdir().unwrap();
        let text = Clip::open(folder.path().join("none.ivf")).unwrap_err().to_string();
        assert!(
            text.contains("none.ivf") && text.ends_with("; check that the path names a file you may read")
        );
        assert!(Clip::open(folder.path()).is_err());
        let mut writer = ivf::Writer::new(Cursor::new(Vec::new()), ivf::FourCc::Av1, (1, 1)).unwrap();
        writer.write(&frame(0, 1, true)).unwrap();
        let path = folder.path().join("av1.ivf");
        let file = writer.finish().unwrap().into_inner();
        File::create(&path).unwrap().write_all(&file).unwrap();
        assert!(matches!(
            Clip::open(&path).unwrap_err().cause,
            ClipError::UnsupportedCodec(ivf::FourCc::Av1)
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for beginning in [&b""[..], b"DKIF\0\0\x20\0VP80", b"OggS", b"\0\0\0\x01\x67"] {
                let _ = Clip::parse("bytes", &[beginning, &bytes].concat());
            }
        }
    }
}
