//! Emulated ways to a client: what is a reason for a limit, and what is none.

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
        loss in 0.0..0.15,
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
fn a_link_for_hardly_anything_is_found_too() {
    for kbps in [30, 60, 90, 150] {
        for queue in [200, 3000].map(Duration::from_millis) {
            let least = Scene::new(Way { kbps, queue, ..WIDE }, 1).send(1200, 30.0);
            assert!(least.is_some_and(|limit| limit <= kbps.max(32)), "{kbps} kbit/s: {least:?}");
        }
    }
}

#[test]
fn a_little_too_much_is_found_before_a_long_queue_is_full() {
    let narrow = Way { kbps: 1000, queue: Duration::from_secs(5), ..WIDE };
    assert!(Scene::new(narrow, 1).send(1030, 60.0).is_some_and(|limit| limit >= 700));
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
fn a_longer_route_that_loses_packets_is_mistaken_for_a_queue_once_and_not_for_long() {
    let mut scene = Scene::new(WIDE, 1);
    scene.send(1000, 20.0);
    scene.way = Way { delay: Duration::from_millis(140), loss: 0.04, ..WIDE };
    assert!(scene.send(1000, 5.0).is_none_or(|limit| limit > 750), "once");
    scene.send(1000, 5.0);
    assert!(scene.send(1000, 30.0).is_none_or(|limit| limit > 1500), "it grows and is not cut again");
}

#[test]
fn who_sends_little_is_not_who_fills_a_queue() {
    // Somebody else's queue, which grows and loses packets.
    let least = |kbps| {
        let mut scene = Scene::new(WIDE, 1);
        scene.send(kbps, 5.0);
        let steps = (200..1400).step_by(20).map(|delay| {
            scene.way = Way { delay: Duration::from_millis(delay), loss: 0.15, ..WIDE };
            scene.send(kbps, 0.1)
        });
        steps.flatten().min()
    };
    assert!(least(70).is_none() && least(700).is_some());
}

#[test]
fn a_limit_grows_while_nothing_is_sent() {
    let mut scene = Scene::new(Way { kbps: 300, ..WIDE }, 1);
    assert!(scene.send(1500, 4.0).is_some());
    for _ in 0..100 {
        scene.at += 500_000;
        scene.congestion.judge(scene.start + Duration::from_micros(scene.at));
    }
    assert!(scene.congestion.limit().is_none_or(|limit| limit.as_bps() > 2_000_000));
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
