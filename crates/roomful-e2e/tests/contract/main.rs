//! The contract suite: every scenario on the fake server, and on the real one over WebSocket and over QUIC.
//!
//! `cargo xtask contract` runs it and prints the table of rows.

mod real;
#[path = "../wire/mod.rs"]
mod wire;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use roomful_sim::contract::{FakeVenue, SCENARIOS, Venue};
use tokio::runtime::Builder;

use crate::real::{RealVenue, Transport};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Scenarios mostly wait; more of them at once than there are processors cost nothing but memory.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    let real = |transport| move || Arc::new(RealVenue { transport }) as Arc<dyn Venue>;
    let mut trials = Vec::new();
    trials.extend(column("fake", true, || Arc::new(FakeVenue::default())));
    trials.extend(column("websocket", false, real(Transport::WebSocket)));
    trials.extend(column("quic", false, real(Transport::Quic)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every scenario on one kind of server.
fn column(
    name: &str,
    is_paused: bool,
    venue: impl Fn() -> Arc<dyn Venue> + Clone + Send + 'static,
) -> impl Iterator<Item = Trial> {
    SCENARIOS.iter().map(move |scenario| {
        let (venue, run) = (venue.clone(), scenario.run);
        Trial::test(format!("{name}::{}", scenario.name), move || {
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_all().start_paused(is_paused).build()?;
            runtime.block_on(run(venue()));
            Ok(())
        })
    })
}
