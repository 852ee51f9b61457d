//! Muting and unmuting.

use std::time::Duration;

use roomful::{EventKind, Events, MediaKind, Room, TrackUpdate, Tracks, TracksUpdate};

use crate::harness::{
    Player, World, assert_identical, eventually, key, own_id, read, stands_still, subscribe, tap::SignalTap,
    wait_for, within,
};

fn update(kind: MediaKind, update: TrackUpdate) -> TracksUpdate {
    match kind {
        MediaKind::Audio => TracksUpdate { audio: update, ..TracksUpdate::default() },
        MediaKind::Video => TracksUpdate { video: update, ..TracksUpdate::default() },
    }
}

fn unmute(kind: MediaKind, tracks: &Tracks) -> TracksUpdate {
    let track = match kind {
        MediaKind::Audio => tracks.audio.clone(),
        MediaKind::Video => tracks.video.clone(),
    };
    update(kind, TrackUpdate::Replace(track.expect("players have both")))
}

/// Waits for the event that tells of a switch, and checks that the state with it agrees.
async fn expect_switch(events: &mut Events, publisher: &Room, switched: MediaKind, on: bool) {
    let camera = key("camera");
    wait_for(events, |event| {
        let (EventKind::TrackEnabled { participant, kind, .. }
        | EventKind::TrackDisabled { participant, kind, .. }) = &event.kind
        else {
            return None;
        };
        let is_on = event.name() == "track_enabled";
        assert_eq!((*participant, *kind, is_on), (own_id(publisher), switched, on));
        let stream = event.state.participant_stream(*participant, &camera).expect("still published");
        assert_eq!(stream.is_enabled(switched), on);
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn muting_stops_the_media_and_keeps_the_subscription_and_needs_no_negotiation() {
    let world = World::start().await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let [alice, bob] =
        ["alice", "bob"].map(|name| world.join_with(name, |options| options.server_url = tap.url()));
    let (alice, bob) = (alice.await, bob.await);
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    let (first_audio, first_video) = tokio::join!(read(&mut audio, 10), read(&mut video, 10));
    assert_identical(&first_audio, &player.audio);
    assert_identical(&first_video, &player.video);
    let offers = tap.offers();
    let mut events = [alice.events(), bob.events()];
    let subscription = bob.state().subscription(own_id(&alice), &camera).cloned().expect("subscribed");

    within(alice.update_stream(&camera, update(MediaKind::Audio, TrackUpdate::Mute))).await.expect("mutes");
    for events in &mut events {
        expect_switch(events, &alice, MediaKind::Audio, false).await;
    }
    // What was on its way when the switch was told may still come; then nothing does while video goes on.
    read(&mut video, 10).await;
    let before = audio.report();
    assert_identical(&read(&mut video, 20).await, &player.video);
    assert_eq!(audio.report(), before, "audio arrived while it was muted");

    within(alice.update_stream(&camera, update(MediaKind::Video, TrackUpdate::Mute))).await.expect("mutes");
    for events in &mut events {
        expect_switch(events, &alice, MediaKind::Video, false).await;
    }
    // Nothing even leaves the publisher.
    let received = || world.server.stats().packets_received;
    let mut last = u64::MAX;
    eventually(|| std::mem::replace(&mut last, received()) == received()).await;
    stands_still(|| (received(), audio.report(), video.report())).await;
    let still = bob.state().subscription(own_id(&alice), &camera).cloned();
    assert_eq!(still.as_ref(), Some(&subscription), "the subscription stays");

    // What waits unread is from before.
    let (heard, seen) = (audio.report().frames_received, video.report().frames_received);
    read(&mut audio, usize::try_from(heard).expect("few") - 10).await;
    read(&mut video, usize::try_from(seen).expect("few") - 40).await;
    for kind in MediaKind::ALL {
        within(alice.update_stream(&camera, unmute(kind, &player.tracks))).await.expect("unmutes");
        for events in &mut events {
            expect_switch(events, &alice, kind, true).await;
        }
    }
    let (audio, video) = tokio::join!(read(&mut audio, 20), read(&mut video, 20));
    assert!(video[0].is_keyframe, "video goes on with a key frame");
    assert_eq!((video[0].packets_lost, audio[0].packets_lost), (0, 0), "muting is no loss");
    assert_identical(&audio, &player.audio);
    assert_identical(&video, &player.video);
    assert_eq!(tap.offers(), offers, "muting negotiated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_track_goes_on_under_the_same_subscription() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let players =
        [Player::start("camera-90.ivf", "voice-a.ogg"), Player::start("camera-360.h264", "voice-b.ogg")];
    within(alice.add_stream(&camera, players[0].tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 10), read(&mut video, 10));
    let codec = players[1].tracks.video.as_ref().expect("has video").codec();
    let replace = TracksUpdate {
        audio: TrackUpdate::Replace(players[1].tracks.audio.clone().expect("has audio")),
        video: TrackUpdate::Replace(players[1].tracks.video.clone().expect("has video")),
    };
    within(alice.update_stream(&camera, replace)).await.expect("replaces");
    let mut first = within(video.recv()).await.expect("the subscription lasts");
    while first.codec != codec {
        first = within(video.recv()).await.expect("the subscription lasts");
    }
    assert!(first.is_keyframe);
    let mut frames = vec![first];
    frames.extend(read(&mut video, 30).await);
    assert_identical(&frames, &players[1].video);
}
