//! Streams of others: taken, changed, given back, given up on the way.

use roomful_protocol::LayerChangedNotice;

use super::*;

/// A world that takes `cam` of participant 2 on slot 0, as tracks r0 and r1.
fn taking() -> World {
    let mut world = World::with_media();
    world.command(take(2, "cam"));
    world.grant();
    world
}

/// How many slots are free.
fn free(world: &World) -> usize {
    world.client.negotiation.free().1
}

fn retake(audio: bool, video: bool) -> Command {
    Command::UpdateSubscription(wish(2, "cam", audio, video))
}

#[test]
fn receivers_are_open_before_the_server_is_asked() {
    let mut world = World::with_media();
    check(
        world.command(take(2, "cam")),
        "media: receive r0 on a0
         media: receive r1 on v0
         send subscribe 2 cam on 0: audio+video",
    );
    check(world.hear(bound(0, MediaKind::Audio, &stream(2, "cam"))), "media: bind r0 Opus from 7 at 900");
    check(world.grant(), "subscription_started\n2: subscribed r0 r1");
    let state = &world.events.last().unwrap().state;
    let taken = state.participant_stream(person(2), &key("cam")).unwrap();
    let tracks = (taken.audio_track, taken.video_track);
    assert_eq!(tracks, (Some(TrackId(NewTrack::IDS)), Some(TrackId(NewTrack::IDS + 1))));
    assert!(state.subscription(person(2), &key("cam")).is_some());
    check(world.hear(bound(0, MediaKind::Video, &stream(2, "cam"))), "media: bind r1 VP8 from 7 at 900");
    check(world.hear(bound(0, MediaKind::Video, &stream(3, "cam"))), "");
    check(world.hear(bound(1, MediaKind::Video, &stream(2, "cam"))), "");
}

#[test]
fn a_subscription_waits_for_the_media_path() {
    let mut world = World::joined();
    check(world.command(take(2, "cam")), "");
    check(world.command(take(2, "cam")), "3: AlreadySubscribed");
    world.media(offered(1, 1, 1, 2));
    world.answer_offer(1);
    world.media(MediaNotice::Negotiated { offer: OfferId(1) });
    let lines = world.media(MediaNotice::Connected);
    assert_eq!(lines.last().unwrap(), "send subscribe 2 cam on 0: audio+video");
}

#[test]
fn the_lowest_free_slot_is_taken_and_the_pool_grows_by_one_offer() {
    let mut world = World::with_media();
    for name in ["b", "c", "d", "e"] {
        world.hear_published(stream(2, name));
    }
    for (name, slot) in [("cam", 0), ("b", 1)] {
        let lines = world.command(take(2, name));
        assert_eq!(lines.last().unwrap(), &format!("send subscribe 2 {name} on {slot}: audio+video"));
        world.grant();
    }
    check(world.command(take(2, "c")), "media: offer 2: 1+1, 4 slots");
    check(world.command(take(2, "d")), "");
    // A slot that is given back goes to whoever waits longest, without waiting for the server.
    check(
        world.command(release(2, "cam")),
        "send unsubscribe 2 cam
         media: close receiver r0
         media: close receiver r1
         media: receive r4 on a0
         media: receive r5 on v0
         send subscribe 2 c on 0: audio+video",
    );
    let (subscribe, unsubscribe) = (world.last(), RequestId(world.last().0 - 1));
    check(world.hear(DoneResponse { request: unsubscribe }), "subscription_ended\n6: done");
    world.media(offered(2, 1, 1, 4));
    world.answer_offer(2);
    check(
        world.media(MediaNotice::Negotiated { offer: OfferId(2) }),
        "media: receive r6 on a2
         media: receive r7 on v2
         send subscribe 2 d on 2: audio+video",
    );
    world.grant();
    check(world.hear(DoneResponse { request: subscribe }), "subscription_started\n4: subscribed r4 r5");
    assert_eq!(free(&world), 1);
}

/// A world with two slots, on which `a` and `b` of participant 2 are taken, who publishes `c` and `d` too.
fn page() -> World {
    let mut world = World::with_media();
    for name in ["a", "b", "c", "d"] {
        world.hear_published(stream(2, name));
    }
    for name in ["a", "b"] {
        world.command(take(2, name));
        world.grant();
    }
    world
}

#[test]
fn a_page_is_turned_in_one_round_trip_and_without_an_offer() {
    let mut world = page();
    let mut asked = Vec::new();
    for (command, name) in
        [(release(2, "a"), "a"), (release(2, "b"), "b"), (take(2, "c"), "c"), (take(2, "d"), "d")]
    {
        let lines = world.command(command);
        assert!(lines.iter().all(|line| !line.contains("offer")), "{lines:?}");
        assert!(lines.last().unwrap().contains(&format!("subscribe 2 {name}")), "{lines:?}");
        asked.push(world.last());
    }
    for request in asked {
        world.hear(DoneResponse { request });
    }
    let state = world.client.state();
    let taken: Vec<String> = state.subscriptions().map(|one| one.key.to_string()).collect();
    assert_eq!((taken, free(&world)), (vec!["c".to_owned(), "d".to_owned()], 0));
}

#[test]
fn a_slot_that_was_taken_over_comes_free_once_whatever_is_refused() {
    for (unsubscribed, subscribed) in [(true, false), (false, false), (false, true)] {
        let mut world = page();
        world.command(release(2, "a"));
        let unsubscribe = world.last();
        world.command(take(2, "c"));
        let subscribe = world.last();
        match unsubscribed {
            true => check(world.hear(DoneResponse { request: unsubscribe }), "subscription_ended\n4: done"),
            false => check(
                world.hear(ErrorResponse { request: unsubscribe, code: ErrorCode::RateLimited }),
                "4: Refused(RateLimited)",
            ),
        }
        match subscribed {
            true => check(
                world.hear(DoneResponse { request: subscribe }),
                "subscription_started\n5: subscribed r4 r5",
            ),
            false => check(
                world.hear(ErrorResponse { request: subscribe, code: ErrorCode::SlotUnavailable }),
                "media: close receiver r4
                 media: close receiver r5
                 5: Refused(SlotUnavailable)",
            ),
        }
        world.client.check_invariants();
        assert_eq!(free(&world), usize::from(unsubscribed), "what ends has its slot until it does");
        if !unsubscribed {
            // It is asked again, and ends.
            let lines = world.pass(Duration::from_secs(10));
            assert!(lines.iter().any(|line| line == "send unsubscribe 2 a"), "{lines:?}");
            let again = world.last();
            world.hear(DoneResponse { request: again });
            world.hear(DoneResponse { request: RequestId(again.0 - 1) });
            assert_eq!(free(&world), usize::from(!subscribed));
        }
        world.client.check_invariants();
    }
}

#[test]
fn a_slot_whose_end_was_refused_is_handed_to_nobody_else() {
    let mut world = page();
    world.command(release(2, "a"));
    let unsubscribe = world.last();
    world.command(take(2, "c"));
    let subscribe = world.last();
    world.command(take(2, "d"));
    world.hear(ErrorResponse { request: unsubscribe, code: ErrorCode::RateLimited });
    let lines = world.hear(ErrorResponse { request: subscribe, code: ErrorCode::SlotUnavailable });
    assert!(lines.iter().all(|line| !line.contains("subscribe 2 d")), "{lines:?}");
    world.client.check_invariants();
}

#[test]
fn whoever_came_in_the_place_of_one_that_stays_after_all_finds_no_room() {
    let mut world = World::with_media();
    for index in 0..66_u8 {
        let mut one = stream(3, &format!("s{index}"));
        one.id = StreamId::from_random([100 + index; 16]);
        world.hear_published(one);
    }
    world.media(MediaNotice::Disconnected);
    world.media(MediaNotice::Connected);
    world.command(take(3, "s0"));
    world.grant();
    world.media(MediaNotice::Disconnected);
    for index in 1..64 {
        world.command(take(3, &format!("s{index}")));
    }
    world.command(release(3, "s0"));
    let unsubscribe = world.last();
    check(world.command(take(3, "s64")), "");
    let lines = world.hear(ErrorResponse { request: unsubscribe, code: ErrorCode::RateLimited });
    assert!(lines.iter().any(|line| line.ends_with("NoSlotFree(64)")), "{lines:?}");
    world.client.check_invariants();
}

#[test]
fn each_mistake_has_its_error() {
    let mut world = taking();
    world.hear_published(stream(ME, "own"));
    check(world.command(take(9, "cam")), "3: UnknownParticipant");
    check(world.command(take(3, "cam")), "4: UnknownStream");
    check(world.command(take(ME, "own")), "5: OwnStream");
    check(world.command(take(2, "cam")), "6: AlreadySubscribed");
    check(world.command(release(3, "cam")), "7: NotSubscribed");
    check(world.command(Command::UpdateSubscription(wish(3, "cam", true, true))), "8: NotSubscribed");
    world.command(take(2, "cam"));
}

#[test]
fn no_more_than_all_slots_can_be_taken() {
    let mut world = World::joined();
    for index in 0..65 {
        let name = format!("s{index}");
        let mut one = stream(3, &name);
        one.id = StreamId::from_random([100 + index; 16]);
        world.hear_published(one);
        let lines = world.command(take(3, &name));
        assert_eq!(lines.is_empty(), index < 64, "{lines:?}");
    }
}

#[test]
fn flags_follow_the_answer() {
    let mut world = taking();
    check(world.command(retake(true, false)), "send resubscribe 2 cam: audio");
    check(
        world.grant(),
        "media: close receiver r1
         subscription_reconfigured
         3: subscribed r0 -",
    );
    check(world.hear(bound(0, MediaKind::Video, &stream(2, "cam"))), "");
    check(
        world.command(retake(true, true)),
        "media: receive r2 on v0
         send resubscribe 2 cam: audio+video",
    );
    check(world.hear(bound(0, MediaKind::Video, &stream(2, "cam"))), "media: bind r2 VP8 from 7 at 900");
    check(world.grant(), "subscription_reconfigured\n4: subscribed r0 r2");
    let state = world.client.state();
    assert_eq!(
        state.participant_stream(person(2), &key("cam")).unwrap().video_track,
        Some(TrackId(NewTrack::IDS + 2))
    );
    assert!(state.subscription(person(2), &key("cam")).unwrap().video);
}

#[test]
fn refused_flags_change_nothing() {
    let mut world = taking();
    world.command(retake(true, false));
    check(world.refuse(ErrorCode::RateLimited), "3: Refused(RateLimited)");
    world.command(retake(false, true));
    world.grant();
    check(
        world.command(retake(true, false)),
        "media: receive r2 on a0
         send resubscribe 2 cam: audio",
    );
    check(
        world.refuse(ErrorCode::RateLimited),
        "media: close receiver r2
         5: Refused(RateLimited)",
    );
    check(world.hear(bound(0, MediaKind::Video, &stream(2, "cam"))), "media: bind r1 VP8 from 7 at 900");
}

#[test]
fn flags_changed_twice_end_as_they_were_asked_for_last() {
    let mut world = taking();
    world.command(retake(false, true));
    let off = world.last();
    check(world.command(retake(true, true)), "send resubscribe 2 cam: audio+video");
    check(
        world.hear(DoneResponse { request: off }),
        "subscription_reconfigured
         3: subscribed - r1",
    );
    check(world.hear(bound(0, MediaKind::Audio, &stream(2, "cam"))), "media: bind r0 Opus from 7 at 900");
    check(world.grant(), "subscription_reconfigured\n4: subscribed r0 r1");
}

#[test]
fn a_subscription_given_back_can_be_taken_again() {
    let mut world = taking();
    check(world.command(release(2, "cam")), "send unsubscribe 2 cam");
    check(world.command(release(2, "cam")), "4: NotSubscribed");
    // It waits for the one before it to be over.
    check(world.command(take(2, "cam")), "");
    check(
        world.grant(),
        "media: close receiver r0
         media: close receiver r1
         subscription_ended
         3: done
         media: receive r2 on a0
         media: receive r3 on v0
         send subscribe 2 cam on 0: audio+video",
    );
    check(world.grant(), "subscription_started\n5: subscribed r2 r3");
}

#[test]
fn what_waits_for_a_release_that_is_refused_is_told() {
    let mut world = taking();
    world.command(release(2, "cam"));
    check(world.command(take(2, "cam")), "");
    check(world.refuse(ErrorCode::RateLimited), "3: Refused(RateLimited)\n4: AlreadySubscribed");
}

#[test]
fn a_refused_release_keeps_the_subscription() {
    let mut world = taking();
    world.command(release(2, "cam"));
    check(world.refuse(ErrorCode::RateLimited), "3: Refused(RateLimited)");
    assert!(world.client.state().subscription(person(2), &key("cam")).is_some());
    check(world.command(release(2, "cam")), "send unsubscribe 2 cam");
    let ended = world.refuse(ErrorCode::NotSubscribed);
    assert_eq!(ended.last().unwrap(), "4: done");
    assert_eq!(free(&world), 2);
}

#[test]
fn a_subscription_ends_with_its_stream_or_publisher() {
    let mut world = taking();
    check(
        world.hear_unpublished(&stream(2, "cam")),
        "media: close receiver r0
         media: close receiver r1
         subscription_ended
         stream_unpublished",
    );
    assert_eq!(free(&world), 2);
    check(
        taking().hear_left(2),
        "participant_leaving
         media: close receiver r0
         media: close receiver r1
         subscription_ended
         stream_unpublished
         participant_left",
    );
}

#[test]
fn late_answers_do_not_touch_the_next_subscription_of_the_same_name() {
    let mut world = taking();
    let mut next = stream(2, "cam");
    next.id = StreamId::from_random([0xcc; 16]);
    world.command(retake(true, false));
    let update = world.last();
    world.command(release(2, "cam"));
    let release = world.last();
    world.hear_unpublished(&stream(2, "cam"));
    world.hear_published(next.clone());
    check(
        world.command(take(2, "cam")),
        "media: receive r2 on a0
         media: receive r3 on v0
         send subscribe 2 cam on 0: audio+video",
    );
    let gone = ErrorCode::NotSubscribed;
    check(world.hear(ErrorResponse { request: update, code: gone }), "3: NotSubscribed");
    check(world.hear(ErrorResponse { request: release, code: gone }), "4: done");
    check(world.grant(), "subscription_started\n5: subscribed r2 r3");
    check(world.hear(bound(0, MediaKind::Audio, &next)), "media: bind r2 Opus from 7 at 900");
}

#[test]
fn a_stream_published_anew_on_the_way_is_the_one_that_is_taken() {
    let mut world = World::with_media();
    let mut next = stream(2, "cam");
    next.id = StreamId::from_random([0xcc; 16]);
    world.command(take(2, "cam"));
    world.hear_unpublished(&stream(2, "cam"));
    world.hear_published(next.clone());
    check(world.grant(), "subscription_started\n2: subscribed r0 r1");
    check(world.hear(bound(0, MediaKind::Audio, &next)), "media: bind r0 Opus from 7 at 900");
    check(world.hear(bound(0, MediaKind::Audio, &stream(2, "cam"))), "");
}

#[test]
fn a_stream_that_ends_while_it_is_waited_for_is_unknown() {
    let mut world = taking();
    world.hear_published(stream(3, "b"));
    world.hear_published(stream(3, "c"));
    world.command(take(3, "b"));
    world.grant();
    check(world.command(take(3, "c")), "media: offer 2: 1+1, 4 slots");
    check(world.hear_unpublished(&stream(3, "c")), "stream_unpublished\n4: UnknownStream");
    // And one that ends under way is refused by the server.
    let mut world = World::with_media();
    world.command(take(2, "cam"));
    world.hear_unpublished(&stream(2, "cam"));
    check(
        world.refuse(ErrorCode::UnknownStream),
        "media: close receiver r0
         media: close receiver r1
         2: Refused(UnknownStream)",
    );
    assert_eq!(free(&world), 2);
}

#[test]
fn a_subscription_withdrawn_while_it_waits_leaves_nothing() {
    let mut world = World::joined();
    world.command(take(2, "cam"));
    check(world.withdraw(2), "");
    world.media(offered(1, 1, 1, 2));
    world.answer_offer(1);
    world.media(MediaNotice::Negotiated { offer: OfferId(1) });
    check(world.media(MediaNotice::Connected), "");
}

#[test]
fn a_subscription_withdrawn_on_its_way_is_given_back() {
    let mut world = World::with_media();
    world.command(take(2, "cam"));
    check(world.withdraw(2), "");
    check(world.grant(), "send unsubscribe 2 cam");
    check(
        world.grant(),
        "media: close receiver r0
         media: close receiver r1",
    );
    assert_eq!(free(&world), 2);
    assert!(world.client.subscriptions.is_empty());
    // Refused, there is nothing to give back.
    world.command(take(2, "cam"));
    world.withdraw(3);
    check(world.refuse(ErrorCode::RateLimited), "media: close receiver r2\nmedia: close receiver r3");
    assert_eq!(free(&world), 2);
}

#[test]
fn a_subscription_that_takes_too_long_is_given_back() {
    let mut world = World::with_media();
    world.command(take(2, "cam"));
    world.pass(Duration::from_secs(5));
    let (request, lines) = (world.asked[world.asked.len() - 2], world.pass(Duration::from_secs(5)));
    check(lines, "2: TimedOut\nsend ping");
    check(world.hear(DoneResponse { request }), "send unsubscribe 2 cam");

    let mut world = World::joined();
    world.command(take(2, "cam"));
    check(world.media(MediaNotice::Failed), "2: MediaUnreachable");
}

/// Whether the application sees `cam` as paused.
fn is_paused(world: &World) -> bool {
    world.client.state().subscription(person(2), &key("cam")).expect("taken").is_paused
}

fn held_back() -> LayerChangedNotice {
    LayerChangedNotice { stream_id: stream(2, "cam").id, rid: None }
}

#[test]
fn video_that_is_held_back_pauses_nothing_once_it_is_not_wanted() {
    let mut world = taking();
    check(world.hear(held_back()), "subscription_paused");
    assert!(is_paused(&world));
    world.command(retake(true, false));
    let lines = world.grant();
    assert!(lines.contains(&"subscription_resumed".to_owned()), "{lines:?}");
    assert!(!is_paused(&world));
    world.command(retake(true, true));
    let lines = world.grant();
    assert!(lines.contains(&"subscription_paused".to_owned()), "{lines:?}");
    assert!(is_paused(&world), "it is held back still");
}

#[test]
fn video_that_is_held_back_from_the_beginning_is_told() {
    let mut world = World::with_media();
    world.command(take(2, "cam"));
    check(world.hear(held_back()), "");
    check(
        world.grant(),
        "subscription_started
         subscription_paused
         2: subscribed r0 r1",
    );
    assert!(is_paused(&world));
}
