//! Who speaks.

use roomful_types::AudioLevel;

use super::*;

impl World {
    #[track_caller]
    fn check_heard(&mut self, stream: &str, quiet: Option<u8>, expected: &str) {
        let source = SourceId { stream: self.streams[stream], kind: MediaKind::Audio };
        let level = quiet.map(AudioLevel::from_negative_dbov);
        // Whose stream it is, the forwarder knows.
        let peer = self.participants[&(if stream == "high" { 2 } else { 1 })];
        self.check_input(Input::Media(MediaNotice::Speaking { peer, source, level }), expected);
    }
}

/// Two voices, of which the one in `low` is heard.
fn two_voices() -> World {
    let mut world = World::with(&[1, 2]);
    world.ask(1, publish("low", Some(audio("x")), None));
    world.ask(2, publish("high", Some(audio("x")), None));
    world.check_heard(
        "low",
        Some(30),
        "to 1+2: p1 speaks in low
         to 1+2: loudest is p1",
    );
    world
}

#[test]
fn the_loudest_dominates_and_only_who_is_clearly_louder_takes_over() {
    let mut world = two_voices();
    world.check_heard("high", Some(26), "to 1+2: p2 speaks in high");
    world.check_heard("high", Some(20), "to 1+2: loudest is p2");
    world.check_heard(
        "high",
        None,
        "to 1+2: p2 is quiet in high
         to 1+2: loudest is p1",
    );
    world.check_heard(
        "low",
        None,
        "to 1+2: p1 is quiet in low
         to 1+2: loudest is nobody",
    );
}

#[test]
fn who_is_muted_does_not_speak() {
    let mut world = two_voices();
    world.check(
        1,
        UpdateStreamRequest { audio_enabled: Some(false), ..super::update("low") },
        "to 1+2: v5 updated low audio:off
         media: disable low audio
         to 1+2: p1 is quiet in low
         to 1+2: loudest is nobody
         to 1: done",
    );
    world.check_heard("low", Some(30), "");
}

#[test]
fn who_leaves_speaks_no_longer_and_nobody_needs_to_be_told() {
    let mut world = two_voices();
    world.check_input(
        Input::Closed(SessionId(1)),
        "media: remove low audio
         media: remove p1
         to 2: v5 p1 left",
    );
}

#[test]
fn a_new_track_is_quiet_until_it_is_heard() {
    let mut world = two_voices();
    world.check(
        1,
        UpdateStreamRequest { audio: Some(audio("y")), ..super::update("low") },
        "media: put low audio of p1 Opus on y from 48
         to 1+2: p1 is quiet in low
         to 1+2: loudest is nobody
         to 1: done",
    );
}
