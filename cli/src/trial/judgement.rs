//! What a command says in the end, for people and for programs.

use crate::junit;
use keepmydata_records::{Record, write_text};
use quick_junit::{TestCase, TestCaseStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ffi::c_int;

/// What it comes to.
pub trait Verdict: Copy + Serialize {
    /// The exit code of the command.
    fn code(self) -> c_int;
    /// In one sentence, without its full stop.
    fn headline(self) -> &'static str;
    /// Whether it is no result, but the lack of one.
    fn is_unknown(self) -> bool {
        false
    }
}

pub struct Judgement<V> {
    pub verdict: V,
    /// Symptom, cause and cure, a sentence each.
    pub sentences: Vec<String>,
}

impl<V: Verdict> Judgement<V> {
    pub fn text(&self) -> String {
        let mut text = format!("\n{}.\n", self.verdict.headline());
        for sentence in &self.sentences {
            text += &format!("{sentence}\n");
        }
        text
    }

    /// A test case that passes where the exit code is 0.
    pub fn case(&self, name: &str) -> TestCase {
        let text = self.text();
        let status = match self.verdict.code() {
            0 => TestCaseStatus::success(),
            _ if self.verdict.is_unknown() => junit::error(text.trim()),
            _ => junit::failure(text.trim()),
        };
        TestCase::new(name, status)
    }

    pub fn json(&self) -> Map<String, Value> {
        let object = json!({
            "verdict": self.verdict,
            "headline": self.verdict.headline(),
            "sentences": self.sentences,
            "exit_code": self.verdict.code(),
        });
        match object {
            Value::Object(object) => object,
            _ => unreachable!("an object"),
        }
    }
}

/// A record as the shim's text log shows it, and what is none as it is.
pub fn as_text(record: &Value) -> String {
    let mut text = String::new();
    match Record::deserialize(record) {
        Ok(record) => write_text(&record, &mut text).expect("writing to a String"),
        Err(_) => text = format!("{record}\n"),
    }
    text
}
