//! Lost connections that are found again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use roomful::{Connection, DisconnectReason, EventKind, Message, Status, Tracks};

use crate::harness::{
    Player, World, assert_identical, eventually, hears_of, key, meet, names_until, own_id, proxy::Fate, read,
    subscribe, wait_for, within,
};
use crate::wire::tcp::TcpWire;

#[tokio::test(flavor = "multi_thread")]
async fn signalling_that_breaks_is_resumed_and_nothing_is_missed_or_told_twice() {
    let world = World::start().await;
    let wire = TcpWire::to(world.server.http_address()).await;
    let alice = world.join("alice").await;
    let bob =
        world.join_with("bob", |options| options.server_url = format!("http://{}", wire.address())).await;
    let (camera, screen) = (key("camera"), key("screen"));
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 3), read(&mut video, 3));

    let (before, mut events) = (own_id(&bob), bob.events());
    wire.cut();
    assert_eq!(names_until(&mut events, "reconnecting").await, ["reconnecting"]);
    assert_eq!(bob.state().connection(), Connection::Reconnecting);
    within(alice.add_stream(&screen, Tracks::default())).await.expect("publishes");
    within(alice.send_message(Message::text("while you were away"), None)).await.expect("is accepted");
    let carol = world.join("carol").await;
    // A call made meanwhile waits for the connection.
    let asking = tokio::spawn({
        let bob = bob.clone();
        async move { bob.send_message(Message::text("from bob"), None).await }
    });
    wire.mend();
    let told = names_until(&mut events, "reconnected").await;
    assert_eq!(told, ["participant_joined", "stream_published", "reconnected"]);
    let mut heard = Vec::new();
    for _ in 0..2 {
        heard.push(
            wait_for(&mut events, |event| {
                let EventKind::MessageReceived { message, .. } = &event.kind else { return None };
                Some(message.payload.to_string())
            })
            .await,
        );
    }
    assert_eq!(heard, ["while you were away", "from bob"]);
    within(asking).await.expect("no panic").expect("is accepted");
    assert_eq!(own_id(&bob), before);
    meet(&[&alice, &bob, &carol]).await;
    // Media went on all the time, and goes on.
    let frames = read(&mut video, 30).await;
    assert_identical(&frames, &player.video);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_path_that_dies_is_found_again_without_a_new_subscription() {
    let dead = Arc::new(AtomicBool::new(false));
    let is_dead = dead.clone();
    let world = World::start_behind(move |_, _: &[u8]| match is_dead.load(Ordering::Relaxed) {
        true => Fate::Drop,
        false => Fate::Pass,
    })
    .await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (_audio, mut video) = subscribe(&bob, &alice, &camera).await;
    let before = read(&mut video, 5).await[4].media_time;
    dead.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    dead.store(false, Ordering::Relaxed);
    // What was lost may be repaired; what comes after it shows that media flows.
    let after = before + Duration::from_secs(3);
    within(async { while video.recv().await.expect("the subscription lasts").media_time < after {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_lasts_is_told_as_what_it_is() {
    let world = World::start_with(|config| config.sfu.resume_window = Duration::from_millis(1500)).await;
    let wire = TcpWire::to(world.server.http_address()).await;
    let bob =
        world.join_with("bob", |options| options.server_url = format!("http://{}", wire.address())).await;
    let mut events = bob.events();
    wire.cut();
    assert_eq!(names_until(&mut events, "disconnected").await, ["reconnecting", "disconnected"]);
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    // The same object can connect again.
    wire.mend();
    within(bob.connect()).await.expect("joins again");
    assert_eq!(bob.state().status(), Status::Connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_asked_for_while_the_connection_breaks_is_made_once() {
    let world = World::start().await;
    let wire = TcpWire::to(world.server.http_address()).await;
    let alice =
        world.join_with("alice", |options| options.server_url = format!("http://{}", wire.address())).await;
    let bob = world.join("bob").await;
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let publishing = tokio::spawn({
        let (alice, camera, tracks) = (alice.clone(), camera.clone(), player.tracks.clone());
        async move { alice.add_stream(&camera, tracks).await }
    });
    wire.cut();
    eventually(|| alice.state().connection() == Connection::Reconnecting).await;
    wire.mend();
    within(publishing).await.expect("no panic").expect("publishes");
    hears_of(&bob, own_id(&alice), &camera).await;
    let (_audio, mut video) = subscribe(&bob, &alice, &camera).await;
    read(&mut video, 5).await;
    assert_eq!(bob.state().streams().len(), 1);
}
