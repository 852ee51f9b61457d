//! What a subscription takes of a stream, seen on the wire by a proxy that counts RTP packets by payload type.

use std::time::Duration;

use roomful::{MediaKind, RemoteTracks, SubscriptionConfig};

use crate::harness::{
    Player, World, assert_identical, eventually, hears_of, key, own_id,
    proxy::{Fate, Proxy, Way},
    read, stands_still,
    tap::SignalTap,
    within,
};

fn config(audio: bool, video: bool) -> SubscriptionConfig {
    SubscriptionConfig { audio, video, ..SubscriptionConfig::default() }
}

/// Checks that nothing goes to clients, and no picture to the server.
async fn nothing_is_seen(proxy: &Proxy) {
    stands_still(|| (proxy.pictures(Way::ToServer), proxy.passed(Way::ToClient))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_packet_of_what_is_not_wanted_reaches_the_subscriber() {
    let world = World::start_behind(|_, _: &[u8]| Fate::Pass).await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let alice = world.join("alice").await;
    let bob = world.join_with("bob", |options| options.server_url = tap.url()).await;
    let proxy = world.proxy.as_ref().expect("started with one");
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let alice_id = own_id(&alice);
    hears_of(&bob, alice_id, &camera).await;
    // Nobody takes anything: no picture leaves the publisher either. Sound does, by which the server knows who speaks.
    nothing_is_seen(proxy).await;

    let tracks =
        within(bob.add_subscription(alice_id, &camera, config(true, false))).await.expect("subscribes");
    let RemoteTracks { audio: Some(mut audio), video: None } = tracks else { panic!("{tracks:?}") };
    assert_identical(&read(&mut audio, 40).await, &player.audio);
    let (heard, seen) = proxy.passed(Way::ToClient);
    assert!(heard >= 40);
    assert_eq!(seen, 0, "video packets for `video: false`");
    let state = bob.state();
    let subscription = state.subscription(alice_id, &camera).expect("subscribed");
    assert_eq!((subscription.audio, subscription.video), (true, false));
    let stream = state.participant_stream(alice_id, &camera).expect("published");
    assert_eq!((stream.audio_track, stream.video_track), (Some(audio.id()), None));

    // Both: the audio track goes on, a video track is new.
    let mut events = bob.events();
    let tracks =
        within(bob.update_subscription(alice_id, &camera, config(true, true))).await.expect("updates");
    let RemoteTracks { audio: None, video: Some(mut video) } = tracks else { panic!("{tracks:?}") };
    crate::harness::wait_for(&mut events, |event| {
        (event.name() == "subscription_reconfigured").then_some(())
    })
    .await;
    assert_eq!(video.kind(), MediaKind::Video);
    assert_identical(&read(&mut video, 20).await, &player.video);

    // Video only: the audio track ends.
    within(bob.update_subscription(alice_id, &camera, config(false, true))).await.expect("updates");
    while within(audio.recv()).await.is_some() {}
    read(&mut video, 5).await;
    let (heard, _) = proxy.passed(Way::ToClient);
    read(&mut video, 20).await;
    assert_eq!(proxy.passed(Way::ToClient).0, heard, "audio packets for `audio: false`");

    // Nothing: the subscription stays, the wire is silent.
    within(bob.update_subscription(alice_id, &camera, config(false, false))).await.expect("updates");
    while within(video.recv()).await.is_some() {}
    let mut last = None;
    eventually(|| last.replace(proxy.passed(Way::ToClient)) == Some(proxy.passed(Way::ToClient))).await;
    nothing_is_seen(proxy).await;
    assert!(bob.state().subscription(alice_id, &camera).is_some());

    let tracks =
        within(bob.update_subscription(alice_id, &camera, config(true, true))).await.expect("updates");
    let RemoteTracks { audio: Some(mut audio), video: Some(mut video) } = tracks else {
        panic!("{tracks:?}")
    };
    let (audio, video) = tokio::join!(read(&mut audio, 20), read(&mut video, 20));
    assert_identical(&audio, &player.audio);
    assert_identical(&video, &player.video);
    assert_eq!(tap.offers(), 1, "flags changed without renegotiation");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_unsubscribing_nothing_more_is_sent() {
    let world = World::start_behind(|_, _: &[u8]| Fate::Pass).await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let proxy = world.proxy.as_ref().expect("started with one");
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    for _ in 0..2 {
        let (mut audio, mut video) = crate::harness::subscribe(&bob, &alice, &camera).await;
        tokio::join!(read(&mut audio, 10), read(&mut video, 10));
        within(bob.remove_subscription(own_id(&alice), &camera)).await.expect("unsubscribes");
        while within(audio.recv()).await.is_some() {}
        while within(video.recv()).await.is_some() {}
        let mut last = None;
        eventually(|| last.replace(proxy.passed(Way::ToClient)) == Some(proxy.passed(Way::ToClient))).await;
        stands_still(|| proxy.passed(Way::ToClient)).await;
    }
}
