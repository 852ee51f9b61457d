//! Messages between participants.

use roomful_protocol::limits;

use super::*;

/// Sessions 1 and 2 take messages, session 3 does not.
fn world() -> World {
    let mut world = World::with(&[1, 2]);
    world.input(Input::Opened(SessionId(3)));
    world.ask(3, |request, _: &World| {
        JoinRequest { enable_messages: false, ..join_request(request, "token") }.into()
    });
    world
}

#[test]
fn a_message_reaches_those_whom_it_names() {
    world().check(
        1,
        say("psst", Some(&[2])),
        "to 2: p1 says psst to p2
         to 1: done",
    );
    world().check(
        3,
        say("both", Some(&[2, 1, 2])),
        "to 1+2: p3 says both to p2+p1
         to 3: done",
    );
    world().check(1, say("nobody", Some(&[])), "to 1: done");
}

#[test]
fn a_broadcast_reaches_all_who_take_messages_and_its_sender_once() {
    let mut world = world();
    world.check(
        1,
        say("hello", None),
        "to 1+2: p1 says hello to all
         to 1: done",
    );
}

#[test]
fn one_wrong_recipient_and_nobody_gets_it() {
    for recipients in [[2, 9], [2, 3]] {
        world().check(1, say("hello", Some(&recipients)), "to 1: error UnknownRecipient");
    }
}

#[test]
fn size_and_recipients_are_limited() {
    let longest = "m".repeat(limits::MESSAGE_TEXT_MAX);
    assert_eq!(world().ask(1, say(&longest, None)).len(), 2);
    let too_long = "m".repeat(limits::MESSAGE_TEXT_MAX + 1);
    world().check(1, say(&too_long, None), "to 1: error TooLarge");
    let with_meta = |request, _: &World| {
        let meta = Some("m".repeat(limits::MESSAGE_TEXT_MAX + 1).into());
        let message = ChatMessage { kind: MessageKind::Text, payload: "short".into(), meta };
        ClientMessage::from(MessageRequest { request, message, recipients: None })
    };
    world().check(1, with_meta, "to 1: error TooLarge");
    let crowd = vec![2; limits::RECIPIENTS_MAX + 1];
    world().check(1, say("hello", Some(&crowd)), "to 1: error LimitReached");
}
