//! One event in a room of a given size, with the snapshot before it held alive.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use roomful_state::{Action, Event, Message, Origin, Participant, State, Stream, apply};
use roomful_types::{MediaKind, ParticipantId, StreamId, StreamKey};

fn id(number: usize) -> [u8; 16] {
    // Spread like random ids, and the same in every run.
    let spread = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    spread.to_be_bytes()
}

fn participant(number: usize) -> Participant {
    Participant {
        id: ParticipantId::from_random(id(number)),
        identity: Some(format!("user-{number}").into()),
        context: None,
        streams: BTreeMap::new(),
        can_receive_messages: true,
        origin: Origin::Remote,
    }
}

fn stream(number: usize) -> Stream {
    Stream {
        id: StreamId::from_random(id(number)),
        key: StreamKey::new("camera").expect("short"),
        participant_id: ParticipantId::from_random(id(number)),
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

/// Everybody but the last has joined, and everybody but the last two publishes.
fn room(size: usize) -> State {
    let mut state = State::new();
    let mut events = Vec::new();
    apply(&mut state, Action::Connecting, &mut events);
    let joined = Action::Joined {
        local: participant(0).id,
        version: 1,
        participants: (0..size - 1).map(participant).collect(),
        streams: (0..size - 2).map(stream).collect(),
    };
    apply(&mut state, joined, &mut events);
    state
}

fn reducer(criterion: &mut Criterion) {
    for size in [10, 100, 1_000, 10_000] {
        let state = room(size);
        let middle = size / 2;
        let actions = [
            ("join", Action::ParticipantJoined { participant: participant(size - 1) }),
            ("publish", Action::StreamPublished { stream: stream(size - 2) }),
            (
                "toggle",
                Action::TrackToggled { stream: stream(middle).id, kind: MediaKind::Audio, enabled: false },
            ),
            (
                "speaker",
                Action::SpeakingChanged {
                    participant: participant(middle).id,
                    stream: Some(stream(middle).id),
                    speaking: true,
                },
            ),
            (
                "message",
                Action::MessageReceived {
                    sender: participant(middle).id,
                    message: Message::text("hello"),
                    recipients: None,
                },
            ),
            ("leave", Action::ParticipantLeft { participant: participant(middle).id, reason: None }),
        ];
        for (name, action) in actions {
            let mut group = criterion.benchmark_group("reducer");
            group.bench_with_input(BenchmarkId::new(name, size), &action, |bencher, action| {
                bencher.iter_batched(
                    || (state.clone(), action.clone(), Vec::<Event>::with_capacity(16)),
                    |(mut state, action, mut events)| {
                        apply(&mut state, action, &mut events);
                        black_box((state, events))
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

criterion_group!(benches, reducer);
criterion_main!(benches);
