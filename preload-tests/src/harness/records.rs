//! The shim's log records, as a program would read them.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Parsed JSON lines.
#[derive(Debug, Default)]
pub struct Records(pub Vec<Value>);

impl Records {
    pub(super) fn read(directory: &Path) -> Self {
        let text = Self::text(directory);
        let mut records: Vec<Value> = text
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"))
            })
            .collect();
        records.sort_by_key(|record| record["time_ns"].as_u64());
        Self(records)
    }

    pub(super) fn text(directory: &Path) -> String {
        let mut logs: Vec<_> = fs::read_dir(directory)
            .expect("directory of the run")
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs.iter()
            .map(|log| fs::read_to_string(log).expect("log file"))
            .collect()
    }

    /// Those of an event (`msync`).
    pub fn of(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |record| record["event"] == event)
    }

    /// Pages that reports call uncertain.
    ///
    /// # Panics
    /// If a page has no number.
    pub fn uncertain(&self) -> Vec<u64> {
        self.of("report")
            .flat_map(|report| report["pages"].as_array().into_iter().flatten())
            .filter(|row| row["verdict"] == "uncertain")
            .map(|row| row["page"].as_u64().expect("a page"))
            .collect()
    }
}
