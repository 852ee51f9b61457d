//! The fake server as a user of it sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roomful::{
    Bitrate, Codec, Events, Frame, LocalTrack, RemoteTrack, Room, StreamKey, SubscriptionConfig,
    TrackRequest, TrackWriter, Tracks, VideoTrackOptions,
};
use roomful_sim::{
    LinkConfig, NatConfig, NatFilter,
    sdk::{FakeNetwork, FakeServer, FakeServerConfig},
};

/// Bytes of a frame in three encodings: 1200, 400 and 120 kbit/s.
const ENCODINGS: [usize; 3] = [5000, 1667, 500];

/// Publishes a picture 30 times a second, for ever, in as many encodings as there are sizes.
async fn film(room: &Room, key: &StreamKey, sizes: &'static [usize]) {
    let options = VideoTrackOptions { simulcast: sizes.len() > 1 };
    let (track, writers) = LocalTrack::with_options(Codec::Vp8, options);
    room.add_stream(key, Tracks { audio: None, video: Some(track) }).await.expect("publishes");
    for (writer, size) in writers.into_iter().zip(sizes) {
        tokio::spawn(film_encoding(writer, *size));
    }
}

async fn film_encoding(mut writer: TrackWriter, size: usize) {
    let mut needs_keyframe = true;
    for number in 0..u64::MAX {
        let media_time = Duration::from_millis(number * 33);
        let head: &[u8] =
            if needs_keyframe { &[0x10, 0, 0, 0x9d, 1, 0x2a, 1, 0, 1, 0] } else { &[0x11, 0, 0] };
        let mut data = [head, &number.to_be_bytes()].concat();
        data.resize(size.max(data.len()), 0);
        let (data, duration) = (Bytes::from(data), Duration::from_millis(33));
        writer
            .write(Frame { data, media_time, duration, is_keyframe: needs_keyframe, audio_level: None })
            .await;
        needs_keyframe = false;
        let until = tokio::time::Instant::now() + duration;
        while let Ok(request) = tokio::time::timeout_at(until, writer.request()).await {
            needs_keyframe |= matches!(request, TrackRequest::Keyframe | TrackRequest::Resumed);
        }
    }
}

/// Lets one room film, and another one take it.
async fn watch(publisher: &Room, subscriber: &Room, sizes: &'static [usize]) -> RemoteTrack {
    let key = StreamKey::new("camera").expect("short");
    film(publisher, &key, sizes).await;
    let id = publisher.state().local_participant_id().expect("joined");
    while subscriber.participant_stream(id, &key).is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let config = SubscriptionConfig::default();
    let tracks = subscriber.add_subscription(id, &key, config).await.expect("subscribes");
    tracks.video.expect("asked for")
}

async fn call(server: &FakeServer, network: &Arc<FakeNetwork>) {
    let (alice, bob) = (server.room("alice", network), server.room("bob", network));
    alice.connect().await.expect("joins");
    bob.connect().await.expect("joins");
    let mut video = watch(&alice, &bob, &[0]).await;
    for _ in 0..100 {
        video.recv().await.expect("the subscription lasts");
    }
    bob.disconnect().await.expect("leaves");
}

#[tokio::test(start_paused = true)]
async fn frames_flow_over_a_bad_network_on_virtual_time() {
    let server = FakeServer::start(FakeServerConfig::default());
    let link = LinkConfig {
        loss: 0.1,
        jitter: Duration::from_millis(5),
        ..LinkConfig::delayed(Duration::from_millis(40))
    };
    let network = server.network(link);
    let start = std::time::Instant::now();
    let virtual_start = tokio::time::Instant::now();
    call(&server, &network).await;
    eprintln!("{:?} of virtual time in {:?}", virtual_start.elapsed(), start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn media_follows_a_network_whose_address_changes_while_signalling_goes_on() {
    let server = FakeServer::start(FakeServerConfig::default());
    let (steady, roaming) = (server.network(LinkConfig::default()), server.network(LinkConfig::default()));
    let (alice, bob) = (server.room("alice", &steady), server.room("bob", &roaming));
    alice.connect().await.expect("joins");
    bob.connect().await.expect("joins");
    let mut video = watch(&alice, &bob, &[0]).await;
    let before = video.recv().await.expect("the subscription lasts").media_time;
    roaming.roam();
    // ICE notices the loss, and looks for another path.
    let after = before + Duration::from_secs(60);
    let waiting = async { while video.recv().await.expect("the subscription lasts").media_time < after {} };
    tokio::time::timeout(Duration::from_secs(90), waiting).await.expect("media comes to the new address");
    assert_eq!(bob.state().connection(), roomful::Connection::Stable);
}

#[tokio::test(start_paused = true)]
async fn a_call_works_behind_every_nat_and_goes_on_when_one_forgets_it() {
    for filter in NatFilter::ALL {
        let server = FakeServer::start(FakeServerConfig::default());
        let (open, behind) = (server.network(LinkConfig::default()), server.network(LinkConfig::default()));
        behind.set_nat(NatConfig { filter, lifetime: Duration::from_secs(30) });
        let (alice, bob) = (server.room("alice", &open), server.room("bob", &behind));
        alice.connect().await.expect("joins");
        bob.connect().await.expect("joins");
        let mut video = watch(&alice, &bob, &[0]).await;
        let before = video.recv().await.expect("the subscription lasts").media_time;
        behind.rebind_nat();
        // Longer than the NAT remembers whoever sends nothing out.
        let after = before + Duration::from_secs(60);
        let waiting =
            async { while video.recv().await.expect("the subscription lasts").media_time < after {} };
        tokio::time::timeout(Duration::from_secs(90), waiting).await.expect("media comes to the new address");
        assert_eq!(bob.state().connection(), roomful::Connection::Stable, "{filter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_picture_that_does_not_get_through_comes_again_when_it_does() {
    let server = FakeServer::start(FakeServerConfig::default());
    let wide = LinkConfig::delayed(Duration::from_millis(20));
    let narrow = LinkConfig { rate: Some(Bitrate::from_kbps(600)), ..wide };
    let network = server.network(wide);
    let (alice, bob) = (server.room("alice", &server.network(wide)), server.room("bob", &network));
    alice.connect().await.expect("joins");
    bob.connect().await.expect("joins");
    let mut events = bob.events();
    let mut video = watch(&alice, &bob, &[5000]).await;
    network.set_links(wide, narrow);
    let named = async |events: &mut Events, name: &str| {
        let waiting = async { while events.recv().await.expect("connected").name() != name {} };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes to that");
    };
    named(&mut events, "subscription_paused").await;
    // Nothing is sent then that anybody could report about.
    network.set_links(wide, wide);
    named(&mut events, "subscription_resumed").await;
    for _ in 0..300 {
        video.recv().await.expect("the subscription lasts");
    }
}

#[tokio::test(start_paused = true)]
async fn what_gets_through_decides_though_nobody_says_how_much_it_is() {
    let server = FakeServer::start(FakeServerConfig::default());
    let wide = LinkConfig::delayed(Duration::from_millis(20));
    let narrow = LinkConfig { rate: Some(Bitrate::from_kbps(600)), ..wide };
    let (alice, network) = (server.room("alice", &server.network(wide)), server.network(wide));
    let bob = server.room("bob", &network);
    alice.connect().await.expect("joins");
    bob.connect().await.expect("joins");
    let mut video = watch(&alice, &bob, &ENCODINGS).await;
    let read = async |video: &mut RemoteTrack, seconds: u64| {
        let (mut counts, until) = ([0; 3], tokio::time::Instant::now() + Duration::from_secs(seconds));
        while let Ok(frame) = tokio::time::timeout_at(until, video.recv()).await {
            let size = frame.expect("the subscription lasts").data.len();
            let encoding = ENCODINGS.iter().position(|one| *one == size);
            counts[encoding.unwrap_or_else(|| panic!("a frame of {size} bytes"))] += 1;
        }
        counts
    };
    let [high, rest @ ..] = read(&mut video, 20).await;
    assert!(high > 590 && rest == [0, 0], "all of it on a wide link: {high}, {rest:?}");
    network.set_links(wide, narrow);
    read(&mut video, 5).await;
    // Now and then it is tried whether more gets through by now.
    let [high, medium, low] = read(&mut video, 60).await;
    assert!(medium > 1200 && high + low < 400, "on a narrow one what fits: {high}, {medium}, {low}");
    network.set_links(wide, wide);
    read(&mut video, 60).await;
    let [high, rest @ ..] = read(&mut video, 20).await;
    assert!(high > 590 && rest == [0, 0], "and again all of it: {high}, {rest:?}");
}
