//! `cargo xtask soak`: people who come and go, and what that leaves behind.

use std::env::consts::EXE_SUFFIX;

use crate::{failure::Failure, step, test_e2e::PACKAGE, workspace};

/// Builds the `roomful` command in release, then runs `crates/roomful-e2e/examples/soak.rs` against it.
///
/// # Errors
/// When descriptors are left open, memory grows, or somebody cannot get in; the last line on stdout has the figures.
pub(crate) fn run(cycles: u32) -> Result<(), Failure> {
    step::run("build-roomful", "cargo", &["build", "--release", "-q", "-p", "roomful-cli"], &[])?;
    let program =
        workspace::metadata()?.target_directory.join("release").join(format!("roomful{EXE_SUFFIX}"));
    let cycles = cycles.to_string();
    let arguments = ["run", "--release", "-q", "-p", PACKAGE, "--example", "soak", "--", &cycles];
    step::run("soak", "cargo", &arguments, &[("ROOMFUL_BIN", program.as_str())])
}
