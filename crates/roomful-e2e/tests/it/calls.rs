//! Calls as they should go.

use roomful::EventKind;

use crate::harness::{Player, World, assert_identical, key, read, subscribe, within};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_exchange_vp8_and_opus_byte_for_byte() {
    exchange("camera-360.ivf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_exchange_h264_and_opus_byte_for_byte() {
    exchange("camera-360.h264").await;
}

async fn exchange(video: &str) {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let players = [Player::start(video, "voice-a.ogg"), Player::start(video, "voice-b.ogg")];
    within(alice.add_stream(&camera, players[0].tracks.clone())).await.expect("publishes");
    within(bob.add_stream(&camera, players[1].tracks.clone())).await.expect("publishes");
    for (subscriber, publisher, player) in [(&bob, &alice, &players[0]), (&alice, &bob, &players[1])] {
        let (mut audio, mut video) = subscribe(subscriber, publisher, &camera).await;
        let (audio, video) = tokio::join!(read(&mut audio, 100), read(&mut video, 60));
        assert!(video[0].is_keyframe);
        assert_identical(&audio, &player.audio);
        assert_identical(&video, &player.video);
    }
    let mut events = bob.events();
    within(alice.disconnect()).await.expect("leaves");
    assert_eq!(alice.state().participants().len(), 0);
    crate::harness::wait_for(&mut events, |event| {
        matches!(event.kind, EventKind::ParticipantLeft { .. }).then_some(())
    })
    .await;
}
