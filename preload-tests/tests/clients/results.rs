//! What tests, each in a process of its own, found for the document.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Keeps what a test found, where it is wanted.
pub fn save(part: &str, name: &str, value: &Value) {
    if preload_tests::harness::writes_documents() {
        let file = file(part, name);
        fs::create_dir_all(file.parent().expect("directory")).expect("directory of results");
        fs::write(file, value.to_string()).expect("result");
    }
}

/// What the last test of that name found, or null.
pub fn load(part: &str, name: &str) -> Value {
    match fs::read_to_string(file(part, name)) {
        Ok(text) => serde_json::from_str(&text).expect("a result in JSON"),
        Err(_) => Value::Null,
    }
}

fn file(part: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("clients")
        .join(part)
        .join(format!("{name}.json"))
}
