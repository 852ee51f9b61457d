//! How much gets through to a client, once it shows that not everything does: packets wait in a queue on their way that does not drain (as
//! RFC 8289 §3 tells a good queue from a bad one), or are lost behind one.
//!
//! What is sent is media of which every rate was chosen by somebody else, so nothing is gained by a rate that follows each breath of the
//! network. There is no limit until there is a reason for one; what got through then is the measure, and it grows again until the next
//! reason. Decision 0012 says why.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use roomful_types::Bitrate;

/// What the arrivals at one client say of the way there.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    /// How long the first packet was on its way, by two clocks that are not set: others are measured against it.
    zero: Option<u32>,
    base: Base,
    interval: Interval,
    /// How long packets waited at least in the latest intervals, the newest last: one fewer than a streak, so that a longer route is none.
    waited: [i32; STREAK - 1],
    /// Intervals in a row that were congested.
    streak: usize,
    limit: Option<f64>,
    cuts: Option<Cuts>,
}

/// What arrived, and what did not, since it began.
#[derive(Debug, Default)]
struct Interval {
    began: Option<Instant>,
    arrived: u32,
    missing: u32,
    bytes: u64,
    /// When the first and the last arrived, by the client's clock in microseconds.
    span: Option<(u32, u32)>,
    shortest: Option<i32>,
}

/// The shortest way of this span and of the one before: clocks drift, and routes change.
#[derive(Debug, Default)]
struct Base {
    current: Option<i32>,
    earlier: Option<i32>,
    ends: Option<Instant>,
}

/// What earlier limits teach.
#[derive(Debug)]
struct Cuts {
    latest: Instant,
    /// Until when the queue may need to drain, and how long it was; none once it was seen whether it did.
    settled: Instant,
    waited: Option<i32>,
    /// By which part of itself a limit grows in a second.
    growth: f64,
    /// When it grows faster again.
    eased: Instant,
}

/// How long packets are watched before they are judged, and how many there are to be; after a while, fewer will do.
const INTERVAL: Duration = Duration::from_millis(400);
const PACKETS_MIN: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(1);

/// Who sends so little, in bits per second, sends sound. That is not what fills a queue, and says nothing of what gets through.
const LITTLE: f64 = 100e3;

/// Congested intervals in a row that make a limit: what a machine that is busy for a moment causes is over by then, and an outage is one.
const STREAK: usize = 3;

/// The shortest way is known of this long at least, and twice as long at most.
const SPAN: Duration = Duration::from_secs(10);

/// A queue in which everything waits so long, in microseconds, is too long if it still grows, by so much over two, or is full.
const WAIT: i32 = 100_000;
const GROWS: i32 = 10_000;
/// A shorter queue is too short when more than this is lost behind it.
const WAIT_OF_SHORT_QUEUE: i32 = 30_000;

/// Shares of packets lost: behind a long queue, behind a short one, and without any.
const LOST_BEHIND_LONG: f64 = 0.02;
const LOST_BEHIND_SHORT: f64 = 0.1;
const LOST_IN_ANY_CASE: f64 = 0.4;

/// A limit is this part of what got through: the rest lets the queue drain.
const SHARE: f64 = 0.85;

/// How long the queue may need to drain, beside its own length, and together at most: until then nothing new is known.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_MAX: Duration = Duration::from_secs(3);

/// Growth of a limit per second: fast at first, half as fast after every failure, twice as fast after every quiet minute. To the fastest
/// comes a step, in bits per second: a part of very little is nothing.
const GROWTH_MAX: f64 = 0.2;
const GROWTH_MIN: f64 = 0.01;
const GROWTH_STEP: f64 = 25e3;
const QUIET: Duration = Duration::from_secs(60);

/// Limits below are of no use for any media, and above they are none.
const LIMIT_MIN: f64 = 32e3;
const LIMIT_MAX: f64 = 100e6;

impl Congestion {
    /// Notes that a packet arrived.
    ///
    /// * `left`, `arrived`: when, each by a clock of its own, in microseconds that may wrap.
    pub(super) fn on_arrival(&mut self, left: u32, arrived: u32, bytes: u16) {
        let way = arrived.wrapping_sub(left);
        let way = way.wrapping_sub(*self.zero.get_or_insert(way)).cast_signed();
        let interval = &mut self.interval;
        interval.arrived += 1;
        interval.bytes += u64::from(bytes);
        interval.shortest = Some(interval.shortest.map_or(way, |shortest| shortest.min(way)));
        let (first, last) = interval.span.unwrap_or((arrived, arrived));
        let is_later = |one: u32, other: u32| one.wrapping_sub(other).cast_signed() > 0;
        let first = if is_later(first, arrived) { arrived } else { first };
        interval.span = Some((first, if is_later(arrived, last) { arrived } else { last }));
    }

    /// Notes that a packet did not arrive, as far as the client knows.
    pub(super) const fn on_missing(&mut self) {
        self.interval.missing += 1;
    }

    /// A packet that was missing has arrived after all.
    pub(super) const fn on_found(&mut self) {
        self.interval.missing = self.interval.missing.saturating_sub(1);
    }

    /// Judges what came of late: once a report was noted, or while nothing is sent that could be reported.
    pub(super) fn judge(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(*self.interval.began.get_or_insert(now));
        let is_few = self.interval.arrived + self.interval.missing < PACKETS_MIN;
        if passed < INTERVAL || (is_few && passed < PATIENCE) {
            return;
        }
        let interval = std::mem::take(&mut self.interval);
        self.interval.began = Some(now);
        let mut waits = interval.shortest.map_or(0, |shortest| self.base.wait(shortest, now));
        let lost = interval.lost();
        if let Some(cuts) = &mut self.cuts {
            if now < cuts.settled {
                self.streak = 0;
                return;
            }
            let is_as_before = |before: i32| waits > WAIT && waits > before / 10 * 9;
            if cuts.waited.take().is_some_and(is_as_before) && lost < LOST_BEHIND_SHORT {
                // Sending less did not help: the way is longer than it was, or the queue is somebody else's.
                self.base.begin_anew();
                waits = 0;
            }
        }
        let [oldest, ..] = self.waited;
        self.waited.rotate_left(1);
        self.waited[STREAK - 2] = waits;
        let is_long = waits > WAIT && (waits > oldest.saturating_add(GROWS) || lost > LOST_BEHIND_LONG);
        let is_short = waits > WAIT_OF_SHORT_QUEUE && lost > LOST_BEHIND_SHORT;
        let is_congested = is_long || is_short || (lost > LOST_IN_ANY_CASE && !is_few);
        if is_congested && interval.sent(passed) > LITTLE {
            self.streak += 1;
            if self.streak >= STREAK {
                self.streak = 0;
                self.cut(interval.came(), waits, now);
            }
        } else {
            self.streak = 0;
            if waits < WAIT {
                self.grow(passed, now);
            }
        }
    }

    /// Returns how much gets through; none while nothing says that not everything does.
    pub(super) fn limit(&self) -> Option<Bitrate> {
        self.limit.map(|limit| Bitrate::from_bps(limit as u64))
    }

    /// * `rate`: what arrived, in bits per second.
    /// * `waits`: how long packets waited at least, in microseconds.
    fn cut(&mut self, rate: f64, waits: i32, now: Instant) {
        let limit = (SHARE * rate).max(LIMIT_MIN);
        self.limit = Some(self.limit.map_or(limit, |before| before.min(limit)));
        let growth = match &self.cuts {
            Some(cuts) if now < cuts.latest + QUIET => (cuts.growth / 2.0).max(GROWTH_MIN),
            Some(cuts) => cuts.growth,
            None => GROWTH_MAX,
        };
        let drains = SETTLE + Duration::from_micros(waits.max(0).unsigned_abs().into());
        let settled = now + drains.min(SETTLE_MAX);
        self.cuts = Some(Cuts { latest: now, settled, waited: Some(waits), growth, eased: now + QUIET });
    }

    fn grow(&mut self, passed: Duration, now: Instant) {
        let (Some(limit), Some(cuts)) = (self.limit, &mut self.cuts) else { return };
        if now >= cuts.eased {
            cuts.eased = now + QUIET;
            cuts.growth = (cuts.growth * 2.0).min(GROWTH_MAX);
        }
        let step = GROWTH_STEP * cuts.growth / GROWTH_MAX;
        let grown = limit + (limit * cuts.growth + step) * passed.min(2 * PATIENCE).as_secs_f64();
        self.limit = Some(grown).filter(|grown| *grown < LIMIT_MAX);
    }
}

impl Interval {
    fn lost(&self) -> f64 {
        f64::from(self.missing) / f64::from(self.missing.saturating_add(self.arrived)).max(1.0)
    }

    /// Returns the bits per second that arrived; 0 without two that did at different times.
    fn came(&self) -> f64 {
        let Some((first, last)) = self.span.filter(|(first, last)| first != last) else { return 0.0 };
        // The time of the first one was before.
        let bytes = self.bytes as f64 * (1.0 - 1.0 / f64::from(self.arrived));
        bytes * 8e6 / f64::from(last.wrapping_sub(first))
    }

    /// Returns the bits per second that were sent, in so much time.
    fn sent(&self, passed: Duration) -> f64 {
        self.bytes as f64 * 8.0 / (1.0 - self.lost()).max(f64::MIN_POSITIVE) / passed.as_secs_f64()
    }
}

impl Base {
    /// Returns by how much a way is longer than the shortest, it included.
    fn wait(&mut self, way: i32, now: Instant) -> i32 {
        let ends = *self.ends.get_or_insert(now + SPAN);
        if now >= ends {
            let latest = self.current.take();
            self.earlier = latest.filter(|_| now < ends + SPAN);
            self.ends = Some(now + SPAN);
        }
        let current = self.current.map_or(way, |shortest| shortest.min(way));
        self.current = Some(current);
        way.wrapping_sub(self.earlier.map_or(current, |earlier| earlier.min(current)))
    }

    fn begin_anew(&mut self) {
        *self = Self::default();
    }
}
