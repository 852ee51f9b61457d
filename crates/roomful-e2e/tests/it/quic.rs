//! Signalling over QUIC.

use std::{net::SocketAddr, time::Duration};

use roomful::{ErrorKind, Message, Room, RoomOptions};
use serde_json::json;
use tokio::{net::UdpSocket, task::JoinSet};

use crate::harness::{Player, World, eventually, key, names_until, own_id, read, subscribe, within};

/// Makes a room that is reached over QUIC at this address.
async fn quic_room(world: &World, identity: &str, address: SocketAddr) -> Room {
    let (_, fingerprint) = world.server.quic().expect("loopback servers have QUIC");
    world
        .client_with(identity, |options| {
            options.server_url = format!("quic://{address}");
            options.server_fingerprint = Some(fingerprint);
        })
        .await
}

/// Relays datagrams; after the first `change_after`, it speaks to the server from another port.
async fn roaming_relay(server: SocketAddr, changes: Duration) -> (SocketAddr, JoinSet<()>) {
    let front = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = front.local_addr().expect("bound");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut there, mut back) = ([0; 2048], [0; 2048]);
        let mut client = None;
        let connect = async || {
            let upstream = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
            upstream.connect(server).await.expect("loopback is there");
            upstream
        };
        let mut upstream = connect().await;
        let mut roams = tokio::time::interval(changes);
        roams.tick().await;
        loop {
            tokio::select! {
                _ = roams.tick() => upstream = connect().await,
                Ok((length, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    let _ = upstream.send(&there[..length]).await;
                }
                Ok(length) = upstream.recv(&mut back) => {
                    if let Some(client) = client {
                        let _ = front.send_to(&back[..length], client).await;
                    }
                }
            }
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_quic_is_a_call_like_any_other() {
    let world = World::start().await;
    let (address, _) = world.server.quic().expect("loopback servers have QUIC");
    let alice = quic_room(&world, "alice", address).await;
    within(alice.connect()).await.expect("joins");
    let bob = world.join("bob").await;
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (_audio, mut video) = subscribe(&bob, &alice, &camera).await;
    read(&mut video, 5).await;
    within(alice.disconnect()).await.expect("leaves");
    eventually(|| bob.state().participants().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_its_address_keeps_its_connection() {
    let world = World::start().await;
    let (address, _) = world.server.quic().expect("loopback servers have QUIC");
    let (relay, _task) = roaming_relay(address, Duration::from_millis(200)).await;
    let alice = quic_room(&world, "alice", relay).await;
    within(alice.connect()).await.expect("joins");
    let mut events = alice.events();
    let id = own_id(&alice);
    for number in 0..30 {
        within(alice.send_message(Message::text(number.to_string()), None)).await.expect("is accepted");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    within(alice.send_message(Message::text("end"), Some(vec![id]))).await.expect("is accepted");
    for _ in 0..31 {
        assert_eq!(names_until(&mut events, "message_received").await, ["message_received"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_certificate_is_not_believed() {
    let world = World::start().await;
    let other = World::start().await;
    let (address, _) = world.server.quic().expect("loopback servers have QUIC");
    let room = quic_room(&other, "alice", address).await;
    let error = within(room.connect()).await.expect_err("the certificate is another one");
    assert_eq!(error.kind(), ErrorKind::Network);
    // Nor is one that no authority signed, when none is pinned.
    let token = world.token(world.room, json!({})).await;
    let room = Room::new(RoomOptions::new(format!("quic://{address}"), world.room, token));
    let error = within(room.connect()).await.expect_err("nobody signed it");
    assert_eq!(error.kind(), ErrorKind::Network);
}
