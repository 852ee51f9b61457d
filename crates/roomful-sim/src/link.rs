//! One direction of an emulated network path: delay, loss, order, rate and outages, as a small machine.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_types::Bitrate;

/// How a link treats datagrams. The default is a perfect one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConfig {
    /// How long a datagram is on its way, at least. Default 0.
    pub delay: Duration,
    /// What may be added to that, drawn evenly. Default 0. Order is kept unless [`reorder`](Self::reorder) says otherwise.
    pub jitter: Duration,
    /// Share of datagrams that are lost each by itself, 0 ..= 1. Default 0.
    pub loss: f64,
    /// Probability that a datagram begins a burst in which everything is lost, 0 ..= 1. Default 0.
    pub burst: f64,
    /// How many datagrams a burst loses on average, from 1 on. Default 1.
    pub burst_length: f64,
    /// Share of datagrams that arrive twice, 0 ..= 1. Default 0.
    pub duplicate: f64,
    /// Share of datagrams that may be overtaken by those behind them, 0 ..= 1. Default 0.
    pub reorder: f64,
    /// Most that gets through; what is above it waits in the queue. Default unlimited.
    pub rate: Option<Bitrate>,
    /// How long a datagram may wait in the queue; the rest is lost. Default 200 ms, a common router's.
    pub queue: Duration,
    /// Whether nothing gets through. Default no.
    pub is_down: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 0.0,
            burst_length: 1.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
            queue: Duration::from_millis(200),
            is_down: false,
        }
    }
}

impl LinkConfig {
    /// Makes a link that is only as slow as this.
    #[must_use]
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// One direction of a path.
#[derive(Debug, Clone)]
pub struct Link {
    config: LinkConfig,
    seed: u64,
    /// The chances of the datagram at hand.
    random: SmallRng,
    start: Option<Instant>,
    /// When the latest datagram was sent, in milliseconds, and how many before it were at that time.
    latest: (u64, u64),
    /// When the last datagram has left the queue.
    free_at: Option<Instant>,
    /// When the latest datagram that keeps its order arrives.
    newest: Option<Instant>,
    is_in_burst: bool,
}

impl Link {
    /// Makes a link whose chances come from the seed.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            seed,
            random: SmallRng::seed_from_u64(seed),
            start: None,
            latest: (0, 0),
            free_at: None,
            newest: None,
            is_in_burst: false,
        }
    }

    /// Returns how it treats datagrams.
    #[must_use]
    pub const fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Treats datagrams otherwise from now on; those under way are not concerned.
    pub const fn configure(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Takes a datagram of this many bytes. Returns when it arrives, and when a second copy of it does.
    pub fn send(&mut self, bytes: usize, now: Instant) -> [Option<Instant>; 2] {
        self.draw_anew(now);
        if self.is_lost() {
            return [None, None];
        }
        let Some(left_at) = self.leave(bytes, now) else { return [None, None] };
        let first = self.arrive(left_at);
        let second = self.chance(self.config.duplicate).then(|| self.arrive(left_at));
        [Some(first), second]
    }

    /// Makes chances depend on when a datagram is sent, not on how many were sent before: so one more or less, which keys of the
    /// operating system may cause, changes little of what follows.
    fn draw_anew(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let at = now.saturating_duration_since(start).as_millis() as u64;
        let number = if self.latest.0 == at { self.latest.1 + 1 } else { 0 };
        self.latest = (at, number);
        // Spread by the golden ratio: neighbours in time get seeds that are far apart.
        let moment = at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        self.random = SmallRng::seed_from_u64(self.seed ^ moment);
    }

    /// Passes the queue in front of a link of limited rate; none when the queue is full.
    fn leave(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = self.config.rate else { return Some(now) };
        let begins = self.free_at.map_or(now, |at| at.max(now));
        if begins - now > self.config.queue {
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / rate.as_bps().max(1) as f64);
        self.free_at = Some(begins + takes);
        self.free_at
    }

    fn arrive(&mut self, left_at: Instant) -> Instant {
        let jitter = match self.config.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(self.random.random_range(0.0..=1.0)),
        };
        let at = left_at + self.config.delay + jitter;
        if self.chance(self.config.reorder) {
            return at + self.config.delay.mul_f64(0.5) + Duration::from_millis(1);
        }
        let at = self.newest.map_or(at, |newest| newest.max(at));
        self.newest = Some(at);
        at
    }

    fn is_lost(&mut self) -> bool {
        if self.config.is_down {
            return true;
        }
        if self.is_in_burst {
            self.is_in_burst = !self.chance(1.0 / self.config.burst_length.max(1.0));
            return true;
        }
        if self.chance(self.config.burst) {
            self.is_in_burst = !self.chance(1.0 / self.config.burst_length.max(1.0));
            return true;
        }
        self.chance(self.config.loss)
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_range(0.0..1.0) < probability
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(config: LinkConfig, count: usize) -> Vec<Vec<Duration>> {
        let (mut link, start) = (Link::new(config, 7), Instant::now());
        let at = |index| start + Duration::from_millis(index as u64);
        let send = |index| link.send(1000, at(index)).into_iter().flatten().map(|at| at - start).collect();
        (0..count).map(send).collect()
    }

    #[test]
    fn a_perfect_link_only_takes_its_time() {
        let seen = arrivals(LinkConfig::delayed(Duration::from_millis(20)), 3);
        assert_eq!(seen, [20, 21, 22].map(|ms| vec![Duration::from_millis(ms)]));
    }

    #[test]
    fn a_share_is_lost_and_in_bursts_if_asked() {
        let count = |config| arrivals(config, 10_000).iter().filter(|copies| copies.is_empty()).count();
        let lost = count(LinkConfig { loss: 0.2, ..LinkConfig::default() });
        assert!((1800..2200).contains(&lost), "{lost}");
        let lost = count(LinkConfig { burst: 0.01, burst_length: 10.0, ..LinkConfig::default() });
        assert!((600..1200).contains(&lost), "{lost}");
        assert_eq!(count(LinkConfig { is_down: true, ..LinkConfig::default() }), 10_000);
    }

    #[test]
    fn a_limited_rate_delays_and_then_drops() {
        // 1000 bytes per ms are offered, half of that passes.
        let rate = Some(Bitrate::from_kbps(4000));
        let seen = arrivals(LinkConfig { rate, ..LinkConfig::default() }, 1000);
        let passed = seen.iter().filter(|copies| !copies.is_empty()).count();
        assert!((580..620).contains(&passed), "half of what was offered and a full queue: {passed}");
        let longest = seen
            .iter()
            .enumerate()
            .flat_map(|(sent, copies)| copies.iter().map(move |at| *at - Duration::from_millis(sent as u64)));
        assert!(longest.max() <= Some(Duration::from_millis(203)));
    }

    proptest! {
        #[test]
        fn order_is_kept_unless_asked_otherwise(jitter in 0..50u64, loss in 0.0..0.5) {
            let jitter = Duration::from_millis(jitter);
            let seen = arrivals(LinkConfig { jitter, loss, ..LinkConfig::default() }, 200);
            prop_assert!(seen.into_iter().flatten().is_sorted());
        }
    }
}
