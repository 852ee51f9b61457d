//! Ends that nobody asked for.

use std::time::{Duration, Instant};

use roomful::{DisconnectReason, Error, ErrorKind, EventKind, Status};
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};

use crate::harness::{
    API_KEY, Player, World, eventually, key, meet, names_until, raw::RawClient, read, subscribe, wait_for,
    within,
};

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_server_that_ends_are_told_so_and_its_ports_are_free() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 5), read(&mut video, 5));
    let mut events = [alice.events(), bob.events()];
    let (http, media) = (world.server.http_address(), world.server.media_address());
    within(world.server.stop()).await;
    for events in &mut events {
        let (reason, state) = wait_for(events, |event| {
            let EventKind::Disconnected { reason } = event.kind else { return None };
            Some((reason, event.state.clone()))
        })
        .await;
        assert_eq!(reason, DisconnectReason::SessionEnded);
        assert_eq!(state.disconnect_reason(), Some(DisconnectReason::SessionEnded));
        assert_eq!(state.status(), Status::Disconnected);
    }
    while within(audio.recv()).await.is_some() {}
    while within(video.recv()).await.is_some() {}
    TcpListener::bind(http).await.expect("the HTTP port is free");
    UdpSocket::bind(media).await.expect("the media port is free");
    let error = within(alice.connect()).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(alice.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_under_way_when_the_server_ends_settle_at_once() {
    let world = World::start().await;
    let alice = world.join("alice").await;
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let camera = key("camera");
    let (result, ()) =
        tokio::join!(within(alice.add_stream(&camera, player.tracks.clone())), within(world.server.stop()));
    let kind = result.as_ref().map_err(Error::kind);
    // Who was faster is anybody's guess.
    assert!(matches!(kind, Ok(()) | Err(ErrorKind::Disconnected | ErrorKind::WrongState)), "{result:?}");
    eventually(|| alice.state().status() == Status::Disconnected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_may_resume_a_client_whose_connection_breaks_leaves_at_once() {
    let world = World::start_with(|config| config.sfu.resume_window = Duration::ZERO).await;
    let alice = world.join("alice").await;
    let mut events = alice.events();
    let (raw, _) = RawClient::join(&world, "bob").await;
    assert_eq!(names_until(&mut events, "participant_joined").await, ["participant_joined"]);
    let start = Instant::now();
    drop(raw);
    assert_eq!(
        names_until(&mut events, "participant_left").await,
        ["participant_leaving", "participant_left"]
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_leaves_after_the_documented_time() {
    let silence = Duration::from_secs(2);
    let world = World::start_with(|config| {
        config.sfu.silence_timeout = silence;
        config.sfu.resume_window = Duration::ZERO;
    })
    .await;
    let lively = Duration::from_millis(500);
    let alice = world.join_with("alice", |options| options.keepalive = lively).await;
    let mut events = alice.events();
    let (mut raw, _) = RawClient::join(&world, "bob").await;
    let start = Instant::now();
    names_until(&mut events, "participant_left").await;
    let passed = start.elapsed();
    // Silent clients are looked for once a second.
    let documented = silence - Duration::from_millis(100)..silence + Duration::from_millis(1500);
    assert!(documented.contains(&passed), "left after {passed:?}");
    assert_eq!(raw.hear_answer().await, None, "the server closes");
    assert_eq!(alice.state().status(), Status::Connected, "who keeps alive stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_room_ends_its_session_for_everybody() {
    let world = World::start().await;
    let rooms = [world.join("alice").await, world.join("bob").await];
    meet(&rooms.each_ref()).await;
    let mut events = rooms.each_ref().map(roomful::Room::events);
    let path = format!("/v2/rooms/{}", world.room);
    let (status, body) = world.call("DELETE", &path, Some(API_KEY), &Value::Null).await;
    assert_eq!(status, 204, "{body}");
    for events in &mut events {
        assert_eq!(names_until(events, "disconnected").await, ["disconnected"]);
    }
    for room in &rooms {
        assert_eq!(room.state().disconnect_reason(), Some(DisconnectReason::RoomExpired));
        let error = within(room.connect()).await.expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}
