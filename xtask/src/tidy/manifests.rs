//! That every crate says what publishing needs.

use cargo_metadata::Metadata;

use super::Finding;

/// What a manifest says, for those crates that are published.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    name: String,
    description: Option<String>,
    keywords: Vec<String>,
    license: Option<String>,
    /// The repository, or a README.
    more: Option<String>,
}

/// Takes the members whose manifest does not say `publish = false`.
pub(super) fn of(metadata: &Metadata) -> Vec<Manifest> {
    metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.publish.as_ref().is_none_or(|registries| !registries.is_empty()))
        .map(|package| Manifest {
            name: package.name.to_string(),
            description: package.description.clone(),
            keywords: package.keywords.clone(),
            license: package.license.clone(),
            more: package.repository.clone().or_else(|| package.readme.as_ref().map(ToString::to_string)),
        })
        .collect()
}

/// Finds the fields that are missing or empty.
pub(super) fn check(manifests: &[Manifest]) -> Vec<Finding> {
    let is_missing = |field: &Option<String>| field.as_ref().is_none_or(|text| text.trim().is_empty());
    let mut findings = Vec::new();
    for manifest in manifests {
        let fields = [
            ("description", is_missing(&manifest.description)),
            ("keywords", manifest.keywords.is_empty()),
            ("license", is_missing(&manifest.license)),
            ("repository or readme", is_missing(&manifest.more)),
        ];
        for (field, _) in fields.iter().filter(|(_, missing)| *missing) {
            findings.push(Finding::new(
                &manifest.name,
                format!("has no {field} in its Cargo.toml; add it, or `publish = false`"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_found() {
        let whole = Manifest {
            name: "sample".to_owned(),
            description: Some("A sample".to_owned()),
            keywords: vec!["sample".to_owned()],
            license: Some("MIT".to_owned()),
            more: Some("README.md".to_owned()),
        };
        assert_eq!(check(std::slice::from_ref(&whole)), []);
        let lacking = [
            Manifest { description: Some(" ".to_owned()), ..whole.clone() },
            Manifest { keywords: Vec::new(), ..whole.clone() },
            Manifest { license: None, ..whole.clone() },
            Manifest { more: None, ..whole },
        ];
        let findings: Vec<_> = check(&lacking).iter().map(Finding::to_string).collect();
        let fields = ["description", "keywords", "license", "repository or readme"];
        assert_eq!(findings.len(), fields.len());
        assert!(findings.iter().zip(fields).all(|(finding, field)| finding.contains(&format!("no {field}"))));
    }
}
