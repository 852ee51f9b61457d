//! Which of the latest numbers were there (RFC 3711 §3.3.2).

/// Remembers the latest numbers. Whatever is older than all of them counts as seen.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// One more than the highest number; 0 before the first.
    end: u64,
    /// Whether each of the last [`SIZE`] numbers was there, by the number's remainder.
    seen: [u64; WORDS],
}

/// 1024 numbers: at 2.5 Mbit/s the last four seconds. At least 64 are asked for.
const SIZE: u64 = 1024;
const WORDS: usize = (SIZE / 64) as usize;

impl ReplayWindow {
    /// Makes a window that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { end: 0, seen: [0; WORDS] }
    }

    /// Returns the highest number so far.
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.end.checked_sub(1)
    }

    /// Returns whether a number was not there yet, as far as is known.
    #[must_use]
    pub const fn is_new(&self, number: u64) -> bool {
        if number >= self.end {
            return true;
        }
        let (word, bit) = place(number);
        self.end - number <= SIZE && self.seen[word] & bit == 0
    }

    /// Returns whether a number was there, as far as is known: of what is too old to tell, no.
    #[must_use]
    pub const fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        number < self.end && self.end - number <= SIZE && self.seen[word] & bit != 0
    }

    /// Notes a number.
    pub fn note(&mut self, number: u64) {
        if number >= self.end {
            let skipped = number - self.end;
            if skipped >= SIZE {
                self.seen = [0; WORDS];
            } else {
                for number in self.end..number {
                    let (word, bit) = place(number);
                    self.seen[word] &= !bit;
                }
            }
            self.end = number + 1;
        }
        let (word, bit) = place(number);
        self.seen[word] |= bit;
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self::new()
    }
}

const fn place(number: u64) -> (usize, u64) {
    let remainder = number % SIZE;
    ((remainder / 64) as usize, 1 << (remainder % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_knows_what_a_list_of_everything_knows(
            start in 0..2000_u64,
            steps in prop::collection::vec(prop_oneof![8 => -40..40_i64, 1 => -1500..1500_i64], 1..300),
        ) {
            let (mut window, mut all) = (ReplayWindow::new(), BTreeSet::new());
            let mut number = start;
            for step in steps {
                number = number.saturating_add_signed(step);
                let is_old = all.last().is_some_and(|last| last - number.min(*last) >= SIZE);
                prop_assert_eq!(window.is_new(number), !is_old && !all.contains(&number));
                prop_assert_eq!(window.has(number), !is_old && all.contains(&number));
                if window.is_new(number) {
                    window.note(number);
                    all.insert(number);
                }
                prop_assert_eq!(window.highest(), all.last().copied());
            }
        }
    }
}
