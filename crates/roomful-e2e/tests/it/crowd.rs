//! Many at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::harness::{Player, World, assert_identical, assert_of, key, read, subscribe, within};

const PARTICIPANTS: u8 = 12;

/// Far above what it takes, far below what anybody would wait for: the tests run unoptimized beside one another.
const JOINING_MAX: Duration = Duration::from_secs(5);
const FIRST_FRAMES_MAX: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn twelve_participants_all_get_every_stream_of_every_other() {
    let world = World::start().await;
    let camera = key("camera");
    let start = Instant::now();
    let rooms = join_all((0..PARTICIPANTS).map(|number| {
        let world = &world;
        async move { world.join(&format!("participant {number}")).await }
    }))
    .await;
    let joined = start.elapsed();
    let players: Vec<Player> = (0..PARTICIPANTS).map(Player::start_marked).collect();
    join_all(rooms.iter().zip(&players).map(|(room, player)| {
        let (tracks, camera) = (player.tracks.clone(), &camera);
        async move { within(room.add_stream(camera, tracks)).await.expect("publishes") }
    }))
    .await;
    let published = start.elapsed();
    let pairs = || {
        let indices = 0..rooms.len();
        indices.clone().flat_map(move |me| {
            indices.clone().filter(move |other| *other != me).map(move |other| (me, other))
        })
    };
    let mut tracks = join_all(pairs().map(|(me, other)| subscribe(&rooms[me], &rooms[other], &camera))).await;
    let first = join_all(
        tracks.iter_mut().map(|(audio, video)| async { tokio::join!(read(audio, 1), read(video, 1)) }),
    )
    .await;
    let first_frames = start.elapsed();
    println!(
        "{PARTICIPANTS} joined in {joined:?}, published by {published:?}, all first frames by {first_frames:?}"
    );
    assert!(joined < JOINING_MAX);
    assert!(first_frames < FIRST_FRAMES_MAX);

    let rest = join_all(
        tracks.iter_mut().map(|(audio, video)| async { tokio::join!(read(audio, 50), read(video, 30)) }),
    )
    .await;
    for (((_, other), (mut audio, mut video)), (more_audio, more_video)) in pairs().zip(first).zip(rest) {
        assert_eq!((audio[0].is_keyframe, video[0].is_keyframe), (true, true));
        audio.extend(more_audio);
        video.extend(more_video);
        assert_of(&players[other], &audio);
        assert_of(&players[other], &video);
        assert_identical(&audio, &players[other].audio);
        assert_identical(&video, &players[other].video);
    }
}
