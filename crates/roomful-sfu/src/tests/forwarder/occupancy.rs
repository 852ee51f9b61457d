//! One slot, occupied by one source after another.

use super::*;

#[test]
fn what_a_subscriber_cannot_take_gets_no_numbers() {
    let mut scene = Scene::with_taker();
    scene.put(2, Codec::H264, "y", 0);
    scene.record.unknown = Some(Codec::H264);
    scene.check(&[("x", 10, 0, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
    scene.bind(1, "v0", 2, Codec::H264);
    for sequence in 0..2000 {
        scene.check(&[("y", sequence, 3000 * sequence as u32, IDR)], &[]);
    }
    scene.bind(1, "v0", 1, Codec::Vp8);
    scene.check(&[("x", 11, 3000, KEY)], &["1 v0 begins", "1 v0 +1 @1"]);
}

#[test]
fn packets_of_another_codec_than_the_published_one_are_dropped() {
    let mut scene = Scene::with_taker();
    scene.codecs.insert(mid("x"), Codec::H264);
    scene.check(&[("x", 10, 0, KEY)], &[]);
    scene.codecs.insert(mid("x"), Codec::Vp8);
    scene.check(&[("x", 11, 3000, KEY)], &["1 v0 begins", "1 v0 +0 @0"]);
}

#[test]
fn timestamps_mean_the_same_times_of_capture_whoever_occupies_the_slot() {
    let mut scene = Scene::with_taker();
    scene.put(2, Codec::Vp8, "y", 0);
    let mut ends = Vec::new();
    // The first comes 300 ms after its capture, the second at once, and back again.
    for (round, (stream, section, late)) in
        [(1, "x", 300), (2, "y", 0), (1, "x", 300)].into_iter().enumerate()
    {
        scene.bind(1, "v0", stream, Codec::Vp8);
        for frame in 0..20 {
            scene.pass(30);
            scene.late = Duration::from_millis(late);
            scene.ingest(section, 100 * round as u64 + frame, 90 * 30 * frame as u32, KEY);
            scene.forwarder.forward(&mut scene.record, scene.now);
            while scene.forwarder.poll_notice().is_some() {}
            let (_, Sent { packet, .. }) = scene.record.sent.pop().expect("is sent");
            ends.push((packet.captured.expect("was said"), packet.timestamp));
        }
    }
    for pair in ends.windows(2) {
        let [(before, first), (after, second)] = pair else { unreachable!("of two") };
        let ticks = second.wrapping_sub(*first).cast_signed();
        let passed = match after.checked_duration_since(*before) {
            Some(passed) => passed.as_millis() as i32 * 90,
            // A step back in time is the least step ahead on the wire.
            None => 1,
        };
        assert_eq!(ticks, passed);
    }
}

#[test]
fn sources_in_turn_make_one_stream() {
    let mut scene = Scene::with_taker();
    scene.put(2, Codec::Vp8, "y", 0);
    scene
        .check(&[("x", 10, 0, KEY), ("x", 12, 3000, DELTA)], &["1 v0 begins", "1 v0 +0 @0", "1 v0 +2 @3000"]);
    scene.pass(100);
    scene.bind(1, "v0", 2, Codec::Vp8);
    scene.check(
        &[("x", 13, 6000, KEY), ("y", 700, 5, KEY), ("y", 701, 3005, DELTA)],
        &["1 v0 begins", "1 v0 +3 @12000", "1 v0 +4 @15000"],
    );
    // In the same instant, and back again: time goes on by the least step.
    scene.bind(1, "v0", 1, Codec::Vp8);
    scene.check(&[("x", 14, 9000, KEY)], &["1 v0 begins", "1 v0 +5 @15001"]);
}

#[test]
fn whoever_begins_is_told_though_the_publishers_numbers_jump_in_the_same_turn() {
    let mut scene = Scene::with_taker();
    let sent = ["1 v0 begins", "1 v0 +0 @0"];
    scene.check(&[("x", 10, 0, KEY), ("x", 2000, 3000, DELTA)], &sent);
    scene.pass(600);
    scene.check(&[("x", 2001, 60_000, KEY)], &["1 v0 +1 @54000"]);
    assert_eq!(scene.record.asked.last(), Some(&(peer(0), mid("x"))), "a key frame was asked for");
}
