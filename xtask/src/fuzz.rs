//! `cargo xtask fuzz`: the fuzz targets, each for a while, with `cargo fuzz`.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{failure::Failure, step, workspace};

/// Fuzzes one target, or all of them one after the other, each for `seconds`.
///
/// What the fuzzer learns stays under `fuzz/target`; `fuzz/corpus` is only read, and what is worth keeping is copied there by hand.
///
/// # Errors
/// When `cargo fuzz` is missing, there is no such target, or a target panics: then the lines before name the file that makes it do so.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<(), Failure> {
    let all = targets()?;
    let chosen = match target {
        None => all,
        Some(name) if all.iter().any(|one| one == name) => vec![name.to_owned()],
        Some(name) => {
            return Err(Failure::new(format!("there is no target {name}; take one of: {}", all.join(", "))));
        }
    };
    let installed = Command::new("cargo")
        .args(["fuzz", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        return Err(Failure::new("cargo fuzz is missing; install it with:\n  cargo install cargo-fuzz"));
    }
    chosen.iter().try_for_each(|name| fuzz(name, seconds))
}

fn targets() -> Result<Vec<String>, Failure> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", folder.display())))?;
    let mut names: Vec<_> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn fuzz(target: &str, seconds: u32) -> Result<(), Failure> {
    let (learned, kept) = (format!("fuzz/target/corpus/{target}"), format!("fuzz/corpus/{target}"));
    fs::create_dir_all(workspace::root().join(&learned))
        .map_err(|error| Failure::new(format!("cannot make {learned}: {error}")))?;
    let limit = format!("-max_total_time={seconds}");
    // Nothing of ours is unsafe, so the address sanitizer, and the nightly compiler it asks for, would find nothing.
    let arguments = [
        "fuzz",
        "run",
        "--sanitizer",
        "none",
        target,
        &learned,
        &kept,
        "--",
        &limit,
        "-max_len=4096",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ];
    step::run(target, "cargo", &arguments, &[])
}
