//! `cargo xtask test`: every test there is.

use crate::{failure::Failure, step, test_e2e, workspace};

/// Runs the unit, property and doc tests of all crates, then those over real sockets.
///
/// * `arguments`: handed on to both, after `--`.
///
/// # Errors
/// The step that failed.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    // The simulator's rooms of the SDK are a feature, which its own tests need.
    let mut command = vec!["test", "--workspace", "--features", "roomful-sim/sdk"];
    if workspace::has_package(&workspace::metadata()?, test_e2e::PACKAGE) {
        command.extend(["--exclude", test_e2e::PACKAGE]);
    }
    step::run("test", "cargo", &with_arguments(command, arguments), &[])?;
    test_e2e::run(arguments)
}

/// Appends what belongs behind `--`.
pub(crate) fn with_arguments<'a>(mut command: Vec<&'a str>, arguments: &'a [String]) -> Vec<&'a str> {
    if !arguments.is_empty() {
        command.push("--");
        command.extend(arguments.iter().map(String::as_str));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_behind_two_dashes() {
        assert_eq!(with_arguments(vec!["test"], &[]), ["test"]);
        assert_eq!(with_arguments(vec!["test"], &["name".to_owned()]), ["test", "--", "name"]);
    }
}
