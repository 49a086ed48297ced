//! `docs/bench.md` and the plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use preload_tests::markdown::Table;

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
    let mut table = Table::new(["", "on", "goal", "measured (min median max)", ""]);
    for row in &results.rows {
        let Some((goal, reached)) = row.goal else {
            continue;
        };
        let (case, metric) = (&row.case, &row.metric);
        let (contender, baseline) = (&row.contender, &row.baseline);
        table.row([
            format!("{case}, {metric}: {contender} against {baseline}"),
            row.fs.to_string(),
            goal.text(),
            goal.measured(row),
            verdict(reached).to_owned(),
        ]);
    }
    for check in &results.checks {
        table.row([
            check.what.to_string(),
            check.fs.to_string(),
            format!("at most {:.2}", check.at_most),
            format!("{:.2}", check.measured),
            verdict(check.is_reached()).to_owned(),
        ]);
    }
    table.to_string()
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// Every row, in a table for each case, filesystem and metric.
fn rows(results: &Results) -> String {
    let mut text = String::new();
    let heading = |row: &Row| format!("{}, {}: {}", row.fs, row.case, row.metric);
    for rows in results.rows.chunk_by(|a, b| heading(a) == heading(b)) {
        let ratios = format!("x of {} (min median max)", rows[0].baseline);
        let mut table = Table::of_figures(["", "min", "median", "max", &ratios]);
        for row in rows {
            table.row([
                row.contender.to_string(),
                duration(row.ns.min),
                duration(row.ns.median),
                duration(row.ns.max),
                ratio(row),
            ]);
        }
        let _ = write!(text, "\n### {}\n\n{table}", heading(&rows[0]));
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
