//! The `roomful` command: serves rooms, publishes files into them, records and watches them, and shows it all by itself.
//!
//! Every command is a short program on the public SDK. It deliberately knows nothing of the protocol, of RTP or of the
//! engines; the server is started as a library and reached over HTTP, WebSocket and UDP like any other.

mod api;
mod cli;
mod counters;
mod demo;
mod failure;
mod follow;
mod format;
mod interrupt;
mod join;
mod output;
mod player;
mod publish;
mod record;
mod recording;
mod screen;
mod serve;
mod table;
mod token;
mod watch;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
    interrupt::Stop,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs(cli.verbose);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("roomful: {failure}"));
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start the runtime: {error}; end other programs")))?;
    let result = runtime.block_on(dispatch(command));
    // Nothing that is still under way may hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    let stop = Stop::on_interrupt()?;
    match command {
        Command::Serve(args) => serve::run(args, stop).await,
        Command::Token(args) => token::run(&args).await,
        Command::Publish(args) => publish::run(args, stop).await,
        Command::Record(args) => record::run(args, stop).await,
        Command::Watch(args) => watch::run(args, stop).await,
        Command::Demo(args) => demo::run(args, stop).await,
    }
}

/// Sends logs to stderr: errors only, more with `-v`, and what `RUST_LOG` says if it is set.
fn start_logs(verbose: u8) {
    let by_flag = match verbose {
        0 => "error",
        1 => "error,roomful=info",
        2 => "info,roomful=debug",
        _ => "debug,roomful=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(by_flag));
    let has_color = io::stderr().is_terminal() && output::may_color();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(has_color).init();
}
