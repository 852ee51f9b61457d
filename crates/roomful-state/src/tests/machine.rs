//! The reducer beside the plainest model of a room, whatever happens in it; and no snapshot ever changes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::select};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use super::*;

/// Who publishes what under which key.
type Name = (u8, u8);

/// The room by the book.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Room {
    is_connected: bool,
    participants: BTreeSet<u8>,
    /// Whether audio and video are enabled.
    streams: BTreeMap<Name, [bool; 2]>,
    subscriptions: BTreeSet<Name>,
}

#[derive(Debug, Clone)]
enum Step {
    Connect(Vec<u8>),
    Disconnect,
    Join(u8),
    Leave(u8),
    Publish(Name),
    Unpublish(Name),
    Toggle(Name, MediaKind, bool),
    Subscribe(Name),
    Unsubscribe(Name),
}

const OTHERS: std::ops::Range<u8> = 1..6;

impl Room {
    /// Returns the events that a step must cause, `state_changed` apart.
    fn expected(&self, step: &Step) -> Vec<&'static str> {
        match step {
            Step::Connect(_) => vec!["connected"],
            Step::Disconnect => vec!["disconnected"],
            Step::Join(_) => vec!["participant_joined"],
            Step::Leave(who) => {
                let mut names = vec!["participant_leaving"];
                for name in self.streams.keys().filter(|(of, _)| of == who) {
                    names.extend(self.expected(&Step::Unpublish(*name)));
                }
                names.push("participant_left");
                names
            }
            Step::Publish(_) => vec!["stream_published"],
            Step::Unpublish(name) => {
                let is_taken = self.subscriptions.contains(name);
                let ended = is_taken.then_some("subscription_ended");
                ended.into_iter().chain(["stream_unpublished"]).collect()
            }
            Step::Toggle(name, kind, enabled) => match self.streams[name][*kind as usize] == *enabled {
                true => Vec::new(),
                false if *enabled => vec!["track_enabled"],
                false => vec!["track_disabled"],
            },
            Step::Subscribe(_) => vec!["subscription_started"],
            Step::Unsubscribe(_) => vec!["subscription_ended"],
        }
    }

    /// Reads the same out of a state.
    fn of(state: &State) -> Self {
        let number = |id: ParticipantId| (0..OTHERS.end).find(|one| person(*one).id == id).expect("known");
        let name = |id, key: &StreamKey| {
            let key = (0..3).find(|one| key_of(*one) == *key).expect("known");
            (number(id), key)
        };
        Self {
            is_connected: state.status() == Status::Connected,
            participants: state.participants().map(|one| number(one.id)).collect(),
            streams: state
                .streams()
                .map(|one| {
                    let enabled = MediaKind::ALL.map(|kind| one.is_enabled(kind));
                    (name(one.participant_id, &one.key), enabled)
                })
                .collect(),
            subscriptions: state.subscriptions().map(|one| name(one.participant_id, &one.key)).collect(),
        }
    }
}

impl ReferenceStateMachine for Room {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(room: &Self) -> BoxedStrategy<Step> {
        if !room.is_connected {
            return prop::collection::btree_set(OTHERS, 0..4)
                .prop_map(|others| Step::Connect(others.into_iter().collect()))
                .boxed();
        }
        let name = (0..OTHERS.end, 0..3_u8);
        let streams: Vec<Name> = room.streams.keys().copied().collect();
        let mut choices = vec![
            (1, Just(Step::Disconnect).boxed()),
            (6, OTHERS.prop_map(Step::Join).boxed()),
            (3, OTHERS.prop_map(Step::Leave).boxed()),
            (8, name.prop_map(Step::Publish).boxed()),
        ];
        if !streams.is_empty() {
            let name = || select(streams.clone());
            let kind = select(MediaKind::ALL.as_slice());
            choices.extend([
                (3, name().prop_map(Step::Unpublish).boxed()),
                (
                    4,
                    (name(), kind, any::<bool>())
                        .prop_map(|(of, kind, on)| Step::Toggle(of, kind, on))
                        .boxed(),
                ),
                (6, name().prop_map(Step::Subscribe).boxed()),
                (3, name().prop_map(Step::Unsubscribe).boxed()),
            ]);
        }
        prop::strategy::Union::new_weighted(choices).boxed()
    }

    fn preconditions(room: &Self, step: &Step) -> bool {
        match step {
            Step::Connect(_) => !room.is_connected,
            Step::Disconnect => room.is_connected,
            Step::Join(who) => room.is_connected && !room.participants.contains(who),
            Step::Leave(who) => room.participants.contains(who),
            Step::Publish(name) => room.participants.contains(&name.0) && !room.streams.contains_key(name),
            Step::Unpublish(name) | Step::Toggle(name, ..) => room.streams.contains_key(name),
            Step::Subscribe(name) => {
                room.streams.contains_key(name) && !room.subscriptions.contains(name) && name.0 != 0
            }
            Step::Unsubscribe(name) => room.subscriptions.contains(name),
        }
    }

    fn apply(mut room: Self, step: &Step) -> Self {
        match step {
            Step::Connect(others) => {
                room.is_connected = true;
                room.participants = others.iter().copied().chain([0]).collect();
                room.streams = others.iter().map(|who| ((*who, 0), [true; 2])).collect();
            }
            Step::Disconnect => room = Self::default(),
            Step::Join(who) => _ = room.participants.insert(*who),
            Step::Leave(who) => {
                room.participants.remove(who);
                room.streams.retain(|(of, _), _| of != who);
                room.subscriptions.retain(|(of, _)| of != who);
            }
            Step::Publish(name) => _ = room.streams.insert(*name, [true; 2]),
            Step::Unpublish(name) => {
                room.streams.remove(name);
                room.subscriptions.remove(name);
            }
            Step::Toggle(name, kind, enabled) => {
                room.streams.get_mut(name).expect("it is there")[*kind as usize] = *enabled;
            }
            Step::Subscribe(name) => _ = room.subscriptions.insert(*name),
            Step::Unsubscribe(name) => _ = room.subscriptions.remove(name),
        }
        room
    }
}

/// The reducer, every snapshot so far, and what each was when it was taken.
struct Reducer {
    state: State,
    /// Before the next step.
    room: Room,
    snapshots: Vec<(State, Room)>,
}

impl StateMachineTest for Reducer {
    type SystemUnderTest = Self;
    type Reference = Room;

    fn init_test(room: &Room) -> Self {
        Self { state: State::new(), room: room.clone(), snapshots: Vec::new() }
    }

    fn apply(mut reducer: Self, room: &Room, step: Step) -> Self {
        let id = |(who, key): Name| stream_of(who, key).id;
        let actions = match step.clone() {
            Step::Connect(others) => vec![Action::Connecting, joined(&others)],
            Step::Disconnect => vec![Action::Disconnected { reason: DisconnectReason::NetworkError }],
            Step::Join(who) => vec![Action::ParticipantJoined { participant: person(who) }],
            Step::Leave(who) => vec![Action::ParticipantLeft { participant: person(who).id, reason: None }],
            Step::Publish((who, key)) => vec![Action::StreamPublished { stream: stream_of(who, key) }],
            Step::Unpublish(name) => vec![Action::StreamUnpublished { stream: id(name) }],
            Step::Toggle(name, kind, enabled) => {
                vec![Action::TrackToggled { stream: id(name), kind, enabled }]
            }
            Step::Subscribe((who, key)) => vec![Action::SubscriptionStarted {
                subscription: subscription_to(who, key),
                audio_track: Some(TrackId(1)),
                video_track: Some(TrackId(2)),
            }],
            Step::Unsubscribe((who, key)) => {
                vec![Action::SubscriptionEnded { participant: person(who).id, key: key_of(key) }]
            }
        };
        assert_eq!(run(&mut reducer.state, actions), reducer.room.expected(&step));
        reducer.room = room.clone();
        reducer.snapshots.push((reducer.state.clone(), room.clone()));
        reducer
    }

    fn check_invariants(reducer: &Self, room: &Room) {
        assert_eq!(&Room::of(&reducer.state), room);
        for (snapshot, then) in &reducer.snapshots {
            assert_eq!(&Room::of(snapshot), then, "a snapshot changed");
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_the_room(sequential 1..60 => Reducer);
}
