//! Recording one remote track: into one file, and into another whenever codec or picture size change.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use roomful::{
    Codec, MediaKind, RemoteFrame,
    file::{self, MediaFrame, annexb, ivf, ogg},
};
use serde::Serialize;

use crate::failure::Failure;

/// Records one track. Every frame is handed to the system at once (Opus: every half second), so that whatever ends the
/// program leaves files that can be played.
pub(crate) struct Recorder {
    folder: PathBuf,
    /// The file's name without number and extension.
    stem: String,
    kind: MediaKind,
    open: Option<Open>,
    done: Vec<Recording>,
}

/// A file that was written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recording {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it is audio or video.
    pub(crate) kind: MediaKind,
    /// How many frames are in it.
    pub(crate) frames: u64,
    /// How they are encoded.
    #[serde(skip)]
    pub(crate) codec: Codec,
    /// Width and height, of video.
    #[serde(skip)]
    pub(crate) resolution: Option<(u16, u16)>,
    /// From the first frame to the last.
    #[serde(skip)]
    pub(crate) duration: Duration,
    /// Their bytes.
    #[serde(skip)]
    pub(crate) bytes: u64,
}

struct Open {
    writer: Writer,
    recording: Recording,
    /// Media time at which it begins.
    start: Duration,
}

enum Writer {
    Ivf(ivf::Writer<File>),
    Annexb(annexb::Writer<File>),
    Ogg(Box<ogg::Writer<File>>),
}

impl Recorder {
    /// Prepares to record a track. Makes no file before the first frame.
    ///
    /// * `from`, `key`: whose it is.
    pub(crate) fn new(folder: &Path, from: &str, key: &str, kind: MediaKind) -> Self {
        let stem = format!("{}-{}-{kind}", file_name(from), file_name(key));
        Self { folder: folder.to_owned(), stem, kind, open: None, done: Vec::new() }
    }

    /// Writes a frame. Video is left out up to its first key frame.
    pub(crate) fn write(&mut self, frame: &RemoteFrame) -> Result<(), Failure> {
        let resolution = frame.is_keyframe.then(|| file::resolution(frame.codec, &frame.data)).flatten();
        if self.open.as_ref().is_some_and(|open| open.ends_before(frame, resolution)) {
            self.end_file()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None if frame.is_keyframe => self.begin_file(frame, resolution)?,
            None => return Ok(()),
        };
        let result = open.write(frame);
        let path = open.recording.path.clone();
        self.open = Some(open);
        result.map_err(|error| failure("write to", &path, &error))
    }

    /// Ends the recording and returns its files.
    pub(crate) fn finish(mut self) -> Result<Vec<Recording>, Failure> {
        self.end_file()?;
        Ok(self.done)
    }

    fn begin_file(&self, frame: &RemoteFrame, resolution: Option<(u16, u16)>) -> Result<Open, Failure> {
        let (path, file) = self.create(extension(frame.codec))?;
        let writer = match frame.codec {
            Codec::Vp8 => {
                ivf::Writer::new(file, ivf::FourCc::Vp8, resolution.unwrap_or_default()).map(Writer::Ivf)
            }
            Codec::H264 => Ok(Writer::Annexb(annexb::Writer::new(file))),
            Codec::Opus => ogg::Writer::new(file, OPUS_CHANNELS, rand::random())
                .map(|writer| Writer::Ogg(Box::new(writer))),
        };
        let recording = Recording {
            path,
            kind: self.kind,
            frames: 0,
            codec: frame.codec,
            resolution,
            duration: Duration::ZERO,
            bytes: 0,
        };
        let writer = writer.map_err(|error| failure("write to", &recording.path, &error))?;
        Ok(Open { writer, recording, start: frame.media_time })
    }

    /// Makes a file that was not there: the first free number.
    fn create(&self, extension: &str) -> Result<(PathBuf, File), Failure> {
        let mut number = 1_u32;
        loop {
            let name = match number {
                1 => format!("{}.{extension}", self.stem),
                _ => format!("{}-{number}.{extension}", self.stem),
            };
            let path = self.folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < u32::MAX => {
                    number += 1
                }
                Err(error) => return Err(failure("make", &path, &error)),
            }
        }
    }

    fn end_file(&mut self) -> Result<(), Failure> {
        let Some(Open { writer, recording, .. }) = self.open.take() else { return Ok(()) };
        let result = match writer {
            Writer::Ivf(writer) => writer.finish().map(drop),
            Writer::Annexb(writer) => writer.finish().map(drop),
            Writer::Ogg(writer) => writer.finish().map(drop),
        };
        let path = recording.path.clone();
        self.done.push(recording);
        result.map_err(|error| failure("write to", &path, &error))
    }
}

impl Open {
    /// Returns whether a frame belongs into another file.
    fn ends_before(&self, frame: &RemoteFrame, resolution: Option<(u16, u16)>) -> bool {
        frame.codec != self.recording.codec
            || (resolution.is_some() && resolution != self.recording.resolution)
    }

    fn write(&mut self, frame: &RemoteFrame) -> io::Result<()> {
        let frame = MediaFrame {
            data: frame.data.clone(),
            media_time: frame.media_time.saturating_sub(self.start),
            duration: Duration::ZERO, // none of the formats stores it
            is_keyframe: frame.is_keyframe,
            audio_level: frame.audio_level,
        };
        match &mut self.writer {
            Writer::Ivf(writer) => writer.write(&frame)?,
            Writer::Annexb(writer) => writer.write(&frame)?,
            Writer::Ogg(writer) => writer.write(&frame)?,
        }
        self.recording.frames += 1;
        self.recording.bytes += frame.data.len() as u64;
        self.recording.duration = frame.media_time;
        Ok(())
    }
}

/// Makes a folder, with those that it is in.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| failure("make the folder", path, &error))
}

fn failure(attempt: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = error.kind();
    let next = if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        "make room on the disk"
    } else if kind == io::ErrorKind::PermissionDenied {
        "choose a folder that you may write to"
    } else {
        "check the disk, or choose another folder"
    };
    Failure::work(format!("cannot {attempt} {}: {error}; {next}", path.display()))
}

const fn extension(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "ogg",
        Codec::Vp8 => "ivf",
        Codec::H264 => "h264",
    }
}

/// Makes a part of a file's name of what somebody else chose: no separators, no leading dot, not too long.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        if name.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        name.push(if name.is_empty() && c == '.' { '_' } else { c });
    }
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Two of them, the kind, a number and the extension stay below the 255 that file systems have.
const MAX_NAME_BYTES: usize = 96;

/// For players; packets may be mono or stereo.
const OPUS_CHANNELS: u8 = 2;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use roomful::file::Clip;

    use super::*;

    const VIDEO: &[u8] = include_bytes!("../fixtures/camera-90.ivf");
    const LARGER: &[u8] = include_bytes!("../fixtures/camera-180.ivf");
    const VOICE: &[u8] = include_bytes!("../fixtures/voice-a.ogg");

    fn remote(codec: Codec, frame: &MediaFrame) -> RemoteFrame {
        RemoteFrame {
            data: frame.data.clone(),
            codec,
            media_time: frame.media_time,
            captured_at: None,
            is_keyframe: frame.is_keyframe,
            packets_lost: 0,
            frames_dropped: 0,
            audio_level: None,
        }
    }

    fn clip(bytes: &[u8]) -> Clip {
        Clip::parse("fixture", bytes).unwrap()
    }

    #[test]
    fn names_stay_inside_the_folder() {
        assert_eq!(file_name("../../etc/passwd"), "_._.._etc_passwd");
        assert_eq!(file_name("bot 1"), "bot_1");
        assert_eq!(file_name(""), "_");
        assert_eq!(file_name("ä".repeat(99).as_str()).len(), 96);
        assert!(!file_name(".hidden").starts_with('.'));
    }

    #[test]
    fn a_recording_is_what_was_received() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, kind) in [(VIDEO, MediaKind::Video), (VOICE, MediaKind::Audio)] {
            let clip = clip(bytes);
            let mut recorder = Recorder::new(folder.path(), "bot-1", "camera", kind);
            for frame in clip.frames().iter() {
                recorder.write(&remote(clip.codec(), frame)).unwrap();
            }
            let files = recorder.finish().unwrap();
            assert_eq!((files.len(), files[0].frames), (1, clip.frames().len() as u64));
            let read = Clip::open(&files[0].path).unwrap();
            let data = |clip: &Clip| clip.frames().iter().map(|frame| frame.data.clone()).collect::<Vec<_>>();
            assert_eq!(data(&read), data(&clip));
        }
        assert!(folder.path().join("bot-1-camera-video.ivf").exists());
        assert!(folder.path().join("bot-1-camera-audio.ogg").exists());
    }

    #[test]
    fn another_size_is_another_file_that_begins_with_a_key_frame() {
        let folder = tempfile::tempdir().unwrap();
        let (small, large) = (clip(VIDEO), clip(LARGER));
        let mut recorder = Recorder::new(folder.path(), "a", "b", MediaKind::Video);
        let middle = remote(Codec::Vp8, &small.frames()[1]);
        recorder.write(&middle).unwrap();
        recorder.write(&remote(Codec::Vp8, &small.frames()[0])).unwrap();
        recorder.write(&middle).unwrap();
        recorder.write(&remote(Codec::Vp8, &large.frames()[0])).unwrap();
        let mut h264 = remote(Codec::H264, &small.frames()[0]);
        h264.data = Bytes::from_static(&[0, 0, 0, 1, 0x65, 0x88]);
        recorder.write(&h264).unwrap();
        let files = recorder.finish().unwrap();
        let names: Vec<_> =
            files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["a-b-video.ivf", "a-b-video-2.ivf", "a-b-video.h264"]);
        assert_eq!(files.iter().map(|file| file.frames).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(files[1].resolution, Some((320, 180)));
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let clip = clip(VIDEO);
        for expected in ["a-b-video.ivf", "a-b-video-2.ivf", "a-b-video-3.ivf"] {
            let mut recorder = Recorder::new(folder.path(), "a", "b", MediaKind::Video);
            recorder.write(&remote(Codec::Vp8, &clip.frames()[0])).unwrap();
            assert!(recorder.finish().unwrap()[0].path.ends_with(expected));
        }
    }
}
