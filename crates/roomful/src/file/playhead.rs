//! Plays clips: says which frame comes next, without waiting for it.

use std::{sync::Arc, time::Duration};

use roomful_types::MediaKind;

use super::{Clip, MediaFrame};

/// Gives the frames of a video clip and an audio clip in the order of one common media time.
///
/// That media time runs on from 0, over the end of a loop and over jumps: video frames follow one another without gap
/// or overlap, and so does audio wherever the clip has any. The place in the clips moves for both together, so sound
/// stays with the picture: to half an audio packet, since packets are not cut.
///
/// Looped clips both start over when the video ends (the audio, if there is no video). Otherwise each plays to its end.
///
/// An iterator that owns no clock: whoever drives it waits until [`next_time`](Self::next_time).
#[derive(Debug, Clone)]
pub struct Playhead {
    video: Option<Track>,
    audio: Option<Track>,
    /// How much of the clips jumps have left out: media time is the place in the endlessly repeated clips, less this.
    skipped: Duration,
    /// Media time of the last frame given out.
    now: Duration,
}

impl Playhead {
    /// Begins at the start of the clips.
    ///
    /// # Panics
    /// When `video` is not a video clip or `audio` not an audio clip.
    #[must_use]
    pub fn new(video: Option<Clip>, audio: Option<Clip>, looped: bool) -> Self {
        let is_kind =
            |clip: &Option<Clip>, kind| clip.as_ref().is_none_or(|clip| clip.codec().kind() == kind);
        assert!(is_kind(&video, MediaKind::Video), "the first clip has to be video");
        assert!(is_kind(&audio, MediaKind::Audio), "the second clip has to be audio");
        let period = video.as_ref().or(audio.as_ref()).filter(|_| looped).map(Clip::duration);
        let mut playhead = Self {
            video: video.map(|clip| Track::new(&clip, period)),
            audio: audio.map(|clip| Track::new(&clip, period)),
            skipped: Duration::ZERO,
            now: Duration::ZERO,
        };
        playhead.settle();
        playhead
    }

    /// Moves to the next key frame of the video, and to the audio that belongs to it, as a receiver's key-frame request
    /// wants it. The next video frame is then that key frame, at the media time that the frame instead of it had.
    ///
    /// Returns `false` and changes nothing when none is left, or there is no video. If a key frame is next anyway, it stays.
    pub fn jump_to_keyframe(&mut self) -> bool {
        let Some(video) = &mut self.video else { return false };
        let from = video.place();
        let mut target = video.clone();
        for _ in 0..=target.length {
            match (target.frame(), target.place(), from) {
                (Some(frame), Some(to), Some(from)) if frame.is_keyframe => {
                    *video = target;
                    self.skipped += to.saturating_sub(from);
                    self.settle();
                    return true;
                }
                (Some(_), _, _) => target.advance(),
                (None, _, _) => break,
            }
        }
        false
    }

    /// Returns the media time of the next frame; `None` when all have been played.
    #[must_use]
    pub fn next_time(&self) -> Option<Duration> {
        let time = |track: &Option<Track>| track.as_ref().and_then(|track| track.next_time);
        [time(&self.audio), time(&self.video)].into_iter().flatten().min()
    }

    /// Determines which frames are next, and when.
    fn settle(&mut self) {
        if let Some(video) = &mut self.video {
            video.next_time = video.place().map(|place| place.saturating_sub(self.skipped));
        }
        if let Some(audio) = &mut self.audio {
            audio.settle(self.skipped, self.now);
        }
    }
}

impl Iterator for Playhead {
    type Item = (MediaKind, MediaFrame);

    fn next(&mut self) -> Option<Self::Item> {
        let media_time = self.next_time()?;
        let is_next =
            |track: &Option<Track>| track.as_ref().is_some_and(|track| track.next_time == Some(media_time));
        let (kind, track) = if is_next(&self.audio) {
            (MediaKind::Audio, &mut self.audio)
        } else {
            (MediaKind::Video, &mut self.video)
        };
        let track = track.as_mut()?;
        let frame = MediaFrame { media_time, ..track.frame()?.clone() };
        track.end = media_time + frame.duration;
        track.advance();
        self.now = media_time;
        self.settle();
        Some((kind, frame))
    }
}

/// The place of the next frame in one clip, as if the clip repeated itself in one endless row.
#[derive(Debug, Clone)]
struct Track {
    frames: Arc<[MediaFrame]>,
    /// Frames that are played: those that begin before the period ends.
    length: usize,
    /// When the clip starts over; `None`: never.
    period: Option<Duration>,
    /// The next frame; `length` at the end.
    index: usize,
    /// All periods before this one.
    base: Duration,
    /// Media time at which the next frame is given out.
    next_time: Option<Duration>,
    /// Media time at which the last frame given out ends.
    end: Duration,
}

impl Track {
    fn new(clip: &Clip, period: Option<Duration>) -> Self {
        let frames = Arc::clone(clip.frames());
        let length =
            period.map_or(frames.len(), |period| frames.partition_point(|frame| frame.media_time < period));
        Self { frames, length, period, index: 0, base: Duration::ZERO, next_time: None, end: Duration::ZERO }
    }

    fn frame(&self) -> Option<&MediaFrame> {
        self.frames[..self.length].get(self.index)
    }

    /// Returns where the next frame is in the endless row.
    fn place(&self) -> Option<Duration> {
        Some(self.base + self.frame()?.media_time)
    }

    fn advance(&mut self) {
        self.index += 1;
        if let Some(period) = self.period.filter(|_| self.index >= self.length) {
            self.index = 0;
            self.base += period;
        }
    }

    /// Leaves out the periods that end, for the next frame, before `place`: many, if a clip is very short.
    fn skip_periods(&mut self, place: Duration) {
        let (Some(period), Some(frame), Some(own)) = (self.period, self.frame(), self.place()) else {
            return;
        };
        let behind = place.saturating_sub(own + frame.duration / 2);
        let whole = behind.as_nanos() - behind.as_nanos() % period.as_nanos();
        self.base += Duration::from_nanos_u128(whole);
    }

    /// Chooses the next audio packet: the first that fits where the last one ended, to half its duration.
    ///
    /// It then begins exactly there, because receivers take a gap for loss. One that comes later comes at its own time.
    fn settle(&mut self, skipped: Duration, now: Duration) {
        let earliest = self.end.max(now);
        self.next_time = None;
        self.skip_periods(earliest + skipped);
        while let (Some(frame), Some(place)) = (self.frame(), self.place()) {
            let half = frame.duration / 2;
            if place + half < earliest + skipped {
                self.advance();
                continue;
            }
            let continues = self.end >= now && place <= self.end + skipped + half;
            let own_time = place.saturating_sub(skipped).max(earliest);
            self.next_time = Some(if continues { self.end } else { own_time });
            return;
        }
    }
}

#[cfg(test)]
mod tests;
