//! What the fake server does wrong on purpose, and how rooms of the SDK take it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use roomful::{ErrorKind, EventKind, Events, Message, Origin, ParticipantId, Room, StreamKey, Tracks};
use roomful_protocol::{
    ClientMessage, DoneResponse, ErrorCode, ParticipantInfo, ParticipantJoinedNotice, RequestId, RoomVersion,
    ServerMessage, SpeakingNotice,
};
use roomful_sim::{
    Faults, LinkConfig, Script,
    sdk::{FakeNetwork, FakeServer, FakeServerConfig},
};
use tokio::time::Instant;

/// Two in a room whose server does these things wrong from then on.
async fn two(seed: u64, faults: Faults) -> (FakeServer, Arc<FakeNetwork>, Room, Room) {
    let mut config = FakeServerConfig::default();
    config.seed = seed;
    let server = FakeServer::start(config);
    let network = server.network(LinkConfig::default());
    let (alice, bob) = (server.room("alice", &network), server.room("bob", &network));
    alice.connect().await.expect("joins");
    bob.connect().await.expect("joins");
    server.set_faults(faults);
    (server, network, alice, bob)
}

/// Says `count` numbers, one after the other.
async fn count(room: &Room, count: usize) {
    for number in 0..count {
        room.send_message(Message::text(number.to_string()), None).await.expect("is accepted");
    }
}

/// Returns the next `count` messages.
async fn heard(events: &mut Events, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        if let EventKind::MessageReceived { message, .. } = events.recv().await.expect("the room lives").kind
        {
            numbers.push(message.payload.parse().expect("a number"));
        }
    }
    numbers
}

/// Checks that twenty messages arrive once each, whatever goes wrong. Returns how long that took, in virtual time.
async fn assert_exactly_once(faults: Faults, in_order: bool) -> Duration {
    let (_server, _network, alice, bob) = two(7, faults).await;
    let (mut events, start) = (bob.events(), Instant::now());
    let (mut numbers, ()) = tokio::join!(heard(&mut events, 20), count(&alice, 20));
    let passed = start.elapsed();
    if !in_order {
        numbers.sort_unstable();
    }
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    alice.send_message(Message::text("99"), None).await.expect("is accepted");
    assert_eq!(heard(&mut events, 1).await, [99], "none of them comes again");
    passed
}

#[tokio::test(start_paused = true)]
async fn without_faults_messages_are_quick() {
    assert!(assert_exactly_once(Faults::default(), true).await < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_come_later_in_their_order() {
    let faults = Faults { delay: Duration::from_millis(400), ..Faults::default() };
    assert!(assert_exactly_once(faults, true).await > Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn repeated_messages_count_once() {
    assert_exactly_once(Faults { repeat: 0.5, ..Faults::default() }, true).await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_break_again_and_again_lose_nothing() {
    let faults = Faults { disconnect: 0.2, ..Faults::default() };
    let passed = assert_exactly_once(faults, true).await;
    assert!(passed > Duration::from_secs(1), "connections were made again: {passed:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_out_of_order_break_nothing() {
    // No transport does that, so what becomes of the order is open; nobody may panic, hang or end.
    let (_server, _network, alice, bob) = two(7, Faults { reorder: 0.5, ..Faults::default() }).await;
    for name in ["one", "two", "three"] {
        let key = StreamKey::new(name).expect("short");
        alice.add_stream(&key, Tracks::default()).await.expect("publishes");
    }
    count(&alice, 20).await;
    assert_eq!(alice.local_streams().len(), 3);
    bob.disconnect().await.expect("leaves");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_server_is_left_and_found_again() {
    let (server, _network, alice, bob) = two(7, Faults { stall: true, ..Faults::default() }).await;
    let mut events = bob.events();
    let error = alice.send_message(Message::text("0"), None).await.expect_err("nobody answers");
    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Disconnected), "{error}");
    let mut is_told = false;
    while !is_told {
        is_told = events.recv().await.expect("the room lives").kind == EventKind::Reconnecting;
    }
    server.set_faults(Faults::default());
    while events.recv().await.expect("the room lives").kind != EventKind::Reconnected {}
    count(&bob, 1).await;
}

fn is_message(message: &ClientMessage) -> bool {
    matches!(message, ClientMessage::MessageRequest(_))
}

#[tokio::test(start_paused = true)]
async fn scripts_refuse_and_ignore_one_request_each() {
    let script = [Script::refuse(is_message, ErrorCode::Forbidden), Script::ignore(is_message)];
    let (_server, _network, alice, _bob) =
        two(7, Faults { script: VecDeque::from(script), ..Faults::default() }).await;
    let error = alice.send_message(Message::text("0"), None).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let error = alice.send_message(Message::text("0"), None).await.expect_err("is not answered");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    count(&alice, 1).await;
}

#[tokio::test(start_paused = true)]
async fn somebody_on_the_telephone_is_shown_and_speaks_without_a_stream() {
    let caller = ParticipantId::from_random([9; 16]);
    let ring = move |message: &ClientMessage| -> Vec<ServerMessage> {
        let participant = ParticipantInfo {
            id: caller,
            identity: Some("+1 555 0100".into()),
            context: None,
            can_receive_messages: false,
            telephone: true,
        };
        // Two are in the room, so this is its third change.
        let joined = ParticipantJoinedNotice { version: RoomVersion(3), participant };
        let speaking = |speaking| SpeakingNotice { participant_id: caller, stream_id: None, speaking };
        let request: RequestId = message.request();
        vec![DoneResponse { request }.into(), joined.into(), speaking(true).into(), speaking(false).into()]
    };
    let script = Script { is_for: Box::new(is_message), answer: Box::new(ring) };
    let (_server, _network, alice, _bob) =
        two(7, Faults { script: VecDeque::from([script]), ..Faults::default() }).await;
    let mut events = alice.events();
    alice.send_message(Message::text("ring"), None).await.expect("is answered");
    let mut told = Vec::new();
    while told.last() != Some(&"audio_activity_ended") {
        let event = events.recv().await.expect("the room lives");
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else may be told")]
        match &event.kind {
            EventKind::ParticipantJoined { participant } => {
                assert_eq!(*participant, caller);
                let shown = event.state.participant(caller).expect("in the state");
                assert_eq!(shown.origin, Origin::TelephonyEngine);
            }
            EventKind::AudioActivity { participant, key }
            | EventKind::AudioActivityEnded { participant, key } => {
                assert_eq!((*participant, key.as_ref()), (caller, None));
            }
            EventKind::StateChanged => continue,
            other => panic!("{other:?}"),
        }
        told.push(event.name());
    }
    assert_eq!(told, ["participant_joined", "audio_activity", "audio_activity_ended"]);
}
