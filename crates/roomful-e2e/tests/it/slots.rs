//! Receive slots are used again and again, and no frame ever appears under another stream's name.

use std::time::Duration;

use futures_util::future::join_all;
use roomful::Room;

use crate::harness::{
    Player, World, assert_identical, assert_of, key, own_id, read, subscribe, tap::SignalTap, within,
};

/// Publishers whose every frame shows whose it is.
async fn publishers(world: &World, count: u8) -> Vec<(Room, Player)> {
    let mut all = Vec::new();
    for mark in 0..count {
        let (room, player) = (world.join(&format!("publisher {mark}")).await, Player::start_marked(mark));
        within(room.add_stream(&key("camera"), player.tracks.clone())).await.expect("publishes");
        all.push((room, player));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_through_more_streams_than_slots_costs_no_negotiation_and_mixes_nothing_up() {
    let world = World::start().await;
    let publishers = publishers(&world, 8).await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let viewer = world.join_with("viewer", |options| options.server_url = tap.url()).await;
    let camera = key("camera");
    for page in publishers.chunks(4).cycle().take(6) {
        let tracks = join_all(page.iter().map(|(room, _)| subscribe(&viewer, room, &camera))).await;
        let frames = join_all(tracks.into_iter().map(|(mut audio, mut video)| async move {
            tokio::join!(read(&mut audio, 10), read(&mut video, 6))
        }))
        .await;
        for ((_, player), (audio, video)) in page.iter().zip(&frames) {
            assert_of(player, audio);
            assert_of(player, video);
            assert_identical(audio, &player.audio);
            assert_identical(video, &player.video);
        }
        join_all(page.iter().map(|(room, _)| async {
            within(viewer.remove_subscription(own_id(room), &camera)).await.expect("unsubscribes");
        }))
        .await;
    }
    assert_eq!(tap.offers(), 1, "paging negotiated again");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_appears_under_another_name_when_one_slot_changes_hands_fast() {
    change_hands(Duration::ZERO, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_appears_under_another_name_when_media_overtakes_the_signalling() {
    change_hands(Duration::from_millis(60), 12).await;
}

/// Lets one slot go from stream to stream, its signalling late by `delay`.
async fn change_hands(delay: Duration, times: usize) {
    let world = World::start().await;
    let publishers = publishers(&world, 3).await;
    let tap = SignalTap::start(&world, delay).await;
    let change = |options: &mut roomful::RoomOptions| {
        options.server_url = tap.url();
        options.initial_slots = 1;
    };
    let viewer = world.join_with("viewer", change).await;
    for (turn, (room, player)) in publishers.iter().cycle().take(times).enumerate() {
        let (mut audio, mut video) = subscribe(&viewer, room, &key("camera")).await;
        // Now one frame, now several, now none at all: the next occupant comes while packets are on their way.
        let count = turn % 4;
        let (mut heard, mut seen) = tokio::join!(read(&mut audio, count), read(&mut video, count));
        within(viewer.remove_subscription(own_id(room), &key("camera"))).await.expect("unsubscribes");
        while let Some(frame) = within(audio.recv()).await {
            heard.push(frame);
        }
        while let Some(frame) = within(video.recv()).await {
            seen.push(frame);
        }
        assert_of(player, &heard);
        assert_of(player, &seen);
        if count > 0 {
            assert!(seen[0].is_keyframe);
            assert_identical(&heard, &player.audio);
            assert_identical(&seen, &player.video);
        }
    }
    assert_eq!(tap.offers(), 1, "the one slot was used by all");
}
