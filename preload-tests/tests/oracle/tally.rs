//! What a run over all rows came to.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::model::{Judgement, Kind};
use super::program::Program;

/// Of one row.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub programs: u64,
    pub zeros: u64,
    pub warned: u64,
    pub elsewhere: u64,
    /// Programs with something wrong of each kind.
    pub wrong: BTreeMap<Kind, u64>,
}

impl Tally {
    pub fn add(&mut self, judgement: &Judgement) {
        self.programs += 1;
        self.zeros += judgement.zeros;
        self.warned += judgement.warned;
        self.elsewhere += judgement.elsewhere;
        for kind in judgement.kinds() {
            *self.wrong.entry(kind).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.programs += other.programs;
        self.zeros += other.zeros;
        self.warned += other.warned;
        self.elsewhere += other.elsewhere;
        for (kind, count) in &other.wrong {
            *self.wrong.entry(*kind).or_default() += count;
        }
    }
}

/// By row, in order of their names.
#[derive(Clone, Debug, Default)]
pub struct Table(pub BTreeMap<String, Tally>);

impl Table {
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.0.values().for_each(|tally| total.merge(tally));
        total
    }

    /// As a table of Markdown.
    pub fn text(&self) -> String {
        let mut text = String::from("| row | programs | zeros | warned | told to others |");
        for kind in Kind::ALL {
            let _ = write!(text, " {kind} |");
        }
        text += "\n|---|--:|--:|--:|--:|";
        text += &"--:|".repeat(Kind::ALL.len());
        text += "\n";
        let total = ("all".to_owned(), self.total());
        for (row, tally) in self.0.iter().chain([(&total.0, &total.1)]) {
            let _ = write!(
                text,
                "| {row} | {} | {} | {} | {} |",
                tally.programs, tally.zeros, tally.warned, tally.elsewhere
            );
            for kind in Kind::ALL {
                let _ = write!(text, " {} |", tally.wrong.get(&kind).unwrap_or(&0));
            }
            text += "\n";
        }
        text
    }
}

/// A program that failed, as short as it could be made.
#[derive(Clone, Debug)]
pub struct Failure {
    pub row: String,
    pub kind: Kind,
    pub program: Program,
    /// Whether it fails when it is run alone.
    pub again: bool,
    pub why: Vec<String>,
}

impl Failure {
    /// For a person; the first line is one for cases.txt.
    pub fn text(&self) -> String {
        let Self {
            row, kind, program, ..
        } = self;
        let again = if self.again {
            ""
        } else {
            "  (not when it was run again)\n"
        };
        let mut text = format!(
            "NAME | {row} | {kind} | known | {program}\n{again}{}",
            program.as_calls()
        );
        for why in &self.why {
            let _ = writeln!(text, "  -> {}", why.trim_end());
        }
        text
    }
}
