//! How much gets through to a client, once it shows that not everything does: packets wait in a queue on their way that does not drain, or are
//! lost behind one.
//!
//! What is sent is media of which every rate was chosen by somebody else, so nothing is gained by a rate that follows each breath of the
//! network. There is no limit until there is a reason for one; what got through then is the measure, and it grows again until the next
//! reason. Decision 0012 says why.

use std::time::{Duration, Instant};

use roomful_types::Bitrate;

/// What the arrivals at one client say of the way there.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    /// How long the first packet was on its way, by two clocks that are not set: others are measured against it.
    zero: Option<u32>,
    /// The shortest way of this span and of the one before, and when this one ends: clocks drift, and routes change.
    shortest: Shortest,
    span_ends: Option<Instant>,
    interval: Interval,
    /// How long packets waited at least in the interval before.
    waited: i32,
    /// Intervals in a row that were congested.
    streak: u32,
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

#[derive(Debug, Default)]
struct Shortest {
    now: Option<i32>,
    before: Option<i32>,
}

/// What earlier limits teach.
#[derive(Debug)]
struct Cuts {
    latest: Instant,
    /// Until when the queue may need to drain.
    settled: Instant,
    /// By which part of itself a limit grows in a second.
    growth: f64,
    /// When it grows faster again.
    eased: Instant,
}

/// How long arrivals are gathered before they are judged, and how many there are to be.
const INTERVAL: Duration = Duration::from_millis(400);
const ARRIVALS_MIN: u32 = 10;

/// Congested intervals in a row that make a limit: what a machine that is busy for a moment causes is over by then, and an outage is one.
const STREAK: u32 = 3;

/// The shortest way is known of this long at least.
const SPAN: Duration = Duration::from_secs(10);

/// A queue in which everything waits so long, in microseconds, is too long if it still grows, by so much per interval, or is full.
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

/// How long the queue may need to drain, beside its own length: until then nothing new is known.
const SETTLE: Duration = Duration::from_secs(1);

/// Growth of a limit per second: fast at first, half as fast after every failure, twice as fast after every quiet minute.
const GROWTH_MAX: f64 = 0.2;
const GROWTH_MIN: f64 = 0.01;
const QUIET: Duration = Duration::from_secs(60);

/// Limits below are of no use for any media, and above they are none.
const LIMIT_MIN: f64 = 32e3;
const LIMIT_MAX: f64 = 1e9;

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
        interval.span = Some((
            if is_later(first, arrived) { arrived } else { first },
            if is_later(arrived, last) { arrived } else { last },
        ));
    }

    /// Notes that a packet did not arrive, as far as the client knows.
    pub(super) const fn on_missing(&mut self) {
        self.interval.missing += 1;
    }

    /// A packet that was missing has arrived after all.
    pub(super) const fn on_found(&mut self) {
        self.interval.missing = self.interval.missing.saturating_sub(1);
    }

    /// Judges what came of late, once a report was noted.
    pub(super) fn judge(&mut self, now: Instant) {
        let began = *self.interval.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed < INTERVAL || self.interval.arrived < ARRIVALS_MIN {
            return;
        }
        let interval = std::mem::take(&mut self.interval);
        self.interval.began = Some(now);
        let Some(shortest) = interval.shortest else { return };
        self.note_shortest(shortest, now);
        let base = self.shortest.before.map_or(shortest, |before| before.min(shortest));
        let base = self.shortest.now.map_or(base, |now| now.min(base));
        let (waits, lost) = (shortest.wrapping_sub(base), interval.lost());
        let is_long = waits > WAIT && (waits > self.waited.saturating_add(GROWS) || lost > LOST_BEHIND_LONG);
        let is_short = waits > WAIT_OF_SHORT_QUEUE && lost > LOST_BEHIND_SHORT;
        self.waited = waits;
        if self.cuts.as_ref().is_some_and(|cuts| now < cuts.settled) {
            self.streak = 0;
        } else if is_long || is_short || lost > LOST_IN_ANY_CASE {
            self.streak += 1;
            if self.streak >= STREAK
                && let Some(rate) = interval.rate()
            {
                self.streak = 0;
                self.cut(rate, waits, now);
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

    /// Forgets the way that packets took so far. A limit that was told is lifted.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { limit: self.limit.map(|_| LIMIT_MAX), ..Self::default() };
    }

    fn note_shortest(&mut self, way: i32, now: Instant) {
        if now >= *self.span_ends.get_or_insert(now + SPAN) {
            self.span_ends = Some(now + SPAN);
            self.shortest.before = self.shortest.now.take();
        }
        self.shortest.now = Some(self.shortest.now.map_or(way, |shortest| shortest.min(way)));
    }

    fn cut(&mut self, rate: f64, waits: i32, now: Instant) {
        let limit = (SHARE * rate).max(LIMIT_MIN);
        self.limit = Some(self.limit.map_or(limit, |before| before.min(limit)));
        let growth = match &self.cuts {
            Some(cuts) if now < cuts.latest + QUIET => (cuts.growth / 2.0).max(GROWTH_MIN),
            Some(cuts) => cuts.growth,
            None => GROWTH_MAX,
        };
        let settled = now + SETTLE + Duration::from_micros(waits.max(0).unsigned_abs().into());
        self.cuts = Some(Cuts { latest: now, settled, growth, eased: now + QUIET });
    }

    fn grow(&mut self, passed: Duration, now: Instant) {
        let (Some(limit), Some(cuts)) = (&mut self.limit, &mut self.cuts) else { return };
        if now >= cuts.eased {
            cuts.eased = now + QUIET;
            cuts.growth = (cuts.growth * 2.0).min(GROWTH_MAX);
        }
        *limit = (*limit * (1.0 + cuts.growth * passed.as_secs_f64().min(1.0))).min(LIMIT_MAX);
    }
}

impl Interval {
    fn lost(&self) -> f64 {
        f64::from(self.missing) / f64::from(self.missing + self.arrived).max(1.0)
    }

    /// Returns the bits per second that arrived; none when all did at one time.
    fn rate(&self) -> Option<f64> {
        let (first, last) = self.span?;
        let passed = last.wrapping_sub(first);
        (passed > 0).then(|| self.bytes as f64 * 8e6 / f64::from(passed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    /// A way to a client, of one rate, with a queue before it.
    #[derive(Debug, Clone, Copy)]
    struct Way {
        kbps: u64,
        /// How long a packet may wait.
        queue: Duration,
        delay: Duration,
        jitter: Duration,
        loss: f64,
        /// How much faster the client's clock goes, in millionths.
        drift: f64,
    }

    const WIDE: Way = Way {
        kbps: 1_000_000,
        queue: Duration::from_secs(1),
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        drift: 0.0,
    };
    const PACKET: u16 = 1200;

    /// What was sent and judged, on virtual time.
    struct Scene {
        congestion: Congestion,
        way: Way,
        random: SmallRng,
        start: Instant,
        /// Microseconds since then, at which the clock of the server wraps soon.
        at: u64,
        free_at: u64,
        /// What is to be told in the next report.
        reported: Vec<(u32, Option<u32>)>,
    }

    impl Scene {
        fn new(way: Way, seed: u64) -> Self {
            Self {
                congestion: Congestion::default(),
                way,
                random: SmallRng::seed_from_u64(seed),
                start: Instant::now(),
                at: u64::from(u32::MAX) - 5_000_000,
                free_at: 0,
                reported: Vec::new(),
            }
        }

        /// Sends at a rate for so many seconds, a frame every 33 ms; a report comes every 100 ms. Returns the least limit that there was.
        fn send(&mut self, kbps: u64, seconds: f64) -> Option<u64> {
            let (end, mut debt, mut least) = (self.at + (seconds * 1e6) as u64, 0.0, None::<u64>);
            let mut frames = 0;
            while self.at < end {
                self.at += 33_333;
                debt += kbps as f64 * 1e3 / 30.0;
                while debt > 0.0 {
                    debt -= f64::from(PACKET) * 8.0;
                    self.packet();
                }
                frames += 1;
                if frames % 3 == 0 {
                    for (left, arrived) in self.reported.drain(..) {
                        match arrived {
                            Some(arrived) => self.congestion.on_arrival(left, arrived, PACKET),
                            None => self.congestion.on_missing(),
                        }
                    }
                    self.congestion.judge(self.start + Duration::from_micros(self.at));
                    let limit = self.congestion.limit().map(|limit| limit.as_bps() / 1000);
                    least = least.into_iter().chain(limit).min();
                }
            }
            least
        }

        fn packet(&mut self) {
            let Way { kbps, queue, delay, jitter, loss, drift } = self.way;
            let begins = self.free_at.max(self.at);
            let is_lost = self.random.random_bool(loss) || begins - self.at > queue.as_micros() as u64;
            if is_lost {
                return self.reported.push((self.at as u32, None));
            }
            self.free_at = begins + u64::from(PACKET) * 8000 / kbps;
            let jitter = self.random.random_range(0..=jitter.as_micros() as u64);
            let arrived = (self.free_at + delay.as_micros() as u64 + jitter) as f64 * (1.0 + drift / 1e6);
            // Another clock, which tells quarters of a millisecond.
            let arrived = (arrived as u64 + 77_777_777) / 250 * 250;
            self.reported.push((self.at as u32, Some(arrived as u32)));
        }
    }

    proptest! {
        #[test]
        fn there_is_no_limit_where_everything_gets_through(
            kbps in 60..4000_u64,
            jitter in 0..60_u64,
            loss in 0.0..0.2,
            drift in -200.0..200.0,
            seed: u64,
        ) {
            let way = Way { kbps: kbps * 5 / 4 + 400, jitter: Duration::from_millis(jitter), loss, drift, ..WIDE };
            prop_assert_eq!(Scene::new(way, seed).send(kbps, 60.0), None);
        }

        #[test]
        fn what_gets_through_is_found_within_seconds(
            kbps in 300..2000_u64,
            excess in 1.4..5.0,
            queue in 100..1500_u64,
            jitter in 0..30_u64,
            loss in 0.0..0.05,
            seed: u64,
        ) {
            let (queue, jitter) = (Duration::from_millis(queue), Duration::from_millis(jitter));
            let mut scene = Scene::new(Way { kbps, queue, jitter, loss, drift: 50.0, ..WIDE }, seed);
            let limit = scene.send((kbps as f64 * excess) as u64, 4.0);
            prop_assert!(limit.is_some_and(|limit| limit <= kbps && limit * 2 >= kbps), "{:?}", limit);
        }
    }

    #[test]
    fn an_outage_and_a_longer_route_are_no_reason_for_a_limit() {
        let mut scene = Scene::new(WIDE, 1);
        assert_eq!(scene.send(1000, 20.0), None);
        scene.way.loss = 1.0;
        assert_eq!(scene.send(1000, 3.0), None);
        scene.way.loss = 0.0;
        assert_eq!(scene.send(1000, 20.0), None);
        scene.way.delay = Duration::from_millis(300);
        assert_eq!(scene.send(1000, 60.0), None);
    }

    #[test]
    fn a_limit_grows_again_and_more_slowly_after_every_failure() {
        let narrow = Way { kbps: 1000, queue: Duration::from_millis(200), ..WIDE };
        let mut scene = Scene::new(narrow, 1);
        let mut waits = Vec::new();
        for _ in 0..4 {
            scene.send(2000, 4.0);
            let begin = scene.at;
            while scene.congestion.limit().expect("limited").as_bps() < 2_200_000 {
                scene.send(500, 0.5);
            }
            waits.push((scene.at - begin) / 1_000_000);
        }
        assert!(waits[0] <= 8 && waits.is_sorted() && waits[3] >= 3 * waits[0], "{waits:?} s");
        scene.way = WIDE;
        scene.congestion.begin_anew();
        assert!(scene.send(2000, 10.0).is_some_and(|least| least >= 900_000), "another way has no limit");
    }

    #[test]
    fn what_a_client_makes_up_does_no_harm() {
        let (mut congestion, mut random, start) =
            (Congestion::default(), SmallRng::seed_from_u64(1), Instant::now());
        for step in 0..10_000 {
            match random.random_range(0..9) {
                0 => congestion.on_missing(),
                1 => congestion.on_found(),
                2 => congestion.judge(start + Duration::from_millis(step * 20)),
                _ => congestion.on_arrival(random.random(), random.random(), random.random()),
            }
        }
        assert!(congestion.limit().is_none_or(|limit| limit.as_bps() >= LIMIT_MIN as u64));
    }
}
