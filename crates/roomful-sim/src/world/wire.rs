//! The numbers of what the server sends, as anybody on the wire sees them: headers are in the clear.

use std::collections::{BTreeMap, BTreeSet};

use roomful_types::{Mid, ParticipantId};

use super::parameters::Parameters;
use crate::LinkConfig;

/// The observer of everything that leaves the server.
#[derive(Debug, Default)]
pub(super) struct Wire(BTreeMap<(usize, Stream), Numbers>);

/// One outgoing stream of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// By its source.
    Real(u32),
    /// By the stay and its section.
    Faked(ParticipantId, Mid),
}

/// The numbers of one stream.
#[derive(Debug, Default)]
struct Numbers {
    first: u64,
    highest: Option<u64>,
    /// The latest ones.
    seen: BTreeSet<u64>,
    count: u64,
}

/// Numbers that are remembered; what is further behind would be taken for one of the next round.
const KEPT: usize = 1 << 14;

impl Wire {
    /// Notes a datagram to a participant.
    pub(super) fn note_datagram(&mut self, node: usize, bytes: &[u8]) {
        // RFC 7983 §7, and RFC 5761 §4 for RTCP.
        if let [128..=191, 0..192 | 224.., s0, s1, _, _, _, _, c0, c1, c2, c3, ..] = *bytes {
            let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
            self.note(node, Stream::Real(ssrc), u16::from_be_bytes([s0, s1]));
        }
    }

    /// Notes a packet to a participant.
    pub(super) fn note(&mut self, node: usize, stream: Stream, number: u16) {
        let numbers = self.0.entry((node, stream)).or_default();
        let extended = match numbers.highest {
            // Room before the first, for those that it has overtaken.
            None => u64::from(number) + (1 << 16),
            Some(highest) => {
                let distance = number.wrapping_sub(highest as u16).cast_signed();
                highest.saturating_add_signed(distance.into())
            }
        };
        assert!(
            numbers.seen.insert(extended),
            "number {number} of {stream:?} is sent to participant {node} twice"
        );
        if numbers.highest.is_none() {
            numbers.first = extended;
        }
        numbers.first = numbers.first.min(extended);
        numbers.highest = numbers.highest.max(Some(extended));
        numbers.count += 1;
        if numbers.seen.len() > KEPT {
            numbers.seen.pop_first();
        }
    }

    /// Checks that the server made no gap where no publisher had any.
    pub(super) fn check_gaps(&self, parameters: &Parameters) {
        let LinkConfig { jitter, loss, burst, reorder, rate, .. } = parameters.link;
        let is_perfect = jitter.is_zero() && loss == 0.0 && burst == 0.0 && reorder == 0.0 && rate.is_none();
        if !is_perfect || parameters.disturbance.is_some() {
            return;
        }
        for ((node, stream), numbers) in &self.0 {
            let expected = numbers.highest.map_or(0, |highest| highest - numbers.first + 1);
            assert_eq!(
                numbers.count, expected,
                "a gap of the server's own in {stream:?} to participant {node}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_none_comes_twice() {
        let mut wire = Wire::default();
        for number in [65_534, 0, 65_535, 1] {
            wire.note(0, Stream::Real(7), number);
        }
        let numbers = &wire.0[&(0, Stream::Real(7))];
        assert_eq!(numbers.highest.map(|highest| highest - numbers.first + 1), Some(numbers.count));
        let twice = std::panic::catch_unwind(move || wire.note(0, Stream::Real(7), 65_535));
        assert!(twice.is_err());
    }
}
