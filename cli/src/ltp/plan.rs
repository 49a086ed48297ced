//! What is written down for the processes of a run, and by them: a directory for each side, the
//! native one and the one under the shim.
//!
//! `plan.json`, `runtest`, what the runner writes (`runner.*`), and for each test by its number
//! `tests/N.json` ([`Record`]), `tests/N.out` (what it printed) and `logs/N.jsonl` (the shim's log).
//! Under the shim `ltp` stands in for LTPROOT, see [`super::stand_in`].

use crate::failure::Failure;
use crate::run::reason;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of a runtest file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    pub name: String,
    pub command: String,
}

/// What a test needs to know that the runner does not hand on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    pub root: PathBuf,
    pub shimmed: bool,
    /// Settings of the shim, and what else the tests' environment must hold.
    pub environment: Vec<(String, String)>,
    pub timeout_seconds: u64,
    pub tests: Vec<Test>,
}

/// How one test ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub duration_ns: u64,
    #[serde(flatten)]
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end", content = "value")]
pub enum End {
    Exit(i32),
    Signal(i32),
    /// Killed by us.
    Timeout,
    /// Killed together with the runner.
    Interrupted,
}

/// The directory of a side.
#[derive(Clone, Debug)]
pub struct Side(pub PathBuf);

impl Side {
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    pub fn runtest(&self) -> PathBuf {
        self.0.join("runtest")
    }

    pub fn stand_in(&self) -> PathBuf {
        self.0.join("ltp")
    }

    pub fn tests(&self) -> PathBuf {
        self.0.join("tests")
    }

    /// From the test's start on; its session is in it.
    pub fn started(&self, number: usize) -> PathBuf {
        self.tests().join(format!("{number}.started"))
    }

    pub fn record(&self, number: usize) -> PathBuf {
        self.tests().join(format!("{number}.json"))
    }

    pub fn output(&self, number: usize) -> PathBuf {
        self.tests().join(format!("{number}.out"))
    }

    /// The logs of the test's processes, until they are gathered.
    pub fn process_logs(&self, number: usize) -> PathBuf {
        self.0.join("logs").join(number.to_string())
    }

    pub fn log(&self, number: usize) -> PathBuf {
        self.0.join("logs").join(format!("{number}.jsonl"))
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    fs::read(path)
        .map_err(|error| reason(&error))
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
        .map_err(|why| Failure::own(format!("{}: {why}", path.display())))
}

/// Whoever sees the file sees all of it.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, as_json(value))
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|error| Failure::of(path.display(), &error))
}

pub fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("has no maps with other keys") + "\n"
}
