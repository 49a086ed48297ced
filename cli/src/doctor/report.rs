//! What was found, for people and for programs.

use super::arguments::Options;
use super::guest::{Call, Look, Page, SeedFound, WorkloadFound};
use super::trials::{Found, Shimmed, Trials};
use super::verdict::{Judgement, Verdict};
use crate::junit;
use crate::table::Table;
use crate::trial::as_text;
use crate::words::count;
use keepmydata_records::event;
use quick_junit::{TestCase, TestCaseStatus, TestSuite};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// One fact.
#[derive(Clone)]
pub struct Row {
    /// In text; in JSON with underscores for what is no letter or digit.
    pub name: &'static str,
    /// `true` is shown as yes, `false` as no.
    pub value: Value,
    /// What a person wants to know besides; may be empty.
    pub note: String,
}

impl Row {
    pub fn new(name: &'static str, value: impl Into<Value>, note: impl Into<String>) -> Self {
        Row {
            name,
            value: value.into(),
            note: note.into(),
        }
    }

    /// Yes, or no with the reason.
    pub fn result<T>(name: &'static str, result: &Result<T, String>) -> Self {
        match result {
            Ok(_) => Row::new(name, true, ""),
            Err(why) => Row::new(name, false, why),
        }
    }
}

/// Grows while it is found out.
pub struct Report {
    /// The head line: directory and filesystem.
    head: String,
    /// What people get without being asked.
    judgement: String,
    /// What they get with `--verbose`.
    evidence: String,
    json: Map<String, Value>,
    cases: Vec<TestCase>,
}

impl Report {
    pub fn new(directory: &Path, summary: String) -> Self {
        let mut json = Map::new();
        json.insert("directory".into(), json!(directory.to_string_lossy()));
        Report {
            head: format!("{}: {summary}\n", directory.display()),
            judgement: String::new(),
            evidence: String::new(),
            json,
            cases: Vec::new(),
        }
    }

    /// Facts under a heading.
    pub fn section(&mut self, name: &'static str, rows: Vec<Row>) {
        let mut table = Table::indented(2);
        for row in &rows {
            table.row([row.name, &shown(&row.value), &row.note]);
        }
        self.evidence += &format!("\n{name}\n{table}");
        let facts = rows.iter().map(|row| {
            let key = row
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
                .to_lowercase();
            (key, json!({ "value": row.value, "note": row.note }))
        });
        self.json
            .insert(name.into(), Value::Object(facts.collect()));
    }

    /// What was tried, and what it came to.
    pub fn tried(&mut self, trials: &Trials) {
        let mut table = Table::indented(2);
        let mut seed = |name: &str, found: &Found<SeedFound>| {
            let [what, how] = of_seed(found);
            table.row([name, &what, &how]);
        };
        seed("natively", &trials.native);
        seed("what nobody had read", &trials.unread);
        for (name, _, found) in &trials.steps {
            seed(&format!("+ {name}"), found);
        }
        for shimmed in trials.shimmed() {
            seed(&format!("keepmydata {}", shimmed.settings), &shimmed.found);
        }
        let mut workload = |name: &str, found: &Found<WorkloadFound>| {
            let [what, how] = of_workload(found);
            table.row([name, &what, &how]);
        };
        workload("workload natively", &trials.workload);
        if let Some(pair) = &trials.pair {
            workload("workload, two processes", pair);
        }
        if let Some(fsx) = &trials.fsx {
            workload("sizes and holes", fsx);
        }
        workload("workload under keepmydata", &trials.shim_workload);
        if let Some(neighbour) = &trials.neighbour {
            let [what, how] = match neighbour {
                Ok(found) if found.held && found.mapped => {
                    ["whole", "another process, both under keepmydata"]
                }
                Ok(_) => [
                    "torn",
                    "another process that had it open or mapped, both under keepmydata",
                ],
                Err(why) => ["not tried", why.as_str()],
            };
            table.row(["neighbour under keepmydata", what, how]);
        }
        self.evidence += &format!("\ntrials\n{table}");
        for shimmed in trials.shimmed() {
            self.evidence += &records(shimmed);
        }
        self.json.insert("trials".into(), json!(trials));
    }

    pub fn judged(&mut self, judgement: &Judgement) {
        self.judgement += &judgement.said.text();
        for limit in &judgement.limits {
            self.judgement += &format!("Limit: {limit}.\n");
        }
        self.cases = cases(judgement);
        self.json.extend(judgement.said.json());
        self.json.insert("limits".into(), json!(judgement.limits));
    }

    /// With the evidence as the output of the first case.
    pub fn junit(&self) -> Vec<TestSuite> {
        let mut suite = TestSuite::new("doctor");
        for (n, case) in self.cases.iter().enumerate() {
            let mut case = case.clone();
            case.set_classname(self.json["directory"].as_str().unwrap_or_default());
            if n == 0 {
                case.set_system_out(format!("{}{}", self.head, self.evidence));
            }
            suite.add_test_case(case);
        }
        vec![suite]
    }

    pub fn render(self, options: &Options) -> String {
        match (options.json, options.verbose) {
            (true, _) => format!("{}\n", Value::Object(self.json)),
            (_, true) => self.head + &self.evidence + &self.judgement,
            _ => {
                let directory = options.directory.display();
                let more = format!("\nThe evidence: keepmydata doctor --verbose {directory}\n");
                self.head + &self.judgement + &more
            }
        }
    }
}

fn cases(judgement: &Judgement) -> Vec<TestCase> {
    let said = &judgement.said;
    let mut cases = vec![said.case("msync keeps its promise")];
    let cure = match said.verdict {
        Verdict::Keeps | Verdict::Unknown => None,
        Verdict::Cured => Some(TestCaseStatus::success()),
        Verdict::NotCured => Some(junit::failure(said.text().trim())),
    };
    cases.extend(cure.map(|status| TestCase::new("keepmydata cures it", status)));
    cases
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A word, and what it rests on.
fn of_seed(found: &Found<SeedFound>) -> [String; 2] {
    let found = match found {
        Ok(found) => found,
        Err(why) => return ["not tried".into(), why.clone()],
    };
    let word = match (found.acknowledged(), found.is_whole()) {
        (false, _) => "failed",
        (true, true) => "whole",
        (true, false) => "torn",
    };
    let mut how = String::new();
    let calls = std::iter::once(&found.msync).chain(&found.retry);
    let calls: Vec<&Call> = calls.chain(&found.step).collect();
    for alike in calls.chunk_by(|a, b| (&a.name, &a.error) == (&b.name, &b.error)) {
        write!(how, "{}, ", of_calls(alike)).expect("writing to a String");
    }
    for look in &found.looks {
        let at = look.after_ns as f64 / 1e6;
        write!(how, "at {at:.1} ms {}, ", of_look(look)).expect("writing to a String");
    }
    if let Some(error) = &found.close_error {
        write!(how, "close: {error}, ").expect("writing to a String");
    }
    [word.into(), how.trim_end_matches(", ").to_owned()]
}

fn of_calls(alike: &[&Call]) -> String {
    let ms = alike.iter().map(|call| call.ns).sum::<u64>() as f64 / 1e6;
    let times = match alike.len() {
        1 => String::new(),
        times => format!("{times} times "),
    };
    let call = alike[0];
    match &call.error {
        None => format!("{times}{} {ms:.1} ms", call.name),
        Some(error) => format!("{times}{} {ms:.1} ms {error}", call.name),
    }
}

/// `held nnnn fresh nooo`: a letter for each page, new, old or something else (`x`).
fn of_look(look: &Look) -> String {
    let letter = |page: &Page| match page {
        Page::New => 'n',
        Page::Old => 'o',
        Page::Other => 'x',
    };
    let readings = look.readings.iter().map(|reading| match &reading.pages {
        Ok(pages) => {
            let letters: String = pages.iter().map(letter).collect();
            format!("{} {letters}", reading.reader)
        }
        Err(why) => format!("{} {why}", reading.reader),
    });
    readings.collect::<Vec<_>>().join(" ")
}

fn of_workload(found: &Found<WorkloadFound>) -> [String; 2] {
    let found = match found {
        Ok(found) => found,
        Err(why) => return ["not tried".into(), why.clone()],
    };
    let mean = found.total_ns as f64 / 1e6 / found.operations.max(1) as f64;
    let mut how = format!(
        "{}, msync {mean:.1} ms, at most {:.1} ms",
        count(found.operations, "store"),
        found.slowest_ns as f64 / 1e6
    );
    let word = match (&found.bad, &found.msync_error) {
        (Some(bad), _) => {
            let late = match bad.right_after_ns {
                Some(ns) => format!("right after {:.1} ms", ns as f64 / 1e6),
                None => "never right".to_owned(),
            };
            let wrong = count(bad.bytes as u64, "wrong byte");
            how += &format!(", {wrong} at {}, {late}", bad.offset);
            "torn"
        }
        (None, Some(error)) => {
            how += &format!(", {error}");
            "failed"
        }
        (None, None) => "whole",
    };
    [word.into(), how]
}

/// The shim's records that tell something, all but its start, as its text log shows them.
fn records(shimmed: &Shimmed) -> String {
    let mut text = String::new();
    for record in &shimmed.records {
        if record["event"] != event::START {
            text += &format!("  {}", as_text(record));
        }
    }
    match text.as_str() {
        "" => text,
        _ => format!("\nrecords of keepmydata {}\n{text}", shimmed.settings),
    }
}
