//! What goes wrong for good: processes that are killed, connections that hang half-open, clients that read nothing, and everybody
//! at once.

use std::{
    net::{SocketAddr, TcpListener},
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use roomful::{DisconnectReason, EventKind, Message, Room, RoomId, RoomOptions, Status, Tracks};
use roomful_protocol::JoinRequest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::command::program;
use crate::harness::{
    API_KEY, Player, World, eventually, key, meet, names_until, own_id,
    raw::{RawClient, join_request},
    read, subscribe, wait_for, within,
};
use crate::wire::tcp::TcpWire;

/// A server in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    async fn start(address: SocketAddr) -> Self {
        let http = address.to_string();
        let mut child = Command::new(program())
            .args(["serve", "--dev", "--http", &http, "--media", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
            .env("ROOMFUL_API_KEY", API_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the command starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        loop {
            let line = within(lines.next_line()).await.expect("text").expect("the server starts");
            if line.contains("signalling on") {
                break;
            }
        }
        Self { child, address }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new().post(url).bearer_auth(API_KEY).json(&body);
        let answer = within(request.send()).await.expect("the server runs");
        within(answer.json::<Value>()).await.expect("an answer")["data"].take()
    }

    async fn join(&self, room: RoomId, identity: &str) -> Room {
        let path = format!("/v2/rooms/{room}/actions/generate_join_client_token");
        let answer = self.post(&path, json!({ "identity": identity })).await;
        let token = answer["token"].as_str().expect("a token");
        let mut options = RoomOptions::new(format!("http://{}", self.address), room, token);
        options.reconnect_timeout = Duration::from_secs(2);
        let room = Room::new(options);
        within(room.connect()).await.expect("joins");
        room
    }

    async fn create_room(&self) -> RoomId {
        let answer = self.post("/v2/rooms", json!({ "unique_name": "test" })).await;
        answer["id"].as_str().and_then(|id| id.parse().ok()).expect("a room has an id")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_missed_by_everybody_and_the_next_one_takes_them() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("loopback has free ports");
    let mut server = Process::start(address).await;
    let place = server.create_room().await;
    let (alice, bob) = (server.join(place, "alice").await, server.join(place, "bob").await);
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 3), read(&mut video, 3));

    let mut events = [alice.events(), bob.events()];
    let killed = Instant::now();
    // SIGKILL: it has no time for good-byes.
    server.child.start_kill().expect("is our child");
    for events in &mut events {
        let told = names_until(events, "reconnecting").await;
        assert_eq!(told.last(), Some(&"reconnecting"));
        assert!(killed.elapsed() < Duration::from_secs(1), "the kernel tells at once");
    }
    for (events, room) in events.iter_mut().zip([&alice, &bob]) {
        assert_eq!(names_until(events, "disconnected").await.last(), Some(&"disconnected"));
        assert_eq!(room.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    }
    within(async { while audio.recv().await.is_some() {} }).await;
    within(async { while video.recv().await.is_some() {} }).await;
    within(server.child.wait()).await.expect("is our child");

    let server = Process::start(address).await;
    let place = server.create_room().await;
    let (alice, bob) = (server.join(place, "alice").await, server.join(place, "bob").await);
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 3), read(&mut video, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_hangs_half_open_is_replaced_and_nobody_else_notices() {
    let world = World::start().await;
    let wire = TcpWire::to(world.server.http_address()).await;
    let alice = world.join("alice").await;
    let bob = world
        .join_with("bob", |options| {
            options.server_url = format!("http://{}", wire.address());
            options.keepalive = Duration::from_millis(300);
        })
        .await;
    meet(&[&alice, &bob]).await;
    let (before, mut of_bob, mut of_alice) = (own_id(&bob), bob.events(), alice.events());
    wire.freeze();
    within(alice.send_message(Message::text("into the void"), None)).await.expect("is accepted");
    assert_eq!(names_until(&mut of_bob, "reconnected").await, ["reconnecting", "reconnected"]);
    assert_eq!(own_id(&bob), before);
    let told = wait_for(&mut of_bob, |event| {
        let EventKind::MessageReceived { message, .. } = &event.kind else { return None };
        Some(message.payload.to_string())
    });
    assert_eq!(told.await, "into the void");
    within(bob.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let told = names_until(&mut of_alice, "stream_published").await;
    assert_eq!(told, ["message_received", "stream_published"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_join_at_once() {
    const CROWD: usize = 200;
    let world = World::start_with(|config| config.max_participants = CROWD as u32).await;
    let rooms = join_all((0..CROWD).map(|number| {
        let world = &world;
        async move { world.client(&format!("participant {number}")).await }
    }))
    .await;
    let joined = join_all(rooms.iter().map(|room| within(room.connect()))).await;
    joined.into_iter().for_each(|result| result.expect("there is room for everybody"));
    eventually(|| rooms.iter().all(|room| room.state().participants().len() == CROWD)).await;
    within(join_all(rooms.iter().skip(1).map(Room::disconnect))).await;
    eventually(|| rooms[0].state().participants().len() == 1).await;
    assert_eq!(rooms[0].state().status(), Status::Connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut_off_and_keeps_nobody_waiting() {
    let world = World::start_with(|config| {
        config.sfu.resume_window = Duration::ZERO;
        config.sfu.requests_per_second = 1_000_000;
        config.sfu.request_burst = 1_000_000;
        (config.sfu.messages_per_second, config.sfu.message_burst) = (1_000_000, 1_000_000);
    })
    .await;
    let (alice, carol) = (world.join("alice").await, world.join("carol").await);
    let mut deaf = RawClient::open(&world).await;
    let request = JoinRequest { enable_messages: true, ..join_request(&world, "bob").await };
    deaf.say(request).await;
    let mut of_alice = alice.events();
    eventually(|| alice.state().participants().len() == 3).await;
    let carol_id = own_id(&carol);
    let bob =
        alice.state().participants().map(|one| one.id).find(|id| *id != own_id(&alice) && *id != carol_id);
    let bob = bob.expect("is in the room");

    let reader = tokio::spawn(async move {
        let mut events = carol.events();
        let mut heard = 0;
        while heard < 100 {
            let event = events.recv().await.expect("the room lives");
            heard += u32::from(matches!(event.kind, EventKind::MessageReceived { .. }));
        }
        carol
    });
    // First what fills every buffer on the way, then what fills the server's queue for this client.
    let long = Message::text("x".repeat(60_000));
    let mut sent = 0;
    let mut accepted = true;
    while accepted {
        assert!(sent < 2000, "whoever reads nothing is cut off");
        let sending = alice.send_message(long.clone(), Some(vec![bob, carol_id]));
        accepted = within(sending).await.is_ok();
        sent += 1;
    }
    println!("cut off after {sent} messages");
    let told = names_until(&mut of_alice, "participant_left").await;
    assert!(told.ends_with(&["participant_leaving", "participant_left"]), "{told:?}");
    let carol = within(reader).await.expect("got all that were for it");
    assert_eq!(carol.state().status(), Status::Connected);
    meet(&[&alice, &carol]).await;
    drop(deaf);
}
