//! `docs/bench.md` and the plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::json::Results;
use crate::plots::{count_text, draw, size_text};
use crate::run::Row;
use crate::stats::duration;

/// What surrounds the figures; `{machine}`, `{goals}` and `{rows}` are filled in.
const DOCUMENT: &str = include_str!("document.md");

/// The document in `directory`.
pub fn document(directory: &Path) -> PathBuf {
    directory.join("bench.md")
}

/// Writes all into `directory`.
///
/// # Errors
/// What could not be written.
pub fn write(directory: &Path, results: &Results) -> Result<(), String> {
    let put = |path: PathBuf, content: &str| {
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    };
    let text = DOCUMENT
        .replace("{machine}", &results.machine)
        .replace("{goals}", &goals(results))
        .replace("{rows}", &rows(results));
    put(document(directory), &text)?;
    if !results.dirty_pages.is_empty() {
        let title = "msync of 256 MiB, all cached, by dirty pages";
        let plot = draw(&results.dirty_pages, title, "dirty pages", count_text)?;
        put(directory.join("bench-dirty-pages.svg"), &plot)?;
    }
    if !results.file_size.is_empty() {
        let title = "msync of 16 dirty pages, by size of the sparse file";
        let plot = draw(&results.file_size, title, "size of the file", size_text)?;
        put(directory.join("bench-file-size.svg"), &plot)?;
    }
    Ok(())
}

/// Every goal, a row of a table each.
fn goals(results: &Results) -> String {
    let mut text =
        String::from("| | on | goal | measured (min median max) | |\n|---|---|---|---|---|\n");
    for row in &results.rows {
        let Some((goal, reached)) = row.goal else {
            continue;
        };
        let _ = writeln!(
            text,
            "| {}, {}: {} against {} | {} | {} | {} | {} |",
            row.case,
            row.metric,
            row.contender,
            row.baseline,
            row.fs,
            goal.text(),
            goal.measured(row),
            verdict(reached)
        );
    }
    for check in &results.checks {
        let _ = writeln!(
            text,
            "| {} | {} | at most {:.2} | {:.2} | {} |",
            check.what,
            check.fs,
            check.at_most,
            check.measured,
            verdict(check.is_reached())
        );
    }
    text
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// Every row, in a table for each case, filesystem and metric.
fn rows(results: &Results) -> String {
    let mut text = String::new();
    let mut heading = String::new();
    for row in &results.rows {
        let new = format!("{}, {}: {}", row.fs, row.case, row.metric);
        if new != heading {
            let _ = write!(
                text,
                "\n### {new}\n\n| | min | median | max | x of {} (min median max) |\n\
                 |---|--:|--:|--:|--:|\n",
                row.baseline
            );
            heading = new;
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.contender,
            duration(row.ns.min),
            duration(row.ns.median),
            duration(row.ns.max),
            ratio(row)
        );
    }
    text
}

fn ratio(row: &Row) -> String {
    let ratio = row.ratio;
    match row.contender == row.baseline {
        true => "1".to_owned(),
        false => format!("{:.2} {:.2} {:.2}", ratio.min, ratio.median, ratio.max),
    }
}
