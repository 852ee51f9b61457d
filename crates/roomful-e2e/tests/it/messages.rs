//! Messages between participants.

use roomful::{ErrorKind, EventKind, Events, Message, ParticipantId, Room};

use crate::harness::{World, own_id, wait_for, within};

/// A message as it arrived: from whom, what, to whom.
type Heard = (ParticipantId, String, Option<Vec<ParticipantId>>);

async fn next_message(events: &mut Events) -> Heard {
    wait_for(events, |event| {
        let EventKind::MessageReceived { sender, message, recipients } = &event.kind else { return None };
        Some((*sender, message.payload.to_string(), recipients.as_ref().map(|all| all.to_vec())))
    })
    .await
}

/// Checks what everybody hears up to the end of the test, which is told to all by the last of them.
async fn assert_heard(rooms: &[Room], events: &mut [Events], expected: &[Vec<Heard>]) {
    let last = rooms.last().expect("somebody is there");
    within(last.send_message(Message::text("end"), None)).await.expect("is accepted");
    for (events, expected) in events.iter_mut().zip(expected) {
        let mut heard = Vec::new();
        loop {
            let message = next_message(events).await;
            if message.1 == "end" {
                break;
            }
            heard.push(message);
        }
        assert_eq!(heard, *expected);
    }
}

async fn four(world: &World) -> (Vec<Room>, Vec<Events>, Vec<ParticipantId>) {
    let mut rooms = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        rooms.push(world.join(name).await);
    }
    let events = rooms.iter().map(Room::events).collect();
    let ids = rooms.iter().map(own_id).collect();
    (rooms, events, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_exactly_those_it_is_for_and_a_broadcast_its_sender_too() {
    let world = World::start().await;
    let (rooms, mut events, ids) = four(&world).await;
    let send = |text: &'static str, to: Option<Vec<ParticipantId>>| {
        let room = rooms[0].clone();
        async move { within(room.send_message(Message::text(text), to)).await }
    };
    send("one", Some(vec![ids[1]])).await.expect("is accepted");
    send("several", Some(vec![ids[1], ids[2]])).await.expect("is accepted");
    send("all", None).await.expect("is accepted");
    let heard = |text: &str, to: Option<Vec<ParticipantId>>| (ids[0], text.to_owned(), to);
    let (one, several) = (heard("one", Some(vec![ids[1]])), heard("several", Some(vec![ids[1], ids[2]])));
    let all = heard("all", None);
    assert_heard(
        &rooms,
        &mut events,
        &[vec![all.clone()], vec![one, several.clone(), all.clone()], vec![several, all.clone()], vec![all]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_somebody_unknown_is_refused_and_nobody_gets_it() {
    let world = World::start().await;
    let deaf = world.join_with("deaf", |options| options.enable_messages = false).await;
    let (rooms, mut events, ids) = four(&world).await;
    let stranger = ParticipantId::from_random([9; 16]);
    for unknown in [stranger, own_id(&deaf)] {
        let to = Some(vec![ids[1], unknown, ids[2]]);
        let error = within(rooms[0].send_message(Message::text("nobody"), to)).await.expect_err("is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_heard(&rooms, &mut events, &[vec![], vec![], vec![], vec![]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_kibibytes_go_through_and_one_byte_more_does_not() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let mut events = bob.events();
    // The worst for JSON: every character is escaped.
    for text in ["\u{1}".repeat(64 << 10), "x".repeat(64 << 10)] {
        let message = Message { meta: Some(text.as_str().into()), ..Message::text(text.as_str()) };
        within(alice.send_message(message.clone(), None)).await.expect("is within the limit");
        let received = wait_for(&mut events, |event| {
            let EventKind::MessageReceived { message, .. } = &event.kind else { return None };
            Some(message.clone())
        })
        .await;
        assert!(received == message, "arrives byte for byte");
    }
    let long = "x".repeat((64 << 10) + 1);
    for message in
        [Message::text(long.as_str()), Message { meta: Some(long.into()), ..Message::text("short") }]
    {
        let error = within(alice.send_message(message, None)).await.expect_err("is too long");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("65537"), "{error}");
    }
    within(alice.send_message(Message::text("still fine"), None)).await.expect("the sender stays");
    assert_eq!(next_message(&mut events).await.1, "still fine");
}
