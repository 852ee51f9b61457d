//! Coming and going.

use roomful_protocol::{JoinResponse, ServerMessage, limits};

use super::*;

#[test]
fn the_first_one_starts_a_session_and_the_last_one_ends_it() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    world.check(
        1,
        join("token"),
        "session starts
         to 1: welcome p1 to v1 of [p1] []",
    );
    world.check(
        1,
        leave(),
        "to 1: done
         close 1
         media: remove p1
         session ends",
    );
    world.check(1, ping(), "");
}

#[test]
fn a_newcomer_gets_the_room_and_the_others_get_the_newcomer() {
    let mut world = World::with(&[1]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.input(Input::Opened(SessionId(2)));
    let outputs = world.ask(2, join("named"));
    world.expect(
        &outputs,
        "to 1: v3 p2 joined
         to 2: welcome p2 to v3 of [p1, p2] [cam]",
    );
    let [Output::Send(_, ServerMessage::ParticipantJoinedNotice(notice)), ..] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(notice.participant.identity.as_deref(), Some("ada"));
    assert_eq!(notice.participant.context.as_deref(), Some("from the token"));
    assert!(notice.participant.can_receive_messages);
    world.check_input(
        Input::Closed(SessionId(1)),
        "media: remove cam audio
         media: remove p1
         to 2: v4 p1 left",
    );
}

#[test]
fn what_the_client_says_of_itself_stands_unless_the_token_does() {
    for (token, expected) in [("token", "mine"), ("named", "from the token")] {
        let mut world = World::new();
        world.input(Input::Opened(SessionId(1)));
        world.ask(1, |request, _: &World| {
            let context = Some("mine".to_owned());
            JoinRequest { context, enable_messages: false, ..join_request(request, token) }.into()
        });
        let [ServerMessage::JoinResponse(JoinResponse { participants, .. })] = &world.told[&1][..] else {
            panic!("{:?}", world.told)
        };
        assert_eq!(participants[0].context.as_deref(), Some(expected));
        assert!(!participants[0].can_receive_messages);
    }
}

#[test]
fn who_may_not_enter_hears_why_and_is_closed() {
    type Change = fn(&mut JoinRequest);
    let cases: [(Change, &str); 6] = [
        (|join| join.token = "forged".to_owned(), "Unauthorized"),
        (|join| join.token = "expired".to_owned(), "TokenExpired"),
        (|join| join.room_id = NO_ROOM, "UnknownRoom"),
        (|join| join.versions = vec![WIRE_VERSION + 1], "UnsupportedVersion"),
        (|join| join.versions = vec![WIRE_VERSION; limits::VERSIONS_MAX + 1], "UnsupportedVersion"),
        (|join| join.context = Some("c".repeat(limits::CONTEXT_MAX + 1)), "TooLarge"),
    ];
    for (change, code) in cases {
        let mut world = World::with(&[2]);
        world.input(Input::Opened(SessionId(1)));
        let ask = move |request, _: &World| {
            let mut join = join_request(request, "token");
            change(&mut join);
            ClientMessage::from(join)
        };
        world.check(
            1,
            ask,
            &format!(
                "to 1: error {code}
                 close 1"
            ),
        );
        world.check(1, join("token"), "");
    }
}

#[test]
fn a_full_room_refuses_until_somebody_leaves() {
    let mut world = World::with(&[1, 2, 3]);
    for session in [4, 5] {
        world.input(Input::Opened(SessionId(session)));
    }
    world.check(
        4,
        join("token"),
        "to 4: error RoomFull
         close 4",
    );
    world.ask(1, leave());
    world.check(
        5,
        join("token"),
        "to 2+3: v5 p5 joined
         to 5: welcome p5 to v5 of [p2, p3, p5] []",
    );
}

#[test]
fn rooms_know_nothing_of_each_other() {
    let mut world = World::with(&[1]);
    world.input(Input::Opened(SessionId(2)));
    let elsewhere = |request, _: &World| {
        ClientMessage::from(JoinRequest { room_id: OTHER_ROOM, ..join_request(request, "token") })
    };
    world.check(
        2,
        elsewhere,
        "session starts
         to 2: welcome p2 to v1 of [p2] []",
    );
    world.check(1, say("hello", Some(&[2])), "to 1: error UnknownRecipient");
}

#[test]
fn before_joining_nothing_else_is_allowed() {
    let asks: [fn(RequestId, &World) -> ClientMessage; 3] = [
        |request, world| ping().message(request, world),
        |request, world| leave().message(request, world),
        |request, world| publish("cam", None, None).message(request, world),
    ];
    for ask in asks {
        let mut world = World::new();
        world.input(Input::Opened(SessionId(1)));
        world.check(
            1,
            ask,
            "to 1: goodbye ProtocolError
             close 1",
        );
    }
}

#[test]
fn what_is_no_message_ends_the_stay() {
    let mut world = World::with(&[1, 2]);
    world.check_input(
        Input::Malformed(SessionId(1)),
        "to 1: goodbye ProtocolError
         close 1
         media: remove p1
         to 2: v3 p1 left",
    );
}

#[test]
fn a_second_join_is_refused_and_harmless() {
    let mut world = World::with(&[1]);
    world.check(1, join("token"), "to 1: error BadRequest");
    world.check(1, ping(), "to 1: done");
}

#[test]
fn a_deleted_room_ends_for_all_at_once() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    let outputs = world.input(Input::RoomDeleted(ROOM));
    let mut lines: Vec<String> = outputs.iter().map(|output| world.text(output)).collect();
    // Participants stand in the order of their ids, which is random.
    lines[1..5].sort();
    assert_eq!(
        lines,
        [
            "to 1+2: goodbye RoomExpired",
            "close 1",
            "close 2",
            "media: remove p1",
            "media: remove p2",
            "session ends"
        ]
    );
    world.check_input(Input::RoomDeleted(ROOM), "");
    world.check_input(Input::Closed(SessionId(1)), "");
}

#[test]
fn versions_have_no_gaps() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.ask(2, publish("cam2", None, None));
    world.ask(1, UpdateStreamRequest { audio_enabled: Some(false), ..update("cam") });
    world.ask(1, UpdateStreamRequest { audio_enabled: Some(false), ..update("cam") });
    world.ask(2, unpublish("cam2"));
    world.ask(1, leave());
    let versions: Vec<u64> = world.told[&2].iter().filter_map(laws::version_of).collect();
    assert_eq!(versions, [3, 4, 5, 6, 7]);
}

#[test]
fn whoever_does_not_fit_in_replaces_nobody() {
    let mut world = World::new();
    let long = "\u{0}".repeat(limits::CONTEXT_MAX);
    let enter = |world: &mut World, session, token: &str, context: &str| {
        world.input(Input::Opened(SessionId(session)));
        let (token, context) = (token.to_owned(), Some(context.to_owned()));
        let outputs = world.ask(session, move |request, _: &World| {
            JoinRequest { context: context.clone(), ..join_request(request, &token) }.into()
        });
        world.text(&outputs[outputs.len().saturating_sub(2)])
    };
    enter(&mut world, 1, "crowd's grace", "short");
    let refused = (2..).find(|session| {
        let told = enter(&mut world, *session, "crowd", &long);
        told == format!("to {session}: error RoomFull")
    });
    let session = refused.expect("a snapshot has an end") + 1;
    assert_eq!(enter(&mut world, session, "crowd's grace", &long), format!("to {session}: error RoomFull"));
    world.check(1, ping(), "to 1: done");
    // Who is no longer than the one before fits in.
    enter(&mut world, session + 1, "crowd's grace", "brief");
    world.check(session + 1, ping(), &format!("to {}: done", session + 1));
    world.check(1, ping(), "");
}
