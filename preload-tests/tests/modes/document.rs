//! `docs/modes.md`: written from real runs, and checked against what is expected.

use std::fmt::Write as _;
use std::path::PathBuf;

use preload_tests::markdown::{Table, rows};

use super::expect::{Column, Expect, Guest, ROWS, Row, VARIANTS, Variant};
use super::observe::{Effort, Found};

const HEADS: [&str; 13] = [
    "mode",
    "native: seed",
    "1 process",
    "2 processes",
    "flush only: seed",
    "1 process",
    "2 processes",
    "verified: seed",
    "1 process",
    "2 processes",
    "supervised: seed",
    "1 process",
    "2 processes",
];
const NOT_RUN: &str = "-";

pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/modes.md"))
}

/// Every cell of a table, in order.
pub fn cells() -> impl Iterator<Item = (Column, Guest)> {
    Column::ALL
        .into_iter()
        .flat_map(|column| Guest::ALL.map(|guest| (column, guest)))
}

/// The whole file; `found` tells what a cell came to.
pub fn render(
    effort: Effort,
    mut found: impl FnMut(&Row, &Variant, Column, Guest) -> Vec<Found>,
) -> String {
    let mut text = format!(
        include_str!("document.md"),
        seconds = effort.seconds,
        seeds = effort.seeds
    );
    for variant in &VARIANTS {
        let flags = variant.arguments.join(" ");
        let how = if flags.is_empty() {
            "no option".to_owned()
        } else {
            format!("`{flags}`")
        };
        let mut table = Table::new(HEADS);
        for row in &ROWS {
            let found = cells().map(|(column, guest)| match row.expect(variant, column, guest) {
                Expect::NotRun => NOT_RUN.to_owned(),
                _ => summary(&found(row, variant, column, guest)),
            });
            table.row([row.mode.to_string()].into_iter().chain(found));
        }
        let _ = write!(text, "\n## {} ({how})\n\n{table}", variant.title);
    }
    text
}

/// `whole`, or `whole 2, reported 1`.
fn summary(found: &[Found]) -> String {
    let mut words: Vec<(&str, usize)> = Vec::new();
    for word in found.iter().map(Found::word) {
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => words.push((word, 1)),
        }
    }
    match words.as_slice() {
        [(word, _)] => (*word).to_owned(),
        several => several
            .iter()
            .map(|(word, count)| format!("{word} {count}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// What in a written table is not as expected, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let tables: Vec<&str> = text.split("\n## ").skip(1).collect();
    if tables.len() != VARIANTS.len() {
        return vec![format!("{} tables", tables.len())];
    }
    for (variant, table) in VARIANTS.iter().zip(tables) {
        for row in &ROWS {
            let Some(written) = rows(table, &[row.mode]).pop() else {
                wrong.push(format!("{}: no row {}", variant.title, row.mode));
                continue;
            };
            for (at, (column, guest)) in cells().enumerate() {
                let expect = row.expect(variant, column, guest);
                let cell = written.get(at + 1).copied().unwrap_or_default();
                if !agrees(expect, cell) {
                    wrong.push(format!(
                        "{}, {}, {column:?} {guest:?}: {cell:?}, expected {expect:?}",
                        variant.title, row.mode
                    ));
                }
            }
        }
    }
    wrong
}

fn agrees(expect: Expect, cell: &str) -> bool {
    if expect == Expect::NotRun {
        return cell == NOT_RUN;
    }
    cell.split(", ").all(|part| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit()).trim();
        Found::of_word(word).is_some_and(|found| expect.allows(&found))
    })
}
