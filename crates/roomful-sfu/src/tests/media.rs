//! Offers and what the media shard reports.

use roomful_protocol::limits;

use super::*;
use crate::OfferError;

#[test]
fn an_offer_is_answered_by_the_shard_and_repeated_from_memory() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    world.ask(1, join("token"));
    world.check(1, offer(1, 2), "media: offer 1 of p1 with 2 slots");
    let answer = Input::Media(MediaNotice::Answered {
        peer: world.participants[&1],
        offer: OfferId(1),
        answer: Ok("answer 1".to_owned()),
    });
    world.check_input(answer.clone(), "to 1: answer 1 to 1");
    world.check(1, offer(1, 2), "to 1: answer 1 to 1");
    world.check_input(answer, "");
    world.check(1, offer(2, 4), "media: offer 2 of p1 with 4 slots");
}

#[test]
fn every_request_for_an_answer_gets_it() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    world.ask(1, join("token"));
    world.ask(1, offer(1, 1));
    world.check(1, offer(1, 1), "");
    let outputs = world.answer(1, 1);
    world.expect(
        &outputs,
        "to 1: answer 1 to 1
         to 1: answer 1 to 1",
    );
}

#[test]
fn a_refused_offer_stays_refused_and_the_next_one_is_taken() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    world.ask(1, join("token"));
    world.ask(1, offer(1, 2));
    let refused =
        MediaNotice::Answered { peer: world.participants[&1], offer: OfferId(1), answer: Err(OfferError) };
    world.check_input(Input::Media(refused), "to 1: error BadOffer");
    world.check(1, offer(1, 2), "to 1: error BadOffer");
    // The slots of the refused offer bind nobody.
    world.check(1, offer(2, 1), "media: offer 2 of p1 with 1 slots");
}

#[test]
fn an_offer_must_follow_the_one_before() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    let mut swapped = slots(2);
    swapped.reverse();
    world.check(1, offer_of(2, swapped), "to 1: error BadOffer");
    world.check(1, offer(2, 1), "to 1: error BadOffer");
    world.check(1, offer_of(2, [slots(2), slots(1)].concat()), "to 1: error BadOffer");
    let own = SlotMids { audio: mid("x"), video: mid("v2") };
    world.check(1, offer_of(2, [slots(2), vec![own]].concat()), "to 1: error MidUnavailable");
    world.check(1, offer(2, limits::SLOTS_MAX + 1), "to 1: error LimitReached");
    world.check(1, offer(0, 2), "to 1: error BadRequest");
    let long = |request, _: &World| {
        let sdp = "s".repeat(limits::SDP_MAX + 1);
        ClientMessage::from(OfferRequest { request, offer: OfferId(2), sdp, slots: slots(2) })
    };
    world.check(1, long, "to 1: error TooLarge");
    world.check(1, offer(2, 3), "media: offer 2 of p1 with 3 slots");
    world.check(1, offer(3, 4), "to 1: error BadRequest");
}

#[test]
fn a_slot_can_be_used_once_it_is_answered() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), None));
    world.ask(2, offer(2, 3));
    world.check(2, subscribe(1, "cam", 2, true, true), "to 2: error SlotUnavailable");
    world.check(2, publish("own", Some(audio("a2")), None), "to 2: error MidUnavailable");
    world.answer(2, 2);
    world.check(
        2,
        subscribe(1, "cam", 2, true, true),
        "media: bind cam audio to p2 on a2
         to 2: done",
    );
}

#[test]
fn a_report_is_passed_on_as_long_as_it_holds() {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("cam", Some(audio("x")), Some(video("y"))));
    world.ask(1, publish("screen", None, Some(video("z"))));
    world.ask(2, subscribe(1, "cam", 0, true, true));
    let bound = |world: &World, stream, kind, section| {
        Input::Media(MediaNotice::Bound {
            peer: world.participants[&2],
            mid: mid(section),
            source: world.source(stream, kind),
            codec: Codec::Vp8,
            first_sequence: 7,
            first_timestamp: 900,
            layer: Rid::High,
        })
    };
    let of_cam = bound(&world, "cam", MediaKind::Video, "v0");
    let of_cam_elsewhere = bound(&world, "cam", MediaKind::Video, "v1");
    world.check_input(of_cam.clone(), "to 2: slot 0 has cam video from 7 at 900");
    world.check_input(of_cam_elsewhere, "");
    world.ask(2, resubscribe(1, "cam", true, false));
    world.check_input(of_cam.clone(), "");
    world.ask(2, unsubscribe(1, "cam"));
    world.ask(2, subscribe(1, "screen", 0, true, true));
    world.check_input(of_cam.clone(), "");
    let of_screen = bound(&world, "screen", MediaKind::Video, "v0");
    world.check_input(of_screen.clone(), "to 2: slot 0 has screen video from 7 at 900");
    world.ask(1, leave());
    world.check_input(of_screen, "");
    world.ask(2, leave());
    world.check_input(of_cam, "");
}

#[test]
fn whose_media_failed_is_told_so_and_leaves() {
    let mut world = World::with(&[1, 2]);
    let failed = MediaNotice::Failed { peer: world.participants[&2] };
    world.check_input(
        Input::Media(failed.clone()),
        "to 2: goodbye MediaFailed
         close 2
         media: remove p2
         to 1: v3 p2 left",
    );
    world.check_input(Input::Media(failed), "");
}
