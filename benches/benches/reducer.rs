//! One event in a room of a given size, with the snapshot before it held alive.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod rooms;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use roomful_state::{Action, Event, Message, apply};
use roomful_types::MediaKind;

use rooms::{participant, room, stream};

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
