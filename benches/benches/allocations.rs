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

/// Blocks that a packet may take on average: those of the reports to publishers, twenty times a second for each.
const MOST: f64 = 0.15;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut figures = Vec::new();
    for (name, shape) in [("1-to-10", Shape::Livestream(10)), ("10-all-to-all", Shape::Meeting(10))] {
        let mut scene = Scene::new(shape, 0);
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
        assert!(each <= MOST, "{name}: {each} blocks per packet, {MOST} are allowed");
        figures.push(format!("\"allocations/forward/{name}\": {{\"blocks\": {each:.4}}}"));
    }
    println!("{{{}}}", figures.join(", "));
}
