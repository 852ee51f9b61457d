//! Silence, floods and deadlines.

use super::*;

#[test]
fn who_does_not_join_in_time_is_closed() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    assert_eq!(world.wait(), Duration::from_secs(1));
    assert!(world.pass(Duration::from_millis(9_999)).is_empty());
    assert_eq!(world.wait(), Duration::from_millis(10_999));
    let outputs = world.pass(Duration::from_secs(1));
    world.expect(
        &outputs,
        "to 1: goodbye TimedOut
         close 1",
    );
}

#[test]
fn who_is_silent_leaves() {
    let mut world = World::with(&[1, 2]);
    for _ in 0..3 {
        assert!(world.pass(Duration::from_secs(7)).is_empty());
        world.ask(2, ping());
        if world.now - world.start < Duration::from_secs(14) {
            world.ask(1, ping());
        }
    }
    let outputs = world.pass(Duration::from_secs(1));
    world.expect(
        &outputs,
        "close 1
         media: remove p1
         to 2: v3 p1 left",
    );
}

#[test]
fn a_flood_is_refused_and_forgiven() {
    let mut world = World::new();
    world.input(Input::Opened(SessionId(1)));
    world.ask(1, join("token"));
    for _ in 0..199 {
        world.check(1, ping(), "to 1: done");
    }
    world.check(1, ping(), "to 1: error RateLimited");
    world.pass(Duration::from_millis(20));
    world.check(1, ping(), "to 1: done");
    world.check(1, ping(), "to 1: done");
    world.check(1, ping(), "to 1: error RateLimited");
}

#[test]
fn the_rate_holds_however_close_requests_follow_each_other() {
    let mut world = World::with(&[1]);
    let mut granted = 0;
    for _ in 0..4000 {
        world.now += Duration::from_micros(500);
        let outputs = world.ask(1, ping());
        granted += usize::from(world.text(&outputs[0]) == "to 1: done");
    }
    // What the burst leaves after the join and one offer, which counts for ten, and 100 in each of two seconds.
    assert_eq!(granted, 189 + 200);
}

#[test]
fn time_does_not_go_back() {
    let mut world = World::with(&[1]);
    world.pass(Duration::from_secs(5));
    world.ask(1, ping());
    world.sfu.handle_input(Input::Timeout, world.start);
    assert!(world.pass(Duration::from_secs(14)).is_empty());
    assert!(!world.pass(Duration::from_secs(1)).is_empty());
}
