//! Links that lose, delay, and let only so much through.

use std::{
    collections::HashSet,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful::{
    Codec, LocalTrack, RemoteFrame, RemoteTrack, SubscriptionConfig, TrackRequest, TrackWriter, Tracks,
    VideoTrackOptions,
    file::{Clip, Playhead},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::harness::{
    Player, World, fixture, hears_of, key, missing, own_id,
    player::{Written, sent},
    proxy::{Fate, OPUS, Way, payload_type},
    read, subscribe, within,
};

/// Share of datagrams that the lossy link loses each way.
const LOSS: f64 = 0.05;

/// How much media goes over it. Setting up comes on top, and takes its time when the handshake loses packets too.
const MEDIA: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn five_percent_loss_costs_no_video_and_no_more_audio_than_the_link_lost() {
    let seed =
        std::env::var("ROOMFUL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("ROOMFUL_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let lossy = move |_, _: &[u8]| if random.random_bool(LOSS) { Fate::Drop } else { Fate::Pass };
    let world = World::start_behind(lossy).await;
    let begin = Instant::now();
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let player = Player::start("camera-360.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    println!("publishing and subscribing took {:?}", begin.elapsed());
    let end = Instant::now() + MEDIA;
    let read_to_end = async |track: &mut RemoteTrack| {
        let mut frames = Vec::new();
        while let Ok(frame) = timeout_at(end, track.recv()).await {
            frames.push(frame.expect("the subscription lasts"));
        }
        frames
    };
    let (audio, video) = tokio::join!(read_to_end(&mut audio), read_to_end(&mut video));

    let proxy = world.proxy.as_ref().expect("started with one");
    let lost = [Way::ToServer, Way::ToClient].map(|way| proxy.dropped(way));
    println!("RTP packets lost to and from the server, of audio and of video: {lost:?}");
    assert!(lost.iter().all(|(audio, video)| *audio > 5 && *video > 20), "the link lost next to nothing");
    let (no_audio, no_video) = (missing(&audio, &player.audio), missing(&video, &player.video));
    println!(
        "frames: {} of audio, {no_audio} missing; {} of video, {no_video} missing",
        audio.len(),
        video.len()
    );
    assert_eq!(no_video, 0, "video frames missing");
    let age = age_of(video.last().expect("video arrived"), &player.video);
    // What cannot be repaired within a second is given up for a key frame.
    assert!(age <= Duration::from_secs(2), "the last video frame is {age:?} old");
    assert!(video.len() > 200, "only {} video frames in {MEDIA:?}", video.len());
    let lost_audio = lost[0].0 + lost[1].0;
    assert!(no_audio as u64 <= lost_audio, "{no_audio} audio frames missing, the link lost {lost_audio}");
    // The first one tells of what the link lost before it, which `missing` does not count.
    let told: u64 = audio.iter().skip(1).map(|frame| frame.packets_lost).sum();
    assert_eq!(told, no_audio as u64, "readers are told of every loss");
}

/// Returns how much media was written after a frame.
fn age_of(frame: &RemoteFrame, written: &Written) -> Duration {
    let written = written.lock().expect("nobody panics");
    let original = written.iter().rev().find(|one| one.data == frame.data).expect("was written");
    written.back().expect("not empty").media_time - original.media_time
}

/// Offsets between a track's capture times and the media times that its publisher gave, in milliseconds.
fn offsets(frames: &[RemoteFrame], written: &Written) -> RangeInclusive<i128> {
    let written = written.lock().expect("nobody panics");
    let offsets: Vec<i128> = frames
        .iter()
        .filter_map(|frame| {
            let captured = frame.captured_at?.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            let original = written.iter().rev().find(|one| one.data == frame.data).expect("was written");
            Some(captured.as_millis() as i128 - original.media_time.as_millis() as i128)
        })
        .collect();
    // Half a second until the publisher reports, and as much until the server does.
    assert!(offsets.len() > frames.len() / 4, "only {} capture times", offsets.len());
    *offsets.iter().min().expect("some")..=*offsets.iter().max().expect("some")
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_picture_are_in_step_from_the_first_capture_time_on() {
    stay_in_step(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_picture_stay_in_step_when_the_picture_takes_longer() {
    stay_in_step(Duration::from_millis(100)).await;
}

/// Checks the skew of streams one after another on one slot, over links that hold video back.
async fn stay_in_step(late: Duration) {
    let slow_video = move |_, datagram: &[u8]| match payload_type(datagram) {
        Some(kind) if kind != OPUS && !late.is_zero() => Fate::Delay(late),
        Some(_) | None => Fate::Pass,
    };
    let world = World::start_behind(slow_video).await;
    let bob = world.join_with("bob", |options| options.initial_slots = 1).await;
    let camera = key("camera");
    let mut publishers = Vec::new();
    for mark in 0..2 {
        let (room, player) = (world.join(&format!("publisher {mark}")).await, Player::start_marked(mark));
        within(room.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
        publishers.push((room, player));
    }
    // The second one takes over the slot of the first.
    for (room, player) in &publishers {
        let begin_reading = Instant::now();
        let (mut audio, mut video) = subscribe(&bob, room, &camera).await;
        let (audio, video) = tokio::join!(read(&mut audio, 100), read(&mut video, 60));
        println!("read in {:?}", begin_reading.elapsed());
        let audio = offsets(&audio, &player.audio);
        let video = offsets(&video, &player.video);
        println!("capture time less media time, ms: audio {audio:?}, video {video:?}");
        let skew = (audio.end() - video.start()).max(video.end() - audio.start());
        assert!(skew <= 45, "skew of {skew} ms");
        within(bob.remove_subscription(own_id(room), &camera)).await.expect("unsubscribes");
    }
}

/// Lets so many bits through to the clients in a second. What is above waits in a queue of 200 ms, and what finds no room there is lost.
fn narrow(bits_per_second: u32) -> impl FnMut(Way, &[u8]) -> Fate + Send {
    let mut free_at = Instant::now();
    move |way, datagram| {
        if way == Way::ToServer {
            return Fate::Pass;
        }
        let now = Instant::now();
        free_at = free_at.max(now);
        if free_at - now > Duration::from_millis(200) {
            return Fate::Drop;
        }
        free_at += Duration::from_secs(1) * (datagram.len() as u32 * 8) / bits_per_second;
        Fate::Delay(free_at - now)
    }
}

/// Plays a clip for ever as one encoding of a track.
async fn film(clip: Clip, mut writer: TrackWriter) {
    let (mut playhead, start) = (Playhead::new(Some(clip), None, true), Instant::now());
    while let Some(time) = playhead.next_time() {
        tokio::select! {
            () = sleep_until(start + time) => {
                let Some((_, frame)) = playhead.next() else { return };
                writer.write(sent(frame)).await;
            }
            request = writer.request() => {
                if matches!(request, TrackRequest::Keyframe | TrackRequest::Resumed) {
                    playhead.jump_to_keyframe();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_link_gets_the_encoding_that_fits_though_nobody_says_how_narrow_it_is() {
    let world = World::start_behind(narrow(350_000)).await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let (track, writers) = LocalTrack::with_options(Codec::Vp8, VideoTrackOptions { simulcast: true });
    let camera = key("camera");
    within(alice.add_stream(&camera, Tracks { audio: None, video: Some(track) })).await.expect("publishes");
    let mut tasks = JoinSet::new();
    // Of 600, 200 and 80 kbit/s.
    for (writer, name) in writers.into_iter().zip(["camera-360.ivf", "camera-180.ivf", "camera-90.ivf"]) {
        tasks.spawn(film(fixture(name), writer));
    }
    hears_of(&bob, own_id(&alice), &camera).await;
    let config = SubscriptionConfig::default();
    let tracks = within(bob.add_subscription(own_id(&alice), &camera, config)).await.expect("subscribes");
    let mut video = tracks.video.expect("asked for");
    let fitting: HashSet<Bytes> =
        fixture("camera-180.ivf").frames().iter().map(|frame| frame.data.clone()).collect();
    let (mut in_a_row, end) = (0, Instant::now() + Duration::from_secs(60));
    while in_a_row < 90 {
        let frame = timeout_at(end, video.recv()).await.expect("three seconds of what fits");
        let is_fitting = fitting.contains(&frame.expect("the subscription lasts").data);
        in_a_row = if is_fitting { in_a_row + 1 } else { 0 };
    }
    let (_, dropped) = world.proxy.as_ref().expect("started with one").dropped(Way::ToClient);
    assert!(dropped > 20, "the link was wide enough for everything");
}
