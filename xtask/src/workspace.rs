//! Where the workspace is and what `cargo metadata` says about it.

use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand};

use crate::failure::Failure;

/// Returns the workspace's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Asks `cargo metadata` for the members and the resolved graph, with default features, for every platform.
///
/// # Errors
/// When a manifest cannot be read or a dependency resolved.
pub(crate) fn metadata() -> Result<Metadata, Failure> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .map_err(|error| Failure::new(format!("cargo metadata failed: {error}")))
}

/// Returns whether the workspace has a package of this name.
pub(crate) fn has_package(metadata: &Metadata, name: &str) -> bool {
    metadata.workspace_packages().iter().any(|package| package.name.as_str() == name)
}
