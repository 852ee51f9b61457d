//! Networks that do not answer: every call settles within its deadline all the same.

use std::time::{Duration, Instant};

use roomful::{
    DisconnectReason, Error, ErrorKind, Message, NetworkMetricsOptions, Status, SubscriptionConfig,
    TrackUpdate, Tracks, TracksUpdate,
};
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use crate::harness::{Player, World, eventually, hears_of, key, own_id, tap::SignalTap, within};

/// Checks that a call fails as it should, not before its deadline and not much later.
#[track_caller]
fn settles<T: std::fmt::Debug>(
    call: impl Future<Output = Result<T, Error>>,
    deadline: Duration,
    kind: ErrorKind,
) -> impl Future<Output = ()> {
    let call = within(call);
    let begin = Instant::now();
    async move {
        let error = call.await.expect_err("nothing answers");
        let passed = begin.elapsed();
        assert_eq!(error.kind(), kind);
        assert!(error.is_retryable());
        assert!(passed < deadline + Duration::from_millis(700), "took {passed:?}");
        assert!(passed + Duration::from_millis(100) > deadline, "gave up after {passed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_to_a_server_that_says_nothing_ends_at_its_deadline() {
    let world = World::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let deadline = Duration::from_secs(1);
    let room = world
        .client_with("alice", |options| {
            options.server_url = format!("http://{}", silent.local_addr().expect("bound"));
            options.connect_timeout = deadline;
        })
        .await;
    settles(room.connect(), deadline, ErrorKind::TimedOut).await;
    assert_eq!(room.state().disconnect_reason(), Some(DisconnectReason::TimedOut));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_path_for_media_joining_works_and_publishing_says_what_is_wrong() {
    let hole = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = hole.local_addr().expect("bound");
    let world = World::start_with(|config| config.advertised = vec![address]).await;
    let deadline = Duration::from_secs(1);
    let change = |options: &mut roomful::RoomOptions| options.request_timeout = deadline;
    let (alice, bob) = (world.join_with("alice", change).await, world.join_with("bob", change).await);
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    let camera = key("camera");
    settles(alice.add_stream(&camera, player.tracks.clone()), deadline, ErrorKind::MediaUnreachable).await;
    assert_eq!((alice.state().streams().len(), bob.state().streams().len()), (0, 0));
    within(alice.send_message(Message::text("still here"), None)).await.expect("signalling works");
    assert_eq!(bob.state().participants().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_a_connection_that_died_without_a_word_end_at_their_deadlines() {
    let world = World::start().await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let alice = world.join("alice").await;
    let camera = key("camera");
    within(alice.add_stream(&camera, Tracks::default())).await.expect("publishes");
    let deadline = Duration::from_secs(1);
    let bob = world
        .join_with("bob", |options| {
            options.server_url = tap.url();
            options.request_timeout = deadline;
        })
        .await;
    within(bob.add_stream(&camera, Tracks::default())).await.expect("publishes");
    let taken = key("taken");
    within(alice.add_stream(&taken, Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), &taken).await;
    let (alice, config) = (own_id(&alice), SubscriptionConfig::default());
    within(bob.add_subscription(alice, &taken, config)).await.expect("subscribes");
    within(bob.add_stream(&key("second"), Tracks::default())).await.expect("publishes");
    let token = world.token(world.room, json!({ "identity": "bob" })).await;
    tap.freeze();
    let (screen, second) = (key("screen"), key("second"));
    let mut other = config;
    other.audio = false;
    let mute = TracksUpdate { audio: TrackUpdate::Mute, video: TrackUpdate::Mute };
    tokio::join!(
        settles(bob.send_message(Message::text("hello?"), None), deadline, ErrorKind::TimedOut),
        settles(bob.add_stream(&screen, Tracks::default()), deadline, ErrorKind::TimedOut),
        settles(bob.update_stream(&second, mute), deadline, ErrorKind::TimedOut),
        settles(bob.remove_stream(&camera), deadline, ErrorKind::TimedOut),
        settles(bob.add_subscription(alice, &camera, config), deadline, ErrorKind::TimedOut),
        settles(bob.update_subscription(alice, &taken, other), deadline, ErrorKind::TimedOut),
        settles(bob.remove_subscription(alice, &taken), deadline, ErrorKind::TimedOut),
        settles(bob.update_client_token(token), deadline, ErrorKind::TimedOut),
        settles(
            bob.enable_network_metrics_report(vec![alice], NetworkMetricsOptions::default()),
            deadline,
            ErrorKind::TimedOut
        ),
        settles(bob.disable_network_metrics_report(None), deadline, ErrorKind::TimedOut),
    );
    let begin = Instant::now();
    within(bob.disconnect()).await.expect("leaving needs nobody's consent");
    assert!(begin.elapsed() < Duration::from_millis(2500), "two seconds at most are documented");
    assert_eq!(bob.state().status(), Status::Disconnected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_lost_after_three_keepalives() {
    let world = World::start().await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let keepalive = Duration::from_millis(400);
    let bob = world
        .join_with("bob", |options| {
            options.server_url = tap.url();
            options.keepalive = keepalive;
            options.reconnect_timeout = Duration::ZERO;
        })
        .await;
    // One that answers is kept.
    tokio::time::sleep(keepalive * 5).await;
    assert_eq!(bob.state().status(), Status::Connected);
    tap.freeze();
    let begin = Instant::now();
    eventually(|| bob.state().status() == Status::Disconnected).await;
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    let passed = begin.elapsed();
    assert!((keepalive * 2..keepalive * 6).contains(&passed), "lost after {passed:?}");
}
