//! What moderators do.

use std::collections::BTreeSet;

use super::*;
use crate::{DuplicateIdentity, ModerationError, ModerationRequest, RoomSessionId, Selection};

impl World {
    fn session(&self) -> RoomSessionId {
        self.room_session.expect("a session started")
    }

    #[track_caller]
    fn check_moderate(&mut self, request: &ModerationRequest, expected: &str) {
        let session = self.session();
        self.sfu.moderate(session, request, self.now).expect("everybody is here");
        let outputs = self.input(Input::Timeout);
        self.expect(&outputs, expected);
    }

    fn these(&self, sessions: &[u64]) -> Selection {
        Selection::These(sessions.iter().map(|session| self.participants[session]).collect())
    }
}

fn all() -> Selection {
    Selection::AllBut(BTreeSet::new())
}

fn mute(who: Selection, stream: Option<&str>, censored: bool) -> ModerationRequest {
    ModerationRequest::Censor { who, stream: stream.map(key), kind: MediaKind::Audio, censored }
}

#[test]
fn who_is_kicked_hears_it_and_everybody_else_too() {
    let mut world = World::with(&[1, 2]);
    let kick = ModerationRequest::Kick(world.these(&[2]));
    world.check_moderate(
        &kick,
        "to 2: goodbye Kicked
         close 2
         media: remove p2
         to 1: v3 p2 left",
    );
}

#[test]
fn who_is_kicked_gets_back_in_neither_with_the_grant_nor_under_the_identity() {
    let mut world = World::with(&[1]);
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("grace"));
    let kick = ModerationRequest::Kick(world.these(&[2]));
    let session = world.session();
    world.sfu.moderate(session, &kick, world.now).expect("grace is here");
    world.input(Input::Timeout);
    for (session, token) in [(3, "same grant"), (4, "same identity")] {
        world.input(Input::Opened(SessionId(session)));
        world.check(
            session,
            join(token),
            &format!(
                "to {session}: error Kicked
             close {session}"
            ),
        );
    }
}

#[test]
fn another_stay_under_the_same_identity_goes_on() {
    let policy = DuplicateIdentity::Allow;
    let mut world = World::configured(SfuConfig { duplicate_identity: policy, ..SfuConfig::default() });
    for session in [1, 2] {
        world.input(Input::Opened(SessionId(session)));
        world.ask(session, join("grace"));
    }
    let (kick, session) = (ModerationRequest::Kick(world.these(&[2])), world.session());
    world.sfu.moderate(session, &kick, world.now).expect("here");
    world.input(Input::Timeout);
    let renew = |token: &str| {
        let token = token.to_owned();
        move |request, _: &World| UpdateTokenRequest { request, token: token.clone() }.into()
    };
    world.check(1, renew("grace"), "to 1: token for 600000 ms");
    world.check(1, renew("same identity"), "to 1: token for 600000 ms");
    world.input(Input::Closed(SessionId(1)));
    world.input(Input::Opened(SessionId(3)));
    let resumed = world.ask(3, |request, world: &World| {
        let ClientMessage::ResumeRequest(resume) = super::resume::resume(1, 0).message(request, world) else {
            panic!("it is one")
        };
        roomful_protocol::ResumeRequest { token: "grace".to_owned(), ..resume }.into()
    });
    let is_back = |output: &Output| matches!(output, Output::Send(_, ServerMessage::ResumeResponse(_)));
    assert!(resumed.iter().any(is_back), "{resumed:?}");
    // Nobody comes anew, and nobody else stays by the grant of who was kicked.
    world.input(Input::Opened(SessionId(4)));
    world.check(
        4,
        join("same identity"),
        "to 4: error Kicked
         close 4",
    );
    world.enter(5);
    world.check(5, renew("same grant"), "to 5: error Kicked");
}

#[test]
fn everybody_but_some_can_be_kicked_and_the_last_ends_the_session() {
    let mut world = World::with(&[1, 2, 3]);
    let but = Selection::AllBut([world.participants[&1]].into());
    let session = world.session();
    world.sfu.moderate(session, &ModerationRequest::Kick(but), world.now).expect("here");
    world.input(Input::Timeout);
    let kick = ModerationRequest::Kick(all());
    world.check_moderate(
        &kick,
        "to 1: goodbye Kicked
         close 1
         media: remove p1
         session ends",
    );
    let again = world.sfu.moderate(session, &kick, world.now);
    assert_eq!(again, Err(ModerationError::UnknownSession));
}

#[test]
fn censored_media_is_not_forwarded_and_everybody_knows() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    let request = mute(world.these(&[1]), None, true);
    world.check_moderate(
        &request,
        "to 1+2: v4 updated cam audio:on!
         media: disable cam audio",
    );
    world.check_moderate(&request, "");
    let request = mute(all(), None, false);
    world.check_moderate(
        &request,
        "to 1+2: v5 updated cam audio:on
         media: enable cam audio",
    );
}

#[test]
fn lifting_it_does_not_unmute_and_unmuting_does_not_lift_it() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    let on = mute(all(), None, true);
    let session = world.session();
    world.sfu.moderate(session, &on, world.now).expect("here");
    world.input(Input::Timeout);
    world.check(
        1,
        UpdateStreamRequest { audio_enabled: Some(false), ..super::update("cam") },
        "to 1+2: v5 updated cam audio:off!
         media: disable cam audio
         to 1: done",
    );
    world.check(
        1,
        UpdateStreamRequest { audio_enabled: Some(true), ..super::update("cam") },
        "to 1+2: v6 updated cam audio:on!
         media: disable cam audio
         to 1: done",
    );
    world.ask(1, UpdateStreamRequest { audio_enabled: Some(false), ..super::update("cam") });
    let off = mute(all(), None, false);
    world.check_moderate(
        &off,
        "to 1+2: v8 updated cam audio:off
         media: disable cam audio",
    );
}

#[test]
fn what_a_censored_participant_publishes_later_is_censored_too() {
    let mut world = World::with(&[1, 2]);
    let on = mute(world.these(&[1]), None, true);
    let session = world.session();
    world.sfu.moderate(session, &on, world.now).expect("here");
    world.input(Input::Timeout);
    world.check(
        1,
        publish("cam", Some(audio("x")), None),
        "to 1+2: v3 published cam audio:on!
         media: put cam audio of p1 Opus on x from 48
         to 1: resume cam audio
         media: disable cam audio
         to 1: published cam",
    );
}

#[test]
fn one_stream_can_be_censored_by_itself() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.ask(1, publish("music", Some(audio("y")), None));
    let request = mute(world.these(&[1]), Some("music"), true);
    world.check_moderate(
        &request,
        "to 1+2: v5 updated music audio:on!
         media: disable music audio",
    );
    let request = mute(world.these(&[2]), Some("music"), true);
    let (session, id) = (world.session(), world.participants[&2]);
    let refused = world.sfu.moderate(session, &request, world.now);
    assert_eq!(refused, Err(ModerationError::UnknownStream(id)));
}

#[test]
fn whoever_comes_again_under_an_identity_is_censored_still() {
    let mut world = World::with(&[1]);
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("grace"));
    world.ask(2, offer(1, 2));
    world.answer(2, 1);
    let request = mute(world.these(&[2]), None, true);
    world.check_moderate(&request, "");
    world.ask(2, leave());
    // With another grant.
    world.input(Input::Opened(SessionId(3)));
    world.ask(3, join("same identity"));
    world.ask(3, offer(1, 2));
    world.answer(3, 1);
    let told = world.ask(3, publish("cam", Some(audio("x")), None));
    assert_eq!(world.text(&told[0]), "to 1+3: v5 published cam audio:on!");
    let request = mute(world.these(&[3]), None, false);
    world.check_moderate(
        &request,
        "to 1+3: v6 updated cam audio:on
         media: enable cam audio",
    );
    // Lifted is lifted, also of the grant with which it came first.
    world.ask(3, leave());
    world.input(Input::Opened(SessionId(4)));
    world.ask(4, join("grace"));
    world.ask(4, offer(1, 2));
    world.answer(4, 1);
    let told = world.ask(4, publish("cam", Some(audio("x")), None));
    assert_eq!(world.text(&told[0]), "to 1+4: v9 published cam audio:on");
}

#[test]
fn a_censored_stream_stays_so_when_its_publisher_comes_again() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    let request = mute(world.these(&[1]), Some("cam"), true);
    world.check_moderate(&request, "to 1+2: v4 updated cam audio:on!\nmedia: disable cam audio");
    world.input(Input::Closed(SessionId(1)));
    world.enter(3);
    world.check(
        3,
        publish("cam", Some(audio("x")), None),
        "to 2+3: v7 published cam audio:on!
         media: put cam audio of p3 Opus on x from 48
         to 3: resume cam audio
         media: disable cam audio
         to 3: published cam",
    );
    let request = mute(all(), Some("cam"), false);
    world.check_moderate(&request, "to 2+3: v8 updated cam audio:on\nmedia: enable cam audio");
}

#[test]
fn what_is_withheld_of_a_stay_is_withheld_of_whoever_comes_with_its_newer_grant() {
    let mut world = World::with(&[1]);
    let request = mute(world.these(&[1]), None, true);
    world.check_moderate(&request, "");
    let newer = |request, _: &World| UpdateTokenRequest { request, token: "other grant".to_owned() }.into();
    world.check(1, newer, "to 1: token for 600000 ms");
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("other grant"));
    world.ask(2, offer(1, 2));
    world.answer(2, 1);
    let outputs = world.ask(2, publish("cam", Some(audio("x")), None));
    assert!(outputs.iter().any(|output| world.text(output) == "media: disable cam audio"));
}

#[test]
fn the_end_of_a_session_is_told_to_all() {
    let mut world = World::with(&[1, 2]);
    world.check_moderate(
        &ModerationRequest::EndSession,
        "to 1+2: goodbye SessionEnded
         close 1
         close 2
         media: remove p1
         media: remove p2
         session ends",
    );
}
