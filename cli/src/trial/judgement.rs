//! What a command says in the end, for people and for programs.

use keepmydata_records::{Record, write_text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ffi::c_int;

/// What it comes to.
pub trait Verdict: Copy + Serialize {
    /// The exit code of the command.
    fn code(self) -> c_int;
    /// In one sentence, without its full stop.
    fn headline(self) -> &'static str;
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
