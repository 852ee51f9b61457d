//! Publishers that know what they wrote, and checks of what arrived.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use roomful::{
    Codec, Frame, LocalTrack, MediaKind, RemoteFrame, RemoteTrack, TrackRequest, TrackWriter, Tracks,
    file::{Clip, MediaFrame, Playhead},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{fixture, within};

/// Everything that one track was given, in order.
pub(crate) type Written = Arc<Mutex<VecDeque<MediaFrame>>>;

/// Plays files into a stream in real time, for ever, and remembers what it wrote.
pub(crate) struct Player {
    pub(crate) audio: Written,
    pub(crate) video: Written,
    pub(crate) tracks: Tracks,
    /// Every frame that it may ever write.
    repertoire: HashSet<Bytes>,
    task: JoinHandle<()>,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Player {
    pub(crate) fn start(video: &str, audio: &str) -> Self {
        Self::play(fixture(video), fixture(audio))
    }

    /// Plays the smallest fixtures with a mark at the end of each frame, so that no two players write the same bytes.
    pub(crate) fn start_marked(mark: u8) -> Self {
        Self::play(marked(&fixture("camera-90.ivf"), mark), marked(&fixture("voice-a.ogg"), mark))
    }

    fn play(video: Clip, audio: Clip) -> Self {
        let (video_track, video_writer) = LocalTrack::new(video.codec());
        let (audio_track, audio_writer) = LocalTrack::new(Codec::Opus);
        let (video_written, audio_written) = (Written::default(), Written::default());
        let repertoire = [&video, &audio].into_iter().flat_map(|clip| clip.frames().iter());
        let repertoire = repertoire.map(|frame| frame.data.clone()).collect();
        let playhead = Playhead::new(Some(video), Some(audio), true);
        let written = [audio_written.clone(), video_written.clone()];
        let task = tokio::spawn(play(playhead, [audio_writer, video_writer], written));
        let tracks = Tracks { audio: Some(audio_track), video: Some(video_track) };
        Self { audio: audio_written, video: video_written, tracks, repertoire, task }
    }
}

fn marked(clip: &Clip, mark: u8) -> Clip {
    let mut frames = clip.frames().to_vec();
    for frame in &mut frames {
        frame.data = [&frame.data[..], &[0xa5, mark, !mark]].concat().into();
    }
    Clip::new(clip.codec(), clip.resolution(), frames).expect("as long as before")
}

async fn play(mut playhead: Playhead, [audio, mut video]: [TrackWriter; 2], written: [Written; 2]) {
    let start = Instant::now();
    while let Some(time) = playhead.next_time() {
        tokio::select! {
            () = sleep_until(start + time) => {
                let Some((kind, frame)) = playhead.next() else { return };
                let (writer, written) = match kind {
                    MediaKind::Audio => (&audio, &written[0]),
                    MediaKind::Video => (&video, &written[1]),
                };
                written.lock().expect("nobody panics").push_back(frame.clone());
                writer.write(sent(frame)).await;
            }
            request = video.request() => {
                if matches!(request, TrackRequest::Keyframe) {
                    playhead.jump_to_keyframe();
                }
            }
        }
    }
}

pub(crate) fn sent(frame: MediaFrame) -> Frame {
    let MediaFrame { data, media_time, duration, is_keyframe, audio_level: _ } = frame;
    // Who speaks would be an event among those that tests wait for.
    Frame { data, media_time, duration, is_keyframe, audio_level: None }
}

/// Reads `count` frames.
#[track_caller]
pub(crate) fn read(track: &mut RemoteTrack, count: usize) -> impl Future<Output = Vec<RemoteFrame>> {
    within(async move {
        let mut frames = Vec::with_capacity(count);
        while frames.len() < count {
            frames.push(track.recv().await.expect("the subscription lasts"));
        }
        frames
    })
}

/// Returns how many of the frames written between the first and the last that arrived did not arrive. All that did are
/// checked to be, byte for byte, in order and at the right distance in time, what was written.
#[track_caller]
pub(crate) fn missing(frames: &[RemoteFrame], written: &Written) -> usize {
    let written = written.lock().expect("nobody panics");
    let first = frames.first().expect("at least one frame");
    // Played in loops, so that the same frame may have been written several times.
    let starts = (0..written.len()).rev().filter(|start| written[*start].data == first.data);
    let mut counts = starts.filter_map(|start| missing_from(frames, written.range(start..)));
    counts.next().expect("nothing arrives that was not written, and nothing out of order")
}

fn missing_from<'a>(
    frames: &[RemoteFrame],
    mut written: impl Iterator<Item = &'a MediaFrame>,
) -> Option<usize> {
    let (mut skipped, mut start) = (0, None);
    for frame in frames {
        let passed = frame.codec.ticks(frame.media_time - frames[0].media_time);
        loop {
            let original = written.next()?;
            let since = original.media_time - *start.get_or_insert(original.media_time);
            if original.data == frame.data && frame.codec.ticks(since) == passed {
                break;
            }
            skipped += 1;
        }
    }
    Some(skipped)
}

/// Checks that frames are, byte for byte and without a gap, what was written.
#[track_caller]
pub(crate) fn assert_identical(frames: &[RemoteFrame], written: &Written) {
    assert_eq!(missing(frames, written), 0, "frames missing among {}", frames.len());
}

/// Checks that frames are the player's and nobody else's, whether or not some are missing.
#[track_caller]
pub(crate) fn assert_of(player: &Player, frames: &[RemoteFrame]) {
    for frame in frames {
        assert!(player.repertoire.contains(&frame.data), "a frame under another stream's name");
    }
}
