//! Publishing and subscribing: replies, notices and media commands, in their order.

use roomful_protocol::{DisableMetricsRequest, EnableMetricsRequest};

use super::*;

/// Three in a room; session 1 publishes `cam` with audio on `x` and video on `y`.
fn world() -> World {
    let mut world = World::with(&[1, 2, 3]);
    world.ask(1, publish("cam", Some(audio("x")), Some(video("y"))));
    world
}

#[test]
fn a_publication_is_told_before_it_is_answered() {
    let mut world = World::with(&[1, 2]);
    world.check(
        1,
        publish("cam", Some(audio("x")), Some(video("y"))),
        "to 1+2: v3 published cam audio:on video:on
         media: put cam audio of p1 Opus on x from 48
         to 1: resume cam audio
         media: put cam video of p1 VP8 on y from 90
         to 1: pause cam video
         to 1: published cam",
    );
    world.check(
        2,
        publish("empty", None, None),
        "to 1+2: v4 published empty
         to 2: published empty",
    );
}

#[test]
fn the_first_taker_resumes_a_video_and_the_last_one_pauses_it_while_sound_is_always_needed() {
    let mut world = world();
    world.check(
        2,
        subscribe(1, "cam", 1, true, true),
        "media: bind cam audio to p2 on a1
         media: bind cam video to p2 on v1
         to 1: resume cam video
         to 2: done",
    );
    world.check(
        3,
        subscribe(1, "cam", 0, false, true),
        "media: bind cam video to p3 on v0
         to 3: done",
    );
    world.check(
        2,
        resubscribe(1, "cam", false, false),
        "media: unbind p2 on a1
         media: unbind p2 on v1
         to 2: done",
    );
    world.check(2, resubscribe(1, "cam", false, false), "to 2: done");
    world.check(
        3,
        unsubscribe(1, "cam"),
        "media: unbind p3 on a0
         media: unbind p3 on v0
         to 1: pause cam video
         to 3: done",
    );
    world.check(
        2,
        resubscribe(1, "cam", true, false),
        "media: bind cam audio to p2 on a1
         to 2: done",
    );
    world.check(
        2,
        leave(),
        "to 2: done
         close 2
         media: remove p2
         to 1+3: v5 p2 left",
    );
}

#[test]
fn a_stream_that_is_taken_back_frees_the_slots_of_its_subscribers() {
    let mut world = world();
    world.ask(2, subscribe(1, "cam", 0, true, true));
    world.ask(3, publish("screen", None, Some(video("z"))));
    world.check(2, subscribe(3, "screen", 0, true, true), "to 2: error SlotUnavailable");
    world.check(
        1,
        unpublish("cam"),
        "media: remove cam audio
         media: remove cam video
         to 1+2+3: v6 unpublished cam
         to 1: done",
    );
    world.check(2, resubscribe(1, "cam", true, true), "to 2: error UnknownStream");
    world.check(
        2,
        subscribe(3, "screen", 0, true, true),
        "media: bind screen video to p2 on v0
         to 3: resume screen video
         to 2: done",
    );
    world.check(
        3,
        leave(),
        "to 3: done
         close 3
         media: remove screen video
         media: remove p3
         to 1+2: v7 p3 left",
    );
}

#[test]
fn muting_is_told_once_and_keeps_subscriptions() {
    let mut world = world();
    world.ask(2, subscribe(1, "cam", 0, true, true));
    let mute = || UpdateStreamRequest { audio_enabled: Some(false), ..update("cam") };
    world.check(
        1,
        mute(),
        "to 1+2+3: v5 updated cam audio:off video:on
         media: disable cam audio
         to 1: done",
    );
    world.check(
        1,
        mute(),
        "media: disable cam audio
         to 1: done",
    );
    world.check(
        1,
        UpdateStreamRequest { audio_enabled: Some(true), ..update("cam") },
        "to 1+2+3: v6 updated cam audio:on video:on
         media: enable cam audio
         to 1: done",
    );
}

#[test]
fn a_replaced_track_keeps_its_place_and_its_takers() {
    let mut world = world();
    world.ask(2, subscribe(1, "cam", 0, false, true));
    world.check(
        1,
        UpdateStreamRequest { video: Some(video("y")), ..update("cam") },
        "media: put cam video of p1 VP8 on y from 90
         to 1: done",
    );
    let h264 = PublishedTrack { codec: Codec::H264, ..video("y2") };
    world.check(
        1,
        UpdateStreamRequest { video: Some(h264), ..update("cam") },
        "to 1+2+3: v5 updated cam audio:on video:on
         media: put cam video of p1 H264 on y2 from 90
         to 1: done",
    );
    // The section that it left is free again.
    world.check(
        1,
        publish("more", None, Some(video("y"))),
        "to 1+2+3: v6 published more video:on
         media: put more video of p1 VP8 on y from 90
         to 1: pause more video
         to 1: published more",
    );
}

#[test]
fn a_new_track_goes_to_those_who_wanted_its_kind() {
    let mut world = World::with(&[1, 2, 3]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.ask(2, subscribe(1, "cam", 0, true, true));
    world.ask(3, subscribe(1, "cam", 0, true, false));
    world.check(
        1,
        UpdateStreamRequest { video: Some(video("y")), video_enabled: Some(true), ..update("cam") },
        "to 1+2+3: v5 updated cam audio:on video:on
         media: put cam video of p1 VP8 on y from 90
         to 1: pause cam video
         media: bind cam video to p2 on v0
         to 1: resume cam video
         media: enable cam video
         to 1: done",
    );
}

#[test]
fn a_track_that_comes_muted_is_turned_off_after_it_is_there() {
    let mut world = World::with(&[1]);
    world.ask(1, publish("cam", None, None));
    world.check(
        1,
        UpdateStreamRequest { audio: Some(audio("x")), audio_enabled: Some(false), ..update("cam") },
        "to 1: v3 updated cam audio:off
         media: put cam audio of p1 Opus on x from 48
         to 1: resume cam audio
         media: disable cam audio
         to 1: done",
    );
}

#[test]
fn each_refusal_has_its_code_and_changes_nothing() {
    let wrong_kind = PublishedTrack { codec: Codec::Vp8, ..audio("n") };
    let mut world = world();
    world.ask(2, subscribe(1, "cam", 0, true, true));
    world.check(1, publish("cam", None, None), "to 1: error KeyInUse");
    world.check(1, publish("two", Some(audio("x")), None), "to 1: error MidUnavailable");
    world.check(1, publish("two", Some(audio("a0")), None), "to 1: error MidUnavailable");
    world.check(1, publish("two", Some(audio("n")), Some(video("n"))), "to 1: error MidUnavailable");
    world.check(1, publish("two", Some(wrong_kind), None), "to 1: error BadRequest");
    let swap = UpdateStreamRequest { audio: Some(audio("y")), ..update("cam") };
    world.check(1, swap, "to 1: error MidUnavailable");
    world.check(1, update("none"), "to 1: error UnknownStream");
    world.check(1, unpublish("none"), "to 1: error UnknownStream");
    world.check(1, subscribe(1, "cam", 0, true, true), "to 1: error OwnStream");
    world.check(2, subscribe(1, "cam", 1, true, true), "to 2: error AlreadySubscribed");
    world.check(2, subscribe(1, "none", 1, true, true), "to 2: error UnknownStream");
    world.check(2, subscribe(9, "cam", 1, true, true), "to 2: error UnknownParticipant");
    world.check(3, subscribe(1, "cam", 2, true, true), "to 3: error SlotUnavailable");
    world.check(3, resubscribe(1, "cam", true, true), "to 3: error NotSubscribed");
    world.check(3, unsubscribe(1, "cam"), "to 3: error NotSubscribed");
    world.check(3, unsubscribe(9, "cam"), "to 3: error UnknownParticipant");
    world.check(3, ping(), "to 3: done");
}

#[test]
fn streams_are_limited() {
    let mut world = World::with(&[1]);
    for index in 0..16 {
        assert_eq!(world.ask(1, publish(&index.to_string(), None, None)).len(), 2);
    }
    world.check(1, publish("one more", None, None), "to 1: error LimitReached");
}

#[test]
fn a_guest_may_only_look_on() {
    let mut world = World::with(&[1]);
    world.ask(1, publish("cam", None, None));
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("guest"));
    world.check(2, publish("cam", None, None), "to 2: error Forbidden");
    world.check(2, subscribe(1, "cam", 0, true, true), "to 2: error Forbidden");
    world.check(2, say("hello", None), "to 2: error Forbidden");
}

#[test]
fn whoever_asks_for_reports_again_gets_no_more_of_them() {
    let mut world = world();
    let enable = |request, world: &World| {
        let participants = vec![world.id(2)];
        EnableMetricsRequest { request, participants, include_streams: true, interval_ms: 1000 }.into()
    };
    let disable = |request, _: &World| DisableMetricsRequest { request, participants: None }.into();
    let is_report =
        |output: &Output| matches!(output, Output::Send(_, ServerMessage::NetworkMetricsNotice(_)));
    let mut reports = 0;
    for _ in 0..30 {
        world.ask(1, disable);
        world.ask(1, enable);
        reports += world.pass(Duration::from_millis(100)).iter().filter(|one| is_report(one)).count();
    }
    assert_eq!(reports, 3, "in three seconds");
}
