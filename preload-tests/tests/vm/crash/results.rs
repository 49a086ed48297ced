//! What the long runs, each in a process of its own, found for `docs/crash.md`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cases::Case;
use super::lives::Found;

/// Whether the document is to be written.
pub fn wanted() -> bool {
    std::env::var("KEEPMYDATA_WRITE_DOCS").is_ok_and(|value| value == "1")
}

/// Keeps what a run found, where it is wanted. The last run of a case counts.
pub fn save<'a>(part: &str, found: impl Iterator<Item = (&'a Case, &'a Found)>) {
    if !wanted() {
        return;
    }
    for (case, found) in found {
        let file = file(part, &case.to_string());
        fs::create_dir_all(file.parent().expect("directory")).expect("directory of results");
        let row = json!({
            "cuts": found.cuts,
            "promises": found.promises,
            "broken": found.broken,
            "losing": found.losing_cuts,
        });
        fs::write(file, row.to_string()).expect("result");
    }
}

/// What the last run of a case found, or null.
pub fn load(part: &str, case: &Case) -> Value {
    match fs::read_to_string(file(part, &case.to_string())) {
        Ok(text) => serde_json::from_str(&text).expect("a result in JSON"),
        Err(_) => Value::Null,
    }
}

fn file(part: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("crash")
        .join(part)
        .join(format!("{name}.json"))
}
