//! Clients and strangers that do not keep to the rules: they are answered or cut off, and nobody else notices.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful::{EventKind, Room};
use roomful_protocol::{
    ClientMessage, DisconnectReason, DoneResponse, ErrorCode, ErrorResponse, LeaveRequest, OfferId,
    OfferRequest, PingRequest, PublishRequest, PublishedTrack, RequestId, ServerMessage, SubscribeRequest,
    limits,
};
use roomful_server::ServerConfig;
use serde_json::json;
use tokio::{net::UdpSocket, task::JoinHandle, time::sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Player, World, eventually, key, missing, own_id,
    raw::{RawClient, join_request},
    read, subscribe, within,
};

/// A call between two who must not be disturbed.
struct Call {
    alice: Room,
    bob: Room,
    watching: JoinHandle<()>,
    player: Player,
    tracks: (roomful::RemoteTrack, roomful::RemoteTrack),
}

impl Call {
    async fn start(world: &World) -> Self {
        let (alice, bob) = (world.join("alice").await, world.join("bob").await);
        let player = Player::start("camera-90.ivf", "voice-a.ogg");
        within(alice.add_stream(&key("camera"), player.tracks.clone())).await.expect("publishes");
        let tracks = subscribe(&bob, &alice, &key("camera")).await;
        let mut events = bob.events();
        let watching = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let is_news_of_strangers = matches!(
                    event.kind,
                    EventKind::StateChanged
                        | EventKind::ParticipantJoined { .. }
                        | EventKind::ParticipantLeaving { .. }
                        | EventKind::ParticipantLeft { .. }
                );
                assert!(is_news_of_strangers, "disturbed by {:?}", event.kind);
            }
        });
        let mut call = Self { alice, bob, watching, player, tracks };
        tokio::join!(read(&mut call.tracks.0, 1), read(&mut call.tracks.1, 1));
        call
    }

    /// Checks that not a frame was lost, and that nobody but strangers came and went.
    async fn assert_undisturbed(mut self) {
        let (audio, video) = &mut self.tracks;
        let counts = [audio.report().frames_received, video.report().frames_received];
        let [heard, seen] = counts.map(|count| usize::try_from(count).expect("few") + 10);
        let (heard, seen) = tokio::join!(read(audio, heard), read(video, seen));
        assert_eq!(missing(&heard, &self.player.audio), 0);
        assert_eq!(missing(&seen, &self.player.video), 0);
        assert_eq!(audio.report().packets_lost, 0);
        assert!(!self.watching.is_finished(), "a participant of the call was disturbed");
        self.watching.abort();
        for room in [self.alice, self.bob] {
            within(room.disconnect()).await.expect("leaves");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_ends_the_connection_that_it_came_on_and_no_other() {
    let world = World::start().await;
    let call = Call::start(&world).await;
    let known = json!({"type": "ping_request", "request": "three"}).to_string();
    for joined in [false, true] {
        for (what, message) in [
            ("no JSON", Message::text("hello?")),
            ("no object", Message::text("[1, 2, 3]")),
            ("a field of the wrong type", Message::text(known.clone())),
            ("binary", Message::binary(vec![0, 159, 146, 150])),
            ("too long", Message::text("x".repeat(limits::SIGNAL_TO_SERVER_MAX + 1))),
        ] {
            let mut raw = match joined {
                true => RawClient::join(&world, "mallory").await.0,
                false => RawClient::open(&world).await,
            };
            raw.send(message).await;
            match raw.hear_answer().await {
                Some(ServerMessage::DisconnectNotice(notice)) => {
                    assert_eq!(notice.reason, DisconnectReason::ProtocolError, "{what}");
                    assert_eq!(raw.hear_answer().await, None, "{what}: then the server closes");
                }
                // The end of a connection that is closed with data unread may overtake the notice.
                None if what == "too long" => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    call.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reads_no_longer_messages_than_it_is_told_to() {
    let most = *ServerConfig::SIGNAL_BYTES.start();
    let world = World::start_with(|config| config.max_signal_bytes = most).await;
    let call = Call::start(&world).await;
    for (length, is_read) in [(most, true), (most + 1, false)] {
        let mut raw = RawClient::join(&world, "mallory").await.0;
        let ping = json!({"type": "ping_request", "request": 7, "received": 0, "filling": ""}).to_string();
        let filling = "x".repeat(length - ping.len());
        raw.send(Message::text(ping.replace(r#""filling":"""#, &format!(r#""filling":"{filling}""#)))).await;
        match raw.hear_answer().await {
            Some(ServerMessage::DoneResponse(done)) => assert!(is_read && done.request == RequestId(7)),
            None | Some(ServerMessage::DisconnectNotice(_)) => assert!(!is_read),
            other => panic!("{other:?}"),
        }
    }
    call.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_out_of_order_are_refused_or_end_the_connection_that_they_came_on() {
    let world = World::start().await;
    let call = Call::start(&world).await;
    // Before joining, only joining makes sense.
    for early in [
        ClientMessage::from(PingRequest { request: RequestId(1), received: 0 }),
        LeaveRequest { request: RequestId(1) }.into(),
        PublishRequest { request: RequestId(1), key: key("camera"), audio: None, video: None }.into(),
    ] {
        let mut raw = RawClient::open(&world).await;
        raw.say(early).await;
        let told = raw.hear_answer().await;
        let Some(ServerMessage::DisconnectNotice(notice)) = told else { panic!("{told:?}") };
        assert_eq!(notice.reason, DisconnectReason::ProtocolError);
        assert_eq!(raw.hear().await, None);
    }
    // No version in common.
    let mut raw = RawClient::open(&world).await;
    let mut join = join_request(&world, "mallory").await;
    join.versions = vec![999];
    raw.say(join).await;
    let refused = |request, code| Some(ServerMessage::from(ErrorResponse { request, code }));
    assert_eq!(raw.hear_answer().await, refused(RequestId(1), ErrorCode::UnsupportedVersion));
    assert_eq!(raw.hear().await, None);

    let (mut raw, _) = RawClient::join(&world, "mallory").await;
    let [request, second, third, fourth] = [2, 3, 4, 5].map(RequestId);
    let track = |mid: &str| PublishedTrack {
        mid: mid.parse().expect("short"),
        codec: roomful::Codec::Vp8,
        first_timestamp: 0,
        simulcast: false,
    };
    let (participant_id, camera) = (own_id(&call.alice), key("camera"));
    let subscribe = |request, participant_id, key| SubscribeRequest {
        request,
        participant_id,
        key,
        slot: 0,
        audio: true,
        video: true,
        paused: false,
        preferred_layer: None,
        priority: 0,
    };
    let bad_offer =
        OfferRequest { request: third, offer: OfferId(1), sdp: "v=0\r\nnonsense".into(), slots: Vec::new() };
    for (asked, message, code) in [
        (RequestId(1), join_request(&world, "twice").await.into(), ErrorCode::BadRequest),
        (request, subscribe(request, participant_id, camera.clone()).into(), ErrorCode::SlotUnavailable),
        (second, subscribe(second, participant_id, key("nothing")).into(), ErrorCode::UnknownStream),
        (third, ClientMessage::from(bad_offer), ErrorCode::BadOffer),
        (
            fourth,
            PublishRequest { request: fourth, key: key("a"), audio: Some(track("7")), video: None }.into(),
            ErrorCode::BadRequest,
        ),
    ] {
        raw.say(message).await;
        assert_eq!(raw.hear_answer().await, refused(asked, code));
    }
    // What a later version may say is passed over, and the connection goes on.
    raw.send(Message::text(r#"{"type":"teleport_request","request":3}"#)).await;
    raw.say(PingRequest { request: RequestId(9), received: 0 }).await;
    assert_eq!(raw.hear_answer().await, Some(DoneResponse { request: RequestId(9) }.into()));
    call.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_refused_and_alone_notices() {
    let world = World::start().await;
    let call = Call::start(&world).await;
    let (mut raw, _) = RawClient::join(&world, "mallory").await;
    for number in 0..1000 {
        raw.say(PingRequest { request: RequestId(number), received: 0 }).await;
    }
    let mut limited = 0;
    for number in 0..1000 {
        let request = RequestId(number);
        match raw.hear_answer().await {
            Some(ServerMessage::DoneResponse(done)) => assert_eq!(done, DoneResponse { request }),
            Some(ServerMessage::ErrorResponse(error)) => {
                assert_eq!(error, ErrorResponse { request, code: ErrorCode::RateLimited });
                limited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    // Joining was the first of the 200 that may be sent at once.
    assert!((100..=801).contains(&limited), "{limited} of 1000 refused");
    call.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_datagrams_at_the_media_port_cost_a_call_nothing() {
    let world = World::start().await;
    let call = Call::start(&world).await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let server = world.server.media_address();
    let ignored = world.server.stats().datagrams_ignored;
    for number in 0..10_000_u32 {
        let mut datagram = vec![0; random.random_range(0..1500)];
        random.fill(&mut datagram[..]);
        match number % 4 {
            // Random from the first byte on.
            0 => {}
            1 => datagram = binding_request(&mut random),
            // Something that looks like RTP or RTCP, and like DTLS.
            2 => datagram.iter_mut().take(1).for_each(|first| *first = 0x80),
            _ => datagram.iter_mut().take(1).for_each(|first| *first = 22),
        }
        socket.send_to(&datagram, server).await.expect("loopback takes it");
        if number % 64 == 0 {
            // The kernel's buffer must not decide the test.
            sleep(Duration::from_millis(5)).await;
        }
    }
    // A few may have found that buffer full all the same.
    eventually(|| world.server.stats().datagrams_ignored - ignored >= 9_000).await;
    call.assert_undisturbed().await;
}

/// A STUN binding request (RFC 8489 §5) for somebody who does not exist.
fn binding_request(random: &mut SmallRng) -> Vec<u8> {
    let name: Vec<u8> =
        (0..9).map(|at| if at == 4 { b':' } else { random.random_range(b'a'..=b'z') }).collect();
    let mut datagram = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    datagram.extend(random.random::<[u8; 12]>());
    // USERNAME (RFC 8489 §14.3), padded to a multiple of four.
    datagram.extend([0, 6, 0, 9]);
    datagram.extend(name);
    datagram.extend([0; 3]);
    datagram
}
