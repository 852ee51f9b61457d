//! The numbers of what the server sends, as anybody on the wire sees them: headers are in the clear.

use std::collections::HashMap;

use roomful_types::{Mid, ParticipantId};

use super::parameters::Parameters;
use crate::LinkConfig;

/// The observer of everything that leaves the server.
#[derive(Debug, Default)]
pub(super) struct Wire(HashMap<(usize, Stream), Numbers>);

/// One outgoing stream of a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stream {
    /// By its source.
    Real(u32),
    /// By the stay and its section.
    Faked(ParticipantId, Mid),
}

/// The numbers of one stream.
#[derive(Debug)]
struct Numbers {
    first: u64,
    highest: u64,
    count: u64,
    /// Which number of each remainder was there last.
    latest: Vec<u64>,
}

/// Numbers that are remembered: what is further behind would be taken for one of the next round.
const KEPT: u64 = 1 << 14;

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
        // Room before the first, for those that it has overtaken.
        let first = u64::from(number) + (1 << 16);
        let numbers = self.0.entry((node, stream)).or_insert_with(|| Numbers {
            first,
            highest: first,
            count: 0,
            latest: vec![0; KEPT as usize],
        });
        let distance = number.wrapping_sub(numbers.highest as u16).cast_signed();
        let extended = numbers.highest.saturating_add_signed(distance.into());
        let latest = &mut numbers.latest[(extended % KEPT) as usize];
        assert_ne!(*latest, extended, "number {number} of {stream:?} is sent to participant {node} twice");
        *latest = extended;
        numbers.first = numbers.first.min(extended);
        numbers.highest = numbers.highest.max(extended);
        numbers.count += 1;
    }

    /// Checks that the server made no gap where no publisher had any.
    pub(super) fn check_gaps(&self, parameters: &Parameters) {
        let LinkConfig { jitter, loss, burst, reorder, rate, .. } = parameters.link;
        let is_perfect = jitter.is_zero() && loss == 0.0 && burst == 0.0 && reorder == 0.0 && rate.is_none();
        if !is_perfect || parameters.disturbance.is_some() {
            return;
        }
        for ((node, stream), numbers) in &self.0 {
            let expected = numbers.highest - numbers.first + 1;
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
        assert_eq!((numbers.highest - numbers.first + 1, numbers.count), (4, 4));
        let twice = std::panic::catch_unwind(move || wire.note(0, Stream::Real(7), 65_535));
        assert!(twice.is_err());
    }
}
