//! `cargo xtask bench --instructions`: how many instructions one iteration takes, by callgrind. The same on a busy machine as on a quiet one.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{failure::Failure, workspace};

/// Benches whose iterations can be counted, and the function inside which instructions count.
const COUNTED: [(&str, &str); 5] = [
    ("reducer", ITERATION),
    ("protocol", ITERATION),
    ("packetize", ITERATION),
    ("srtp", ITERATION),
    // Its clients are none of the server's work.
    ("forward", "forward::measured"),
];

/// Criterion's, around the iterations of a benchmark; run as a test it makes one.
const ITERATION: &str = "*criterion*Bencher*iter*";

/// Counts one bench, or all that can be.
///
/// # Errors
/// When there is no such bench, valgrind is missing, or a run fails.
pub(crate) fn run(name: Option<&str>, json: bool) -> Result<(), Failure> {
    let chosen: Vec<(&str, &str)> =
        COUNTED.into_iter().filter(|(bench, _)| name.is_none_or(|name| name == *bench)).collect();
    if chosen.is_empty() {
        let known = COUNTED.map(|(bench, _)| bench).join(", ");
        return Err(Failure::new(format!("instructions are counted of these benches: {known}")));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        let advice =
            "instructions are counted by valgrind, which is not installed; try: apt-get install valgrind";
        return Err(Failure::new(advice));
    }
    let mut figures = BTreeMap::new();
    for (bench, function) in chosen {
        let program = build(bench)?;
        let listed = output(Command::new(&program).args(["--bench", "--list"]))?.0;
        let ids = listed.lines().filter_map(|line| line.strip_suffix(": benchmark"));
        // A floor is for time: it runs nothing of ours.
        for id in ids.filter(|id| !id.ends_with("/floor")) {
            let count = count(&program, id, function)?;
            if !json {
                println!("{id}: {count} instructions");
            }
            figures.insert(id.to_owned(), json!({ "instructions": count }));
        }
    }
    if json {
        println!("{}", json!(figures));
    }
    Ok(())
}

/// Builds a bench and returns where it is.
fn build(bench: &str) -> Result<PathBuf, Failure> {
    let arguments = ["bench", "-p", "roomful-benches", "--bench", bench, "--no-run", "--message-format=json"];
    eprintln!("[bench] cargo {}", arguments.join(" "));
    let (messages, _) = output(Command::new("cargo").args(arguments).current_dir(workspace::root()))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages
        .filter(|message| message["target"]["name"] == bench)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next().ok_or_else(|| Failure::new(format!("cargo built no bench {bench}")))
}

/// Runs one iteration of a benchmark under callgrind. Returns its instructions, per packet where it says how many there were.
fn count(program: &PathBuf, id: &str, function: &str) -> Result<u64, Failure> {
    eprintln!("[bench] {id} under callgrind");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={function}"));
    let (said, noted) = output(command.arg(program).args(["--bench", "--test", "--exact", id]))?;
    // Criterion looks for other programs: what was forked for that counts nothing.
    let counts =
        noted.lines().filter_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    let collected = counts.max().filter(|count| *count > 0);
    let collected = collected.ok_or_else(|| Failure::new(format!("callgrind counted nothing of {id}")))?;
    Ok(collected / packets(&said, id).unwrap_or(1))
}

/// Finds how many packets a bench says that its only iteration sent.
fn packets(said: &str, id: &str) -> Option<u64> {
    let name = id.rsplit('/').next()?;
    let line = said.lines().find(|line| line.split_once(": ").is_some_and(|(of, _)| of == name))?;
    line.rsplit_once(" of ")?.1.strip_suffix(" packets")?.parse().ok().filter(|count| *count > 0)
}

fn output(command: &mut Command) -> Result<(String, String), Failure> {
    let output = command.output().map_err(|error| {
        Failure::new(format!("cannot start {}: {error}", command.get_program().display()))
    })?;
    let [said, noted] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if !output.status.success() {
        return Err(Failure::new(format!(
            "{} failed ({}):\n{noted}",
            command.get_program().display(),
            output.status
        )));
    }
    Ok((said, noted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_benchmark_itself() {
        let said = "Testing forward/1-to-10\nSuccess\n1-to-10: 575 ns per packet, 1.99 x the floor, of 480 packets\n";
        assert_eq!(packets(said, "forward/1-to-10"), Some(480));
        assert_eq!(packets(said, "forward/1-to-100"), None);
        assert_eq!(packets("floor: 0 ns per packet, NaN x the floor, of 0 packets", "forward/floor"), None);
    }
}
