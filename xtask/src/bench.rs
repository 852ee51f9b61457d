//! `cargo xtask bench`: figures, for people or as JSON.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{failure::Failure, workspace};

/// Short enough to be run often, long enough to be within a few percent on a quiet machine.
const CRITERION: [&str; 4] = ["--warm-up-time", "0.5", "--measurement-time", "2"];

/// Runs one bench, or all of them.
///
/// # Errors
/// When there is no such bench, or it fails.
pub(crate) fn run(name: Option<&str>, json: bool) -> Result<(), Failure> {
    let metadata = workspace::metadata()?;
    let results = metadata.target_directory.join("criterion").into_std_path_buf();
    // Figures of earlier runs must not be taken for those of this one.
    match fs::remove_dir_all(&results) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::new(format!("cannot empty {}: {error}", results.display()))),
    }
    let mut arguments = vec!["bench", "-p", "roomful-benches"];
    match name {
        Some(name) => arguments.extend(["--bench", name]),
        None => arguments.push("--benches"),
    }
    arguments.push("--");
    arguments.extend(CRITERION);
    eprintln!("[bench] cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(&arguments)
        .current_dir(workspace::root())
        .stdout(if json { Stdio::null() } else { Stdio::inherit() })
        .status()
        .map_err(|error| Failure::new(format!("cannot start cargo: {error}")))?;
    if !status.success() {
        let known = "the benches are the files in benches/benches";
        return Err(Failure::new(format!("the bench failed ({status}); {known}")));
    }
    if json {
        let mut figures = BTreeMap::new();
        collect(&results, &mut figures)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", results.display())))?;
        add_ratios(&mut figures);
        println!("{}", json!(figures));
    }
    Ok(())
}

/// Adds to what is measured beside a floor, of the same group, how many times that it takes.
fn add_ratios(figures: &mut BTreeMap<String, Value>) {
    let floors =
        figures.iter().filter_map(|(id, figure)| Some((id.strip_suffix("/floor")?, figure["ns"].as_f64()?)));
    let floors: Vec<(String, f64)> = floors.map(|(group, ns)| (format!("{group}/"), ns)).collect();
    for (id, figure) in figures {
        let floor = floors.iter().find(|(group, _)| id.starts_with(group));
        if let (Some((_, floor)), Some(ns)) = (floor, figure["ns"].as_f64()) {
            figure["ratio"] = json!((ns / floor * 100.0).round() / 100.0);
        }
    }
}

/// Gathers the median of every benchmark below a folder, in nanoseconds per iteration.
fn collect(folder: &Path, figures: &mut BTreeMap<String, Value>) -> io::Result<()> {
    let names = folder.join("new").join("benchmark.json");
    if names.is_file() {
        let id = read(&names)?["full_id"].as_str().unwrap_or_default().to_owned();
        let estimates = read(&folder.join("new").join("estimates.json"))?;
        let ns = estimates["median"]["point_estimate"].as_f64().unwrap_or(f64::NAN);
        figures.insert(id, json!({ "ns": (ns * 10.0).round() / 10.0 }));
        return Ok(());
    }
    let children: Result<Vec<PathBuf>, io::Error> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect();
    for child in children?.into_iter().filter(|child| child.is_dir()) {
        collect(&child, figures)?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Value> {
    serde_json::from_str(&fs::read_to_string(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_floor_has_a_ratio() {
        let figure = |ns: f64| json!({ "ns": ns });
        let all = [("forward/floor", 200.0), ("forward/1-to-10", 410.0), ("srtp/seal", 7.0)];
        let mut figures = all.into_iter().map(|(id, ns)| (id.to_owned(), figure(ns))).collect();
        add_ratios(&mut figures);
        assert_eq!(figures["forward/1-to-10"], json!({ "ns": 410.0, "ratio": 2.05 }));
        assert_eq!(figures["srtp/seal"], figure(7.0));
    }

    #[test]
    fn medians_are_found_by_their_names() {
        let root = std::env::temp_dir().join(format!("roomful-xtask-bench-{}", std::process::id()));
        let folder = root.join("reducer").join("join").join("10").join("new");
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        fs::write(folder.join("benchmark.json"), r#"{"full_id": "reducer/join/10"}"#).expect("written");
        fs::write(folder.join("estimates.json"), r#"{"median": {"point_estimate": 12.34}}"#)
            .expect("written");
        let mut figures = BTreeMap::new();
        collect(&root, &mut figures).expect("readable");
        fs::remove_dir_all(&root).expect("ours");
        assert_eq!(json!(figures).to_string(), r#"{"reducer/join/10":{"ns":12.3}}"#);
    }
}
