//! A publisher's clock, as seen from here.

use std::time::{Duration, Instant};

use super::ntp;

/// Maps the times of capture that a publisher reports to the server's clock. One distance between the two clocks serves all media of
/// a publisher, and it changes too slowly for anybody to notice: what was in step stays in step, whichever of it arrived first.
#[derive(Debug, Default)]
pub(super) struct PublisherClock(Option<Distance>);

#[derive(Debug)]
struct Distance {
    /// A time on the publisher's clock, and one on ours.
    theirs: u64,
    ours: Instant,
    /// What is added to ours, to be believed now and in the end. All of these are nanoseconds.
    current: i64,
    target: i64,
    /// The least that a packet of this window was under way, and when the window ends.
    fastest: i64,
    until: Instant,
    moved_at: Instant,
}

/// How long the fastest packet is looked for, by which the distance is known.
const WINDOW: Duration = Duration::from_secs(10);

/// The distance moves by 1/500 of the time that passes, at most: a tenth of a second takes 50.
const SLOWNESS: i64 = 500;

/// Whoever is this far off has set the clock.
const STEP: i64 = 1_000_000_000;

impl PublisherClock {
    /// Returns when something was captured that arrives now; a little in the future while only slower packets were seen.
    ///
    /// * `captured`: on the publisher's clock, as reports write it (RFC 3550 §4).
    pub(super) fn map(&mut self, captured: u64, now: Instant) -> Option<Instant> {
        let distance = self.0.get_or_insert(Distance {
            theirs: captured,
            ours: now,
            current: 0,
            target: 0,
            fastest: 0,
            until: now + WINDOW,
            moved_at: now,
        });
        let since = ntp::nanos_between(distance.theirs, captured);
        distance.move_to(nanos(now.saturating_duration_since(distance.ours)).saturating_sub(since), now);
        let mapped = since.saturating_add(distance.current);
        let far = Duration::from_nanos(mapped.unsigned_abs());
        if mapped < 0 { distance.ours.checked_sub(far) } else { distance.ours.checked_add(far) }
    }
}

impl Distance {
    fn move_to(&mut self, arrived: i64, now: Instant) {
        self.fastest = self.fastest.min(arrived);
        if self.until <= now {
            self.target = self.fastest;
            self.fastest = arrived;
            self.until = now + WINDOW;
        }
        self.target = self.target.min(arrived);
        let most = nanos(now.saturating_duration_since(self.moved_at)) / SLOWNESS;
        self.moved_at = now;
        let gap = self.target.saturating_sub(self.current);
        self.current = if gap.saturating_abs() > STEP {
            self.target
        } else {
            self.current.saturating_add(gap.clamp(-most, most))
        };
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A time of the publisher's, so much later than the one from which its clock counts.
    fn ntp_at(later: Duration) -> u64 {
        ((later.as_nanos() << 32) / 1_000_000_000) as u64
    }

    /// Returns whether two times differ by no more than what 32 bits of fractions leave out.
    fn is_same(one: Instant, other: Instant) -> bool {
        one.max(other) - one.min(other) <= Duration::from_nanos(2)
    }

    #[test]
    fn a_slower_first_packet_puts_nothing_out_of_step() {
        let (mut clock, start, theirs) = (PublisherClock::default(), Instant::now(), ms(77));
        let video = clock.map(ntp_at(theirs), start + ms(100)).expect("mapped");
        let audio = clock.map(ntp_at(theirs + ms(90)), start + ms(101)).expect("mapped");
        assert!((audio - video).abs_diff(ms(90)) < Duration::from_micros(10), "{:?}", audio - video);
    }

    #[test]
    fn the_fastest_packet_counts_in_the_end() {
        let (mut clock, start) = (PublisherClock::default(), Instant::now());
        clock.map(0, start + ms(100));
        let at = |at: u64| (ntp_at(ms(at)), start + ms(at + 5));
        for time in (0..60_000).step_by(20) {
            let (captured, now) = at(time);
            clock.map(captured, now);
        }
        let (captured, now) = at(60_000);
        let mapped = clock.map(captured, now).expect("mapped");
        assert!(is_same(mapped, now), "five milliseconds on the way are not known, a hundred are");
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        for set in [0, 8_000_000] {
            let (mut clock, start) = (PublisherClock::default(), Instant::now());
            clock.map(ntp_at(ms(4_000_000)), start);
            let mut last = None;
            for time in (0..30_000).step_by(500) {
                last = clock.map(ntp_at(ms(set + time)), start + ms(time));
            }
            assert!(is_same(last.expect("mapped"), start + ms(29_500)));
        }
    }

    proptest! {
        #[test]
        fn steps_are_small(delays in proptest::collection::vec(0..900_u64, 2..200)) {
            let (mut clock, start, mut last) = (PublisherClock::default(), Instant::now(), None);
            for (index, delay) in delays.into_iter().enumerate() {
                let captured = 20 * index as u64;
                let mapped = clock.map(ntp_at(ms(captured)), start + ms(captured + delay));
                let distance = mapped.expect("mapped") + ms(1_000_000) - (start + ms(captured));
                if let Some(last) = last {
                    prop_assert!(distance.abs_diff(last) <= ms(4));
                }
                last = Some(distance);
            }
        }

        #[test]
        fn nothing_overflows(times in proptest::collection::vec((any::<u64>(), 0..1_000_000_u64), 1..20)) {
            let (mut clock, mut now) = (PublisherClock::default(), Instant::now());
            for (theirs, passed) in times {
                now += ms(passed);
                let _ = clock.map(theirs, now);
            }
        }
    }
}
