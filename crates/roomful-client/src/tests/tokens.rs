//! The end of the token, and what puts it off.

use roomful_protocol::TokenResponse;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass, answering pings.
fn live(world: &mut World, seconds: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..seconds {
        let seen = world.pass(SECOND);
        if seen.iter().any(|line| line == "send ping") {
            world.grant();
        }
        lines.extend(seen.into_iter().filter(|line| line != "send ping"));
    }
    lines
}

#[test]
fn the_application_hears_once_that_the_token_ends_a_fifth_of_its_life_before() {
    let mut world = World::joined();
    check(live(&mut world, 479), "");
    check(live(&mut world, 1), "token_expiring");
    let Some(EventKind::TokenExpiring { remaining }) = world.events.last().map(|event| event.kind.clone())
    else {
        panic!("{:?}", world.events.last());
    };
    assert_eq!(remaining, Duration::from_secs(120));
    check(live(&mut world, 100), "");
}

#[test]
fn a_resume_tells_no_second_time_that_the_same_token_ends() {
    let mut world = World::configured(ClientConfig::default()).join();
    check(live(&mut world, 480), "token_expiring");
    check(world.input(Input::SignalClosed), "reconnecting");
    check(world.pass_to_attempt(), "open signal");
    world.input(Input::SignalOpened);
    let life = TokenTerm { remaining_ms: 100_000, life_ms: 600_000 };
    check(world.welcome_back_with(life), "reconnected\nsend ping");
    check(live(&mut world, 20), "");
}

#[test]
fn a_newer_token_puts_the_warning_off() {
    let mut world = World::joined();
    check(world.command(Command::UpdateToken("newer".to_owned())), "send token newer");
    let term = TokenTerm { remaining_ms: 20_000, life_ms: 20_000 };
    let request = world.last();
    check(world.hear(TokenResponse { request, term }), "2: done");
    check(live(&mut world, 14), "");
    check(live(&mut world, 1), "token_expiring");
}

#[test]
fn a_token_that_is_refused_leaves_the_old_one_in_force() {
    let mut world = World::joined();
    world.command(Command::UpdateToken("forged".to_owned()));
    check(world.refuse(ErrorCode::Unauthorized), "2: Refused(Unauthorized)");
    check(live(&mut world, 480), "token_expiring");
}

#[test]
fn a_resume_shows_what_was_not_answered_only_when_the_accepted_token_has_ended() {
    let mut world = World::configured(ClientConfig::default()).join();
    live(&mut world, 597);
    world.command(Command::UpdateToken("newer".to_owned()));
    world.input(Input::SignalClosed);
    assert_eq!(world.client.token_to_show(), "token", "a bad one would end the stay");
    world.pass(4 * SECOND);
    assert_eq!(world.client.token_to_show(), "newer");
    // Once shown and accepted it is in force, whatever is answered to the request.
    check(world.pass_to_attempt(), "close signal");
    check(world.pass_to_attempt(), "open signal");
    world.input(Input::SignalOpened);
    world.welcome_back_with(TokenTerm { remaining_ms: 600_000, life_ms: 600_000 });
    world.refuse(ErrorCode::RateLimited);
    world.input(Input::SignalClosed);
    assert_eq!(world.client.token_to_show(), "newer");
}
