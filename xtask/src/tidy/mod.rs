//! `cargo xtask tidy`: what no compiler checks.

mod layers;
mod manifests;
mod sources;

use std::fmt;

use crate::{failure::Failure, workspace};

/// Runs all checks and prints every finding.
///
/// # Errors
/// When there is a finding, or the workspace cannot be read.
pub(crate) fn run() -> Result<(), Failure> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => {
            Err(Failure::new(format!("tidy has {count} findings; run it again with:\n  cargo xtask tidy")))
        }
    }
}

fn findings() -> Result<Vec<Finding>, Failure> {
    let metadata = workspace::metadata()?;
    let mut findings = layers::check(&layers::Graph::of(&metadata)?);
    findings.extend(manifests::check(&manifests::of(&metadata)));
    findings.extend(sources::check_tree()?);
    Ok(findings)
}

/// One thing to be put in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// File and line, or the crate.
    place: String,
    /// What is there, and what to do.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let findings = findings().expect("the workspace can be read");
        let text: Vec<_> = findings.iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "{}", text.join("\n"));
    }
}
