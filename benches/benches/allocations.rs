//! What the packet path allocates: blocks per media packet that leaves a shard.
//!
//! Prints `{"allocations/forward/1-to-10": {"blocks": ...}, ...}`. Not timed.

#![expect(clippy::print_stdout, reason = "the figures are what it is run for")]

#[path = "rooms/media.rs"]
mod media;

use media::{Scene, Shape};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// Frames that are forwarded; enough for every timer to run.
const FRAMES: usize = 60;

/// Blocks that a packet may take on average: none, but where something grows to a size that it had not before.
const MOST: f64 = 0.002;

/// Where packets are lost, and asked for again: each request is put together once more.
const MOST_LOSING: f64 = 0.05;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut figures = Vec::new();
    let shapes = [
        ("1-to-10", Shape::Livestream(10), 0),
        ("10-all-to-all", Shape::Meeting(10), 0),
        ("1-to-10-losing", Shape::Livestream(10), 50),
    ];
    for (name, shape, lost_of) in shapes {
        let mut scene = Scene::new(shape, lost_of);
        eprintln!("{name}: {} clients", shape.people());
        let (mut blocks, before) = (0, scene.sent());
        for _ in 0..FRAMES {
            let (now, arrived) = scene.frame();
            let start = dhat::HeapStats::get().total_blocks;
            scene.forward(now, &arrived);
            blocks += dhat::HeapStats::get().total_blocks - start;
            assert!(!scene.collect(now), "a frame for a few fits into a turn");
            scene.deliver();
        }
        assert!(scene.share_sent() > 0.95, "{name}: only {} of all packets left", scene.share_sent());
        let each = blocks as f64 / (scene.sent() - before) as f64;
        let most = if lost_of == 0 { MOST } else { MOST_LOSING };
        assert!(each <= most, "{name}: {each} blocks per packet, {most} are allowed");
        figures.push(format!("\"allocations/forward/{name}\": {{\"blocks\": {each:.4}}}"));
    }
    println!("{{{}}}", figures.join(", "));
}
