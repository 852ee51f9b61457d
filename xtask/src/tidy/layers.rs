//! Who may depend on whom, and that nothing below the shells depends on a runtime or a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use super::Finding;
use crate::failure::Failure;

/// Which of our crates each of them may name under `[dependencies]`. From the bottom up; see docs/ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("roomful-types", &[]),
    ("roomful-rtp", &["roomful-types"]),
    ("roomful-srtp", &[]),
    ("roomful-state", &["roomful-types"]),
    ("roomful-protocol", &["roomful-types"]),
    ("roomful-scheduler", &["roomful-types"]),
    ("roomful-media", &["roomful-types", "roomful-rtp", "roomful-srtp"]),
    ("roomful-client", &["roomful-types", "roomful-state", "roomful-protocol", "roomful-scheduler"]),
    ("roomful-sfu", &["roomful-types", "roomful-rtp", "roomful-protocol", "roomful-scheduler"]),
    ("roomful-shard", &["roomful-types", "roomful-media", "roomful-sfu"]),
    ("roomful-udp", &[]),
    (
        "roomful",
        &[
            "roomful-udp",
            "roomful-types",
            "roomful-rtp",
            "roomful-state",
            "roomful-protocol",
            "roomful-media",
            "roomful-client",
        ],
    ),
    (
        "roomful-server",
        &["roomful-types", "roomful-protocol", "roomful-sfu", "roomful-shard", "roomful-udp", "roomful-web"],
    ),
    ("roomful-web", &["roomful-types", "roomful-state", "roomful-protocol", "roomful-client"]),
    ("roomful-cli", &["roomful-types", "roomful", "roomful-server"]),
    (
        "roomful-sim",
        &[
            "roomful-types",
            "roomful-rtp",
            "roomful-state",
            "roomful-protocol",
            "roomful-scheduler",
            "roomful-media",
            "roomful-client",
            "roomful-sfu",
            "roomful-shard",
            "roomful",
        ],
    ),
    (
        "roomful-e2e",
        &[
            "roomful-types",
            "roomful-rtp",
            "roomful-state",
            "roomful-protocol",
            "roomful-scheduler",
            "roomful-media",
            "roomful-client",
            "roomful-sfu",
            "roomful",
            "roomful-server",
            "roomful-web",
            "roomful-sim",
        ],
    ),
    (
        "roomful-fuzz",
        &[
            "roomful-types",
            "roomful-rtp",
            "roomful-srtp",
            "roomful-state",
            "roomful-protocol",
            "roomful-media",
            "roomful-client",
            "roomful-sfu",
            "roomful-server",
        ],
    ),
    ("roomful-benches", &[]),
    ("xtask", &[]),
];

/// The crates below the shells: they own no socket, clock, thread or runtime.
const PURE: [&str; 10] = [
    "roomful-types",
    "roomful-rtp",
    "roomful-srtp",
    "roomful-state",
    "roomful-protocol",
    "roomful-scheduler",
    "roomful-media",
    "roomful-client",
    "roomful-sfu",
    "roomful-shard",
];

/// What the crates below the shells may not reach, over any number of steps.
const RUNTIME: [&str; 5] = ["tokio", "mio", "socket2", "quinn", "quinn-udp"];

/// The normal dependencies of every package, by name and version; those of build scripts and tests are left out.
#[derive(Debug, Default)]
pub(super) struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads the resolved graph.
    ///
    /// # Errors
    /// When `cargo metadata` left it out.
    pub(super) fn of(metadata: &Metadata) -> Result<Self, Failure> {
        let resolve = metadata
            .resolve
            .as_ref()
            .ok_or_else(|| Failure::new("cargo metadata gave no resolved graph; check Cargo.lock"))?;
        let names: BTreeMap<&PackageId, String> =
            metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
        // Two versions of one crate share a node: for these questions only the name counts.
        let name = |id: &PackageId| names.get(id).cloned().unwrap_or_else(|| id.repr.clone());
        let mut graph = Self::default();
        for node in &resolve.nodes {
            let normal = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal))
                .map(|dep| name(&dep.pkg));
            graph.edges.entry(name(&node.id)).or_default().extend(normal);
        }
        graph.members = metadata.workspace_members.iter().map(name).collect();
        Ok(graph)
    }

    fn of_package(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Returns the shortest way to one of `targets`.
    fn path<'a>(&'a self, from: &'a str, targets: &[&str]) -> Option<Vec<&'a str>> {
        let mut queue = VecDeque::from([vec![from]]);
        let mut seen = BTreeSet::from([from]);
        while let Some(path) = queue.pop_front() {
            for next in self.of_package(path.last()?) {
                let longer = [&path[..], &[next]].concat();
                if targets.contains(&next) {
                    return Some(longer);
                }
                if seen.insert(next) {
                    queue.push_back(longer);
                }
            }
        }
        None
    }
}

/// Compares the graph with the rules.
pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in &graph.members {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == member) else {
            findings.push(Finding::new(
                member,
                "has no row in the table MAY_USE of xtask/src/tidy/layers.rs; add one that says what it may use",
            ));
            continue;
        };
        for used in graph.of_package(member).filter(|used| graph.members.contains(*used)) {
            if !allowed.contains(&used) {
                findings.push(Finding::new(
                    member,
                    format!("may not depend on {used}; move what it needs into a layer below both (docs/ARCHITECTURE.md)"),
                ));
            }
        }
    }
    for pure in PURE.iter().filter(|pure| graph.members.contains(**pure)) {
        for runtime in RUNTIME {
            if let Some(path) = graph.path(pure, &[runtime]) {
                findings.push(Finding::new(
                    *pure,
                    format!(
                        "reaches {runtime} by {}; turn off the feature or the dependency",
                        path.join(" → ")
                    ),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])], members: &[&str]) -> Graph {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Graph {
            members: owned(members),
            edges: edges.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect(),
        }
    }

    #[track_caller]
    fn check_one(edges: &[(&str, &[&str])], members: &[&str], expected: &str) {
        let findings: Vec<_> = check(&graph(edges, members)).iter().map(Finding::to_string).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains(expected), "{findings:?}");
    }

    #[test]
    fn a_layer_that_is_skipped_upwards_is_found() {
        check_one(
            &[("roomful-state", &["roomful-protocol"])],
            &["roomful-state", "roomful-protocol"],
            "roomful-state: may not depend on roomful-protocol",
        );
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        check_one(&[], &["roomful-new"], "roomful-new: has no row");
    }

    #[test]
    fn a_runtime_is_found_over_any_number_of_steps() {
        check_one(
            &[
                ("roomful-media", &["serde", "str0m"]),
                ("str0m", &["helper"]),
                ("helper", &["str0m", "socket2"]),
            ],
            &["roomful-media"],
            "roomful-media: reaches socket2 by roomful-media → str0m → helper → socket2",
        );
    }

    #[test]
    fn shells_may_have_a_runtime() {
        let graph =
            graph(&[("roomful", &["tokio", "roomful-types"])], &["roomful", "roomful-types", "xtask"]);
        assert_eq!(check(&graph), []);
    }

    #[test]
    fn rows_name_crates_that_have_rows() {
        for (_, used) in MAY_USE {
            assert!(used.iter().all(|used| MAY_USE.iter().any(|(name, _)| name == used)));
        }
    }
}
