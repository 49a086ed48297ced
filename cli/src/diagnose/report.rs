//! What was found, for people and for programs.

use super::arguments::Options;
use super::clients::TwoClients;
use super::runs::Runs;
use super::verdict::{Judgement, Verdict};
use crate::junit;
use crate::table::Table;
use crate::trial::as_text;
use quick_junit::{TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

/// Records shown of a kind; there are more in the logs.
const SHOWN: usize = 2;

pub fn text(
    options: &Options,
    all: &[Runs],
    judgement: &Judgement,
    clients: Option<&TwoClients>,
) -> String {
    let mut table = Table::indented(2);
    for runs in all {
        let passed = match runs.runs {
            0 => "not tried".to_owned(),
            n => format!("{} of {n}", runs.passed),
        };
        let why = runs.failures.first().map_or("", String::as_str);
        table.row([runs.name, &passed, why]);
    }
    let words: Vec<_> = options
        .program
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let mut text = format!("{}\n\nruns that passed\n{table}", words.join(" "));
    text += &judgement.said.text();
    let records = records(all, judgement);
    if !records.is_empty() {
        text += "\nrecords that show it\n";
    }
    for record in records.iter().take(SHOWN * judgement.records.len()) {
        text += &format!("  {}", as_text(record));
    }
    if let Some(TwoClients { first, second, .. }) = clients {
        let (first, second) = (first.display(), second.display());
        text +=
            &format!("\nMore about the two clients: keepmydata doctor {first} --client {second}\n");
    }
    let directories = all.iter().flat_map(|runs| &runs.evidence.directories);
    if let (Verdict::Filesystem, Some(directory)) = (judgement.said.verdict, directories.last()) {
        text += &format!("\nMore about the filesystem: keepmydata doctor {directory}\n");
    }
    if let Some(logs) = &options.logs {
        text += &format!("\nThe logs are in {}\n", logs.display());
    }
    text
}

/// A few of each kind that the judgement rests on, from the setting that has them first.
fn records<'a>(all: &'a [Runs], judgement: &Judgement) -> Vec<&'a Value> {
    let of_kind = |kind: &&str| {
        let mut shown = all
            .iter()
            .filter_map(|runs| runs.evidence.records.get(*kind));
        shown.next().into_iter().flatten().take(SHOWN)
    };
    judgement.records.iter().flat_map(of_kind).collect()
}

/// A case for the verdict, and one for each setting.
pub fn junit(all: &[Runs], judgement: &Judgement) -> Vec<TestSuite> {
    let mut suite = TestSuite::new("diagnose");
    suite.add_test_case(judgement.said.case("passes natively"));
    for runs in all {
        let why = || runs.failures.first().cloned().unwrap_or_default();
        let status = match runs.runs {
            0 => TestCaseStatus::skipped(),
            _ if runs.all_passed() => TestCaseStatus::success(),
            n => junit::failure(format!("{} of {n} passed: {}", runs.passed, why())),
        };
        suite.add_test_case(TestCase::new(runs.name, status));
    }
    vec![suite]
}

pub fn json(
    options: &Options,
    all: &[Runs],
    judgement: &Judgement,
    clients: Option<&TwoClients>,
) -> String {
    let words: Vec<_> = options
        .program
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let mut object = judgement.said.json();
    object.insert("program".into(), json!(words));
    object.insert("settings".into(), json!(all));
    object.insert("records".into(), json!(records(all, judgement)));
    if let Some(TwoClients {
        first,
        second,
        kind,
    }) = clients
    {
        let both = [first, second].map(|mount| mount.to_string_lossy());
        object.insert("clients".into(), json!({"type": kind, "mounts": both}));
    }
    format!("{}\n", Value::Object(object))
}
