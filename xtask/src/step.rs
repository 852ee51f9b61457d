//! Runs one command at a time, says what runs and how long it took.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{failure::Failure, workspace};

/// Runs `program` with `arguments` in the workspace's root, its output going straight to the terminal.
///
/// # Errors
/// When it cannot be started or does not end with exit code 0; the message has the command to run again.
pub(crate) fn run(
    name: &str,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(), Failure> {
    let line = command_line(program, arguments, environment);
    timed(name, &line, || {
        let mut command = Command::new(program);
        // `cargo run` sets these for xtask; inherited, they would make build scripts that watch them run again.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        let status = command
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(workspace::root())
            .status()
            .map_err(|error| Failure::new(format!("cannot start {program}: {error}; is it installed?")))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("{name} failed ({status}); run it again with:\n  {line}")))
    })
}

/// Runs `work` between a line that says what runs and a line that says how long it took.
pub(crate) fn timed(
    name: &str,
    line: &str,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    println!("[{name}] {line}");
    let start = Instant::now();
    let result = work();
    println!(
        "[{name}] {} after {}\n",
        if result.is_ok() { "ok" } else { "FAILED" },
        seconds(start.elapsed())
    );
    result
}

/// Returns the command as it can be typed into a shell.
pub(crate) fn command_line(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let variables = environment.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = [program].into_iter().chain(arguments.iter().copied()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns `word` with shell quotes where it needs them. Words with both a quote and a dollar do not occur.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:./,@%".contains(c);
    match word {
        _ if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
        _ if word.contains('\'') => format!("\"{word}\""),
        _ => format!("'{word}'"),
    }
}

fn is_of_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let line = command_line("cargo", &["doc", "a b"], &[("RUSTDOCFLAGS", "-D warnings")]);
        assert_eq!(line, "RUSTDOCFLAGS='-D warnings' cargo doc 'a b'");
        assert_eq!(quoted("text='a'"), "\"text='a'\"");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_failed_step_names_itself_and_the_command() {
        let failure = run("sample", "cargo", &["no-such-command-here"], &[]).expect_err("unknown to cargo");
        let text = failure.to_string();
        assert!(text.contains("sample failed") && text.contains("cargo no-such-command-here"), "{text}");
    }
}
