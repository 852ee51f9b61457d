//! Tracks of others: a bounded queue of whole frames.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use roomful_media::ReceivedFrame;
use roomful_state::TrackId;
use roomful_types::{AudioLevel, Codec, MediaKind};

/// Frames that wait for a slow reader: four seconds of video, ten of audio.
const VIDEO_QUEUE_MAX: usize = 128;
const AUDIO_QUEUE_MAX: usize = 512;

/// Frames between two requests for a key frame while none comes.
const KEYFRAME_REQUEST_FRAMES: u32 = 30;

/// One encoded frame of another participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFrame {
    /// The frame, byte for byte as its publisher wrote it.
    pub data: Bytes,
    /// How it is encoded; may change when the publisher replaces its track.
    pub codec: Codec,
    /// When it belongs, counted from the first frame of the track.
    pub media_time: Duration,
    /// When it was captured, on the publisher's clock moved by one constant for all its tracks. None until its publisher has
    /// reported, within a second.
    pub captured_at: Option<SystemTime>,
    /// Whether decoding can begin here; always for audio.
    pub is_keyframe: bool,
    /// Packets that the network lost since the last frame.
    pub packets_lost: u64,
    /// Frames dropped since the last one, because this reader was too slow.
    pub frames_dropped: u64,
    /// How loud it is, when known.
    pub audio_level: Option<AudioLevel>,
}

/// What a track has received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackReport {
    /// Frames received, dropped ones included.
    pub frames_received: u64,
    /// Bytes of these frames.
    pub bytes_received: u64,
    /// Packets that the network lost.
    pub packets_lost: u64,
    /// Frames dropped because the reader was too slow.
    pub frames_dropped: u64,
}

/// A track of another participant, read as a stream of whole frames. It ends with the subscription.
///
/// Frames wait in a queue: 128 of video, 512 of audio. When it is full, audio loses its oldest frame; video loses everything up
/// to the next key frame, because what follows a lost frame cannot be decoded. Reading never waits for the network longer than
/// a lost packet may take to be repaired: one second for video, 100 ms for audio.
#[derive(Debug)]
pub struct RemoteTrack {
    id: TrackId,
    kind: MediaKind,
    queue: Arc<Mutex<Queue>>,
}

/// The end of a remote track that frames are put into.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: Weak<Mutex<Queue>>,
    kind: MediaKind,
    needs_keyframe: bool,
    /// Frames left out since a key frame was last asked for.
    left_out: u32,
}

/// What became of a frame that was put into a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Done,
    /// It was left out, and nothing can be decoded before the next key frame.
    NeedsKeyframe,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<RemoteFrame>,
    report: TrackReport,
    dropped: u64,
    is_closed: bool,
    reader: Option<Waker>,
}

impl RemoteTrack {
    pub(crate) fn new(id: TrackId, kind: MediaKind) -> (Self, Feed) {
        let queue = Arc::new(Mutex::new(Queue::default()));
        let feed = Feed { queue: Arc::downgrade(&queue), kind, needs_keyframe: false, left_out: 0 };
        (Self { id, kind, queue }, feed)
    }

    /// Returns the id by which the [`State`](crate::State) names the track.
    #[must_use]
    pub const fn id(&self) -> TrackId {
        self.id
    }

    /// Returns whether it is audio or video.
    #[must_use]
    pub const fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Waits for the next frame; `None` when the subscription is over. May be dropped at any time without losing a frame.
    pub async fn recv(&mut self) -> Option<RemoteFrame> {
        self.next().await
    }

    /// Returns what the track has received so far.
    #[must_use]
    pub fn report(&self) -> TrackReport {
        self.queue.lock().report
    }
}

impl Stream for RemoteTrack {
    type Item = RemoteFrame;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RemoteFrame>> {
        let mut queue = self.queue.lock();
        if let Some(mut frame) = queue.frames.pop_front() {
            frame.frames_dropped = std::mem::take(&mut queue.dropped);
            return Poll::Ready(Some(frame));
        }
        if queue.is_closed {
            return Poll::Ready(None);
        }
        queue.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Feed {
    /// Returns what the track has received so far.
    pub(crate) fn report(&self) -> TrackReport {
        self.queue.upgrade().map(|queue| queue.lock().report).unwrap_or_default()
    }

    /// Puts a frame in, and drops by the policy of [`RemoteTrack`] when there is no room.
    pub(crate) fn push(&mut self, frame: ReceivedFrame) -> Pushed {
        let Some(queue) = self.queue.upgrade() else { return Pushed::Done };
        let mut queue = queue.lock();
        queue.report.frames_received += 1;
        queue.report.bytes_received += frame.data.len() as u64;
        queue.report.packets_lost += frame.packets_lost;
        let mut dropped = 0;
        match self.kind {
            MediaKind::Audio if queue.frames.len() == AUDIO_QUEUE_MAX => {
                queue.frames.pop_front();
                dropped = 1;
            }
            MediaKind::Video if queue.frames.len() == VIDEO_QUEUE_MAX => {
                dropped = queue.frames.len() as u64;
                queue.frames.clear();
                self.needs_keyframe = true;
            }
            MediaKind::Audio | MediaKind::Video => {}
        }
        self.needs_keyframe &= !frame.is_keyframe;
        if self.needs_keyframe {
            dropped += 1;
        } else {
            queue.frames.push_back(remote(frame));
        }
        queue.dropped += dropped;
        queue.report.frames_dropped += dropped;
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
        // At once, and again every second of video: the request may be lost.
        let asks = self.needs_keyframe && self.left_out.is_multiple_of(KEYFRAME_REQUEST_FRAMES);
        self.left_out = if self.needs_keyframe { self.left_out + 1 } else { 0 };
        if asks { Pushed::NeedsKeyframe } else { Pushed::Done }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(queue) = self.queue.upgrade() else { return };
        let mut queue = queue.lock();
        queue.is_closed = true;
        if let Some(reader) = queue.reader.take() {
            reader.wake();
        }
    }
}

fn remote(frame: ReceivedFrame) -> RemoteFrame {
    let ReceivedFrame { data, codec, media_time, captured_at, is_keyframe, packets_lost, audio_level } =
        frame;
    RemoteFrame {
        data,
        codec,
        media_time,
        captured_at,
        is_keyframe,
        packets_lost,
        frames_dropped: 0,
        audio_level,
    }
}
