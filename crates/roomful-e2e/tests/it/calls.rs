//! Calls as they should go.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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

#[tokio::test(flavor = "multi_thread")]
async fn media_comes_and_goes_at_every_address_of_the_machine() {
    let world = World::start_with(|config| config.media = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await;
    exchange_in(&world, "camera-90.ivf").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_ipv6_is_like_any_other() {
    let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    if UdpSocket::bind(loopback).is_err() {
        println!("this machine has no IPv6; nothing to test");
        return;
    }
    let world = World::start_with(|config| (config.http, config.media) = (loopback, loopback)).await;
    exchange_in(&world, "camera-90.ivf").await;
}

async fn exchange(video: &str) {
    exchange_in(&World::start().await, video).await;
}

/// Two participants take each other's streams, and one leaves.
async fn exchange_in(world: &World, video: &str) {
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
