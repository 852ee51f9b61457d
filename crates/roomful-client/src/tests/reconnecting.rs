//! Lost connections: tried again, taken up where they were, or given up.

use roomful_protocol::{ChatMessage, DisconnectNotice, MessageKind, MessageNotice, ResumeResponse};
use roomful_state::Connection;
use roomful_types::DisconnectReason;

use super::*;

fn world() -> World {
    World::configured(ClientConfig::default()).join().connect_media()
}

impl World {
    /// Lets time pass until an attempt is made.
    pub(super) fn pass_to_attempt(&mut self) -> Vec<String> {
        let until = self.wait().expect("something is due");
        self.now = self.start + until;
        self.input(Input::Timeout)
    }

    /// The server lets the client go on in a room that looks like this.
    fn welcome_back(&mut self, participants: &[u8], streams: &[StreamInfo]) -> Vec<String> {
        self.go_on(participants, streams, TokenTerm { remaining_ms: 600_000, life_ms: 600_000 })
    }

    /// The same when nothing changed, with a token that is valid for so long.
    pub(super) fn welcome_back_with(&mut self, term: TokenTerm) -> Vec<String> {
        self.go_on(&[ME, 2, 3], &[stream(2, "cam")], term)
    }

    fn go_on(&mut self, participants: &[u8], streams: &[StreamInfo], term: TokenTerm) -> Vec<String> {
        self.version += 1;
        let response = ResumeResponse {
            request: self.last(),
            wire_version: WIRE_VERSION,
            version: RoomVersion(self.version),
            participants: participants.iter().map(|number| info(*number)).collect(),
            streams: streams.to_vec(),
            slots: Vec::new(),
            sources: Vec::new(),
            speaking: Vec::new(),
            dominant_speaker: None,
            term,
            kicked: Vec::new(),
            held_back: Vec::new(),
        };
        self.hear(response)
    }

    fn say(&mut self, delivery: u64) -> Vec<String> {
        let message = ChatMessage { kind: MessageKind::Text, payload: "hello".into(), meta: None };
        self.hear(MessageNotice { delivery, sender: person(2), message, recipients: None })
    }
}

#[test]
fn a_lost_connection_is_made_again_and_only_what_changed_is_told() {
    let mut world = world();
    check(world.input(Input::SignalClosed), "reconnecting");
    assert_eq!(world.client.state().connection(), Connection::Reconnecting);
    check(world.pass_to_attempt(), "open signal");
    check(world.input(Input::SignalOpened), "send resume with token after 0");
    let lines = world.welcome_back(&[ME, 3, 4], &[stream(3, "screen")]);
    check(
        lines,
        "participant_leaving
         stream_unpublished
         participant_left
         participant_joined
         stream_published
         reconnected
         send ping",
    );
    assert_eq!(world.client.state().connection(), Connection::Stable);
}

#[test]
fn when_nothing_changed_nothing_is_told() {
    let mut world = world();
    world.input(Input::SignalClosed);
    world.pass_to_attempt();
    world.input(Input::SignalOpened);
    let lines = world.welcome_back(&[ME, 2, 3], &[stream(2, "cam")]);
    check(lines, "reconnected\nsend ping");
}

#[test]
fn attempts_go_on_with_longer_pauses_until_it_is_too_late() {
    let mut world = world();
    world.input(Input::SignalClosed);
    let (mut attempts, mut last) = (0, Duration::ZERO);
    loop {
        let lines = world.pass_to_attempt();
        if lines.iter().any(|line| line == "disconnected") {
            break;
        }
        assert_eq!(lines, ["open signal"]);
        attempts += 1;
        assert!(world.wait().unwrap_or_default() >= last);
        last = world.wait().unwrap_or_default();
        world.input(Input::SignalClosed);
    }
    assert!((12..=40).contains(&attempts), "{attempts} attempts in 30 s");
    assert_eq!(world.client.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    assert!(world.client.is_empty());
}

#[test]
fn an_attempt_that_hangs_is_given_up() {
    let mut world = world();
    world.input(Input::SignalClosed);
    check(world.pass_to_attempt(), "open signal");
    check(world.pass(Duration::from_secs(4)), "close signal");
    check(world.pass_to_attempt(), "open signal");
    check(world.input(Input::SignalOpened), "send resume with token after 0");
}

#[test]
fn a_server_that_is_silent_for_too_long_is_lost() {
    let mut world = world();
    for _ in 0..2 {
        check(world.pass(Duration::from_secs(5)), "send ping");
    }
    check(world.pass(Duration::from_secs(5)), "close signal\nreconnecting");
}

#[test]
fn what_is_asked_while_it_is_lost_is_asked_when_it_is_back() {
    let mut world = world();
    world.input(Input::SignalClosed);
    let message = roomful_state::Message::text("hello");
    check(world.command(Command::SendMessage(crate::SendMessage { message, recipients: None })), "");
    world.pass_to_attempt();
    world.input(Input::SignalOpened);
    let asked = world.asked.len();
    check(world.welcome_back(&[ME, 2, 3], &[stream(2, "cam")]), "reconnected\nsend say hello\nsend ping");
    let request = world.asked[asked];
    check(world.hear(DoneResponse { request }), "2: done");
}

#[test]
fn what_was_asked_before_is_asked_again_with_its_old_number() {
    let mut world = world();
    world.command(Command::AddSubscription(wish(2, "cam", true, true)));
    let request = world.last();
    world.input(Input::SignalClosed);
    world.pass_to_attempt();
    world.input(Input::SignalOpened);
    let asked = world.asked.len();
    let lines = world.welcome_back(&[ME, 2, 3], &[stream(2, "cam")]);
    check(lines, "reconnected\nsend subscribe 2 cam on 0: audio+video\nsend ping");
    assert_eq!(world.asked[asked], request);
    check(world.hear(DoneResponse { request }), "subscription_started\n2: subscribed r0 r1");
}

#[test]
fn a_message_that_nobody_waits_for_any_more_is_not_sent_late() {
    let mut world = world();
    world.input(Input::SignalClosed);
    let message = roomful_state::Message::text("hello");
    world.command(Command::SendMessage(crate::SendMessage { message, recipients: None }));
    world.withdraw(2);
    world.pass_to_attempt();
    world.input(Input::SignalOpened);
    check(world.welcome_back(&[ME, 2, 3], &[stream(2, "cam")]), "reconnected\nsend ping");
}

#[test]
fn a_message_that_comes_twice_is_told_once() {
    let mut world = world();
    check(world.say(1), "message_received");
    check(world.say(1), "");
    check(world.say(4), "message_received");
    world.input(Input::SignalClosed);
    world.pass_to_attempt();
    check(world.input(Input::SignalOpened), "send resume with token after 4");
}

#[test]
fn a_refused_resume_ends_the_stay_with_the_true_reason() {
    for (code, reason) in [
        (ErrorCode::ResumeExpired, DisconnectReason::NetworkError),
        (ErrorCode::MessagesLost, DisconnectReason::NetworkError),
        (ErrorCode::Kicked, DisconnectReason::Kicked),
        (ErrorCode::TokenExpired, DisconnectReason::Unauthorized),
        (ErrorCode::UnknownRoom, DisconnectReason::RoomExpired),
    ] {
        let mut world = world();
        world.input(Input::SignalClosed);
        world.pass_to_attempt();
        world.input(Input::SignalOpened);
        world.refuse(code);
        assert_eq!(world.client.state().disconnect_reason(), Some(reason));
        assert!(world.client.is_empty());
    }
}

#[test]
fn a_good_bye_is_no_loss() {
    let mut world = world();
    let reason = roomful_protocol::DisconnectReason::Kicked;
    let lines = world.hear(DisconnectNotice { reason });
    check(lines, "close signal\nmedia: close\nparticipant_leaving\ndisconnected");
}

#[test]
fn a_lost_media_path_is_looked_for_until_it_is_found() {
    let mut world = world();
    let lines = world.media(MediaNotice::Disconnected);
    check(lines, "error\nmedia: offer 2: 1+1, 2 slots, another path");
    world.media(offered(2, 1, 1, 2));
    world.answer_offer(2);
    world.media(MediaNotice::Negotiated { offer: OfferId(2) });
    check(world.pass(Duration::from_secs(5)), "media: offer 3: 1+1, 2 slots, another path\nsend ping");
    world.media(offered(3, 1, 1, 2));
    world.answer_offer(3);
    world.media(MediaNotice::Negotiated { offer: OfferId(3) });
    world.media(MediaNotice::Connected);
    check(world.pass(Duration::from_secs(5)), "send ping");
}

#[test]
fn an_offer_under_way_is_finished_before_another_path_is_looked_for() {
    let mut world = World::configured(ClientConfig::default()).join();
    world.media(offered(1, 1, 1, 2));
    world.input(Input::SignalClosed);
    check(world.media(MediaNotice::Disconnected), "");
    world.pass_to_attempt();
    world.input(Input::SignalOpened);
    let asked = world.asked.len();
    let lines = world.welcome_back(&[ME, 2, 3], &[stream(2, "cam")]);
    check(lines, "reconnected\nsend offer 1 with 2 slots\nsend ping");
    let request = world.asked[asked];
    world.hear(OfferResponse { request, offer: OfferId(1), sdp: "answer".to_owned() });
    let lines = world.media(MediaNotice::Negotiated { offer: OfferId(1) });
    check(lines, "media: offer 2: 1+1, 2 slots, another path");
}
