//! Playing files into tracks, in real time.

use std::time::Duration;

use roomful::{
    Frame, LocalTrack, MediaKind, TrackRequest, TrackWriter, Tracks,
    file::{Clip, MediaFrame, Playhead},
};
use tokio::time::{Instant, sleep_until};

use crate::interrupt::Stop;

/// Plays a video clip and an audio clip into a stream.
#[derive(Debug)]
pub(crate) struct Player {
    playhead: Playhead,
    video: Output,
    audio: Output,
    /// A key frame was asked for and not yet given.
    is_keyframe_wanted: bool,
    /// When the last jump to a key frame was.
    jumped_at: Option<Instant>,
}

/// A frame that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Played<'a> {
    /// Of which track.
    pub(crate) kind: MediaKind,
    /// The frame, with its media time in the stream.
    pub(crate) frame: &'a MediaFrame,
    /// Whether nobody takes the track: the frame is dropped.
    pub(crate) is_paused: bool,
}

/// How playing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlayEnd {
    /// The files are over.
    Finished,
    /// It was time to end.
    Stopped,
}

/// One track and whether anybody takes it.
#[derive(Debug, Default)]
struct Output {
    writer: Option<TrackWriter>,
    is_paused: bool,
}

impl Player {
    /// Makes a player, and the tracks that it plays into.
    ///
    /// * `video`, `audio`: clips of that kind.
    pub(crate) fn new(video: Option<Clip>, audio: Option<Clip>, looped: bool) -> (Self, Tracks) {
        let output = |clip: &Option<Clip>| match clip.as_ref().map(|clip| LocalTrack::new(clip.codec())) {
            Some((track, writer)) => (Some(track), Output { writer: Some(writer), is_paused: false }),
            None => (None, Output::default()),
        };
        let ((video_track, video_output), (audio_track, audio_output)) = (output(&video), output(&audio));
        let player = Self {
            playhead: Playhead::new(video, audio, looped),
            video: video_output,
            audio: audio_output,
            is_keyframe_wanted: false,
            jumped_at: None,
        };
        (player, Tracks { audio: audio_track, video: video_track })
    }

    /// Plays to the end of the clips, or until it is time to end. Every frame has its own place in time, so that nothing
    /// adds up; what is late follows at once.
    ///
    /// * `observe`: called for every frame right before it is written.
    pub(crate) async fn play(mut self, stop: &Stop, mut observe: impl FnMut(Played<'_>)) -> PlayEnd {
        let start = Instant::now();
        let mut end = Duration::ZERO;
        while let Some(next_time) = self.playhead.next_time() {
            tokio::select! {
                biased;
                () = stop.wait() => return PlayEnd::Stopped,
                request = request(&mut self.video, &mut self.audio) => {
                    self.on_request(request);
                    continue;
                }
                () = sleep_until(start + next_time) => {}
            }
            if self.is_keyframe_wanted && self.may_jump() {
                self.is_keyframe_wanted = false;
                self.jumped_at = Some(Instant::now());
                self.playhead.jump_to_keyframe();
            }
            let Some((kind, frame)) = self.playhead.next() else { break };
            end = end.max(frame.media_time + frame.duration);
            let output = if kind == MediaKind::Video { &self.video } else { &self.audio };
            observe(Played { kind, frame: &frame, is_paused: output.is_paused });
            let Some(writer) = &output.writer else { continue };
            tokio::select! {
                () = writer.write(to_write(frame)) => {}
                () = stop.wait() => return PlayEnd::Stopped,
            }
        }
        // The last frame is shown as long as it lasts, and what got lost on the way can still be asked for.
        tokio::select! {
            () = sleep_until(start + end + LINGER) => PlayEnd::Finished,
            () = stop.wait() => PlayEnd::Stopped,
        }
    }

    fn on_request(&mut self, (kind, request): (MediaKind, TrackRequest)) {
        let output = if kind == MediaKind::Video { &mut self.video } else { &mut self.audio };
        match request {
            TrackRequest::Keyframe => self.is_keyframe_wanted |= kind == MediaKind::Video,
            // A key frame is asked for besides, unless one is under way.
            TrackRequest::Resumed => output.is_paused = false,
            TrackRequest::Paused => output.is_paused = true,
            TrackRequest::TargetBitrate(_) => {} // a file has the rate that it has
        }
    }

    /// Wishes that come together become one jump; otherwise playing would be nothing but jumping.
    fn may_jump(&self) -> bool {
        self.jumped_at.is_none_or(|at| at.elapsed() >= JUMP_INTERVAL)
    }
}

impl Output {
    async fn request(&mut self) -> TrackRequest {
        match &mut self.writer {
            Some(writer) => writer.request().await,
            None => std::future::pending().await,
        }
    }
}

/// Waits for what receivers want of one of the two. May be dropped at any time without losing a request.
async fn request(video: &mut Output, audio: &mut Output) -> (MediaKind, TrackRequest) {
    tokio::select! {
        request = video.request() => (MediaKind::Video, request),
        request = audio.request() => (MediaKind::Audio, request),
    }
}

fn to_write(frame: MediaFrame) -> Frame {
    let MediaFrame { data, media_time, duration, is_keyframe, audio_level } = frame;
    Frame { data, media_time, duration, is_keyframe, audio_level }
}

/// Least time between two jumps to a key frame: several new receivers in a row share one.
const JUMP_INTERVAL: Duration = Duration::from_millis(100);

/// A few round trips.
const LINGER: Duration = Duration::from_millis(500);
