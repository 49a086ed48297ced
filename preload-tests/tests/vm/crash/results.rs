//! What the long runs, each in a process of its own, found for `docs/crash.md`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cases::Case;
use super::lives::Found;

/// Keeps what a run found, where it is wanted.
pub fn save<'a>(part: &str, seed: u64, found: impl Iterator<Item = (&'a Case, &'a Found)>) {
    if !preload_tests::harness::writes_documents() {
        return;
    }
    for (case, found) in found {
        let directory = directory(part, case);
        fs::create_dir_all(&directory).expect("directory of results");
        let row = json!({
            "cuts": found.cuts,
            "promises": found.promises,
            "broken": found.broken,
            "losing": found.losing_cuts,
        });
        fs::write(directory.join(format!("{seed}.json")), row.to_string()).expect("result");
    }
}

/// What all runs of a case found together, each with another seed.
pub fn load(part: &str, case: &Case) -> Found {
    let mut all = Found::default();
    let Ok(runs) = fs::read_dir(directory(part, case)) else {
        return all;
    };
    for run in runs {
        let text = run.and_then(|run| fs::read_to_string(run.path()));
        let row: Value = serde_json::from_str(&text.expect("result")).expect("a result in JSON");
        let number = |name: &str| row[name].as_u64().expect("a number");
        all.cuts += number("cuts");
        all.promises += number("promises");
        all.broken += number("broken");
        all.losing_cuts += number("losing");
    }
    all
}

fn directory(part: &str, case: &Case) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("crash")
        .join(part)
        .join(case.to_string())
}
