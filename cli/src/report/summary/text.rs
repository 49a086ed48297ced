//! The summary for the terminal.

use super::super::catalog::{About, Catalog, FileId};
use super::{Counts, Slow, Summary, Tear, Whole, counts_of};
use crate::report::text::hexdump;
use crate::table::Table;
use crate::words;
use keepmydata_records::{PageRow, Utc, event};
use std::collections::HashMap;
use std::fmt::{self, Write};

/// How many rows a section has at most, and how many tears and pages of one are shown.
const ROWS: usize = 20;
const TEARS: usize = 6;
const PAGES: usize = 4;

/// A duration as a person reads it.
pub struct Duration(pub u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{} ns", self.0),
            1_000..1_000_000 => format!("{:.1} us", ns / 1e3),
            1_000_000..1_000_000_000 => format!("{:.1} ms", ns / 1e6),
            _ => format!("{:.1} s", ns / 1e9),
        };
        f.pad(&text)
    }
}

/// A time of the day, UTC, to the microsecond.
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Utc(self.0).to_string()[11..26])
    }
}

pub fn text(whole: &Whole<'_>) -> String {
    let Whole { catalog, summary } = whole;
    let mut text = String::new();
    files(&mut text, catalog, summary);
    processes(&mut text, catalog, summary);
    steps(&mut text, summary);
    slowest(&mut text, catalog, summary);
    findings(&mut text, catalog, summary);
    stats(&mut text, catalog, summary);
    tears(&mut text, catalog, summary);
    text
}

fn files(text: &mut String, catalog: &Catalog, summary: &Summary) {
    let mut same: HashMap<&str, u32> = HashMap::new();
    for file in catalog.files() {
        *same.entry(&file.path).or_default() += 1;
    }
    let name = |id: u32| {
        let file = &catalog.files()[id as usize];
        match file.ino.filter(|_| same[&*file.path] > 1) {
            Some(ino) => format!("{} (inode {ino})", printable(&file.path)),
            None => printable(&file.path),
        }
    };
    let mut rows: Vec<(&Counts, String)> = (0..catalog.files().len() as u32)
        .filter_map(|id| Some((counts_of(&summary.files, id)?, name(id))))
        .collect();
    rows.sort_by_key(|(counts, _)| {
        std::cmp::Reverse((counts.tears, counts.msyncs, counts.records))
    });
    section(text, "Files", rows.len(), |table| {
        table.row(counts_header("file"));
        for (counts, name) in rows.iter().take(ROWS) {
            table.row(counts_row(counts, name));
        }
    });
}

fn counts_header(last: &'static str) -> [&'static str; 12] {
    [
        "msyncs",
        "failed",
        "healed",
        "dirty",
        "verified",
        "newer",
        "stale",
        "uncertain",
        "reads",
        "median",
        "longest",
        last,
    ]
}

fn counts_row(counts: &Counts, name: &str) -> [String; 12] {
    [
        counts.msyncs.to_string(),
        counts.failed.to_string(),
        healed(counts),
        counts.dirty.to_string(),
        counts.verified.to_string(),
        counts.newer.to_string(),
        counts.stale.to_string(),
        counts.uncertain.to_string(),
        counts.reads.to_string(),
        Duration(counts.durations.quantile(0.5)).to_string(),
        Duration(counts.durations.longest).to_string(),
        name.to_owned(),
    ]
}

/// `0`, `1 (redirty)`, `3 (redirty 2, wait 1)`.
fn healed(counts: &Counts) -> String {
    let rungs: Vec<String> = match counts.rungs.len() {
        0 => return counts.healed.to_string(),
        1 => counts.rungs.keys().map(ToString::to_string).collect(),
        _ => (counts.rungs.iter())
            .map(|(rung, times)| format!("{rung} {times}"))
            .collect(),
    };
    format!("{} ({})", counts.healed, rungs.join(", "))
}

fn processes(text: &mut String, catalog: &Catalog, summary: &Summary) {
    let threads = catalog.threads_of();
    let mut rows: Vec<(u32, &Counts)> = (0..catalog.processes().len() as u32)
        .filter_map(|id| Some((id, counts_of(&summary.processes, id)?)))
        .collect();
    rows.sort_by_key(|(_, counts)| {
        std::cmp::Reverse((counts.tears, counts.msyncs, counts.records))
    });
    section(text, "Processes", rows.len(), |table| {
        table.row(counts_header("pid"));
        for (id, counts) in rows.iter().take(ROWS) {
            let pid = catalog.processes()[*id as usize];
            let name = match threads.get(id) {
                Some(&count) if count > 1 => format!("{pid} ({count} threads)"),
                _ => pid.to_string(),
            };
            table.row(counts_row(counts, &name));
        }
    });
}

fn steps(text: &mut String, summary: &Summary) {
    let rows: Vec<_> = summary.steps().collect();
    section(text, "msync, its steps, and reads", rows.len(), |table| {
        table.row(["", "count", "in all", "median", "99 %", "longest"]);
        for (name, durations) in &rows {
            table.row([
                (*name).to_owned(),
                durations.count.to_string(),
                Duration(durations.total).to_string(),
                Duration(durations.quantile(0.5)).to_string(),
                Duration(durations.quantile(0.99)).to_string(),
                Duration(durations.longest).to_string(),
            ]);
        }
    });
}

fn slowest(text: &mut String, catalog: &Catalog, summary: &Summary) {
    for (title, list) in [
        ("Slowest msyncs", summary.slowest_calls.list()),
        ("Slowest steps", summary.slowest_steps.list()),
    ] {
        section(text, title, list.len(), |table| {
            for slow in &list {
                let Slow {
                    ns,
                    name,
                    time_ns,
                    call,
                    about,
                } = slow;
                table.row([
                    Duration(*ns).to_string(),
                    (*name).to_owned(),
                    Time(*time_ns).to_string(),
                    caller(catalog, about, *call),
                    file_name(catalog, about.file),
                ]);
            }
        });
    }
}

fn findings(text: &mut String, catalog: &Catalog, summary: &Summary) {
    let list = summary.findings.list();
    let count = list.len() + summary.findings.more as usize;
    section(text, "Findings", count, |table| {
        for (code, file, message, count) in list.iter().take(ROWS) {
            let times = words::count(*count, "time");
            table.row([
                code.to_string(),
                times,
                message.to_string(),
                file_name(catalog, *file),
            ]);
        }
    });
}

/// What processes counted until their end, a line a file.
fn stats(text: &mut String, catalog: &Catalog, summary: &Summary) {
    let mut lines: Vec<(Option<FileId>, String)> = Vec::new();
    for (file, name, sum) in summary.findings.stats() {
        let figure = match name.strip_suffix("_ns") {
            Some(name) => format!("{name} {}", Duration(sum)),
            None => format!("{name} {sum}"),
        };
        match lines.last_mut() {
            Some((last, line)) if *last == file => *line += &format!(", {figure}"),
            _ => lines.push((file, figure)),
        }
    }
    section(text, "Counted until the end", lines.len(), |table| {
        for (file, line) in lines.iter().take(ROWS) {
            let name = match file {
                None => "(all processes)".to_owned(),
                some => file_name(catalog, *some),
            };
            table.row([name, line.clone()]);
        }
    });
}

fn tears(text: &mut String, catalog: &Catalog, summary: &Summary) {
    let tears = &summary.tears;
    for (index, tear) in tears.list.iter().take(TEARS).enumerate() {
        let title = title(catalog, index, tear);
        let _ = write!(text, "\n{title}\n");
        if !tear.message.is_empty() {
            let _ = writeln!(text, "  {}", printable(&tear.message));
        }
        for page in tear.pages.iter().take(PAGES) {
            text.push_str(&page_text(page));
        }
        let more = tear.pages.len().saturating_sub(PAGES);
        if more > 0 || tear.truncated {
            let and = if tear.truncated {
                " and ones that the log left out"
            } else {
                ""
            };
            let pages = words::count(more as u64, "more page");
            let _ = writeln!(text, "  ... {pages}{and}");
        }
    }
    let more = tears.count().saturating_sub(TEARS as u64);
    if more > 0 {
        let tears = words::count(more, "more tear");
        let shows = words::verb(more, "shows it", "shows them");
        let _ = write!(text, "\n... {tears}; --html FILE {shows}\n");
    }
}

fn title(catalog: &Catalog, index: usize, tear: &Tear) -> String {
    let what = match tear.event.as_str() {
        event::REPORT => "msync",
        other => other,
    };
    let answer = match (tear.result, tear.errno) {
        (Some(result), Some(errno)) => format!(" = {result} {errno}"),
        (Some(result), None) => format!(" = {result}"),
        _ => String::new(),
    };
    format!(
        "Tear {} {} {} {what}{answer} {}",
        index + 1,
        Time(tear.time_ns),
        caller(catalog, &tear.about, tear.call),
        file_name(catalog, tear.about.file)
    )
}

/// One page: where, what is wrong, and the bytes from the first wrong one on.
fn page_text(page: &PageRow) -> String {
    let mut text = format!(
        "  page {} [{},{}) {}",
        page.page,
        page.start,
        page.end,
        page.verdict.word()
    );
    if let Some(content) = page.content {
        let _ = write!(text, ", reads back {}", content.word());
    }
    if let Some(bytes) = page.wrong_bytes {
        let _ = write!(text, ", {} wrong", words::count(bytes, "byte"));
    }
    if let Some(rung) = page.rung {
        let _ = write!(text, ", cured by {}", rung.word());
    }
    if let Some(first) = page.first_diff {
        let _ = write!(text, ", differs from byte {first}:");
    }
    text.push('\n');
    for (name, bytes) in [("expected", page.expected_hex), ("actual", page.actual_hex)] {
        for (row, chunk) in bytes
            .iter()
            .flat_map(|hex| hex.bytes().chunks(16))
            .enumerate()
        {
            let name = if row == 0 { name } else { "" };
            let _ = writeln!(text, "    {name:8}  {}", hexdump(chunk));
        }
    }
    text
}

fn caller(catalog: &Catalog, about: &About, call: Option<u64>) -> String {
    let (process, tid) = catalog.threads()[about.thread as usize];
    let pid = catalog.processes()[process as usize];
    let mut text = format!("pid {pid}");
    if tid != pid {
        let _ = write!(text, " tid {tid}");
    }
    if let Some(call) = call {
        let _ = write!(text, " #{call}");
    }
    text
}

fn file_name(catalog: &Catalog, file: Option<FileId>) -> String {
    let Some(key) = file.and_then(|id| catalog.files().get(id as usize)) else {
        return String::new();
    };
    printable(&key.path)
}

/// On one line, and harmless to a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // What changes the direction of text can make a path look like another.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn section(text: &mut String, title: &str, rows: usize, fill: impl FnOnce(&mut Table)) {
    if rows == 0 {
        return;
    }
    let mut table = Table::indented(2);
    fill(&mut table);
    let _ = write!(text, "\n{title}\n{table}");
    if rows > ROWS {
        let _ = writeln!(text, "  ... {} more", rows - ROWS);
    }
}
