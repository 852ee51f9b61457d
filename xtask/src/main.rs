//! The project's own commands: `cargo xtask lint`, `tidy`, `test`, `test-e2e`, `contract`, `bench`, `sim`, `fuzz`, `soak` and `fixtures`.
//!
//! It deliberately does nothing that `cargo` alone does well, and leaves no state behind but what a command is
//! asked to write.

mod bench;
mod contract;
mod failure;
mod fixtures;
mod fuzz;
mod instructions;
mod lint;
mod sim;
mod soak;
mod step;
mod test;
mod test_e2e;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The automation of the roomful workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks format, clippy, rustdoc, the wasm build of the pure crates, and tidy.
    Lint,
    /// Checks the dependency rules, leftovers, machine paths and manifests.
    Tidy,
    /// Runs the unit, property and doc tests of every crate, then test-e2e.
    Test {
        /// Handed on to both test commands, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Builds the `roomful` command and runs the tests over real sockets with it.
    TestE2e {
        /// Handed on to the test binary, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Runs the contract suite on the fake server, over WebSocket and over QUIC, and prints the table of rows.
    Contract {
        /// Prints one JSON object instead of the table.
        #[arg(long)]
        json: bool,
    },
    /// Measures: one bench by name, or all.
    Bench {
        /// Which bench of benches/benches.
        name: Option<String>,
        /// Prints one JSON object instead of the bench's own lines.
        #[arg(long)]
        json: bool,
        /// Counts the instructions of one iteration by callgrind instead of measuring time.
        #[arg(long)]
        instructions: bool,
    },
    /// Plays whole rooms from seeds and checks everything that is seen; prints the line that replays a failure.
    Sim {
        /// Plays one room.
        #[arg(long, conflicts_with_all = ["seeds", "speed"])]
        seed: Option<u64>,
        /// Plays the rooms of a range of seeds, `A..B`.
        #[arg(long, conflicts_with = "speed")]
        seeds: Option<String>,
        /// Measures a room of ten instead, with faked media and with real.
        #[arg(long)]
        speed: bool,
        /// Real ICE, DTLS and RTP over the emulated networks, instead of faked media.
        #[arg(long, conflicts_with = "speed")]
        real: bool,
    },
    /// Fuzzes what reads the network and what remembers, for a while each, with `cargo fuzz`.
    Fuzz {
        /// Fuzzes one target of fuzz/fuzz_targets.
        #[arg(long, required_unless_present = "all")]
        target: Option<String>,
        /// Fuzzes every target.
        #[arg(long, conflicts_with = "target")]
        all: bool,
        /// How long each target runs.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// Lets people join, publish, subscribe and leave a server over and over, and compares what it and they hold afterwards.
    Soak {
        /// How many come and go, after 500 to warm up.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        cycles: u32,
    },
    /// Makes the media fixtures of roomful-cli anew, with ffmpeg.
    Fixtures,
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Lint => lint::run(),
        Command::Tidy => tidy::run(),
        Command::Test { arguments } => test::run(&arguments),
        Command::TestE2e { arguments } => test_e2e::run(&arguments),
        Command::Contract { json } => contract::run(json),
        Command::Bench { name, json, instructions: true } => instructions::run(name.as_deref(), json),
        Command::Bench { name, json, instructions: false } => bench::run(name.as_deref(), json),
        Command::Sim { seed, seeds, speed, real } => sim::run(seed, seeds, speed, real),
        Command::Fuzz { target, all: _, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Soak { cycles } => soak::run(cycles),
        Command::Fixtures => fixtures::run(),
    }
}
