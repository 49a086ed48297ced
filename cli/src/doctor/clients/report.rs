//! What was found, for people and for programs.

use super::super::arguments::Options;
use super::case::{Case, Client, LATE, Opened, Step, Way};
use super::side::About;
use super::trials::Trials;
use super::verdict::Judgement;
use crate::table::Table;
use quick_junit::TestSuite;
use serde_json::{Value, json};
use std::path::Path;

/// The first line.
fn head(names: [&Path; 2], abouts: [&About; 2]) -> String {
    let [a, b] = names.map(Path::display);
    match abouts.map(|about| about.kind.as_str()) {
        [one, other] if one == other => format!("{a} and {b}: two clients of {one}\n"),
        [one, other] => format!("{a} and {b}: two clients, {one} and {other}\n"),
    }
}

pub fn text(
    options: &Options,
    names: [&Path; 2],
    abouts: [&About; 2],
    judgement: &Judgement,
    trials: Option<&Trials>,
) -> String {
    let mut text = head(names, abouts);
    if options.verbose {
        text += &evidence(names, abouts, trials);
    }
    text += &judgement.text();
    if !options.verbose {
        text += "\nThe evidence: the same with --verbose\n";
    }
    text
}

fn evidence(names: [&Path; 2], abouts: [&About; 2], trials: Option<&Trials>) -> String {
    let mut text = String::new();
    for ((name, about), word) in names.iter().zip(abouts).zip(["first", "second"]) {
        text += &format!(
            "{word}: {}: {}, options {}\n",
            name.display(),
            about.summary,
            about.options
        );
    }
    let Some(trials) = trials else { return text };
    let both = trials.only_reads.is_none();
    for (writer, title) in [
        (
            Client::First,
            "stored through the first, read through the second",
        ),
        (
            Client::Second,
            "stored through the second, read through the first",
        ),
    ]
    .into_iter()
    .filter(|(writer, _)| both || *writer == Client::First)
    {
        let mut table = Table::indented(2);
        let heads = Step::ALL.map(Step::words);
        table.row([
            "",
            heads[0],
            heads[1],
            heads[2],
            heads[3],
            "opened only to store: msync",
            "msync, fsync, close",
            "a second later: msync",
        ]);
        for way in Way::ALL {
            let case = |opened, step| Case {
                writer,
                reader: writer.other(),
                way,
                opened,
                step,
            };
            let [a, b, c, d] = Step::ALL.map(|step| cell(trials, case(Opened::Before, step)));
            let [e, f] = LATE.map(|step| cell(trials, case(Opened::After, step)));
            let g = cell(trials, case(Opened::Later, Step::Msync));
            table.row([way.words().to_owned(), a, b, c, d, e, f, g]);
        }
        let own = Case {
            writer,
            reader: writer,
            way: Way::Direct,
            opened: Opened::Before,
            step: Step::Msync,
        };
        table.row(["the writer itself, O_DIRECT".to_owned(), cell(trials, own)]);
        text += &format!("\n{title}\n{table}");
    }
    let turns = &trials.turns;
    if !both {
        return text;
    }
    text += &format!(
        "\ntwo writers in turn: {} stores, the other's not seen in {} turns, own ones lost in {}\n",
        turns.stores, turns.unseen, turns.lost
    );
    text
}

/// `at once`, `312 ms`, `not in 10 s`.
fn cell(trials: &Trials, case: Case) -> String {
    match trials.find(case).map(|tried| &tried.found) {
        None => String::new(),
        Some(Err(why)) => why.clone(),
        Some(Ok(seen)) => match seen.new_after_ms {
            None if seen.evicted => format!("evicted after {} ms", seen.looked_ms),
            Some(0) => "at once".to_owned(),
            Some(ms) => format!("{ms} ms"),
            None => format!("not in {} s", seen.looked_ms / 1000),
        },
    }
}

pub fn json(
    names: [&Path; 2],
    abouts: [&About; 2],
    judgement: &Judgement,
    trials: Option<&Trials>,
) -> String {
    let mut object = judgement.json();
    let clients: Vec<Value> = names
        .iter()
        .zip(abouts)
        .map(|(name, about)| {
            json!({
                "directory": name.to_string_lossy(),
                "type": about.kind,
                "summary": about.summary,
                "options": about.options,
            })
        })
        .collect();
    object.insert("clients".into(), json!(clients));
    if let Some(trials) = trials {
        object.insert("trials".into(), json!(trials));
    }
    format!("{}\n", Value::Object(object))
}

/// One case, with the evidence as its output.
pub fn junit(
    names: [&Path; 2],
    abouts: [&About; 2],
    judgement: &Judgement,
    trials: Option<&Trials>,
) -> Vec<TestSuite> {
    let mut suite = TestSuite::new("doctor");
    let mut case = judgement.case("the other client sees what msync has synced");
    case.set_classname(names[0].to_string_lossy());
    case.set_system_out(head(names, abouts) + &evidence(names, abouts, trials));
    suite.add_test_case(case);
    vec![suite]
}
