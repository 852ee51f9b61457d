//! `cargo xtask lint`: everything that can be said about the sources without running them.

use std::process::Command;

use crate::{failure::Failure, step, tidy, workspace};

/// Runs one check after the other, up to the first that fails.
///
/// # Errors
/// The check that failed.
pub(crate) fn run() -> Result<(), Failure> {
    step::run("format", "cargo", &["fmt", "--all", "--check"], &[])?;
    step::run("clippy", "cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])?;
    step::run("rustdoc", "cargo", &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
    wasm()?;
    step::timed("tidy", "cargo xtask tidy", tidy::run)
}

/// Builds the crates that the browser gets, where the toolchain can.
fn wasm() -> Result<(), Failure> {
    if !is_target_installed() {
        println!(
            "[wasm] skipped: the target is not installed; install it with: rustup target add {TARGET}\n"
        );
        return Ok(());
    }
    let metadata = workspace::metadata()?;
    let mut arguments = vec!["check", "--target", TARGET];
    for package in PACKAGES.iter().filter(|package| workspace::has_package(&metadata, package)) {
        arguments.extend(["-p", package]);
    }
    step::run("wasm", "cargo", &arguments, &[])
}

fn is_target_installed() -> bool {
    Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == TARGET))
}

const TARGET: &str = "wasm32-unknown-unknown";

/// Those that `roomful-web` is made of, and those that could be.
const PACKAGES: [&str; 6] = [
    "roomful-types",
    "roomful-rtp",
    "roomful-state",
    "roomful-protocol",
    "roomful-scheduler",
    "roomful-client",
];
