//! Futures that are dropped half-way: nothing half-made stays, and nothing leaks.

use std::{future::poll_fn, pin::pin, process::Stdio, task::Poll, time::Duration};

use roomful::{
    Message, NetworkMetricsOptions, Status, SubscriptionConfig, TrackUpdate, Tracks, TracksUpdate,
};
use serde_json::json;
use tokio::{process::Command, runtime::Handle, time::sleep};

use crate::harness::{Player, World, assert_identical, eventually, key, own_id, read, subscribe, within};

/// How many times, a millisecond apart, a future is polled before it is dropped: from never to the end of what it does.
const POLLS: [u32; 14] = [0, 1, 2, 3, 5, 7, 10, 14, 20, 30, 45, 70, 110, 160];

/// Polls a future so many times, then drops it. Returns what it came to, if it was done by then.
async fn poll_times<T>(times: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(value) = polled {
            return Some(value);
        }
        sleep(Duration::from_millis(1)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connect_leaves_nobody_in_the_room() {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let mut finished = 0;
    for times in POLLS {
        let room = world.client("alice").await;
        if let Some(result) = poll_times(times, room.connect()).await {
            result.expect("joins");
            finished += 1;
            within(room.disconnect()).await.expect("leaves");
        }
        eventually(|| matches!(room.state().status(), Status::Initialized | Status::Disconnected)).await;
        eventually(|| watcher.state().participants().len() == 1).await;
        within(room.connect()).await.expect("the room can be entered afterwards");
        within(room.disconnect()).await.expect("leaves");
        eventually(|| watcher.state().participants().len() == 1).await;
    }
    assert!((1..POLLS.len()).contains(&finished), "{finished} of {POLLS:?} finished: widen the range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_disconnect_leaves_all_the_same() {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let room = world.client("alice").await;
    for times in POLLS.into_iter().filter(|times| *times > 0).take(8) {
        within(room.connect()).await.expect("joins");
        eventually(|| watcher.state().participants().len() == 2).await;
        poll_times(times, room.disconnect()).await;
        eventually(|| room.state().status() == Status::Disconnected).await;
        eventually(|| watcher.state().participants().len() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_add_stream_leaves_no_stream_and_the_key_free() {
    let world = World::start().await;
    let watcher = world.join("watcher").await;
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let mut finished = 0;
    let mut room = world.join("alice").await;
    for times in POLLS {
        // Now on a path that is up already, now on one that still has to come up.
        if times % 2 == 0 {
            within(room.disconnect()).await.expect("leaves");
            within(room.connect()).await.expect("joins");
        }
        if let Some(result) = poll_times(times, room.add_stream(&camera, player.tracks.clone())).await {
            result.expect("publishes");
            finished += 1;
            within(room.remove_stream(&camera)).await.expect("unpublishes");
        }
        within(room.add_stream(&camera, player.tracks.clone())).await.expect("publishes at once again");
        eventually(|| watcher.participant_streams(own_id(&room)).len() == 1).await;
        let (mut audio, mut video) = subscribe(&watcher, &room, &camera).await;
        let (audio, video) = tokio::join!(read(&mut audio, 5), read(&mut video, 5));
        assert_identical(&audio, &player.audio);
        assert_identical(&video, &player.video);
        within(room.remove_stream(&camera)).await.expect("unpublishes");
        eventually(|| watcher.state().streams().len() == 0).await;
    }
    assert!((1..POLLS.len()).contains(&finished), "{finished} of {POLLS:?} finished: widen the range");
    // Dropped, and nothing else asked for: the stream goes all the same.
    for times in [1, 4, 12] {
        poll_times(times, room.add_stream(&camera, player.tracks.clone())).await;
        drop(room);
        eventually(|| watcher.state().participants().len() == 1).await;
        room = world.join("alice").await;
        if poll_times(times, room.add_stream(&camera, player.tracks.clone())).await.is_none() {
            sleep(Duration::from_millis(200)).await;
            assert_eq!((watcher.state().streams().len(), room.local_streams().len()), (0, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_subscription_leaves_none_and_can_be_made_again() {
    let world = World::start().await;
    let alice = world.join("alice").await;
    let camera = key("camera");
    let player = Player::start_marked(1);
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let mut finished = 0;
    let bob = world.client_with("bob", |options| options.initial_slots = 1).await;
    within(bob.connect()).await.expect("joins");
    let config = SubscriptionConfig::default();
    for times in POLLS {
        if times % 2 == 0 {
            within(bob.disconnect()).await.expect("leaves");
            within(bob.connect()).await.expect("joins");
        }
        if let Some(result) = poll_times(times, bob.add_subscription(own_id(&alice), &camera, config)).await {
            result.expect("subscribes");
            finished += 1;
            within(bob.remove_subscription(own_id(&alice), &camera)).await.expect("unsubscribes");
        } else {
            eventually(|| bob.state().subscriptions().len() == 0).await;
        }
        let tracks = within(bob.add_subscription(own_id(&alice), &camera, config)).await;
        let tracks = tracks.expect("subscribes at once again");
        let (mut audio, mut video) = (tracks.audio.expect("asked for"), tracks.video.expect("asked for"));
        let (audio, video) = tokio::join!(read(&mut audio, 5), read(&mut video, 5));
        assert_identical(&audio, &player.audio);
        assert_identical(&video, &player.video);
        within(bob.remove_subscription(own_id(&alice), &camera)).await.expect("unsubscribes");
    }
    assert!((1..POLLS.len()).contains(&finished), "{finished} of {POLLS:?} finished: widen the range");
    // Nobody takes it any more, so nothing is forwarded.
    let forwarded = || world.server.stats().packets_forwarded;
    let mut last = None;
    eventually(|| last.replace(forwarded()) == Some(forwarded())).await;
    crate::harness::stands_still(forwarded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_call_can_be_dropped_at_any_point_and_the_room_goes_on() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let (camera, player) = (key("camera"), Player::start_marked(1));
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (_audio, mut video) = subscribe(&bob, &alice, &camera).await;
    let (publisher, tasks) = (own_id(&alice), || Handle::current().metrics().num_alive_tasks());
    let token = world.token(bob.id(), json!({ "identity": "bob" })).await;
    let before = tasks();
    for times in POLLS.into_iter().filter(|times| *times <= 30) {
        let config = SubscriptionConfig { priority: times as u8, ..SubscriptionConfig::default() };
        poll_times(times, bob.update_subscription(publisher, &camera, config)).await;
        poll_times(times, bob.send_message(Message::text("dropped"), None)).await;
        let metrics = NetworkMetricsOptions::default();
        poll_times(times, bob.enable_network_metrics_report(vec![publisher], metrics)).await;
        poll_times(times, bob.disable_network_metrics_report(None)).await;
        poll_times(times, bob.webrtc_stats_for_stream(publisher, &camera)).await;
        poll_times(times, bob.update_client_token(token.clone())).await;
        let mute = TracksUpdate { audio: TrackUpdate::Mute, ..TracksUpdate::default() };
        poll_times(times, alice.update_stream(&camera, mute)).await;
        let other = key("other");
        within(alice.add_stream(&other, Tracks::default())).await.expect("publishes");
        poll_times(times, alice.remove_stream(&other)).await;
        eventually(|| alice.local_streams().contains_key(&camera)).await;
        // A call that was dropped before it was begun has done nothing.
        if alice.local_streams().contains_key(&other) {
            let _ = within(alice.remove_stream(&other)).await;
        }
        poll_times(times, bob.remove_subscription(publisher, &key("none"))).await;
    }
    let config = SubscriptionConfig::default();
    within(bob.update_subscription(publisher, &camera, config)).await.expect("updates");
    within(bob.send_message(Message::text("still here"), None)).await.expect("is accepted");
    assert_identical(&read(&mut video, 10).await, &player.video);
    eventually(|| tasks() <= before).await;
}

/// Set in the process that counts its own descriptors.
const ALONE: &str = "ROOMFUL_E2E_ALONE";

#[tokio::test(flavor = "multi_thread")]
async fn neither_sockets_nor_tasks_leak() {
    const NAME: &str = "dropping::neither_sockets_nor_tasks_leak";
    if std::env::var_os(ALONE).is_some() {
        return count_sockets_and_tasks().await;
    }
    // Descriptors are counted per process, and the other tests have some of their own.
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args(["--exact", NAME, "--nocapture"]).env(ALONE, "1").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await.expect("in time");
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the test was not found: {text}");
}

async fn count_sockets_and_tasks() {
    let world = World::start().await;
    let count = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        (descriptors, Handle::current().metrics().num_alive_tasks())
    };
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let stay = async |times: u32| {
        let (alice, bob) = (world.client("alice").await, world.client("bob").await);
        within(alice.connect()).await.expect("joins");
        if poll_times(times, bob.connect()).await.is_none() {
            eventually(|| matches!(bob.state().status(), Status::Initialized | Status::Disconnected)).await;
            within(bob.connect()).await.expect("joins");
        }
        let camera = key("camera");
        poll_times(times, alice.add_stream(&camera, player.tracks.clone())).await;
        if alice.local_streams().contains_key(&camera) {
            eventually(|| bob.participant_stream(own_id(&alice), &camera).is_some()).await;
            let adding = bob.add_subscription(own_id(&alice), &camera, SubscriptionConfig::default());
            poll_times(times, adding).await;
        }
        poll_times(times, bob.disconnect()).await;
        // Alice is not told to leave: her last handle goes.
    };
    // Whatever is made once and kept.
    stay(160).await;
    let mut before = count();
    eventually(|| std::mem::replace(&mut before, count()) == count()).await;
    sleep(Duration::from_millis(500)).await;
    let before = count();
    for times in POLLS.into_iter().chain(POLLS) {
        stay(times).await;
    }
    let back = async {
        while count() > before || count().1 > before.1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(5), back).await.is_err() {
        panic!("descriptors and tasks before {before:?}, after {:?}", count());
    }
    println!("descriptors and tasks before {before:?}, after {:?}", count());
}
