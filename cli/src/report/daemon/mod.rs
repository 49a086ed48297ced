//! Logs of the filesystem's daemon: operations, told from lines by patterns.

mod format;
mod log;
mod reader;
mod time;

pub use log::{Log, best_fit};
pub use reader::read;

use serde_json::{Map, Value};

/// A request that the daemon handled, or something that it did by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Op {
    /// The place of its log among the options.
    pub daemon: u32,
    /// `Write`
    pub name: String,
    /// ns since the epoch.
    pub time_ns: u64,
    pub duration_ns: Option<u64>,
    pub ino: Option<u64>,
    pub offset: Option<u64>,
    pub length: Option<u64>,
    pub pid: Option<u64>,
    pub result: String,
    pub note: String,
}

impl Op {
    /// What has no column of its own, as a JSON object; empty where there is nothing.
    pub fn details(&self) -> String {
        let mut details = Map::new();
        if let Some(pid) = self.pid {
            details.insert("caller".into(), pid.into());
        }
        if let Some(ino) = self.ino {
            details.insert("ino".into(), ino.into());
        }
        for (name, text) in [("answer", &self.result), ("note", &self.note)] {
            if !text.is_empty() {
                details.insert(name.into(), text.as_str().into());
            }
        }
        match details.is_empty() {
            true => String::new(),
            false => Value::Object(details).to_string(),
        }
    }
}
