//! Packets through the whole server, reports and requests of real clients included; beside what copying and sealing alone take.
//!
//! Prints, at the end, how many times the floor each shape costs.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::print_stdout, reason = "the ratios are what it is run for")]

#[path = "rooms/media.rs"]
mod media;

use std::{
    cell::Cell,
    hint::black_box,
    time::{Duration, Instant},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use media::{PAYLOAD, Scene, Shape};
use roomful_media::Transmit;

/// Name, who sends to whom, and of how many datagrams one is lost.
const SHAPES: [(&str, Shape, u64); 10] = [
    ("1-to-10", Shape::Livestream(10), 0),
    ("1-to-100", Shape::Livestream(100), 0),
    ("1-to-1000", Shape::Livestream(1000), 0),
    ("10-all-to-all", Shape::Meeting(10), 0),
    ("30-all-to-all", Shape::Meeting(30), 0),
    ("1-to-10-losing", Shape::Livestream(10), 50),
    ("1-to-100-losing", Shape::Livestream(100), 50),
    ("1-to-1000-losing", Shape::Livestream(1000), 50),
    ("10-all-to-all-losing", Shape::Meeting(10), 50),
    ("30-all-to-all-losing", Shape::Meeting(30), 50),
];

/// Frames that are forwarded one after the other, before clients answer: their way is a quarter of a second then.
const TURNS: usize = 8;

/// Time and packets of one figure.
#[derive(Default)]
struct Sum(Cell<(Duration, u64)>);

impl Sum {
    fn add(&self, took: Duration, packets: u64) {
        let (time, count) = self.0.get();
        self.0.set((time + took, count + packets));
    }

    fn packets(&self) -> u64 {
        self.0.get().1
    }

    fn nanos(&self) -> f64 {
        let (time, count) = self.0.get();
        time.as_nanos() as f64 / count.max(1) as f64
    }
}

/// Header, copy and seal of one packet: what no server can do without.
fn floor(criterion: &mut Criterion) -> (f64, u64) {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("of its length"));
    let (packet, mut arena) = ([1; PAYLOAD + 30], vec![0; 100 * (PAYLOAD + 46)]);
    let sum = Sum::default();
    criterion.benchmark_group("forward").bench_function("floor", |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for place in (0..100).cycle().take(iterations as usize) {
                let slot = &mut arena[place * (PAYLOAD + 46)..][..PAYLOAD + 46];
                slot[..packet.len()].copy_from_slice(black_box(&packet));
                let (header, rest) = slot.split_at_mut(30);
                let nonce = Nonce::assume_unique_for_key([3; 12]);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut rest[..PAYLOAD]);
                rest[PAYLOAD..].copy_from_slice(tag.expect("short").as_ref());
            }
            let took = start.elapsed();
            sum.add(took, iterations);
            took
        });
    });
    (sum.nanos(), sum.packets())
}

/// What counts. A function of its own, because whoever counts instructions finds it by its name.
#[inline(never)]
fn measured(scene: &mut Scene, now: Instant, arrived: &[Transmit]) {
    scene.forward(now, arrived);
}

fn forward(criterion: &mut Criterion) {
    let mut ratios = vec![("floor", floor(criterion))];
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(1)).sampling_mode(SamplingMode::Flat).sample_size(10);
    // The checks run each once, unoptimized: crowds are for measuring.
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    for (name, shape, lost_of) in SHAPES {
        if !is_measuring && shape.people() > 11 {
            continue;
        }
        let (sum, mut scene) = (Sum::default(), None);
        // Per media packet that leaves.
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let scene = scene.get_or_insert_with(|| Scene::new(shape, lost_of));
            bencher.iter_custom(|iterations| {
                let (mut took, mut sent) = (Duration::ZERO, 0);
                while sent < iterations {
                    let before = scene.sent();
                    // One turn follows the other, as on a busy machine: what clients do in between would empty the caches.
                    let turns: Vec<_> = (0..TURNS).map(|_| scene.frame()).collect();
                    for (now, arrived) in &turns {
                        let mut arrived = &arrived[..];
                        loop {
                            let start = Instant::now();
                            measured(scene, *now, arrived);
                            took += start.elapsed();
                            if !scene.collect(*now) {
                                break;
                            }
                            arrived = &[];
                        }
                    }
                    scene.deliver();
                    sent += scene.sent() - before;
                }
                sum.add(took, sent);
                took.mul_f64(iterations as f64 / sent as f64)
            });
        });
        if let Some(scene) = scene {
            assert!(scene.share_sent() > 0.95, "{name}: only {} of all packets left", scene.share_sent());
            ratios.push((name, (sum.nanos(), sum.packets())));
        }
    }
    group.finish();
    let (floor, _) = ratios[0].1;
    for (name, (nanos, packets)) in ratios.into_iter().filter(|_| is_measuring) {
        let ratio = nanos / floor;
        println!("{name}: {nanos:.0} ns per packet, {ratio:.2} x the floor, of {packets} packets");
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
