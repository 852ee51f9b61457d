//! `cargo xtask sim`: rooms from seeds, in release.

use crate::{failure::Failure, step};

/// Plays one room, a range of rooms (the first hundred by default), or the one that is measured.
///
/// * `is_real`: with media as on the wire instead of faked.
///
/// # Errors
/// When something was seen that must never be; the lines before say what, and how to replay it.
pub(crate) fn run(
    seed: Option<u64>,
    seeds: Option<String>,
    speed: bool,
    is_real: bool,
) -> Result<(), Failure> {
    let (option, value) = match (seed, seeds, speed) {
        (Some(seed), ..) => ("--seed", Some(seed.to_string())),
        (None, Some(seeds), _) => ("--seeds", Some(seeds)),
        (None, None, true) => ("--speed", None),
        (None, None, false) => ("--seeds", Some("0..100".to_owned())),
    };
    let mut arguments = vec!["run", "--release", "-q", "-p", "roomful-sim", "--bin", "sim", "--", option];
    arguments.extend(value.as_deref());
    arguments.extend(is_real.then_some("--real"));
    step::run("sim", "cargo", &arguments, &[])
}
