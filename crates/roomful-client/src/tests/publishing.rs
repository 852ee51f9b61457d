//! Streams of one's own: published, changed, taken back, given up on the way.

use super::*;

/// A world whose own stream `mine` sends track 1 on `s0` and track 2 on `t0`, taken by others.
fn publishing() -> (World, StreamInfo) {
    let mut world = World::with_media();
    let mine = stream(ME, "mine");
    world.command(add("mine", Some(opus(1)), Some(vp8(2))));
    world.media(opened(1, 48));
    world.media(opened(2, 90));
    world.publish(mine.clone());
    for kind in MediaKind::ALL {
        world.hear(paused(&mine, kind, false));
    }
    (world, mine)
}

/// How many sending sections are free.
fn free(world: &World) -> usize {
    world.client.negotiation.free().0
}

#[test]
fn a_stream_waits_for_media_opens_its_tracks_and_is_published() {
    let mut world = World::joined();
    check(world.command(add("mine", Some(opus(1)), Some(vp8(2)))), "");
    check(world.media(offered(1, 1, 1, 2)), "send offer 1 with 2 slots");
    check(world.answer_offer(1), "media: answer 1");
    check(world.media(MediaNotice::Negotiated { offer: OfferId(1) }), "");
    check(
        world.media(MediaNotice::Connected),
        "media: send 1 as Opus of mine on s0
         media: send 2 as VP8 of mine on t0",
    );
    check(world.media(opened(2, 90)), "");
    check(world.media(opened(1, 48)), "send publish mine audio:s0@48 video:t0@90");
    let mine = stream(ME, "mine");
    check(world.hear_published(mine.clone()), "stream_published");
    let state = &world.events.last().unwrap().state;
    let local = state.participant_stream(person(ME), &key("mine")).unwrap();
    assert_eq!((local.audio_track, local.video_track), (Some(TrackId(1)), Some(TrackId(2))));
    assert!(local.is_configured);
    check(world.hear(paused(&mine, MediaKind::Audio, true)), "");
    let (request, stream_id) = (world.last(), mine.id);
    check(
        world.hear(PublishResponse { request, stream_id }),
        "media: pause 1
         media: pause 2
         media: activate 1
         media: activate 2
         2: published",
    );
    check(world.hear(paused(&mine, MediaKind::Audio, false)), "media: resume 1");
    check(world.hear(PublishResponse { request, stream_id }), "");
}

#[test]
fn one_track_or_none_will_do() {
    let mut world = World::joined();
    check(world.command(add("empty", None, None)), "send publish empty");
    check(world.publish(stream(ME, "empty")), "stream_published\n2: published");
    let mut world = World::with_media();
    check(world.command(add("voice", Some(opus(1)), None)), "media: send 1 as Opus of voice on s0");
    check(world.media(opened(1, 5)), "send publish voice audio:s0@5");
    check(world.command(add("face", None, Some(vp8(2)))), "media: send 2 as VP8 of face on t0");
    check(world.media(opened(2, 6)), "send publish face video:t0@6");
}

#[test]
fn more_streams_than_sections_make_another_offer() {
    let (mut world, _) = publishing();
    check(world.command(add("two", Some(opus(3)), None)), "media: offer 2: 2+1, 2 slots");
    check(world.command(add("three", Some(opus(4)), None)), "");
    check(world.media(offered(2, 2, 1, 2)), "send offer 2 with 2 slots");
    world.answer_offer(2);
    check(
        world.media(MediaNotice::Negotiated { offer: OfferId(2) }),
        "media: send 3 as Opus of two on s1
         media: offer 3: 3+1, 2 slots",
    );
    check(world.media(offered(3, 3, 1, 2)), "send offer 3 with 2 slots");
    check(
        world.refuse(ErrorCode::BadOffer),
        "media: close sender 3
         3: Refused(BadOffer)
         4: Refused(BadOffer)",
    );
    check(world.command(add("two", Some(opus(3)), None)), "media: send 3 as Opus of two on s1");
}

#[test]
fn a_key_has_one_stream_also_when_two_calls_race() {
    let (mut world, mine) = publishing();
    check(world.command(add("mine", None, None)), "3: KeyInUse");
    check(world.command(add("two", None, None)), "send publish two");
    check(world.command(add("two", None, None)), "5: KeyInUse");
    check(world.refuse(ErrorCode::KeyInUse), "4: Refused(KeyInUse)");
    check(world.command(add("two", None, None)), "send publish two");
    world.publish(stream(ME, "two"));
    world.command(Command::RemoveStream(key("mine")));
    world.hear_unpublished(&mine);
    check(world.command(add("mine", None, None)), "send publish mine");
}

#[test]
fn a_track_has_one_stream_and_the_right_kind() {
    let (mut world, _) = publishing();
    check(world.command(add("two", Some(opus(1)), None)), "3: TrackInUse");
    check(world.command(add("two", Some(opus(3)), Some(vp8(3)))), "4: TrackInUse");
    check(world.command(add("two", Some(vp8(3)), None)), "5: WrongKind");
    let replace = TrackUpdate::Replace;
    check(world.command(update("mine", replace(opus(3)), replace(vp8(3)))), "6: TrackInUse");
    check(world.command(update("mine", replace(opus(2)), TrackUpdate::Keep)), "7: TrackInUse");
    check(world.command(update("mine", replace(vp8(3)), TrackUpdate::Keep)), "8: WrongKind");
    check(world.command(update("none", TrackUpdate::Mute, TrackUpdate::Keep)), "9: UnknownStream");
    check(world.command(Command::RemoveStream(key("none"))), "10: UnknownStream");
}

#[test]
fn muting_is_immediate_and_unmuting_waits_for_the_server() {
    let (mut world, mut mine) = publishing();
    check(
        world.command(update("mine", TrackUpdate::Mute, TrackUpdate::Keep)),
        "media: silence 1
         send update mine audio=false",
    );
    mine.audio = mine.audio.map(|track| TrackInfo { enabled: false, ..track });
    check(world.hear_updated(mine), "track_disabled");
    check(world.grant(), "media: silence 1\n3: done");
    let unmute = update("mine", TrackUpdate::Replace(opus(1)), TrackUpdate::Keep);
    check(world.command(unmute), "send update mine audio=true");
    check(world.grant(), "media: activate 1\n4: done");
}

#[test]
fn a_mute_that_is_refused_for_too_many_requests_is_told_later_unless_it_is_over() {
    let mute = || update("mine", TrackUpdate::Mute, TrackUpdate::Keep);
    for is_over in [false, true] {
        let (mut world, _) = publishing();
        world.command(mute());
        check(world.refuse(ErrorCode::RateLimited), "3: Refused(RateLimited)");
        if is_over {
            world.command(update("mine", TrackUpdate::Replace(opus(1)), TrackUpdate::Keep));
            world.grant();
        }
        let lines = world.pass(Duration::from_secs(10));
        let is_told = lines.contains(&"send update mine audio=false".to_owned());
        assert_eq!(is_told, !is_over, "{lines:?}");
        if !is_over {
            check(world.grant(), "media: silence 1");
        }
    }
}

#[test]
fn a_refused_mute_is_told_though_an_unmute_was_refused_too() {
    let (mut world, _) = publishing();
    world.command(update("mine", TrackUpdate::Mute, TrackUpdate::Keep));
    world.refuse(ErrorCode::RateLimited);
    world.command(update("mine", TrackUpdate::Replace(opus(1)), TrackUpdate::Keep));
    let unmute = world.last();
    let mut lines = world.pass(Duration::from_secs(5));
    world.hear(DoneResponse { request: world.last() });
    lines.extend(world.hear(ErrorResponse { request: unmute, code: ErrorCode::RateLimited }));
    lines.extend(world.pass(Duration::from_secs(5)));
    assert!(lines.contains(&"send update mine audio=false".to_owned()), "{lines:?}");
}

#[test]
fn what_was_taken_of_simulcast_is_forgotten_with_it() {
    let (mut world, mine) = publishing();
    let simulcast = |track| NewTrack { simulcast: true, ..vp8(track) };
    for (track, new) in [(3, simulcast(3)), (4, vp8(4)), (5, simulcast(5))] {
        world.command(update("mine", TrackUpdate::Keep, TrackUpdate::Replace(new)));
        world.media(opened(track, 500));
        let lines = world.grant();
        let resumed: Vec<&String> = lines.iter().filter(|line| line.starts_with("media: resume")).collect();
        assert_eq!(resumed.len(), 1, "{lines:?}");
        if track == 3 {
            world.hear(SourcePausedNotice { rid: Rid::Medium, ..paused(&mine, MediaKind::Video, false) });
        }
    }
}

#[test]
fn a_mute_counts_from_when_it_was_asked_for() {
    let (mut world, _) = publishing();
    let unmute = || update("mine", TrackUpdate::Replace(opus(1)), TrackUpdate::Keep);
    world.command(unmute());
    check(world.command(update("mine", TrackUpdate::Mute, TrackUpdate::Keep)), "media: silence 1");
    check(
        world.grant(),
        "media: silence 1
         3: done
         send update mine audio=false",
    );
    check(world.grant(), "media: silence 1\n4: done");
}

#[test]
fn a_replaced_track_hands_its_section_over() {
    let (mut world, _) = publishing();
    let replace = update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(3)));
    check(world.command(replace), "media: send 3 as VP8 of mine on t0");
    check(world.media(opened(3, 500)), "send update mine video=true video:t0@500");
    check(
        world.grant(),
        "media: resume 3
         media: close sender 2
         media: activate 3
         3: done",
    );
    let state = world.client.state();
    let local = state.participant_stream(person(ME), &key("mine")).unwrap();
    assert_eq!(local.video_track, Some(TrackId(3)));
    // Track 2 is free again, and replacements queue up.
    let back = update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(2)));
    check(world.command(back), "media: send 2 as VP8 of mine on t0");
    check(world.command(update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(4)))), "");
    world.media(opened(2, 600));
    check(
        world.grant(),
        "media: resume 2
         media: close sender 3
         media: activate 2
         4: done
         media: send 4 as VP8 of mine on t0",
    );
    world.media(opened(4, 700));
    check(
        world.grant(),
        "media: resume 4
         media: close sender 2
         media: activate 4
         5: done",
    );
    assert_eq!(free(&world), 0);
}

#[test]
fn a_refused_replacement_puts_the_old_track_back() {
    let (mut world, _) = publishing();
    world.command(update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(3))));
    world.media(opened(3, 500));
    let back = "media: close sender 3
                media: send 2 as VP8 of mine on t0
                media: resume 2
                media: activate 2\n";
    check(world.refuse(ErrorCode::RateLimited), &[back, "3: Refused(RateLimited)"].concat());
    check(world.media(opened(2, 600)), "");
    world.command(update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(3))));
    check(world.withdraw(4), back);
    assert_eq!(free(&world), 0);
}

#[test]
fn a_new_kind_is_taken_by_those_who_wanted_it() {
    let mut world = World::with_media();
    let mut mine = stream(ME, "mine");
    mine.video = None;
    world.command(add("mine", Some(opus(1)), None));
    world.media(opened(1, 48));
    world.publish(mine.clone());
    let more = update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(2)));
    check(world.command(more), "media: send 2 as VP8 of mine on t0");
    world.media(opened(2, 90));
    check(world.hear_updated(stream(ME, "mine")), "track_enabled");
    check(world.hear(paused(&mine, MediaKind::Video, true)), "");
    check(world.hear(paused(&mine, MediaKind::Video, false)), "");
    check(
        world.grant(),
        "media: resume 2
         media: activate 2
         3: done",
    );
}

#[test]
fn a_removed_stream_is_silent_at_once_and_gone_for_all() {
    let (mut world, mine) = publishing();
    check(
        world.command(Command::RemoveStream(key("mine"))),
        "media: silence 1
         media: silence 2
         send unpublish mine",
    );
    check(
        world.hear_unpublished(&mine),
        "media: close sender 1
         media: close sender 2
         stream_unpublished",
    );
    check(world.grant(), "3: done");
    assert_eq!(free(&world), 2);
}

#[test]
fn a_removal_that_is_refused_changes_nothing() {
    let (mut world, _) = publishing();
    let unmute = update("mine", TrackUpdate::Replace(opus(1)), TrackUpdate::Keep);
    world.command(unmute);
    let update_request = world.last();
    world.command(Command::RemoveStream(key("mine")));
    check(world.hear(DoneResponse { request: update_request }), "media: silence 1\n3: done");
    check(
        world.refuse(ErrorCode::RateLimited),
        "media: activate 1
         media: activate 2
         4: Refused(RateLimited)",
    );
}

#[test]
fn a_stream_withdrawn_before_the_server_knew_leaves_nothing() {
    let mut world = World::with_media();
    world.command(add("mine", Some(opus(1)), Some(vp8(2))));
    world.media(opened(1, 48));
    check(
        world.withdraw(2),
        "media: close sender 1
         media: close sender 2",
    );
    check(world.media(opened(2, 90)), "");
    assert_eq!(free(&world), 2);
    check(world.command(add("mine", Some(opus(1)), None)), "media: send 1 as Opus of mine on s0");
}

#[test]
fn a_late_notice_does_not_open_a_track_that_has_no_section() {
    let (mut world, _) = publishing();
    world.command(add("two", Some(opus(3)), None));
    check(world.media(opened(3, 1)), "");
}

#[test]
fn a_stream_withdrawn_on_its_way_is_taken_back() {
    for is_late in [false, true] {
        let mut world = World::with_media();
        let mine = stream(ME, "mine");
        world.command(add("mine", Some(opus(1)), None));
        world.media(opened(1, 48));
        match is_late {
            false => check(world.withdraw(2), ""),
            true => {
                world.pass(Duration::from_secs(5));
                world.hear(DoneResponse { request: RequestId(0) });
                let asked = world.asked.len();
                check(world.pass(Duration::from_secs(5)), "2: TimedOut\nsend ping");
                world.asked.truncate(asked - 1);
            }
        }
        check(
            world.publish(mine.clone()),
            "stream_published
             media: close sender 1
             send unpublish mine",
        );
        // Its key and its track are free as soon as it is gone.
        check(world.command(add("mine", Some(opus(1)), None)), "");
        check(world.command(add("mine", None, None)), "4: KeyInUse");
        check(world.command(add("other", Some(opus(1)), None)), "5: TrackInUse");
        if is_late {
            check(world.withdraw(3), "");
            check(world.hear_unpublished(&mine), "stream_unpublished");
            check(world.grant(), "");
        } else {
            let gone = world.hear_unpublished(&mine);
            check(gone, "stream_unpublished\nmedia: send 1 as Opus of mine on s0");
            check(world.grant(), "");
            check(world.media(opened(1, 48)), "send publish mine audio:s0@48");
            check(world.refuse(ErrorCode::Forbidden), "media: close sender 1\n3: Refused(Forbidden)");
        }
        assert_eq!(free(&world), 2);
        assert!(world.client.publications.is_empty());
    }
}

#[test]
fn what_was_withdrawn_is_taken_back_also_when_too_much_is_asked() {
    let mut world = World::with_media();
    let mine = stream(ME, "mine");
    world.command(add("mine", Some(opus(1)), None));
    world.media(opened(1, 48));
    check(world.withdraw(2), "");
    check(world.publish(mine.clone()), "stream_published\nmedia: close sender 1\nsend unpublish mine");
    for _ in 0..2 {
        check(world.refuse(ErrorCode::RateLimited), "");
        let lines = world.pass(Duration::from_secs(5));
        check(lines, "send ping\nsend unpublish mine");
    }
    check(world.hear_unpublished(&mine), "stream_unpublished");
    check(world.refuse(ErrorCode::RateLimited), "");
    check(world.pass(Duration::from_secs(5)), "send ping");
    assert!(world.client.publications.is_empty());
}

#[test]
fn a_refused_stream_leaves_nothing() {
    let mut world = World::with_media();
    world.command(add("mine", Some(opus(1)), None));
    world.media(opened(1, 48));
    check(world.refuse(ErrorCode::Forbidden), "media: close sender 1\n2: Refused(Forbidden)");
    assert_eq!(free(&world), 2);
    assert!(world.client.publications.is_empty());
}

#[test]
fn without_media_nothing_is_published() {
    let mut world = World::joined();
    world.command(add("mine", Some(opus(1)), None));
    world.pass(Duration::from_secs(5));
    check(world.pass(Duration::from_secs(5)), "2: MediaUnreachable\nsend ping");

    let mut world = World::with_media();
    world.command(add("mine", Some(opus(1)), None));
    check(world.media(MediaNotice::Failed), "media: close sender 1\n2: MediaUnreachable");
    check(world.command(add("mine", Some(opus(1)), None)), "");
    check(world.media(MediaNotice::Connected), "media: send 1 as Opus of mine on s0");
}

#[test]
fn a_first_offer_that_came_to_nothing_is_made_again_when_needed() {
    let mut world = World::joined();
    world.media(offered(1, 1, 1, 2));
    check(world.refuse(ErrorCode::RateLimited), "error");
    check(world.command(add("mine", Some(opus(1)), None)), "media: offer 2: 1+1, 2 slots");
    world.media(offered(2, 1, 1, 2));
    check(world.refuse(ErrorCode::RateLimited), "2: Refused(RateLimited)");
    check(world.command(take(2, "cam")), "media: offer 3: 1+1, 2 slots");
}

#[test]
fn an_update_outlived_by_its_stream_leaves_nothing() {
    let (mut world, mine) = publishing();
    world.command(update("mine", TrackUpdate::Keep, TrackUpdate::Replace(vp8(3))));
    world.media(opened(3, 500));
    world.hear_unpublished(&mine);
    check(
        world.refuse(ErrorCode::UnknownStream),
        "media: close sender 3
         3: Refused(UnknownStream)",
    );
    assert_eq!(free(&world), 2);
    assert!(world.client.publications.is_empty());
}
