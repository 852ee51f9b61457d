//! Plays whole rooms from seeds: `sim --seed 7`, `sim --seeds 0..1000 --real`, `sim --speed`.

#![expect(clippy::print_stdout, reason = "a command that prints what it saw")]

mod entropy;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use roomful_sim::{MediaMode, Parameters, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let media = match words.pop_if(|last| *last == "--real") {
        Some(_) => MediaMode::Real,
        None => MediaMode::Faked,
    };
    match words[..] {
        ["--seed", seed] => match seed.parse() {
            Ok(seed) => play(media, seed..seed + 1),
            Err(_) => usage(),
        },
        ["--seeds", range] => match range.split_once("..").map(|(from, to)| (from.parse(), to.parse())) {
            Some((Ok(from), Ok(to))) => play(media, from..to),
            _ => usage(),
        },
        ["--speed"] => speed(),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("usage: sim (--seed N | --seeds A..B) [--real] | --speed");
    ExitCode::FAILURE
}

/// Plays one room after the other; a violation panics with what was seen, after the line that replays it.
fn play(media: MediaMode, seeds: std::ops::Range<u64>) -> ExitCode {
    let (start, count) = (Instant::now(), seeds.end.saturating_sub(seeds.start));
    let (mut frames, mut virtual_seconds) = (0, 0.0);
    for seed in seeds {
        let parameters = Parameters::from_seed(media, seed);
        println!("{parameters}");
        let report = entropy::with_seed(seed, move || World::new(parameters).run());
        println!(
            "  ok: {} frames in {:.0?}, trace {:016x}",
            report.frames_delivered, report.virtual_time, report.trace
        );
        frames += report.frames_delivered;
        virtual_seconds += report.virtual_time.as_secs_f64();
    }
    let took = start.elapsed();
    println!(
        "{count} rooms without a violation in {took:.1?}: {frames} frames, {virtual_seconds:.0} s of virtual time, {:.0} × real time",
        virtual_seconds / took.as_secs_f64()
    );
    ExitCode::SUCCESS
}

/// Plays a room of ten in which everybody takes everybody, and says how much faster than real time.
fn speed() -> ExitCode {
    for (media, name, seconds) in [(MediaMode::Faked, "faked", 60), (MediaMode::Real, "real", 20)] {
        let start = Instant::now();
        let report = World::all_to_all(media, 10, Duration::from_secs(seconds)).run();
        let took = start.elapsed();
        println!(
            "10 all to all, {name} media: {} frames, {:.1?} of virtual time in {took:.2?}, {:.0} × real time",
            report.frames_delivered,
            report.virtual_time,
            report.virtual_time.as_secs_f64() / took.as_secs_f64()
        );
    }
    ExitCode::SUCCESS
}
