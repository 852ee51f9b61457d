//! Maps the sources that occupy an outgoing stream in turn onto its sequence numbers and timestamps.

use std::time::{Duration, Instant};

use crate::limits::FIRST_SEQUENCE_END;

/// Numbers the packets of one outgoing RTP stream, whichever source occupies it.
///
/// To its receiver the stream never restarts: the first packet of a new occupant has the number after the highest sent,
/// and a later timestamp. Within one occupancy, gaps of the source stay gaps and timestamps keep their distances, so
/// that loss and jitter are seen as they are.
///
/// The caller hands in only packets of the source that is bound; sequence numbers are extended ones (RFC 3711 §3.3.1).
#[derive(Debug, Clone)]
pub struct Rewriter {
    clock_rate: u32,
    first_timestamp: u32,
    /// One above the highest sequence number sent.
    next_sequence: u64,
    newest: Option<Newest>,
    binding: Option<Binding>,
}

impl Rewriter {
    /// Makes a rewriter for a stream on which nothing has been sent.
    ///
    /// * `clock_rate`: timestamp units per second.
    /// * `first_sequence`: of the first packet; below [`FIRST_SEQUENCE_END`], which says why.
    /// * `first_timestamp`: of the first packet; any.
    ///
    /// # Panics
    /// When `first_sequence` is not below [`FIRST_SEQUENCE_END`].
    #[must_use]
    pub fn new(clock_rate: u32, first_sequence: u64, first_timestamp: u32) -> Self {
        assert!(
            first_sequence < FIRST_SEQUENCE_END,
            "first sequence number {first_sequence} is not below {FIRST_SEQUENCE_END}"
        );
        Self { clock_rate, first_timestamp, next_sequence: first_sequence, newest: None, binding: None }
    }

    /// Binds a new occupant, which begins with this packet of its source; returns what the packet gets on the wire.
    ///
    /// Its timestamp is that of the newest packet plus the time since then, at least one unit.
    ///
    /// * `at`: when the packet was captured, on a clock that all occupants share, so that the line from timestamps to times of capture
    ///   goes on; when it is sent, where that is not known. The same for the other methods.
    pub fn bind(&mut self, source_sequence: u64, source_timestamp: u32, at: Instant) -> Mapped {
        let timestamp = self.newest.map_or(self.first_timestamp, |newest| {
            let elapsed = ticks(at.saturating_duration_since(newest.at), self.clock_rate);
            newest.timestamp.wrapping_add(elapsed.max(1))
        });
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        self.newest = Some(Newest { timestamp, at });
        let timestamp_offset = timestamp.wrapping_sub(source_timestamp);
        self.binding = Some(Binding { source_sequence, sequence, timestamp_offset });
        Mapped { sequence, timestamp }
    }

    /// Goes on with another encoding of the occupant from this packet of it on.
    ///
    /// Its timestamp keeps its distance from those before, and is later than all of them by one unit at least. An encoding that counts from
    /// another beginning, as libwebrtc's do, is told by a distance that does not fit the time; its timestamp is that of the newest packet
    /// plus the time since then.
    pub fn switch(&mut self, source_sequence: u64, source_timestamp: u32, at: Instant) -> Mapped {
        let Some((binding, newest)) = self.binding.zip(self.newest) else {
            return self.bind(source_sequence, source_timestamp, at);
        };
        let kept = source_timestamp.wrapping_add(binding.timestamp_offset);
        let expected = match at.checked_duration_since(newest.at) {
            Some(later) => newest.timestamp.wrapping_add(ticks(later, self.clock_rate)),
            None => newest.timestamp.wrapping_sub(ticks(newest.at - at, self.clock_rate)),
        };
        let distance = kept.wrapping_sub(expected).cast_signed().unsigned_abs();
        let is_on_line = u64::from(distance) <= ON_LINE.as_secs() * u64::from(self.clock_rate);
        let next = if is_on_line { kept } else { expected };
        let timestamp =
            if is_after(next, newest.timestamp) { next } else { newest.timestamp.wrapping_add(1) };
        let sequence = self.next_sequence;
        self.next_sequence = sequence.saturating_add(1);
        self.newest = Some(Newest { timestamp, at });
        let timestamp_offset = timestamp.wrapping_sub(source_timestamp);
        self.binding = Some(Binding { source_sequence, sequence, timestamp_offset });
        Mapped { sequence, timestamp }
    }

    /// Maps a later packet of the occupant, which may come late, out of order or again.
    ///
    /// `None`: nothing is bound, or the packet is from before the binding.
    pub fn map(&mut self, source_sequence: u64, source_timestamp: u32, at: Instant) -> Option<Mapped> {
        let binding = self.binding?;
        let sequence = binding.sequence.checked_add(source_sequence.checked_sub(binding.source_sequence)?)?;
        let timestamp = source_timestamp.wrapping_add(binding.timestamp_offset);
        self.next_sequence = self.next_sequence.max(sequence.saturating_add(1));
        if self.newest.is_none_or(|newest| is_after(timestamp, newest.timestamp)) {
            self.newest = Some(Newest { timestamp, at });
        }
        Some(Mapped { sequence, timestamp })
    }

    /// Ends the occupancy: nothing is mapped until the next [`Rewriter::bind`].
    pub const fn unbind(&mut self) {
        self.binding = None;
    }

    /// Returns the highest sequence number sent; none before the first.
    #[must_use]
    pub const fn highest_sequence(&self) -> Option<u64> {
        match self.newest {
            Some(_) => self.next_sequence.checked_sub(1),
            None => None,
        }
    }

    /// Returns whether a source occupies the stream.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.binding.is_some()
    }
}

/// What a packet gets on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// Extended sequence number; its low 16 bits are sent.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
}

/// The latest timestamp, and the time that it stands for.
#[derive(Debug, Clone, Copy)]
struct Newest {
    timestamp: u32,
    at: Instant,
}

/// Where an occupancy began, in both numberings.
#[derive(Debug, Clone, Copy)]
struct Binding {
    source_sequence: u64,
    sequence: u64,
    timestamp_offset: u32,
}

/// Returns whether one timestamp is later than another; they wrap, so the shorter way round counts.
const fn is_after(timestamp: u32, other: u32) -> bool {
    timestamp.wrapping_sub(other).cast_signed() > 0
}

/// Converts a time to timestamp units, at most as many as still count as later.
fn ticks(time: Duration, clock_rate: u32) -> u32 {
    let ticks = time.as_nanos().saturating_mul(u128::from(clock_rate)) / 1_000_000_000;
    ticks.min(MAX_ADVANCE) as u32
}

/// How far two encodings on one line may seem to be apart, where times of capture are not known: as long as packets may be held up on their
/// way. Of beginnings that were drawn, one in 2,400 is as near as that.
const ON_LINE: Duration = Duration::from_secs(10);

/// Half of the timestamp space (6.6 hours at 90 kHz): a longer step would look like one back.
const MAX_ADVANCE: u128 = i32::MAX as u128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_occupant_follows_the_one_before() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(90_000, 100, u32::MAX - 10);
        assert_eq!(rewriter.map(5, 5, start), None);
        assert_eq!(rewriter.bind(7, 1000, start), Mapped { sequence: 100, timestamp: u32::MAX - 10 });
        assert_eq!(rewriter.map(9, 4000, start), Some(Mapped { sequence: 102, timestamp: 2989 }));
        assert_eq!(rewriter.map(8, 1000, start), Some(Mapped { sequence: 101, timestamp: u32::MAX - 10 }));
        assert_eq!(rewriter.map(6, 1000, start), None);

        let later = start + Duration::from_millis(100);
        assert_eq!(rewriter.bind(70_000, 0, later), Mapped { sequence: 103, timestamp: 2989 + 9000 });
        rewriter.unbind();
        assert!(!rewriter.is_bound());
        assert_eq!(rewriter.map(70_001, 0, later), None);
        assert_eq!(rewriter.bind(1, 1, later), Mapped { sequence: 104, timestamp: 2989 + 9001 });
    }

    #[test]
    fn another_encoding_goes_on_at_the_same_distance() {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(90_000, 100, 500);
        rewriter.bind(7, 1000, start);
        rewriter.map(8, 4000, start);
        // The same moment in another encoding, late: it must not step back.
        let late = rewriter.clone().switch(70, 4000, start);
        assert_eq!(late, Mapped { sequence: 102, timestamp: 3501 });
        assert_eq!(rewriter.switch(70, 7000, start), Mapped { sequence: 102, timestamp: 6500 });
        assert_eq!(rewriter.map(71, 10_000, start), Some(Mapped { sequence: 103, timestamp: 9500 }));
        assert_eq!(rewriter.map(9, 7000, start), None);
    }

    #[test]
    fn an_encoding_that_counts_from_elsewhere_is_placed_by_its_time() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        for base in [1_500_000_000_u32, 3_000_000_000, 4_294_000_000] {
            let mut rewriter = Rewriter::new(90_000, 100, 500);
            rewriter.bind(7, 1000, start);
            rewriter.map(8, 4000, start + ms(33));
            let switched = rewriter.switch(70, base, start + ms(133));
            assert_eq!(switched, Mapped { sequence: 102, timestamp: 3500 + 9000 });
            let next = rewriter.map(71, base.wrapping_add(3000), start + ms(166));
            assert_eq!(next, Some(Mapped { sequence: 103, timestamp: 3500 + 12_000 }));
            // Back again, and captured a little before what went last: it must not step back.
            let back = rewriter.switch(12, 16_000, start + ms(160));
            assert_eq!(back, Mapped { sequence: 104, timestamp: 3500 + 12_001 });
        }
    }

    #[test]
    fn a_long_pause_does_not_look_like_a_step_back() {
        for hours in [6, 7, 13, 14, 72] {
            let start = Instant::now();
            let mut rewriter = Rewriter::new(90_000, 0, 0);
            rewriter.bind(0, 0, start);
            let mapped = rewriter.bind(0, 0, start + Duration::from_hours(hours));
            assert!(is_after(mapped.timestamp, 0), "after {hours} hours");
        }
    }
}
