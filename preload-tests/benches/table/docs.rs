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

/// Every goal, a row of a table each, with a column for each filesystem.
fn goals(results: &Results) -> String {
    let of_rows = results.rows.iter().filter_map(|row| {
        let (goal, reached) = row.goal?;
        let (case, metric) = (&row.case, &row.metric);
        let (contender, baseline) = (&row.contender, &row.baseline);
        let what = format!("{case}, {metric}: {contender} against {baseline}");
        Some((
            (what, goal.text()),
            row.fs,
            marked(goal.measured(row), reached),
        ))
    });
    let of_checks = results.checks.iter().map(|check| {
        let goal = format!("at most {:.2}", check.at_most);
        let measured = marked(format!("{:.2}", check.measured), check.is_reached());
        ((check.what.to_string(), goal), check.fs, measured)
    });
    let goals: Vec<_> = of_rows.chain(of_checks).collect();
    let filesystems = in_order(goals.iter().map(|(_, fs, _)| *fs));
    let mut table = Table::new(["", "goal"].iter().chain(&filesystems));
    for (of, rows) in grouped(&goals, |(of, ..)| of.clone()) {
        let cells = filesystems.iter().map(|fs| {
            let here = rows.iter().find(|(_, on, _)| on == fs);
            here.map_or("", |(.., measured)| measured)
        });
        table.row([of.0.as_str(), &of.1].into_iter().chain(cells));
    }
    table.to_string()
}

fn marked(measured: String, reached: bool) -> String {
    match reached {
        true => measured,
        false => format!("**missed**: {measured}"),
    }
}

/// Every row, in a table for each case and metric, with a column for each filesystem.
fn rows(results: &Results) -> String {
    let mut text = String::new();
    let heading = |row: &Row| format!("{}: {}", row.case, row.metric);
    for (heading, rows) in grouped(&results.rows, heading) {
        let filesystems = in_order(rows.iter().map(|row| row.fs));
        let first = format!("median, x of {}", rows[0].baseline);
        let mut table = Table::of_figures([first.as_str()].iter().chain(&filesystems));
        for (contender, rows) in grouped(rows, |row| row.contender) {
            let cells = filesystems.iter().map(|fs| {
                let here = rows.iter().find(|row| row.fs == *fs);
                here.map_or(String::new(), |row| figures(row))
            });
            table.row([contender.to_owned()].into_iter().chain(cells));
        }
        let _ = write!(text, "\n### {heading}\n\n{table}");
    }
    text
}

fn figures(row: &Row) -> String {
    let median = duration(row.ns.median);
    match row.contender == row.baseline {
        true => median,
        false => format!("{median}, {:.2}", row.ratio.median),
    }
}

/// Each once, in the order in which they come.
fn in_order<K: PartialEq>(keys: impl Iterator<Item = K>) -> Vec<K> {
    keys.fold(vec![], |mut found, key| {
        if !found.contains(&key) {
            found.push(key);
        }
        found
    })
}

/// The items with the same key together, keys in the order in which they first come.
fn grouped<'i, T, K: PartialEq>(
    items: impl IntoIterator<Item = &'i T>,
    key: impl Fn(&T) -> K,
) -> Vec<(K, Vec<&'i T>)> {
    let mut groups: Vec<(K, Vec<&T>)> = vec![];
    for item in items {
        let of = key(item);
        match groups.iter_mut().find(|(key, _)| *key == of) {
            Some((_, group)) => group.push(item),
            None => groups.push((of, vec![item])),
        }
    }
    groups
}
