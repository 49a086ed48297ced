//! For a failed data comparison: the page table, and the msyncs and reads that touch the range.

use super::comparison::{Comparison, page_size, touches};
use super::logs;
use super::plan::{Side, read_json};
use super::results::{RESULTS, Results};
use crate::failure::Failure;
use crate::table::Table;
use keepmydata_records::{Record, event, write_text};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Of an earlier run.
pub fn report(output: &Path) -> Result<String, Failure> {
    let results: Results = read_json(&output.join(RESULTS))?;
    Ok(text(&results, output))
}

/// All comparison errors of a run, with what the logs tell of them.
pub fn text(results: &Results, output: &Path) -> String {
    let mut text = String::new();
    for (number, row) in results.tests.iter().enumerate() {
        for (name, result) in row.sides() {
            let side = Side(output.join(name));
            let log = fs::read_to_string(side.log(number)).unwrap_or_default();
            let records = logs::read(&log);
            for comparison in &result.comparisons {
                writeln!(
                    text,
                    "{} ({name}): {}",
                    row.name,
                    explain(comparison, &records)
                )
                .expect("writing to a String");
            }
        }
    }
    if text.is_empty() {
        text.push_str("no data comparison error\n");
    }
    text
}

fn explain(comparison: &Comparison, records: &[Record<'_>]) -> String {
    let c = comparison;
    let mut text = format!(
        "pid {} stored [{},{}) of {} and read back wrong from {} on\n    expected {}\n    actual   {}\n",
        c.pid,
        c.offset,
        c.end(),
        c.path,
        c.first_bad,
        c.expected,
        c.actual
    );
    let file = c.records(records);
    let until = c.time_of_read(&file);
    let before = file.into_iter().filter(|record| record.time_ns <= until);
    let before: Vec<&Record<'_>> = before.collect();
    let last = before
        .iter()
        .rposition(|record| record.event == event::MSYNC && record.pid == c.pid);
    let about: Vec<&Record<'_>> = before
        .iter()
        .enumerate()
        .filter(|(number, record)| Some(*number) == last || is_about(record, c))
        .map(|(_, record)| *record)
        .collect();
    text.push('\n');
    text += &page_table(c, &about).to_string();
    text.push('\n');
    if records.is_empty() {
        text.push_str("  no log: the shim was not there\n");
        return text;
    }
    for record in about {
        let mut lines = String::new();
        write_text(record, &mut lines).expect("writing to a String");
        // The pages of a report, which follow its first line, are in the table.
        let line = lines.lines().next().unwrap_or_default();
        let mark = if record.pid == c.pid { "*" } else { " " };
        writeln!(text, "{mark} {line}").expect("writing to a String");
    }
    text
}

/// Whether it is a read of the store's range, an msync that found something dirty there, or a
/// report on its pages.
fn is_about(record: &Record<'_>, c: &Comparison) -> bool {
    match &*record.event {
        event::READ => touches(record, c.offset, c.end()),
        event::REPORT => record.pages.iter().any(|row| pages(c).contains(&row.page)),
        event::MSYNC => wrote(record, c.offset, c.end()),
        _ => false,
    }
}

/// Whether an msync found something dirty in the range.
fn wrote(record: &Record<'_>, start: u64, end: u64) -> bool {
    let dirty = record.dirty.iter();
    let overlap = dirty
        .clone()
        .any(|range| range.offset < end && start < range.offset + range.length);
    overlap || record.truncated && touches(record, start, end)
}

fn pages(c: &Comparison) -> std::ops::Range<u64> {
    c.offset / page_size()..c.end().div_ceil(page_size())
}

/// The pages of the store: how much of each was stored, which msync last wrote it, and what the log
/// says of it.
fn page_table(c: &Comparison, about: &[&Record<'_>]) -> Table {
    let mut table = Table::indented(2);
    table.row([
        "page",
        "file range",
        "bytes of the store",
        "last written by",
        "verdict",
        "",
    ]);
    for page in pages(c) {
        let (start, end) = (page * page_size(), (page + 1) * page_size());
        let stored = end.min(c.end()) - start.max(c.offset);
        let bytes = match stored {
            all if all == page_size() => format!("all {all}"),
            _ if c.offset > start && c.end() < end => format!("{stored} inside"),
            _ if c.offset > start => format!("last {stored}"),
            _ => format!("first {stored}"),
        };
        let msync = about
            .iter()
            .rev()
            .find(|r| r.event == event::MSYNC && wrote(r, start, end));
        let verdict = about
            .iter()
            .rev()
            .filter(|record| record.event == event::REPORT)
            .flat_map(|record| record.pages.iter().map(move |row| (record.pid, row)))
            .find(|(_, row)| row.page == page);
        let cells: [&str; 6] = [
            &page.to_string(),
            &format!("[{start},{end})"),
            &bytes,
            &msync.map_or("-".to_owned(), |r| {
                format!("pid {} msync #{}", r.pid, r.call.unwrap_or_default())
            }),
            &verdict.map_or("-".to_owned(), |(pid, row)| {
                let content = row.content.map_or("", |content| content.word());
                let words = [row.verdict.word(), content];
                let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                format!("{} (pid {pid})", words.join(" "))
            }),
            if (start..end).contains(&c.first_bad) {
                "<- first bad byte"
            } else {
                ""
            },
        ];
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The case of docs/promise.md: four pages, the last three torn.
    #[test]
    fn the_range_is_told_page_by_page_and_call_by_call() {
        let c = Comparison {
            pid: 9,
            path: "/mnt/f".into(),
            offset: 4442856,
            length: 9927,
            first_bad: 4444160,
            expected: "new".into(),
            actual: "old".into(),
            foretold: None,
        };
        let line = |time: u64, pid: u32, rest: &str| {
            format!(
                r#"{{"time_ns":{time},"level":"info","pid":{pid},"tid":{pid},"path":"/mnt/f","dev":"0:9","ino":3,{rest}}}"#
            )
        };
        let log = [
            line(1, 9, r#""event":"msync","call":1,"offset":0,"length":12800000,"dirty":[[0,4096]]"#),
            line(2, 8, r#""event":"msync","call":1,"offset":0,"length":12800000,"dirty":[[4440064,12288]]"#),
            line(3, 8, r#""event":"read","offset":4452352,"length":10"#),
            line(4, 9, r#""event":"read","offset":0,"length":10"#),
            line(5, 9, r#""event":"msync","call":2,"offset":0,"length":12800000,"dirty":[[4440064,4096]]"#),
            line(5, 9, r#""event":"report","call":2,"pages":[{"page":1085,"start":4444160,"end":4448256,"verdict":"stale","content":"old"}]"#),
            line(6, 9, r#""event":"read","offset":4442856,"length":9927"#),
            line(7, 8, r#""event":"read","offset":4442856,"length":9927"#),
        ]
        .join("\n");
        let text = explain(&c, &logs::read(&log));
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .filter(|cell| !cell.is_empty())
                    .map(str::trim)
                    .collect()
            })
            .collect();
        for row in [
            &[
                "1084",
                "[4440064,4444160)",
                "last 1304",
                "pid 9 msync #2",
                "-",
            ][..],
            &[
                "1085",
                "[4444160,4448256)",
                "all 4096",
                "pid 8 msync #1",
                "stale old (pid 9)",
                "<- first bad byte",
            ],
            &[
                "1086",
                "[4448256,4452352)",
                "all 4096",
                "pid 8 msync #1",
                "-",
            ],
            &["1087", "[4452352,4456448)", "first 431", "-", "-"],
        ] {
            assert!(rows.iter().any(|found| found == row), "{row:?} in\n{text}");
        }
        let calls: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(" tid "))
            .map(|line| line.split(" tid ").nth(1).unwrap())
            .map(|line| line.split(" (").next().unwrap())
            .collect();
        assert_eq!(
            calls,
            [
                "8 msync #1 /mnt/f",
                "8 read /mnt/f",
                "9 msync #2 /mnt/f",
                "9 report #2 /mnt/f",
                "9 read /mnt/f"
            ]
        );
    }
}
