//! Writers and readers that do not keep to real time.

use std::time::{Duration, Instant};

use roomful::{Codec, LocalTrack, RemoteTrack, Room, SubscriptionConfig, TrackRequest, TrackWriter, Tracks};
use tokio::time::sleep;

use crate::harness::{World, eventually, fixture, hears_of, key, own_id, player::sent, within};

/// Publishes one track from alice to bob, and waits until it is taken.
async fn one_track(world: &World, codec: Codec) -> (Room, Room, TrackWriter, RemoteTrack) {
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let (track, mut writer) = LocalTrack::new(codec);
    let is_audio = codec == Codec::Opus;
    let tracks = match is_audio {
        true => Tracks { audio: Some(track), video: None },
        false => Tracks { audio: None, video: Some(track) },
    };
    within(alice.add_stream(&key("one"), tracks)).await.expect("publishes");
    let config = SubscriptionConfig { audio: is_audio, video: !is_audio, ..SubscriptionConfig::default() };
    hears_of(&bob, own_id(&alice), &key("one")).await;
    let adding = within(bob.add_subscription(own_id(&alice), &key("one"), config)).await;
    let tracks = adding.expect("subscribes");
    let track = tracks.audio.or(tracks.video).expect("asked for");
    // Before it is taken, frames are dropped.
    wait_for_request(&mut writer, TrackRequest::Resumed).await;
    (alice, bob, writer, track)
}

async fn wait_for_request(writer: &mut TrackWriter, wanted: TrackRequest) {
    within(async { while writer.request().await != wanted {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_faster_than_real_time_loses_nothing() {
    let world = World::start().await;
    let (_alice, _bob, writer, mut track) = one_track(&world, Codec::Vp8).await;
    let clip = fixture("camera-360.ivf");
    let frames = clip.frames().clone();
    assert_eq!(frames.len(), 300);
    let start = Instant::now();
    let writing = tokio::spawn(async move {
        for frame in frames.iter() {
            within(writer.write(sent(frame.clone()))).await;
        }
        writer
    });
    for (index, original) in clip.frames().iter().enumerate() {
        let frame = within(track.recv()).await.expect("the subscription lasts");
        assert_eq!(frame.data, original.data, "frame {index}");
        assert_eq!((frame.packets_lost, frame.frames_dropped), (0, 0));
        assert_eq!(frame.codec.ticks(frame.media_time), frame.codec.ticks(original.media_time));
    }
    println!("10 s of video took {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(8), "faster than real time");
    let _writer = within(writing).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_audio_loses_the_oldest_beyond_512_frames() {
    let world = World::start().await;
    let (_alice, _bob, writer, mut track) = one_track(&world, Codec::Opus).await;
    let clip = fixture("voice-a.ogg");
    let (length, frames) = (clip.duration(), clip.frames().iter().cycle().take(600));
    let count = clip.frames().len();
    let mut written = Vec::new();
    for (index, frame) in frames.enumerate() {
        let media_time = frame.media_time + length * u32::try_from(index / count).expect("few");
        written.push(frame.data.clone());
        within(writer.write(sent(roomful::file::MediaFrame { media_time, ..frame.clone() }))).await;
        sleep(Duration::from_millis(2)).await;
    }

    eventually(|| track.report().frames_received == 600).await;
    assert_eq!((track.report().frames_dropped, track.report().packets_lost), (88, 0));
    for (index, data) in written.iter().enumerate().skip(88) {
        let frame = within(track.recv()).await.expect("the subscription lasts");
        assert_eq!(&frame.data, data, "frame {index}");
        assert_eq!(frame.frames_dropped, if index == 88 { 88 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_video_goes_on_at_a_key_frame() {
    let world = World::start().await;
    let (_alice, _bob, writer, mut track) = one_track(&world, Codec::Vp8).await;
    let clip = fixture("camera-90.ivf");
    let write = async |frames: &[roomful::file::MediaFrame]| {
        for frame in frames {
            within(writer.write(sent(frame.clone()))).await;
            sleep(Duration::from_millis(2)).await;
        }
    };
    // 128 wait; the 129th finds no room, and all up to the next key frame (one every 60) are dropped.
    write(&clip.frames()[..200]).await;
    eventually(|| track.report().frames_received == 200).await;
    assert_eq!(track.report().frames_dropped, 180);
    for index in 180..200 {
        let frame = within(track.recv()).await.expect("the subscription lasts");
        assert_eq!(frame.data, clip.frames()[index].data, "frame {index}");
        assert_eq!(frame.is_keyframe, index == 180);
        assert_eq!(frame.frames_dropped, if index == 180 { 180 } else { 0 });
    }
    write(&clip.frames()[200..220]).await;
    for original in &clip.frames()[200..220] {
        let frame = within(track.recv()).await.expect("the subscription lasts");
        assert_eq!((&frame.data, frame.frames_dropped), (&original.data, 0));
    }
}
