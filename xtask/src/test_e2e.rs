//! `cargo xtask test-e2e`: the tests over real sockets, against the command that users run.

use std::env::consts::EXE_SUFFIX;

use crate::{failure::Failure, step, test::with_arguments, workspace};

/// The package with the tests.
pub(crate) const PACKAGE: &str = "roomful-e2e";

/// Builds the `roomful` command, then runs the tests, which find it by `ROOMFUL_BIN`.
///
/// * `arguments`: handed on to the test binary, after `--`.
///
/// # Errors
/// The step that failed, or that there is no such package.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let metadata = workspace::metadata()?;
    for package in [PACKAGE, COMMAND_PACKAGE] {
        if !workspace::has_package(&metadata, package) {
            return Err(Failure::new(format!(
                "test-e2e needs the package {package}, which this workspace does not have; \
                 check that its folder under crates/ has a Cargo.toml"
            )));
        }
    }
    step::run("build-roomful", "cargo", &["build", "-p", COMMAND_PACKAGE], &[])?;
    let program = metadata.target_directory.join("debug").join(format!("roomful{EXE_SUFFIX}"));
    let command = with_arguments(vec!["test", "-p", PACKAGE, "--test", "it"], arguments);
    step::run("test-e2e", "cargo", &command, &[("ROOMFUL_BIN", program.as_str())])?;
    let command = with_arguments(vec!["test", "-p", PACKAGE, "--test", "contract"], arguments);
    step::run("contract", "cargo", &command, &[])
}

const COMMAND_PACKAGE: &str = "roomful-cli";
