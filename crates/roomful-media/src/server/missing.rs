//! Which packets of a stream are asked for again, and when (RFC 4585 §6.2.1).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Packets of one stream that did not come.
#[derive(Debug, Default)]
pub(super) struct Missing {
    wishes: BTreeMap<u64, Wish>,
    /// Not later than the first wish.
    next_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    next_at: Instant,
    tries: u32,
}

/// How long a packet may be overtaken before it counts as missing.
const PATIENCE: Duration = Duration::from_millis(10);

/// How often one packet is asked for, and how long apart at least. The last one comes about a second after the loss: what is later
/// than that, no receiver waits for.
const TRIES: u32 = 8;
const RETRY: Duration = Duration::from_millis(60);

/// Packets asked for at once per stream. A longer gap is not repaired: nothing of it would be in time, and a key frame is asked for anyway.
const MISSING_MAX: usize = 256;

impl Missing {
    /// Notes that nothing came between two packets that did.
    pub(super) fn note_gap(&mut self, after: u64, before: u64, now: Instant) {
        let first = after + 1;
        if before - first > MISSING_MAX as u64 {
            self.wishes.clear();
            self.next_at = None;
            return;
        }
        let next_at = now + PATIENCE;
        self.wishes.extend((first..before).map(|number| (number, Wish { next_at, tries: 0 })));
        while self.wishes.len() > MISSING_MAX {
            self.wishes.pop_first();
        }
        if !self.wishes.is_empty() {
            self.next_at = Some(self.next_at.map_or(next_at, |earlier| earlier.min(next_at)));
        }
    }

    /// Notes that a packet came after all.
    pub(super) fn arrived(&mut self, number: u64) {
        self.wishes.remove(&number);
    }

    /// Returns what is to be asked for now, in order.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<u64> {
        let mut due = Vec::new();
        if self.next_at.is_none_or(|at| at > now) {
            return due;
        }
        self.wishes.retain(|number, wish| {
            if wish.next_at > now {
                return true;
            }
            due.push(*number);
            wish.tries += 1;
            // Later each time, for paths that are longer than the first pause.
            wish.next_at = now + RETRY * wish.tries;
            wish.tries < TRIES
        });
        self.next_at = self.wishes.values().map(|wish| wish.next_at).min();
        due
    }

    /// Returns when to look for something to ask for next.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_is_asked_for_a_few_times_and_then_given_up() {
        let start = Instant::now();
        let mut missing = Missing::default();
        missing.note_gap(10, 13, start);
        assert_eq!(missing.take_due(start + Duration::from_millis(9)), []);
        missing.arrived(11);
        let mut asked = 0;
        let mut now = start;
        while let Some(at) = missing.deadline() {
            now = at;
            assert_eq!(missing.take_due(now), [12]);
            asked += 1;
        }
        assert_eq!(asked, TRIES);
        assert!(now - start < Duration::from_secs(2));
    }

    #[test]
    fn a_long_gap_is_given_up_and_of_many_short_ones_the_oldest() {
        let now = Instant::now();
        let mut missing = Missing::default();
        missing.note_gap(0, 10, now);
        missing.note_gap(10, 1_000_000, now);
        assert_eq!((missing.take_due(now + PATIENCE), missing.deadline()), (vec![], None));
        for first in (1_000_000..1_001_000).step_by(10) {
            missing.note_gap(first, first + 10, now);
        }
        let due = missing.take_due(now + PATIENCE);
        assert_eq!((due.len(), due.last()), (MISSING_MAX, Some(&1_000_999)));
    }
}
