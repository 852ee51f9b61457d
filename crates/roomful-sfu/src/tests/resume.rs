//! Connections that are lost and found again.

use roomful_protocol::{JoinResponse, ResumeKey, ResumeRequest, ResumeResponse};

use super::*;
use crate::{ModerationRequest, Selection};

fn key_of(world: &World, session: u64) -> ResumeKey {
    let mut told = world.told[&session].iter();
    let key = told.find_map(|message| match message {
        ServerMessage::JoinResponse(JoinResponse { resume_key, .. }) => Some(*resume_key),
        _ => None,
    });
    key.expect("joined")
}

/// Session `new` goes on as the participant that joined on session `old`.
pub(super) fn resume(old: u64, received: u64) -> impl Ask {
    move |request, world: &World| {
        ResumeRequest {
            request,
            versions: vec![WIRE_VERSION],
            room_id: ROOM,
            participant_id: world.participants[&old],
            resume_key: key_of(world, old),
            token: "token".to_owned(),
            received,
        }
        .into()
    }
}

impl World {
    fn lose(&mut self, session: u64) {
        self.check_input(Input::Closed(SessionId(session)), "");
    }

    fn open(&mut self, session: u64) {
        self.input(Input::Opened(SessionId(session)));
    }
}

#[test]
fn nobody_notices_a_short_loss_and_the_resumed_client_hears_what_changed() {
    let mut world = World::resumable(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.lose(2);
    world.ask(1, publish("screen", None, Some(video("y"))));
    world.pass(Duration::from_secs(10));
    world.open(9);
    world.check(9, resume(2, 0), "to 9: welcome back to v4 of [screen, cam], 0 slots, 0 sources");
    world.check(
        9,
        subscribe(1, "cam", 0, true, false),
        "media: bind cam audio to p2 on a0
         to 9: done",
    );
}

#[test]
fn a_loss_that_lasts_too_long_is_a_leave_and_cannot_be_resumed() {
    let mut world = World::resumable(&[1, 2]);
    world.lose(2);
    world.ask(1, ping());
    assert!(world.pass(Duration::from_secs(14)).is_empty());
    world.ask(1, ping());
    assert!(world.pass(Duration::from_secs(14)).is_empty());
    world.ask(1, ping());
    let outputs = world.pass(Duration::from_secs(13));
    world.expect(
        &outputs,
        "media: remove p2
         to 1: v3 p2 left",
    );
    world.open(9);
    world.check(
        9,
        resume(2, 0),
        "to 9: error ResumeExpired
         close 9",
    );
}

#[test]
fn who_did_not_hear_why_the_stay_ended_hears_it_with_its_key() {
    let mut world = World::resumable(&[1, 2]);
    let two = world.id(2);
    world.lose(2);
    let kick = crate::ModerationRequest::Kick(crate::Selection::These([two].into()));
    let session = world.room_session.expect("begun");
    world.sfu.moderate(session, &kick, world.now).expect("is in the room");
    world.input(Input::Timeout);
    world.open(9);
    world.check(
        9,
        resume(2, 0),
        "to 9: goodbye Kicked
         close 9",
    );
    // It only seems to be connected: what it is told goes nowhere.
    let session = world.room_session.expect("goes on");
    world.sfu.moderate(session, &crate::ModerationRequest::EndSession, world.now).expect("is there");
    world.input(Input::Timeout);
    world.open(10);
    world.check(
        10,
        resume(1, 0),
        "to 10: goodbye SessionEnded
         close 10",
    );
    world.open(11);
    world.check(
        11,
        resume(1, 0),
        "to 11: goodbye SessionEnded
         close 11",
    );
    // As long as one may come back.
    world.pass(Duration::from_secs(60));
    world.open(12);
    world.check(
        12,
        resume(1, 0),
        "to 12: error ResumeExpired
         close 12",
    );
}

#[test]
fn coming_back_again_and_again_gives_no_more_to_spend() {
    let mut world = World::resumable(&[1, 2]);
    let mut accepted = 0;
    for session in 10..40 {
        world.lose(if session == 10 { 2 } else { session - 1 });
        world.open(session);
        world.ask(session, resume(2, u64::MAX));
        for _ in 0..100 {
            let outputs = world.ask(session, say("spam", Some(&[1])));
            let is_message =
                |output: &Output| matches!(output, Output::Send(_, ServerMessage::MessageNotice(_)));
            accepted += usize::from(outputs.iter().any(is_message));
        }
    }
    let burst = SfuConfig::default().message_burst as usize;
    assert_eq!(accepted, burst, "no time has passed");
}

#[test]
fn only_the_key_of_the_stay_resumes_it() {
    let mut world = World::resumable(&[1, 2]);
    world.lose(2);
    world.open(9);
    let foreign = |request, world: &World| {
        ResumeRequest {
            request,
            versions: vec![WIRE_VERSION],
            room_id: ROOM,
            participant_id: world.participants[&2],
            resume_key: key_of(world, 1),
            token: "token".to_owned(),
            received: 0,
        }
        .into()
    };
    world.check(
        9,
        foreign,
        "to 9: error ResumeExpired
         close 9",
    );
}

#[test]
fn a_resume_takes_over_from_a_connection_that_only_seems_to_live() {
    let mut world = World::resumable(&[1, 2]);
    world.open(9);
    world.check(
        9,
        resume(2, 0),
        "to 9: welcome back to v2 of [], 0 slots, 0 sources
         close 2",
    );
    world.check_input(Input::Closed(SessionId(2)), "");
    world.check(9, ping(), "to 9: done");
}

#[test]
fn missed_messages_come_once_and_in_order() {
    let mut world = World::resumable(&[1, 2]);
    world.ask(1, say("one", None));
    world.lose(2);
    world.ask(1, say("two", None));
    world.ask(1, say("three", None));
    world.open(9);
    world.check(
        9,
        resume(2, 1),
        "to 9: welcome back to v2 of [], 0 slots, 0 sources
         to 9: p1 says two to all
         to 9: p1 says three to all",
    );
    world.lose(9);
    world.open(10);
    world.check(10, resume(2, 3), "to 10: welcome back to v2 of [], 0 slots, 0 sources");
}

#[test]
fn who_missed_more_than_is_kept_hears_so() {
    let config = SfuConfig { resume_buffer: 1000, ..SfuConfig::default() };
    let mut world = World::configured(config);
    world.enter(1);
    world.enter(2);
    world.lose(2);
    for _ in 0..5 {
        world.ask(1, say("news", None));
    }
    world.open(9);
    world.check(
        9,
        resume(2, 0),
        "media: remove p2
         to 1: v3 p2 left
         to 9: error MessagesLost
         close 9",
    );
}

#[test]
fn a_repeated_request_is_carried_out_once() {
    let mut world = World::resumable(&[1, 2]);
    world.check(
        1,
        say("hello", None),
        "to 1+2: p1 says hello to all
         to 1: done",
    );
    world.lose(1);
    world.open(9);
    world.ask(9, resume(1, 1));
    world.last_request -= 2;
    world.check(9, say("hello", None), "to 9: done");
}

#[test]
fn a_resumed_client_hears_what_is_on_its_slots_and_what_of_its_own_is_taken() {
    let mut world = World::resumable(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.ask(2, subscribe(1, "cam", 0, true, false));
    let source = SourceId { stream: world.streams["cam"], kind: MediaKind::Audio };
    world.input(Input::Media(MediaNotice::Bound {
        peer: world.participants[&2],
        mid: Mid::new("a0").unwrap(),
        source,
        codec: Codec::Opus,
        first_sequence: 7,
        first_timestamp: 960,
        layer: Rid::High,
    }));
    world.lose(2);
    world.open(9);
    world.check(9, resume(2, 0), "to 9: welcome back to v3 of [cam], 1 slots, 0 sources");
    world.lose(1);
    world.open(10);
    world.check(10, resume(1, 0), "to 10: welcome back to v3 of [cam], 0 slots, 1 sources");
}

#[test]
fn whoever_was_away_hears_of_everybody_who_was_removed_meanwhile() {
    let mut world = World::resumable(&[1]);
    for session in 100..400 {
        world.open(session);
        world.ask(session, join("crowd"));
    }
    world.lose(1);
    let kick = ModerationRequest::Kick(Selection::AllBut([world.participants[&1]].into()));
    let session = world.room_session.expect("a session started");
    world.sfu.moderate(session, &kick, world.now).expect("everybody is here");
    world.input(Input::Timeout);
    let removed = |world: &World, session: u64| match &world.told[&session][0] {
        ServerMessage::ResumeResponse(ResumeResponse { kicked, .. }) => kicked.len(),
        other => panic!("{other:?}"),
    };
    world.pass(Duration::from_secs(30));
    world.open(2);
    world.ask(2, resume(1, 0));
    assert_eq!(removed(&world, 2), 300);
    // Nobody is away any more who could have missed it.
    for _ in 0..4 {
        world.pass(Duration::from_secs(10));
        world.ask(2, ping());
    }
    world.lose(2);
    world.open(3);
    world.ask(3, resume(1, 0));
    assert_eq!(removed(&world, 3), 0);
}
