//! What scenarios have in common: participants, synthetic media, and waiting that ends.

use std::{
    collections::HashSet,
    fmt::Debug,
    future::Future,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use roomful::{
    AudioLevel, Codec, Event, EventKind, Events, Frame, LocalTrack, MediaKind, Message, ParticipantId,
    RemoteFrame, RemoteTrack, RemoteTracks, Rid, Room, RoomOptions, StreamKey, SubscriptionConfig,
    TrackRequest, TrackWriter, Tracks, VideoTrackOptions,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Stage, StageConfig, Venue};
use crate::TokenRequest;

/// No wait is longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// So long nothing must come to be taken for an end.
const SILENCE: Duration = Duration::from_millis(600);

/// Waits, but not for ever.
#[track_caller]
pub(super) fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = Location::caller();
    async move { timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("took too long: {place}")) }
}

/// Waits until a condition holds that nothing announces.
#[track_caller]
pub(super) fn eventually(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    })
}

/// Checks that a value does not change. That nothing comes can only be seen by waiting.
#[track_caller]
pub(super) fn stands_still<T: PartialEq + Debug>(value: impl Fn() -> T) -> impl Future<Output = ()> {
    let place = Location::caller();
    async move {
        let before = value();
        sleep(SILENCE).await;
        assert_eq!(value(), before, "must stand still: {place}");
    }
}

/// Waits until nothing comes on a track any more.
#[track_caller]
pub(super) fn falls_silent(track: &mut RemoteTrack) -> impl Future<Output = ()> {
    within(async move { while timeout(SILENCE, track.recv()).await.is_ok_and(|frame| frame.is_some()) {} })
}

/// Waits for the first event that `find` finds something in.
#[track_caller]
pub(super) fn wait_for<T>(
    events: &mut Events,
    mut find: impl FnMut(&Event) -> Option<T>,
) -> impl Future<Output = T> {
    within(async move {
        loop {
            let event = events.recv().await.expect("the room lives");
            if let Some(found) = find(&event) {
                return found;
            }
        }
    })
}

/// Waits for an event of this name.
#[track_caller]
pub(super) fn named(events: &mut Events, name: &str) -> impl Future<Output = Event> {
    wait_for(events, move |event| (event.name() == name).then(|| event.clone()))
}

/// Collects the names of events, without `state_changed` and `stream_quality_changed`, up to and including `last`.
#[track_caller]
pub(super) fn names_until(events: &mut Events, last: &str) -> impl Future<Output = Vec<&'static str>> {
    let mut names = Vec::new();
    wait_for(events, move |event| {
        if !matches!(event.kind, EventKind::StateChanged | EventKind::StreamQualityChanged { .. }) {
            names.push(event.name());
        }
        (event.name() == last).then(|| std::mem::take(&mut names))
    })
}

pub(super) fn key(text: &str) -> StreamKey {
    StreamKey::new(text).expect("short")
}

pub(super) fn own_id(room: &Room) -> ParticipantId {
    room.state().local_participant_id().expect("joined")
}

pub(super) fn text(payload: &str) -> Message {
    Message::text(payload)
}

pub(super) async fn open(venue: &dyn Venue) -> Box<dyn Stage> {
    venue.open(StageConfig::default()).await
}

pub(super) async fn options(stage: &dyn Stage, identity: &str) -> RoomOptions {
    let request = TokenRequest { identity: Some(identity.to_owned()), ..TokenRequest::default() };
    options_with(stage, request).await
}

pub(super) async fn options_with(stage: &dyn Stage, request: TokenRequest) -> RoomOptions {
    let token = stage.token(request).await.access;
    let mut options = stage.options(token);
    options.enable_messages = true;
    options
}

pub(super) async fn join(stage: &dyn Stage, identity: &str) -> Room {
    let room = stage.room(options(stage, identity).await);
    within(room.connect()).await.expect("joins");
    room
}

/// Joins by a way that can be cut.
pub(super) async fn join_fragile(
    stage: &dyn Stage,
    identity: &str,
    change: impl FnOnce(&mut RoomOptions),
) -> Room {
    let mut options = options(stage, identity).await;
    // A connection that dies without a word is noticed after three of these.
    options.keepalive = Duration::from_millis(400);
    change(&mut options);
    let room = stage.fragile_room(options).await;
    within(room.connect()).await.expect("joins");
    room
}

/// Waits until everybody knows of everybody.
#[track_caller]
pub(super) fn meet(rooms: &[&Room]) -> impl Future<Output = ()> {
    let rooms: Vec<Room> = rooms.iter().map(|room| (*room).clone()).collect();
    eventually(move || rooms.iter().all(|room| room.state().participants().len() == rooms.len()))
}

/// Two that know each other.
pub(super) async fn two(stage: &dyn Stage) -> (Room, Room) {
    let (alice, bob) = (join(stage, "alice").await, join(stage, "bob").await);
    meet(&[&alice, &bob]).await;
    (alice, bob)
}

/// Waits until a room knows of a stream.
#[track_caller]
pub(super) fn hears_of(room: &Room, publisher: ParticipantId, name: &str) -> impl Future<Output = ()> {
    let (room, key) = (room.clone(), key(name));
    eventually(move || room.participant_stream(publisher, &key).is_some())
}

pub(super) async fn subscribe(subscriber: &Room, publisher: &Room, name: &str) -> RemoteTracks {
    subscribe_with(subscriber, publisher, name, SubscriptionConfig::default()).await
}

pub(super) async fn subscribe_with(
    subscriber: &Room,
    publisher: &Room,
    name: &str,
    config: SubscriptionConfig,
) -> RemoteTracks {
    let publisher = own_id(publisher);
    hears_of(subscriber, publisher, name).await;
    within(subscriber.add_subscription(publisher, &key(name), config)).await.expect("subscribes")
}

/// Returns how often a room negotiated its media, once that has been counted.
pub(super) async fn negotiations(room: &Room) -> u64 {
    // The connection is measured once a second.
    sleep(Duration::from_millis(1200)).await;
    room.peer_stats().negotiations
}

/// Reads `count` frames.
pub(super) async fn read(track: &mut RemoteTrack, count: usize) -> Vec<RemoteFrame> {
    let mut frames = Vec::with_capacity(count);
    while frames.len() < count {
        frames.push(within(track.recv()).await.expect("the subscription lasts"));
    }
    frames
}

/// Reads until a frame that `is_it`.
pub(super) async fn read_until(track: &mut RemoteTrack, is_it: impl Fn(&RemoteFrame) -> bool) {
    within(async { while !is_it(&track.recv().await.expect("the subscription lasts")) {} }).await;
}

/// Plays synthetic media into a stream for ever. Every frame says whose it is.
pub(super) struct Camera {
    pub(super) tracks: Tracks,
    mark: u32,
    /// How loud its audio says that it is, −dBov.
    level: Arc<AtomicU32>,
    /// The encodings that somebody takes.
    flowing: Arc<Mutex<HashSet<(MediaKind, Rid)>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Bytes of a frame in each encoding: 720, 180 and 60 kbit/s.
const fn size(rid: Rid) -> usize {
    match rid {
        Rid::High => 3000,
        Rid::Medium => 750,
        Rid::Low => 250,
    }
}

impl Camera {
    pub(super) fn start() -> Self {
        Self::start_with(VideoTrackOptions::default())
    }

    pub(super) fn start_with(options: VideoTrackOptions) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let mark = LAST.fetch_add(1, Ordering::Relaxed);
        let (audio, voice) = LocalTrack::new(Codec::Opus);
        let (video, pictures) = LocalTrack::with_options(Codec::Vp8, options);
        let (level, flowing) = (Arc::new(AtomicU32::new(127)), Arc::<Mutex<HashSet<_>>>::default());
        let mut tasks =
            vec![tokio::spawn(play(voice, MediaKind::Audio, mark, level.clone(), flowing.clone()))];
        for writer in pictures {
            let playing = play(writer, MediaKind::Video, mark, level.clone(), flowing.clone());
            tasks.push(tokio::spawn(playing));
        }
        let tracks = Tracks { audio: Some(audio), video: Some(video) };
        Self { tracks, mark, level, flowing, tasks }
    }

    /// Publishes it.
    pub(super) async fn publish(&self, room: &Room, name: &str) {
        within(room.add_stream(&key(name), self.tracks.clone())).await.expect("publishes");
    }

    /// Says that it is this loud from now on, −dBov.
    pub(super) fn set_level(&self, quiet: u8) {
        self.level.store(quiet.into(), Ordering::Relaxed);
    }

    pub(super) fn flows(&self, kind: MediaKind, rid: Rid) -> bool {
        self.flowing.lock().contains(&(kind, rid))
    }

    /// Checks that a frame is this camera's.
    #[track_caller]
    pub(super) fn check(&self, frame: &RemoteFrame) {
        assert_eq!(mark_of(frame), self.mark, "a frame under another stream's name");
    }

    /// Returns when a frame was written, on the camera's clock.
    pub(super) fn written_at(frame: &RemoteFrame) -> Duration {
        interval(frame.codec.kind()) * word(frame, HEAD + 4)
    }

    /// Returns whether a frame is of this encoding.
    pub(super) fn is_of(frame: &RemoteFrame, rid: Rid) -> bool {
        frame.data.len() == size(rid)
    }
}

/// Frames begin with what their codec demands: at most this much.
const HEAD: usize = 10;

fn mark_of(frame: &RemoteFrame) -> u32 {
    word(frame, HEAD)
}

fn word(frame: &RemoteFrame, at: usize) -> u32 {
    let bytes = frame.data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_be_bytes(bytes.expect("long enough"))
}

/// How much time lies between two frames.
const fn interval(kind: MediaKind) -> Duration {
    match kind {
        MediaKind::Audio => Duration::from_millis(20),
        MediaKind::Video => Duration::from_millis(33),
    }
}

async fn play(
    mut writer: TrackWriter,
    kind: MediaKind,
    mark: u32,
    level: Arc<AtomicU32>,
    flowing: Arc<Mutex<HashSet<(MediaKind, Rid)>>>,
) {
    let interval = interval(kind);
    let size = if kind == MediaKind::Audio { 80 } else { size(writer.rid()) };
    let mut needs_keyframe = true;
    let start = Instant::now();
    for number in 0..u32::MAX {
        let is_keyframe = needs_keyframe || kind == MediaKind::Audio;
        let mut data = match (kind, is_keyframe) {
            (MediaKind::Audio, _) => vec![0xf8],
            (MediaKind::Video, true) => vec![0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1],
            (MediaKind::Video, false) => vec![0x11, 0, 0],
        };
        data.resize(HEAD, 0);
        data.extend(mark.to_be_bytes());
        data.extend(number.to_be_bytes());
        data.resize(size, 7);
        let quiet = u8::try_from(level.load(Ordering::Relaxed)).unwrap_or(127);
        let media_time = interval * number;
        writer
            .write(Frame {
                data: Bytes::from(data),
                media_time,
                duration: interval,
                is_keyframe,
                audio_level: (kind == MediaKind::Audio).then(|| AudioLevel::from_negative_dbov(quiet)),
            })
            .await;
        needs_keyframe = false;
        while let Ok(request) = timeout_at(start + media_time + interval, writer.request()).await {
            match request {
                TrackRequest::Keyframe => needs_keyframe = true,
                TrackRequest::Resumed => {
                    needs_keyframe = true;
                    flowing.lock().insert((kind, writer.rid()));
                }
                TrackRequest::Paused => {
                    flowing.lock().remove(&(kind, writer.rid()));
                }
                TrackRequest::TargetBitrate(_) => {}
            }
        }
    }
}

/// A publisher with a camera, and somebody who takes it.
pub(super) struct Call {
    pub(super) alice: Room,
    pub(super) bob: Room,
    pub(super) camera: Camera,
    pub(super) audio: RemoteTrack,
    pub(super) video: RemoteTrack,
}

/// Brings a call up: frames of both kinds flow from `alice` to `bob` under the key `camera`.
pub(super) async fn call(stage: &dyn Stage) -> Call {
    let (alice, bob) = two(stage).await;
    begin(alice, bob).await
}

pub(super) async fn begin(alice: Room, bob: Room) -> Call {
    let camera = Camera::start();
    camera.publish(&alice, "camera").await;
    let RemoteTracks { audio, video } = subscribe(&bob, &alice, "camera").await;
    let (mut audio, mut video) = (audio.expect("asked for"), video.expect("asked for"));
    read(&mut audio, 2).await;
    read(&mut video, 2).await;
    Call { alice, bob, camera, audio, video }
}
