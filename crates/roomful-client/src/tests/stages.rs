//! Connecting, being connected, disconnecting; and what fits none of the other themes.

use roomful_protocol::{ChatMessage, DisconnectNotice, DisconnectReason as WireReason, MessageKind, limits};
use roomful_protocol::{LeaveReason, MessageNotice};
use roomful_state::{Message, Status};
use roomful_types::DisconnectReason;

use super::*;
use crate::SendMessage;

const LEFT: &str = "close signal\nmedia: close\ndisconnected\n";

/// A world in each stage before being connected, with the connect command as number 1.
fn entering() -> [World; 2] {
    let opening = || {
        let mut world = World::new();
        world.command(connect());
        world
    };
    let mut joining = opening();
    joining.input(Input::SignalOpened);
    [opening(), joining]
}

fn statuses(world: &World) -> Vec<Status> {
    let mut statuses: Vec<Status> = world.events.iter().map(|event| event.state.status()).collect();
    statuses.dedup();
    statuses
}

fn reason(world: &World) -> Option<DisconnectReason> {
    world.client.state().disconnect_reason()
}

#[test]
fn connecting_leads_from_stage_to_stage() {
    let mut world = World::new();
    assert_eq!(world.wait(), None);
    check(world.command(connect()), "open signal");
    assert_eq!(world.wait(), Some(Duration::from_secs(30)));
    check(world.input(Input::SignalOpened), "send join with token");
    let welcome = world.welcome(&[ME, 2], &[stream(2, "cam")]);
    check(
        world.input(Input::Signal(welcome)),
        "connected
         1: done
         media: offer 1: 1+1, 2 slots",
    );
    assert_eq!(statuses(&world), [Status::Connecting, Status::Connected]);
    let state = &world.events.last().unwrap().state;
    assert_eq!(state.local_participant().map(|one| one.id), Some(person(ME)));
    assert!(state.participant_stream(person(2), &key("cam")).is_some());
    check(
        world.command(Command::Disconnect),
        "media: close
         send leave",
    );
    assert_eq!(world.client.state().status(), Status::Disconnecting);
    check(
        world.grant(),
        "close signal
         disconnected
         2: done",
    );
    assert_eq!(reason(&world), Some(DisconnectReason::UserInitiated));
    assert_eq!(
        statuses(&world),
        [Status::Connecting, Status::Connected, Status::Disconnecting, Status::Disconnected]
    );
    assert_eq!(world.wait(), None);
    assert!(world.client.is_empty());

    // And again.
    check(world.command(connect()), "open signal");
    world.input(Input::SignalOpened);
    let welcome = world.welcome(&[ME], &[]);
    check(
        world.input(Input::Signal(welcome)),
        "connected
         3: done
         media: offer 1: 1+1, 2 slots",
    );
    assert_eq!(world.client.state().streams().len(), 0);
}

#[test]
fn a_server_that_cannot_be_reached_is_told_from_one_that_is_lost() {
    let [mut opening, mut joining] = entering();
    check(opening.input(Input::SignalClosed), &[LEFT, "1: Unreachable"].concat());
    check(joining.input(Input::SignalClosed), &[LEFT, "1: Disconnected(NetworkError)"].concat());
    let mut joined = World::joined();
    joined.command(add("cam", None, None));
    check(joined.input(Input::SignalClosed), &[LEFT, "2: Disconnected(NetworkError)"].concat());
    for world in [opening, joining, joined] {
        assert_eq!(reason(&world), Some(DisconnectReason::NetworkError));
        assert!(world.client.is_empty());
    }
}

/// Whoever has asked to be let in may be in by now.
const GOODBYES: [&str; 2] = ["", "send leave\n"];

#[test]
fn connecting_has_a_deadline() {
    for (mut world, goodbye) in entering().into_iter().zip(GOODBYES) {
        assert!(world.pass(Duration::from_millis(29_999)).is_empty());
        check(world.pass(Duration::from_millis(1)), &[goodbye, LEFT, "1: TimedOut"].concat());
        assert_eq!(reason(&world), Some(DisconnectReason::TimedOut));
    }
}

#[test]
fn connecting_can_be_broken_off() {
    for (mut world, goodbye) in entering().into_iter().zip(GOODBYES) {
        let left = "media: close
             close signal
             disconnected
             2: done
             1: Disconnected(UserInitiated)";
        check(world.command(Command::Disconnect), &[goodbye, left].concat());
        assert_eq!(statuses(&world), [Status::Connecting, Status::Disconnecting, Status::Disconnected]);
        check(world.input(Input::SignalOpened), "");
    }
    for (mut world, goodbye) in entering().into_iter().zip(GOODBYES) {
        check(world.withdraw(1), &[goodbye, LEFT].concat());
        assert_eq!(reason(&world), Some(DisconnectReason::UserInitiated));
        assert_eq!(statuses(&world), [Status::Connecting, Status::Disconnecting, Status::Disconnected]);
        assert_eq!(world.wait(), None);
    }
}

#[test]
fn a_refusal_has_its_reason() {
    let cases = [
        (ErrorCode::Unauthorized, DisconnectReason::Unauthorized),
        (ErrorCode::TokenExpired, DisconnectReason::Unauthorized),
        (ErrorCode::Forbidden, DisconnectReason::Forbidden),
        (ErrorCode::RoomFull, DisconnectReason::RoomFull),
        (ErrorCode::UnknownRoom, DisconnectReason::RoomExpired),
        (ErrorCode::Kicked, DisconnectReason::Kicked),
        (ErrorCode::DuplicateIdentity, DisconnectReason::DuplicateIdentity),
        (ErrorCode::UnsupportedVersion, DisconnectReason::ProtocolError),
    ];
    for (code, expected) in cases {
        let [_, mut world] = entering();
        let lines = world.refuse(code);
        assert_eq!(lines.last(), Some(&format!("1: Refused({code:?})")));
        assert_eq!(reason(&world), Some(expected));
    }
}

#[test]
fn a_welcome_that_makes_no_sense_ends_the_stay() {
    let strange: [fn(&mut JoinResponse); 2] =
        [|welcome| welcome.wire_version += 1, |welcome| welcome.participants.clear()];
    for change in strange {
        let [_, mut world] = entering();
        let ServerMessage::JoinResponse(mut welcome) = world.welcome(&[ME], &[]) else { panic!() };
        change(&mut welcome);
        check(world.hear(welcome), &[LEFT, "1: Disconnected(ProtocolError)"].concat());
    }
    let [_, mut world] = entering();
    check(world.input(Input::Malformed), &[LEFT, "1: Disconnected(ProtocolError)"].concat());
}

#[test]
fn the_servers_goodbye_has_the_true_reason() {
    let cases = [
        (WireReason::RoomExpired, DisconnectReason::RoomExpired),
        (WireReason::Unauthorized, DisconnectReason::Unauthorized),
        (WireReason::DuplicateIdentity, DisconnectReason::DuplicateIdentity),
        (WireReason::SessionEnded, DisconnectReason::SessionEnded),
        (WireReason::TimedOut, DisconnectReason::TimedOut),
        (WireReason::ProtocolError, DisconnectReason::ProtocolError),
        (WireReason::Unknown, DisconnectReason::ProtocolError),
    ];
    for (reason_on_wire, expected) in cases {
        let mut world = World::joined();
        check(world.hear(DisconnectNotice { reason: reason_on_wire }), LEFT);
        assert_eq!(reason(&world), Some(expected));
    }
}

#[test]
fn leaving_is_quick_on_a_dead_network() {
    let mut world = World::joined();
    world.command(add("cam", Some(opus(1)), None));
    world.command(Command::Disconnect);
    check(world.command(Command::Disconnect), "");
    check(world.command(add("more", None, None)), "5: NotConnected");
    check(world.command(connect()), "6: AlreadyConnected");
    check(world.media(MediaNotice::Connected), "");
    check(world.hear_left(3), "participant_leaving\nparticipant_left");
    check(
        world.pass(Duration::from_secs(2)),
        "close signal
         disconnected
         3: done
         4: done
         2: Disconnected(UserInitiated)",
    );
    assert!(world.client.is_empty());
}

#[test]
fn commands_fit_their_stage() {
    let mut world = World::new();
    check(world.command(Command::Disconnect), "1: done");
    check(world.command(add("cam", None, None)), "2: NotConnected");
    check(world.command(release(2, "cam")), "3: NotConnected");
    check(world.command(connect()), "open signal");
    check(world.command(take(2, "cam")), "5: NotConnected");
    check(world.command(connect()), "6: AlreadyConnected");
    check(World::joined().command(connect()), "2: AlreadyConnected");
}

#[test]
fn the_client_shows_that_it_lives_and_notices_silence() {
    let mut world = World::joined();
    assert_eq!(world.wait(), Some(Duration::from_secs(5)));
    check(world.pass(Duration::from_secs(5)), "send ping");
    check(world.grant(), "");
    check(world.pass(Duration::from_secs(5)), "send ping");
    check(world.pass(Duration::from_secs(5)), "send ping");
    check(world.pass(Duration::from_millis(4_999)), "");
    check(world.pass(Duration::from_millis(1)), LEFT);
    assert_eq!(reason(&world), Some(DisconnectReason::NetworkError));
}

#[test]
fn news_become_events_with_the_state_after_them() {
    let mut world = World::joined();
    check(world.hear_joined(4), "participant_joined");
    check(world.hear_published(stream(4, "screen")), "stream_published");
    let mut muted = stream(4, "screen");
    muted.video = muted.video.map(|track| TrackInfo { enabled: false, ..track });
    check(world.hear_updated(muted.clone()), "track_disabled");
    check(world.hear_updated(muted), "");
    check(world.hear_updated(stream(4, "screen")), "track_enabled");
    let state = &world.events.last().unwrap().state;
    assert!(state.participant_stream(person(4), &key("screen")).unwrap().is_video_enabled);
    assert_eq!(state.version(), world.version);
    let version = world.next_version();
    let reason = Some(LeaveReason::Kicked);
    check(
        world.hear(ParticipantLeftNotice { version, participant_id: person(4), reason }),
        "participant_leaving
         stream_unpublished
         participant_left",
    );
    let leaving = world.events.iter().find(|event| event.name() == "participant_leaving").unwrap();
    let reason = Some(roomful_state::LeaveReason::Kicked);
    assert_eq!(leaving.kind, EventKind::ParticipantLeaving { participant: person(4), reason });
    assert!(leaving.state.participant(person(4)).is_some());
    // Late or repeated news are no news.
    check(world.hear_left(4), "");
    check(world.hear_unpublished(&stream(4, "screen")), "");
}

#[test]
fn no_more_calls_wait_than_the_server_remembers_answers_for() {
    let mut world = World::joined();
    let send = || Command::SendMessage(SendMessage { message: Message::text("hello"), recipients: None });
    for _ in 0..limits::ANSWERS_MAX / 2 {
        check(world.command(send()), "send say hello");
    }
    check(world.command(send()), "258: TooManyCalls(256)");
    check(world.grant(), "257: done");
    check(world.command(send()), "send say hello");
}

#[test]
fn messages_are_checked_sent_and_received() {
    let mut world = World::joined();
    let send = |message| Command::SendMessage(SendMessage { message, recipients: Some(vec![person(2)]) });
    check(world.command(send(Message::text("hello"))), "send say hello");
    check(world.grant(), "2: done");
    world.command(send(Message::text("hello")));
    check(world.refuse(ErrorCode::UnknownRecipient), "3: Refused(UnknownRecipient)");
    let long = "m".repeat(limits::MESSAGE_TEXT_MAX + 1);
    let too_large = "MessageTooLarge { seen: 65537, allowed: 65536 }";
    check(world.command(send(Message::text(long.as_str()))), &format!("4: {too_large}"));
    let with_meta = Message { meta: Some(long.into()), ..Message::text("short") };
    check(world.command(send(with_meta)), &format!("5: {too_large}"));
    world.command(send(Message::text("hello")));
    check(world.withdraw(6), "");
    check(world.grant(), "");
    world.command(send(Message::text("hello")));
    let message = ChatMessage { kind: MessageKind::Text, payload: "hi".into(), meta: None };
    check(
        world.hear(MessageNotice { delivery: 1, sender: person(2), message, recipients: None }),
        "message_received",
    );
    assert_eq!(
        world.events.last().unwrap().kind,
        EventKind::MessageReceived { sender: person(2), message: Message::text("hi"), recipients: None }
    );
    world.pass(Duration::from_secs(5));
    check(world.pass(Duration::from_secs(5)), "7: TimedOut\nsend ping");
}
