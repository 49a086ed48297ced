//! `docs/older-kernels.md`: written from what whole runs of the tests came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::suite::{self, End, LEFT_OUT, Ran};

/// The names of the runs.
pub const OLDER: &str = "older kernel";
pub const CONTAINER: &str = "container";
pub const BOTH: &str = "older kernel, container";

const RUNS: [&str; 3] = [OLDER, CONTAINER, BOTH];
const NOT_RUN: &str = "-";

pub fn path() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/older-kernels.md"
    ))
}

fn file(run: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("older-kernels")
        .join(format!("{run}.json"))
}

/// With `KEEPMYDATA_WRITE_DOCS=1`, keeps what those test programs came to of which all tests ran and none
/// failed, and writes the document from this and what is kept from before.
pub fn save(run: &str, kernel: &str, trackers: &str, ran: &[Ran]) {
    if !std::env::var("KEEPMYDATA_WRITE_DOCS").is_ok_and(|value| value == "1") {
        return;
    }
    let mut programs: BTreeMap<&str, (usize, Vec<[&str; 2]>)> = BTreeMap::new();
    for ran in ran {
        let (passed, skipped) = programs.entry(&ran.case.binary).or_default();
        match &ran.end {
            End::Passed => *passed += 1,
            End::Skipped(reason) => skipped.push([&ran.case.test, reason]),
            End::Failed(_) => {}
        }
    }
    let cases = suite::all();
    let mut found = load(run);
    found["kernel"] = kernel.into();
    found["trackers"] = trackers.into();
    for (program, (passed, skipped)) in programs {
        let all = cases.iter().filter(|case| case.binary == program).count();
        if passed + skipped.len() == all {
            found["programs"][program] = json!([passed, skipped]);
        }
    }
    let file = file(run);
    fs::create_dir_all(file.parent().expect("directory")).expect("directory of results");
    fs::write(file, found.to_string()).expect("result");
    fs::write(path(), render()).expect("docs/older-kernels.md");
}

fn load(run: &str) -> Value {
    match fs::read_to_string(file(run)) {
        Ok(text) => serde_json::from_str(&text).expect("a result in JSON"),
        Err(_) => json!({}),
    }
}

/// Test programs that are in the runs: files and folders of `tests`.
fn programs() -> Vec<String> {
    let tests = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).expect("tests");
    let mut names: Vec<String> = tests
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() || path.join("main.rs").exists())
        .map(|path| {
            path.file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| LEFT_OUT.iter().all(|(left_out, _)| left_out != name))
        .collect();
    names.sort();
    names
}

fn render() -> String {
    let mut text = include_str!("document.md").to_owned();
    for (name, why) in LEFT_OUT {
        let _ = writeln!(text, "- `{name}`: {why}.");
    }
    text.push_str("\n## Runs\n\n| run | kernel | trackers |\n|---|---|---|\n");
    let found = RUNS.map(load);
    for (run, found) in RUNS.iter().zip(&found) {
        let said = |what: &str| found[what].as_str().unwrap_or(NOT_RUN).to_owned();
        let _ = writeln!(
            text,
            "| {run} | {} | {} |",
            said("kernel"),
            said("trackers")
        );
    }
    let heads = RUNS
        .map(|run| format!("{run}: passed | skipped | "))
        .concat();
    let _ = write!(
        text,
        "\n| test program | {heads}\n|---|{}\n",
        "---|".repeat(6)
    );
    for program in programs() {
        let _ = write!(text, "| {program} |");
        for found in &found {
            let found = &found["programs"][&program];
            let _ = match (found[0].as_u64(), found[1].as_array()) {
                (Some(passed), Some(skipped)) => write!(text, " {passed} | {} |", skipped.len()),
                _ => write!(text, " {NOT_RUN} | {NOT_RUN} |"),
            };
        }
        text.push('\n');
    }
    text.push_str("\n## Skipped\n");
    for (run, found) in RUNS.iter().zip(&found) {
        let _ = write!(text, "\n**{run}.**\n\n");
        let none = serde_json::Map::new();
        for (program, found) in found["programs"].as_object().unwrap_or(&none) {
            for skipped in found[1].as_array().into_iter().flatten() {
                let word = |at: usize| skipped[at].as_str().unwrap_or_default();
                let _ = writeln!(text, "- {program} {}: {}", word(0), word(1));
            }
        }
    }
    text
}

/// What in a written document is not as it must be, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for program in programs() {
        let start = format!("| {program} |");
        let Some(row) = text.lines().find(|line| line.starts_with(&start)) else {
            wrong.push(format!("no row of {program}"));
            continue;
        };
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let is_right = |cell: &&str| *cell == NOT_RUN || cell.parse::<u64>().is_ok();
        if cells.len() != 1 + 2 * RUNS.len() || !cells[1..].iter().all(is_right) {
            wrong.push(format!("{program}: {cells:?}"));
        }
    }
    wrong
}
