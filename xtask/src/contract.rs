//! `cargo xtask contract`: the rows of the contract, and on which servers their scenarios pass.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::json;

use crate::{failure::Failure, test_e2e, workspace};

/// The servers that scenarios run on, as the test binary names them.
const COLUMNS: [&str; 3] = ["fake", "websocket", "quic"];

/// The list of rows, which mirrors the contract.
const ROWS: &str = "docs/contract.md";

/// One row: what is promised, and what its scenarios came to.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: String,
    promise: String,
    /// By column: scenarios that passed, and all of them.
    results: BTreeMap<&'static str, (usize, usize)>,
}

/// Runs the suite and prints the table, or one JSON object.
///
/// # Errors
/// When a row has no scenario, a scenario has no row, or one fails.
pub(crate) fn run(json: bool) -> Result<(), Failure> {
    let path = workspace::root().join(ROWS);
    let list =
        fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {ROWS}: {error}")))?;
    let arguments = ["test", "-p", test_e2e::PACKAGE, "--test", "contract", "--no-fail-fast"];
    eprintln!("[contract] cargo {}", arguments.join(" "));
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(workspace::root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cannot start cargo: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rows = rows(&list);
    let strays = fill(&mut rows, &text);
    match json {
        true => println!("{}", as_json(&rows)),
        false => print(&rows),
    }
    let gaps: Vec<&str> = rows.iter().filter(|row| row.is_empty()).map(|row| row.id.as_str()).collect();
    if !strays.is_empty() {
        return Err(Failure::new(format!("no row in {ROWS} for {}; add it", strays.join(", "))));
    }
    if !gaps.is_empty() {
        return Err(Failure::new(format!("no scenario proves {}; write one", gaps.join(", "))));
    }
    let failed = rows.iter().any(|row| COLUMNS.iter().any(|column| !row.passes(column)));
    if failed || !output.status.success() {
        let again = "cargo test -p roomful-e2e --test contract -- NAME";
        return Err(Failure::new(format!("scenarios failed; run one again with:\n  {again}")));
    }
    Ok(())
}

impl Row {
    fn is_empty(&self) -> bool {
        COLUMNS.iter().any(|column| self.results.get(column).is_none_or(|(_, all)| *all == 0))
    }

    fn passes(&self, column: &str) -> bool {
        self.results.get(column).is_some_and(|(passed, all)| passed == all)
    }
}

/// Reads the table rows of the list: an id of a letter and two digits, and the promise.
fn rows(list: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let is_id = |text: &str| text.len() == 3 && text[1..].bytes().all(|byte| byte.is_ascii_digit());
    list.lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(|cells| cells.len() >= 4 && is_id(&cells[1]))
        .map(|cells| Row { id: cells[1].clone(), promise: cells[2].clone(), results: BTreeMap::new() })
        .collect()
}

/// Enters the results of a run. Returns the scenarios that belong to no row.
fn fill(rows: &mut [Row], output: &str) -> Vec<String> {
    let mut strays = Vec::new();
    for line in output.lines() {
        let Some((name, result)) = line.strip_prefix("test ").and_then(|line| line.split_once("...")) else {
            continue;
        };
        let Some((column, scenario)) = name.trim().split_once("::") else { continue };
        let Some(column) = COLUMNS.into_iter().find(|one| *one == column) else { continue };
        let id = scenario.split('_').next().unwrap_or_default().to_uppercase();
        let Some(row) = rows.iter_mut().find(|row| row.id == id) else {
            strays.push(scenario.to_owned());
            continue;
        };
        let (passed, all) = row.results.entry(column).or_default();
        *all += 1;
        *passed += usize::from(result.trim() == "ok");
    }
    strays.sort();
    strays.dedup();
    strays
}

fn as_json(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let word = |column| if row.passes(column) { "pass" } else { "fail" };
        let scenarios = row.results.get("fake").map_or(0, |(_, all)| *all);
        json!({
            "id": row.id,
            "scenarios": scenarios,
            "fake": word("fake"),
            "websocket": word("websocket"),
            "quic": word("quic"),
        })
    };
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() }).to_string()
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.promise.chars().count()).max().unwrap_or_default();
    println!("row  {:width$}  scenarios  fake  websocket  quic", "promise");
    for row in rows {
        let word = |column| if row.passes(column) { "pass" } else { "FAIL" };
        let scenarios = row.results.get("fake").map_or(0, |(_, all)| *all);
        println!(
            "{:3}  {:width$}  {scenarios:>9}  {:4}  {:9}  {}",
            row.id,
            row.promise,
            word("fake"),
            word("websocket"),
            word("quic")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# Rows\n\n| row | promise |\n|---|---|\n| M01 | the id |\n| M02 | listeners |\n";

    #[test]
    fn results_are_entered_by_row_and_column() {
        let mut rows = rows(LIST);
        let output = "test fake::m01_a ... ok\ntest fake::m01_b     ... FAILED\ntest quic::m01_a ... ok\n\
                      test quic::x99_stray ... ok\nother\n";
        assert_eq!(fill(&mut rows, output), ["x99_stray"]);
        assert_eq!(rows[0].results["fake"], (1, 2));
        assert!(rows[0].passes("quic") && !rows[0].passes("fake") && rows[0].is_empty());
        assert!(rows[1].is_empty());
    }
}
