//! Coming and going: what is told, in which order, and what the state says.

use std::sync::{Arc, Mutex};

use roomful::{
    DisconnectReason, ErrorKind, EventKind, EventName, Message, Origin, Status, SubscriptionConfig,
    TrackUpdate, Tracks, TracksUpdate,
};

use crate::harness::{
    Player, World, assert_identical, key, meet, names_until, own_id, read, subscribe, wait_for, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_finds_everything_in_the_state_and_hears_no_news_of_it() {
    let world = World::start().await;
    let context = "opaque: \u{1f600} \"quoted\"\n\ttabbed";
    let alice = world.join_with("alice", |options| options.context = Some(context.into())).await;
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&key("camera"), player.tracks.clone())).await.expect("publishes");
    let voice_only = Player::start("camera-90.ivf", "voice-b.ogg");
    let tracks = Tracks { audio: voice_only.tracks.audio.clone(), video: None };
    within(alice.add_stream(&key("voice"), tracks)).await.expect("publishes");
    let mute = TracksUpdate { video: TrackUpdate::Mute, ..TracksUpdate::default() };
    within(alice.update_stream(&key("camera"), mute)).await.expect("mutes");

    let bob = world.client("bob").await;
    let mut events = bob.events();
    let statuses = Arc::<Mutex<Vec<Status>>>::default();
    let seen = statuses.clone();
    let _ = bob.on(EventName::StateChanged, move |event| {
        seen.lock().expect("nobody panics").push(event.state.status());
    });
    within(bob.connect()).await.expect("joins");
    let state = wait_for(&mut events, |event| {
        assert!(matches!(event.kind, EventKind::StateChanged | EventKind::Connected), "{:?}", event.kind);
        (event.kind == EventKind::Connected).then(|| event.state.clone())
    })
    .await;
    assert_eq!(*statuses.lock().expect("nobody panics"), [Status::Connecting, Status::Connected]);

    assert_eq!(state.participants().len(), 2);
    let other = state.participant(own_id(&alice)).expect("was there before");
    assert_eq!(other.identity.as_deref(), Some("alice"));
    assert_eq!(other.context.as_deref(), Some(context));
    assert_eq!(other.origin, Origin::Remote);
    assert!(other.can_receive_messages);
    let camera = state.participant_stream(own_id(&alice), &key("camera")).expect("was there before");
    assert_eq!((camera.is_audio_enabled, camera.is_video_enabled), (true, false));
    let voice = state.participant_stream(own_id(&alice), &key("voice")).expect("was there before");
    assert_eq!((voice.is_audio_enabled, voice.is_video_enabled), (true, false));
    assert_eq!(state.streams().len(), 2);
    let local = state.local_participant().expect("oneself is there");
    assert_eq!((local.origin, local.identity.as_deref()), (Origin::Local, Some("bob")));

    // Whatever had been late would have come before the echo.
    within(bob.send_message(Message::text("anything else?"), None)).await.expect("is accepted");
    assert_eq!(names_until(&mut events, "message_received").await, ["message_received"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unpublishing_and_leaving_are_told_in_the_order_of_the_contract() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let players = [1, 2, 3].map(Player::start_marked);
    let keys = ["camera", "screen", "voice"].map(key);
    for (player, key) in players.iter().zip(&keys) {
        within(alice.add_stream(key, player.tracks.clone())).await.expect("publishes");
    }
    let (mut audio, mut video) = subscribe(&bob, &alice, &keys[0]).await;
    let (mut other_audio, mut other_video) = subscribe(&bob, &alice, &keys[1]).await;
    tokio::join!(
        read(&mut audio, 1),
        read(&mut video, 1),
        read(&mut other_audio, 1),
        read(&mut other_video, 1)
    );
    let (alice_id, mut at_bob, mut at_alice) = (own_id(&alice), bob.events(), alice.events());

    within(alice.remove_stream(&keys[0])).await.expect("unpublishes");
    assert_eq!(names_until(&mut at_alice, "stream_unpublished").await, ["stream_unpublished"]);
    let told = names_until(&mut at_bob, "stream_unpublished").await;
    assert_eq!(told, ["subscription_ended", "stream_unpublished"]);
    while within(video.recv()).await.is_some() {}
    while within(audio.recv()).await.is_some() {}
    assert_eq!(bob.participant_stream(alice_id, &keys[0]), None);
    assert_eq!(bob.state().subscriptions().len(), 1);

    within(alice.disconnect()).await.expect("leaves");
    let mut kinds = Vec::new();
    wait_for(&mut at_bob, |event| {
        if event.kind != EventKind::StateChanged {
            kinds.push(event.kind.clone());
        }
        matches!(event.kind, EventKind::ParticipantLeft { .. }).then_some(())
    })
    .await;
    let participant = alice_id;
    let unpublished = |key| EventKind::StreamUnpublished { participant, key };
    let [_, screen, voice] = keys;
    assert_eq!(
        kinds,
        [
            EventKind::ParticipantLeaving { participant, reason: None },
            EventKind::SubscriptionEnded { participant, key: screen.clone() },
            unpublished(screen),
            unpublished(voice),
            EventKind::ParticipantLeft { participant },
        ]
    );
    while within(other_video.recv()).await.is_some() {}
    while within(other_audio.recv()).await.is_some() {}
    let state = bob.state();
    assert_eq!((state.participants().len(), state.streams().len(), state.subscriptions().len()), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_was_left_can_be_entered_again_with_the_same_object() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    meet(&[&alice, &bob]).await;
    let mut events = alice.events();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let player = Player::start("camera-90.ivf", "voice-a.ogg");
        within(alice.add_stream(&key("camera"), player.tracks.clone())).await.expect("publishes");
        let (mut audio, mut video) = subscribe(&bob, &alice, &key("camera")).await;
        let (audio, video) = tokio::join!(read(&mut audio, 20), read(&mut video, 10));
        assert_identical(&audio, &player.audio);
        assert_identical(&video, &player.video);
        ids.push(own_id(&alice));

        within(alice.disconnect()).await.expect("leaves");
        let state = alice.state();
        assert_eq!(state.status(), Status::Disconnected);
        assert_eq!(state.disconnect_reason(), Some(DisconnectReason::UserInitiated));
        assert_eq!((state.participants().len(), state.streams().len()), (0, 0));
        let told = names_until(&mut events, "disconnected").await;
        assert_eq!(told, ["connected", "stream_published", "disconnected"][usize::from(ids.len() == 1)..]);
        within(alice.disconnect()).await.expect("leaving twice is leaving");
        let error = within(alice.add_stream(&key("camera"), Tracks::default())).await.expect_err("is out");
        assert_eq!(error.kind(), ErrorKind::WrongState);
        within(alice.connect()).await.expect("joins again");
        let error = within(alice.connect()).await.expect_err("is in");
        assert_eq!(error.kind(), ErrorKind::WrongState);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "every stay has an id of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_leaves_the_room() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let mut events = bob.events();
    let clone = alice.clone();
    drop(alice);
    within(clone.send_message(Message::text("still here"), None)).await.expect("one handle is enough");
    drop(clone);
    let told = names_until(&mut events, "participant_left").await;
    assert_eq!(told, ["message_received", "participant_leaving", "participant_left"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_subscriptions_and_keys_are_refused_each_in_its_own_words() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let camera = key("camera");
    // Two calls race for one key: one of them gets it.
    let (one, other) = tokio::join!(
        within(alice.add_stream(&camera, player.tracks.clone())),
        within(alice.add_stream(&camera, Tracks::default())),
    );
    let refused = one.and(other).expect_err("a key is used once");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let (_audio, _video) = subscribe(&bob, &alice, &camera).await;
    let config = SubscriptionConfig::default();
    let nobody = roomful::ParticipantId::from_random([7; 16]);
    let mut texts = Vec::new();
    for (participant, key) in [
        (nobody, camera.clone()),
        (own_id(&alice), key("screen")),
        (own_id(&bob), camera.clone()),
        (own_id(&alice), camera.clone()),
    ] {
        let error = within(bob.add_subscription(participant, &key, config)).await.expect_err("is wrong");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        texts.push(error.to_string());
    }
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 4, "{texts:?}");
    for error in [
        within(bob.remove_subscription(nobody, &camera)).await.expect_err("not subscribed"),
        within(bob.update_subscription(nobody, &camera, config)).await.expect_err("not subscribed"),
        within(bob.remove_stream(&camera)).await.expect_err("no such stream"),
        within(bob.update_stream(&camera, TracksUpdate::default()))
            .await
            .expect_err("no such stream")
            .to_owned(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    within(alice.add_stream(&key("nothing"), Tracks::default())).await.expect("a stream may be empty");
}
