//! Tokens that end, and newer ones.

use roomful_protocol::UpdateTokenRequest;

use super::*;
use crate::DuplicateIdentity;

fn update(token: &'static str) -> impl Ask {
    move |request, _: &World| UpdateTokenRequest { request, token: token.to_owned() }.into()
}

#[test]
fn who_does_not_renew_the_token_leaves_when_it_ends() {
    let mut world = World::with(&[1]);
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("short"));
    for _ in 0..2 {
        world.pass(Duration::from_secs(9));
        world.ask(1, ping());
        world.ask(2, ping());
    }
    let outputs = world.pass(Duration::from_secs(2));
    world.expect(
        &outputs,
        "to 2: goodbye Unauthorized
         close 2
         media: remove p2
         to 1: v3 p2 left",
    );
}

#[test]
fn a_newer_token_prolongs_the_stay_and_a_bad_one_changes_nothing() {
    let mut world = World::with(&[1]);
    world.input(Input::Opened(SessionId(2)));
    world.ask(2, join("short"));
    for token in ["forged", "named"] {
        world.check(2, update(token), "to 2: error Unauthorized");
    }
    world.check(2, update("expired"), "to 2: error TokenExpired");
    world.check(2, update("token"), "to 2: token for 600000 ms");
    for _ in 0..3 {
        world.pass(Duration::from_secs(9));
        world.ask(1, ping());
        world.check(2, ping(), "to 2: done");
    }
}

fn named_twice(policy: DuplicateIdentity) -> World {
    let config = SfuConfig { duplicate_identity: policy, ..SfuConfig::default() };
    let mut world = World::configured(config);
    for session in [1, 2] {
        world.input(Input::Opened(SessionId(session)));
    }
    world.ask(1, join("named"));
    world
}

#[test]
fn the_newer_of_two_with_one_identity_replaces_the_older() {
    let mut world = named_twice(DuplicateIdentity::Replace);
    world.check(
        2,
        join("named"),
        "to 1: goodbye DuplicateIdentity
         close 1
         media: remove p1
         to 2: welcome p2 to v3 of [p2] []",
    );
}

#[test]
fn the_newer_of_two_with_one_identity_is_refused_when_so_set() {
    let mut world = named_twice(DuplicateIdentity::Refuse);
    world.check(
        2,
        join("named"),
        "to 2: error DuplicateIdentity
         close 2",
    );
}

#[test]
fn two_with_one_identity_are_let_in_when_so_set() {
    let mut world = named_twice(DuplicateIdentity::Allow);
    world.check(
        2,
        join("named"),
        "to 1: v2 p2 joined
         to 2: welcome p2 to v2 of [p1, p2] []",
    );
}
