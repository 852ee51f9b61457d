//! Tracks to publish: a handle for the room and a writer for the program.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use roomful_state::TrackId;
use roomful_types::{AudioLevel, Bitrate, Codec, MediaKind, Rid};
use tokio::sync::{Notify, watch};

/// Frames that wait to be sent before [`TrackWriter::write`] waits: a second of video.
const QUEUE_MAX: usize = 32;

/// One encoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The frame. H.264 as one access unit with start codes (Annex B); Opus as one packet.
    pub data: Bytes,
    /// When it belongs, on a clock that all tracks of the stream share. Never goes back.
    pub media_time: Duration,
    /// How long it lasts.
    pub duration: Duration,
    /// Whether decoding can begin here; always for audio.
    pub is_keyframe: bool,
    /// How loud it is, when known.
    pub audio_level: Option<AudioLevel>,
}

/// A track to publish. Cheap to clone; a clone is the same track. Publish it in one stream at a time: a second room that
/// publishes it takes it over.
#[derive(Debug, Clone)]
pub struct LocalTrack {
    shared: Arc<Shared>,
}

/// How a video track is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoTrackOptions {
    /// Whether there are three encodings of it, of full, half and quarter size, so that everybody gets the best one that gets
    /// through to them. Default no.
    pub simulcast: bool,
}

/// Writes the frames of one encoding of a [`LocalTrack`].
#[derive(Debug)]
pub struct TrackWriter {
    shared: Arc<Shared>,
    rid: Rid,
    needs: watch::Receiver<Needs>,
    seen: Needs,
}

/// What receivers want of a writer. A track begins paused: nobody takes it before it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackRequest {
    /// A key frame, as soon as possible.
    Keyframe,
    /// Not more than this, on average.
    TargetBitrate(Bitrate),
    /// Nothing: nobody takes this encoding. Frames written now are dropped, so encoding them is a waste. Audio is always taken while it is
    /// published: the server needs it to know who speaks.
    Paused,
    /// Frames again, beginning with a key frame.
    Resumed,
}

#[derive(Debug)]
struct Shared {
    id: TrackId,
    codec: Codec,
    /// The highest first; one without simulcast.
    encodings: Vec<Encoding>,
}

#[derive(Debug)]
struct Encoding {
    rid: Rid,
    queue: Mutex<Queue>,
    has_room: Notify,
    needs: watch::Sender<Needs>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Who sends the frames; without it they are dropped.
    driver: Option<Arc<Wake>>,
}

/// Wakes the task that sends frames.
pub(crate) type Wake = Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs {
    keyframes: u64,
    /// How many wishes for a key frame there were when one was last written: it serves them.
    served: u64,
    target: Option<Bitrate>,
    is_paused: bool,
}

impl Needs {
    /// Nobody takes a track that no stream has.
    const NONE: Self = Self { keyframes: 0, served: 0, target: None, is_paused: true };
}

impl LocalTrack {
    /// Makes a track of one encoding and its writer. Which kind of track it is follows from the codec.
    #[must_use]
    pub fn new(codec: Codec) -> (Self, TrackWriter) {
        let (track, writers) = Self::with_options(codec, VideoTrackOptions::default());
        let writer = writers.into_iter().next().expect("every track has an encoding");
        (track, writer)
    }

    /// Makes a track and the writers of its encodings, the largest first. Audio has one, whatever the options say.
    ///
    /// With simulcast, frames of the same moment have the same media time in all encodings.
    #[must_use]
    pub fn with_options(codec: Codec, options: VideoTrackOptions) -> (Self, Vec<TrackWriter>) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let rids: &[Rid] = match (codec.kind(), options.simulcast) {
            (MediaKind::Video, true) => &Rid::ALL,
            (MediaKind::Audio, _) | (MediaKind::Video, false) => &[Rid::High],
        };
        let encoding = |rid: &Rid| {
            let needs = watch::Sender::new(Needs::NONE);
            Encoding { rid: *rid, queue: Mutex::default(), has_room: Notify::new(), needs }
        };
        let shared = Arc::new(Shared {
            id: TrackId(LAST.fetch_add(1, Ordering::Relaxed)),
            codec,
            encodings: rids.iter().map(encoding).collect(),
        });
        let writer = |encoding: &Encoding| TrackWriter {
            shared: shared.clone(),
            rid: encoding.rid,
            needs: encoding.needs.subscribe(),
            seen: Needs::NONE,
        };
        let writers = shared.encodings.iter().map(writer).collect();
        (Self { shared }, writers)
    }

    /// Returns the id by which the [`State`](crate::State) names the track.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.shared.id
    }

    /// Returns how its frames are encoded.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.shared.codec
    }

    /// Returns whether it has three encodings.
    #[must_use]
    pub fn is_simulcast(&self) -> bool {
        self.shared.encodings.len() > 1
    }
}

impl Shared {
    fn encoding(&self, rid: Rid) -> Option<&Encoding> {
        self.encodings.iter().find(|encoding| encoding.rid == rid)
    }
}

impl TrackWriter {
    /// Returns which encoding it writes.
    #[must_use]
    pub const fn rid(&self) -> Rid {
        self.rid
    }

    /// Writes a frame. Waits while 32 frames wait to be sent; going faster than real time is no error.
    ///
    /// Frames of a track that no stream has, that is muted or that nobody takes are dropped. May be dropped at any time: the
    /// frame is then written whole or not at all.
    pub async fn write(&self, frame: Frame) {
        let mut frame = Some(frame);
        let encoding =
            self.shared.encoding(self.rid).expect("a writer is made for an encoding that there is");
        loop {
            let has_room = encoding.has_room.notified();
            let mut has_room = std::pin::pin!(has_room);
            has_room.as_mut().enable();
            {
                let mut queue = encoding.queue.lock();
                match queue.driver.clone() {
                    None => break,
                    Some(driver) if queue.frames.len() < QUEUE_MAX => {
                        if frame.as_ref().is_some_and(|frame| frame.is_keyframe) {
                            encoding.needs.send_modify(|needs| needs.served = needs.keyframes);
                        }
                        queue.frames.extend(frame.take());
                        driver.notify_one();
                        return;
                    }
                    Some(_) => {}
                }
            }
            has_room.await;
        }
        // A writer without a stream never waits for room; it must not keep the runtime from making one.
        tokio::task::yield_now().await;
    }

    /// Waits for the next thing that receivers want. Several wishes for a key frame become one; of bit rates only the
    /// latest counts. May be dropped at any time without losing a request.
    pub async fn request(&mut self) -> TrackRequest {
        loop {
            let needs = *self.needs.borrow_and_update();
            if needs.is_paused != self.seen.is_paused {
                self.seen.is_paused = needs.is_paused;
                return if needs.is_paused { TrackRequest::Paused } else { TrackRequest::Resumed };
            }
            if needs.keyframes > self.seen.keyframes.max(needs.served) {
                self.seen.keyframes = needs.keyframes;
                return TrackRequest::Keyframe;
            }
            if let Some(target) = needs.target.filter(|_| needs.target != self.seen.target) {
                self.seen.target = Some(target);
                return TrackRequest::TargetBitrate(target);
            }
            self.needs.changed().await.expect("the writer itself keeps the sending end alive");
        }
    }
}

/// A track as part of a stream, held by the task that sends its frames.
#[derive(Debug)]
pub(crate) struct Attachment {
    track: LocalTrack,
    driver: Arc<Wake>,
}

impl Attachment {
    pub(crate) fn new(track: LocalTrack, driver: Arc<Wake>) -> Self {
        for encoding in &track.shared.encodings {
            encoding.queue.lock().driver = Some(driver.clone());
        }
        Self { track, driver }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.track.codec()
    }

    pub(crate) fn rids(&self) -> impl Iterator<Item = Rid> {
        self.track.shared.encodings.iter().map(|encoding| encoding.rid)
    }

    pub(crate) fn next_frame(&self, rid: Rid) -> Option<Frame> {
        let encoding = self.track.shared.encoding(rid)?;
        let frame = encoding.queue.lock().frames.pop_front();
        if frame.is_some() {
            encoding.has_room.notify_waiters();
        }
        frame
    }

    /// Asks the writer for a key frame, unless one is under way from it.
    pub(crate) fn request_keyframe(&self, rid: Rid) {
        let Some(encoding) = self.track.shared.encoding(rid) else { return };
        // Held meanwhile, so that none is written between looking and asking.
        let queue = encoding.queue.lock();
        if queue.frames.iter().all(|frame| !frame.is_keyframe) {
            encoding.needs.send_modify(|needs| needs.keyframes += 1);
        }
    }

    pub(crate) fn set_target(&self, rid: Rid, target: Bitrate) {
        self.change(rid, |needs| needs.target = Some(target));
    }

    pub(crate) fn set_paused(&self, rid: Rid, paused: bool) {
        self.change(rid, |needs| needs.is_paused = paused);
    }

    fn change(&self, rid: Rid, change: impl FnOnce(&mut Needs)) {
        if let Some(encoding) = self.track.shared.encoding(rid) {
            encoding.needs.send_modify(change);
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        for encoding in &self.track.shared.encodings {
            let mut queue = encoding.queue.lock();
            if !queue.driver.as_ref().is_some_and(|driver| Arc::ptr_eq(driver, &self.driver)) {
                // Another room has taken the track over.
                continue;
            }
            queue.frames.clear();
            queue.driver = None;
            drop(queue);
            encoding.has_room.notify_waiters();
            self.set_paused(encoding.rid, true);
        }
    }
}
