//! What may not stand in a committed file, line by line.
//!
//! The words looked for are put together from halves here, so that this file does not find itself.

use std::{fs, process::Command};

use super::Finding;
use crate::{failure::Failure, workspace};

/// Checks every text file that is committed or would be.
///
/// # Errors
/// When git cannot list the files.
pub(super) fn check_tree() -> Result<Vec<Finding>, Failure> {
    let root = workspace::root();
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .map_err(|error| Failure::new(format!("cannot start git: {error}; tidy asks it for the files")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("git ls-files failed: {why}; run tidy in a clone")));
    }
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut findings = Vec::new();
    for path in list.split_terminator('\0') {
        // Deleted but still listed, or binary: not ours to read.
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            findings.extend(check_file(path, &text));
        }
    }
    Ok(findings)
}

/// Checks one file; `path` is relative to the root.
fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let is_rust = path.ends_with(".rs");
    let is_markdown = path.ends_with(".md");
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| findings.push(Finding::new(format!("{path}:{line}"), what));
    if is_rust && needs_opening(path) && !text.starts_with("//!") {
        find(1, "does not open with a `//!` sentence; say what the module is".to_owned());
    }
    let count = text.lines().count();
    if is_rust && count > MAX_LINES {
        find(
            count,
            format!("{count} lines exceed {MAX_LINES}; look for the second responsibility and move it out"),
        );
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if is_rust {
            for word in LEFTOVERS.iter().filter(|word| line.contains(**word)) {
                find(number, format!("leftover `{word}`; finish it or take it out"));
            }
            if path != UNSAFE_MODULE && line.contains(UNSAFE) {
                find(number, format!("leave for unsafe code; {UNSAFE_MODULE} alone has it"));
            }
        }
        for word in MARKERS.iter().filter(|word| has_word(line, word)) {
            find(number, format!("leftover `{word}`; do it now, or open an issue"));
        }
        for start in MACHINE_PATHS.iter().filter(|start| has_absolute_path(line, start)) {
            find(number, format!("path of one machine (`{start}…`); use one relative to the workspace"));
        }
        for host in REGISTRY_HOSTS.iter().filter(|host| line.contains(**host)) {
            find(
                number,
                format!("host of a package registry (`{host}`); leave its choice to the client's settings"),
            );
        }
        let columns = line.chars().count();
        let is_table = is_markdown && line.trim_start().starts_with('|');
        if (is_rust || is_markdown) && columns > MAX_COLUMNS && !is_table {
            find(number, format!("{columns} columns exceed {MAX_COLUMNS}; break the line"));
        }
    }
    findings
}

/// Returns whether it is a file under `crates/*/src` or `xtask/src`.
fn needs_opening(path: &str) -> bool {
    let mut parts = path.split('/');
    match parts.next() {
        Some("crates") => parts.nth(1) == Some("src"),
        Some("xtask") => parts.next() == Some("src"),
        _ => false,
    }
}

/// Returns whether `word` stands in the line and is not part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_inside) && !line[at + word.len()..].starts_with(is_inside))
}

/// Returns whether a path begins with `start`, rather than having it inside, as addresses may.
fn has_absolute_path(line: &str, start: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "._-~/}>*".contains(c);
    line.match_indices(start).any(|(at, _)| !line[..at].ends_with(continues))
}

/// The only module with unsafe code; it says why.
const UNSAFE_MODULE: &str = "crates/roomful-sim/src/bin/sim/entropy.rs";

const UNSAFE: &str = concat!("(unsafe", "_code");

const LEFTOVERS: [&str; 4] =
    [concat!("db", "g!("), concat!("tod", "o!("), concat!("unimple", "mented!("), concat!("#[ign", "ore")];

const MARKERS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

const MACHINE_PATHS: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp", "/bash"),
];

const REGISTRY_HOSTS: [&str; 5] = [
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("registry.npm", "js.org"),
    concat!("deb.deb", "ian.org"),
    concat!("pypi", ".org"),
];

/// Wider than rustfmt makes code: what is longer is text or a table that wants breaking.
const MAX_COLUMNS: usize = 160;

/// House rule: past this, look for the second responsibility.
const MAX_LINES: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let findings: Vec<_> = check_file(path, text).iter().map(Finding::to_string).collect();
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{finding}");
        }
    }

    #[test]
    fn a_missing_opening_is_found_in_sources_only() {
        check("crates/roomful/src/a.rs", "use std::io;\n", &["crates/roomful/src/a.rs:1: does not open"]);
        check("xtask/src/a/b.rs", "", &["does not open"]);
        check("crates/roomful/src/a.rs", "//! A.\n", &[]);
        check("crates/roomful/tests/it/main.rs", "use std::io;\n", &[]);
    }

    #[test]
    fn leftovers_are_found_with_their_line() {
        for word in LEFTOVERS {
            check("benches/a.rs", &format!("fn a() {{\n    {word}\n"), &["benches/a.rs:2: leftover"]);
            check("README.md", word, &[]);
        }
        for word in MARKERS {
            check("README.md", &format!("see {word}: later"), &["README.md:1: leftover"]);
            check("README.md", &format!("A{word}B"), &[]);
        }
    }

    #[test]
    fn leave_for_unsafe_code_is_found_but_in_one_module() {
        let text = format!("//! A.\n#![expect{UNSAFE}, reason = \"a\")]");
        check("crates/roomful/src/a.rs", &text, &["crates/roomful/src/a.rs:2: leave for unsafe code"]);
        check(UNSAFE_MODULE, &text, &[]);
    }

    #[test]
    fn machine_paths_are_found_and_addresses_are_not() {
        for start in MACHINE_PATHS {
            check("a.toml", &format!("path = \"{start}me\""), &["a.toml:1: path of one machine"]);
            check("a.md", &format!("https://example.org{start}me and ~{start}"), &[]);
        }
    }

    #[test]
    fn registry_hosts_are_found() {
        for host in REGISTRY_HOSTS {
            check("a.yml", &format!("url: https://{host}/"), &["a.yml:1: host of a package registry"]);
        }
        check("README.md", "https://crates.io/crates/roomful", &[]);
    }

    #[test]
    fn long_lines_and_files_are_found() {
        let long = "ä".repeat(MAX_COLUMNS + 1);
        check("a.rs", &format!("// {long}"), &["a.rs:1: 164 columns"]);
        check("a.md", &long, &["a.md:1: 161 columns"]);
        check("a.md", &format!("| {long} |"), &[]);
        check("a.json", &long, &[]);
        check("a.rs", &"\n".repeat(MAX_LINES + 1), &["a.rs:801: 801 lines"]);
    }
}
