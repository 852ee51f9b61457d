//! Laws of the reducer and the order of its events.

mod machine;

use std::sync::Arc;

use proptest::prelude::*;
use roomful_types::{DisconnectReason, MediaKind, ParticipantId, StreamId, StreamKey};

use crate::ids::StreamIds;
use crate::{
    Action, Event, LeaveReason, Message, Origin, Participant, State, Status, Stream, Subscription, TrackId,
    apply,
};

fn person(number: u8) -> Participant {
    Participant {
        id: ParticipantId::from_random([number; 16]),
        identity: None,
        context: Some(format!("context {number}").into()),
        streams: StreamIds::default(),
        can_receive_messages: true,
        origin: Origin::Remote,
    }
}

fn stream_of(person: u8, key: u8) -> Stream {
    Stream {
        id: StreamId::from_random([person ^ (key << 4); 16]),
        key: key_of(key),
        participant_id: ParticipantId::from_random([person; 16]),
        origin: Origin::Remote,
        is_audio_enabled: true,
        is_video_enabled: true,
        is_audio_censored: false,
        is_video_censored: false,
        audio_track: None,
        video_track: None,
        is_configured: false,
    }
}

fn key_of(key: u8) -> StreamKey {
    StreamKey::new(&format!("key-{key}")).expect("short")
}

fn subscription_to(person: u8, key: u8) -> Subscription {
    let participant_id = ParticipantId::from_random([person; 16]);
    Subscription {
        participant_id,
        key: key_of(key),
        audio: true,
        video: true,
        is_paused: false,
        preferred_layer: None,
        priority: 0,
        layer: None,
    }
}

fn joined(others: &[u8]) -> Action {
    let participants = [0].iter().chain(others).map(|number| person(*number)).collect();
    let streams = others.iter().map(|number| stream_of(*number, 0)).collect();
    Action::Joined { local: person(0).id, version: 5, participants, streams }
}

/// Applies all actions and returns the names of the events, without `state_changed`.
fn run(state: &mut State, actions: impl IntoIterator<Item = Action>) -> Vec<&'static str> {
    let mut events = Vec::new();
    for action in actions {
        apply(state, action, &mut events);
        state.check_invariants();
    }
    events.iter().map(Event::name).filter(|name| *name != "state_changed").collect()
}

fn connected(others: &[u8]) -> State {
    let mut state = State::new();
    run(&mut state, [Action::Connecting, joined(others)]);
    state
}

#[test]
fn what_was_in_the_room_is_in_the_state_and_emits_nothing() {
    let mut state = State::new();
    assert_eq!(run(&mut state, [Action::Connecting, joined(&[1, 2])]), ["connected"]);
    assert_eq!((state.participants().len(), state.streams().len(), state.version()), (3, 2, 5));
    assert_eq!(state.local_participant().map(|local| local.origin), Some(Origin::Local));
}

#[test]
fn a_leave_ends_subscriptions_and_streams_in_order() {
    let mut state = connected(&[1]);
    let start = Action::SubscriptionStarted {
        subscription: subscription_to(1, 0),
        audio_track: Some(TrackId(1)),
        video_track: None,
    };
    run(&mut state, [Action::StreamPublished { stream: stream_of(1, 1) }, start]);
    let reason = Some(LeaveReason::Kicked);
    let left = run(&mut state, [Action::ParticipantLeft { participant: person(1).id, reason }]);
    assert_eq!(
        left,
        [
            "participant_leaving",
            "subscription_ended",
            "stream_unpublished",
            "stream_unpublished",
            "participant_left"
        ]
    );
}

#[test]
fn tracks_appear_with_the_subscription_and_go_with_it() {
    let mut state = connected(&[1]);
    let id = stream_of(1, 0).id;
    let start = Action::SubscriptionStarted {
        subscription: subscription_to(1, 0),
        audio_track: Some(TrackId(1)),
        video_track: Some(TrackId(2)),
    };
    run(&mut state, [start]);
    assert_eq!(state.stream(id).and_then(|stream| stream.video_track), Some(TrackId(2)));
    let end = Action::SubscriptionEnded { participant: person(1).id, key: key_of(0) };
    assert_eq!(run(&mut state, [end.clone(), end]), ["subscription_ended"]);
    assert_eq!(state.stream(id).and_then(|stream| stream.video_track), None);
}

#[test]
fn every_status_is_entered_and_a_room_can_connect_again() {
    let mut state = connected(&[1]);
    let gone = Action::Disconnected { reason: DisconnectReason::UserInitiated };
    assert_eq!(run(&mut state, [Action::Disconnecting, gone.clone(), gone]), ["disconnected"]);
    assert_eq!((state.status(), state.participants().len()), (Status::Disconnected, 0));
    assert_eq!(run(&mut state, [Action::Connecting, joined(&[])]), ["connected"]);
}

#[test]
fn members_that_a_change_does_not_touch_stay_pointer_equal() {
    let mut state = connected(&[1, 2]);
    let before = state.clone();
    run(&mut state, [Action::StreamPublished { stream: stream_of(2, 1) }]);
    let same = |id| {
        let (old, new) = (before.participant(id), state.participant(id));
        Arc::ptr_eq(old.expect("was there"), new.expect("is there"))
    };
    assert!(same(person(1).id));
    assert!(!same(person(2).id));
    assert_eq!(before.streams().len() + 1, state.streams().len());
}

fn any_action() -> impl Strategy<Value = Action> {
    let who = 0..4_u8;
    let key = 0..3_u8;
    let kind = prop::sample::select(MediaKind::ALL.as_slice());
    prop_oneof![
        1 => Just(Action::Connecting),
        2 => Just(joined(&[1, 2])),
        1 => Just(Action::Disconnecting),
        1 => Just(Action::Disconnected { reason: DisconnectReason::NetworkError }),
        4 => who.clone().prop_map(|who| Action::ParticipantJoined { participant: person(who) }),
        3 => who.clone().prop_map(|who| Action::ParticipantLeft { participant: person(who).id, reason: None }),
        6 => (who.clone(), key.clone()).prop_map(|(who, key)| Action::StreamPublished { stream: stream_of(who, key) }),
        3 => (who.clone(), key.clone()).prop_map(|(who, key)| Action::StreamUnpublished { stream: stream_of(who, key).id }),
        4 => (who.clone(), key.clone(), kind, any::<bool>()).prop_map(|(who, key, kind, enabled)| {
            Action::TrackToggled { stream: stream_of(who, key).id, kind, enabled }
        }),
        6 => (who.clone(), key.clone()).prop_map(|(who, key)| Action::SubscriptionStarted {
            subscription: subscription_to(who, key),
            audio_track: Some(TrackId(1)),
            video_track: Some(TrackId(2)),
        }),
        3 => (who.clone(), key.clone()).prop_map(|(who, key)| Action::SubscriptionReconfigured {
            subscription: subscription_to(who, key),
            audio_track: None,
            video_track: Some(TrackId(2)),
        }),
        3 => (who.clone(), key).prop_map(|(who, key)| Action::SubscriptionEnded {
            participant: person(who).id,
            key: key_of(key),
        }),
        1 => who.prop_map(|who| Action::MessageReceived {
            sender: person(who).id,
            message: Message::text("hello"),
            recipients: None,
        }),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_after_any_history(actions in prop::collection::vec(any_action(), 0..60)) {
        let mut state = State::new();
        run(&mut state, actions);
    }

    #[test]
    fn repeating_news_tells_nothing_new(history in prop::collection::vec(any_action(), 0..40), last in any_action()) {
        let mut state = State::new();
        run(&mut state, history);
        run(&mut state, [last.clone()]);
        prop_assume!(!matches!(
            last,
            Action::MessageReceived { .. } | Action::SubscriptionReconfigured { .. } | Action::Connecting
        ));
        prop_assert_eq!(run(&mut state, [last]), Vec::<&str>::new());
    }

    #[test]
    fn every_event_carries_the_state_after_it(actions in prop::collection::vec(any_action(), 0..40)) {
        let mut state = State::new();
        let mut events = Vec::new();
        for action in actions {
            events.clear();
            apply(&mut state, action, &mut events);
            if let Some(last) = events.last() {
                prop_assert_eq!(last.state.participants().len(), state.participants().len());
                prop_assert_eq!(last.state.streams().len(), state.streams().len());
                prop_assert_eq!(last.state.subscriptions().len(), state.subscriptions().len());
            }
        }
    }
}
