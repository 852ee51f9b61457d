//! The fake server as a user of it sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roomful::{
    Codec, Frame, LocalTrack, RemoteTrack, Room, StreamKey, SubscriptionConfig, TrackRequest, Tracks,
};
use roomful_sim::{
    LinkConfig, NatConfig, NatFilter,
    sdk::{FakeNetwork, FakeServer, FakeServerConfig},
};

/// Publishes a picture 30 times a second, for ever.
async fn film(room: &Room, key: &StreamKey) {
    let (track, mut writer) = LocalTrack::new(Codec::Vp8);
    room.add_stream(key, Tracks { audio: None, video: Some(track) }).await.expect("publishes");
    tokio::spawn(async move {
        let mut needs_keyframe = true;
        for number in 0..u64::MAX {
            let media_time = Duration::from_millis(number * 33);
            let head: &[u8] =
                if needs_keyframe { &[0x10, 0, 0, 0x9d, 1, 0x2a, 1, 0, 1, 0] } else { &[0x11, 0, 0] };
            let data = Bytes::from([head, &number.to_be_bytes()].concat());
            let duration = Duration::from_millis(33);
            writer
                .write(Frame { data, media_time, duration, is_keyframe: needs_keyframe, audio_level: None })
                .await;
            needs_keyframe = false;
            let until = tokio::time::Instant::now() + duration;
            while let Ok(request) = tokio::time::timeout_at(until, writer.request()).await {
                needs_keyframe |= matches!(request, TrackRequest::Keyframe | TrackRequest::Resumed);
            }
        }
    });
}

/// Lets one room film, and another one take it.
async fn watch(publisher: &Room, subscriber: &Room) -> RemoteTrack {
    let key = StreamKey::new("camera").expect("short");
    film(publisher, &key).await;
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
    let mut video = watch(&alice, &bob).await;
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
    let mut video = watch(&alice, &bob).await;
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
        let mut video = watch(&alice, &bob).await;
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
