//! What is to come, in the order of its time; what comes at the same time, in the order in which it was put.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Instant,
};

/// A queue of what is to come.
#[derive(Debug)]
pub struct Timeline<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    put: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    what: T,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), put: 0 }
    }
}

impl<T> Timeline<T> {
    /// Puts something that comes at this time.
    pub fn put(&mut self, at: Instant, what: T) {
        self.put += 1;
        self.entries.push(Reverse(Entry { at, number: self.put, what }));
    }

    /// Returns when the next thing comes.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the next thing that has come by now.
    pub fn take_due(&mut self, now: Instant) -> Option<T> {
        self.next_at().filter(|at| *at <= now)?;
        self.entries.pop().map(|Reverse(entry)| entry.what)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
