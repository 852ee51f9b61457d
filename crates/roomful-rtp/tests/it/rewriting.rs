//! Laws of [`Rewriter`]: to its receiver, the outgoing stream is one source.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use roomful_rtp::Rewriter;

/// What happens to one outgoing stream.
#[derive(Debug, Clone)]
enum Step {
    Bind {
        sequence: u64,
        timestamp: u32,
    },
    /// A packet this many numbers after the binding, early or late.
    Map {
        offset: u64,
    },
    Unbind,
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..1_u64 << 40, any::<u32>()).prop_map(|(sequence, timestamp)| Step::Bind { sequence, timestamp }),
        20 => (0..100_u64).prop_map(|offset| Step::Map { offset }),
        1 => Just(Step::Unbind),
        10 => (0..5000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Timestamp of the source packet that is `offset` after the binding, three packets to a frame.
fn timestamp_at(first: u32, offset: u64) -> u32 {
    first.wrapping_add(offset as u32 / 3 * 3000)
}

proptest! {
    #[test]
    fn the_outgoing_stream_never_restarts(
        steps in proptest::collection::vec(step(), 1..200),
        first_sequence in 0..1_u64 << 15,
        first_timestamp: u32,
    ) {
        let mut rewriter = Rewriter::new(90_000, first_sequence, first_timestamp);
        let mut now = Instant::now();
        let mut source: Option<(u64, u32)> = None;
        let mut start = (first_sequence, first_timestamp); // of the occupancy, on the wire
        let mut highest: Option<u64> = None;
        let mut newest: Option<(u32, Instant)> = None;
        for step in steps {
            match step {
                Step::Bind { sequence, timestamp } => {
                    let mapped = rewriter.bind(sequence, timestamp, now);
                    prop_assert_eq!(mapped.sequence, highest.map_or(first_sequence, |highest| highest + 1));
                    match newest {
                        None => prop_assert_eq!(mapped.timestamp, first_timestamp),
                        Some((newest, at)) => {
                            let elapsed = (now - at).as_millis() as u32 * 90;
                            prop_assert_eq!(mapped.timestamp.wrapping_sub(newest), elapsed.max(1));
                        }
                    }
                    source = Some((sequence, timestamp));
                    start = (mapped.sequence, mapped.timestamp);
                    highest = Some(mapped.sequence);
                    newest = Some((mapped.timestamp, now));
                }
                Step::Map { offset } => {
                    let (sequence, timestamp) = source.unwrap_or((1000, 0));
                    let mapped = rewriter.map(sequence + offset, timestamp_at(timestamp, offset), now);
                    prop_assert_eq!(mapped.is_some(), source.is_some());
                    let Some(mapped) = mapped else { continue };
                    prop_assert_eq!(mapped.sequence - start.0, offset);
                    prop_assert_eq!(mapped.timestamp, timestamp_at(start.1, offset));
                    highest = highest.max(Some(mapped.sequence));
                    if newest.is_some_and(|(newest, _)| mapped.timestamp.wrapping_sub(newest) as i32 > 0) {
                        newest = Some((mapped.timestamp, now));
                    }
                    if let Some(before) = sequence.checked_sub(1) {
                        prop_assert_eq!(rewriter.map(before, timestamp, now), None);
                    }
                }
                Step::Unbind => {
                    rewriter.unbind();
                    source = None;
                }
                Step::Wait { ms } => now += Duration::from_millis(ms),
            }
            prop_assert_eq!(rewriter.is_bound(), source.is_some());
        }
    }

    #[test]
    fn sources_without_gaps_make_a_stream_without_gaps(
        occupants in proptest::collection::vec((0..1_u64 << 40, 1..50_u64), 1..20),
    ) {
        let mut rewriter = Rewriter::new(48_000, 9, 0);
        let now = Instant::now();
        let mut sent = BTreeSet::new();
        for (first, count) in &occupants {
            sent.insert(rewriter.bind(*first, 0, now).sequence);
            let late = (1..*count).rev().filter_map(|offset| rewriter.map(first + offset, 0, now));
            sent.extend(late.map(|mapped| mapped.sequence));
        }
        let total: u64 = occupants.iter().map(|(_, count)| count).sum();
        prop_assert!(sent.into_iter().eq(9..9 + total));
    }

    #[test]
    fn no_packets_make_it_panic(packets: Vec<(bool, u64, u32)>) {
        let mut rewriter = Rewriter::new(u32::MAX, 0, 0);
        let now = Instant::now();
        for (is_bind, sequence, timestamp) in packets {
            if is_bind {
                rewriter.bind(sequence, timestamp, now);
            } else {
                let _ = rewriter.map(sequence, timestamp, now);
            }
        }
    }
}
