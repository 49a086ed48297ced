//! The data of the page, as `data.js` reads it: a JSON object of columns.

use super::super::catalog::{Catalog, FileId};
use super::super::histogram::Histogram;
use super::super::kept::{Kept, Lane, Row, Which};
use super::super::summary::{Counts, Summary, Tear, counts_of};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};

/// Rows of a table of sums.
const SUMS: usize = 2000;

pub struct Contents<'a> {
    pub catalog: &'a Catalog,
    pub summary: &'a Summary,
    /// Finished.
    pub kept: &'a Kept,
    /// Names of daemons' logs.
    pub daemons: &'a [String],
    pub logs: usize,
    pub unreadable: u64,
}

impl Contents<'_> {
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let base = self.base();
        let head = json!({
            "base": base.to_string(),
            "span": self.kept.rows.iter().map(|row| (row.time_ns - base).saturating_add(row.duration_ns.unwrap_or(0))).max().unwrap_or(0),
            "logs": self.logs,
            "unreadable": self.unreadable,
            "seen": self.kept.seen,
            "page_size": self.page_size(),
            "events": self.kept.events,
            "files": self.catalog.files().iter().map(|file| json!({
                "path": file.path,
                "dev": file.dev.map(|dev| dev.to_string()),
                "ino": file.ino.map(|ino| ino.to_string()),
            })).collect::<Vec<_>>(),
            "lanes": self.lanes(),
            "summary": self.sums(),
            "more_tears": self.summary.tears.more,
        });
        // The columns are too long to be put together first.
        let head = head.to_string();
        out.write_all(&head.as_bytes()[..head.len() - 1])?;
        self.columns(base, out)?;
        self.tears(base, out)?;
        out.write_all(b"}")
    }

    /// What times are counted from.
    fn base(&self) -> u64 {
        self.kept.rows.first().map_or(0, |row| row.time_ns)
    }

    fn page_size(&self) -> u64 {
        let pages = self.summary.tears.list.iter().flat_map(|tear| &tear.pages);
        pages
            .filter(|page| page.page > 0)
            .map(|page| page.start / page.page)
            .find(|size| size.is_power_of_two() && *size >= 4096)
            .unwrap_or(4096)
    }

    fn lanes(&self) -> Vec<Value> {
        let threads = self.catalog.threads().iter();
        let threads = threads.map(|(process, tid)| {
            json!({ "pid": self.catalog.processes()[*process as usize], "tid": tid })
        });
        let daemons = self.daemons.iter().map(|name| json!({ "daemon": name }));
        threads.chain(daemons).collect()
    }

    fn lane(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Thread(thread) => thread,
            Lane::Daemon(daemon) => self.catalog.threads().len() as u32 + daemon,
        }
    }

    fn columns(&self, base: u64, out: &mut impl Write) -> io::Result<()> {
        let inodes = self.catalog.file_by_inode();
        let rows = &self.kept.rows;
        let mut before = base;
        column(out, "t", rows, |row| {
            let since = row.time_ns - before;
            before = row.time_ns;
            number(Some(since))
        })?;
        column(out, "d", rows, |row| number(row.duration_ns))?;
        column(out, "e", rows, |row| i64::from(row.event))?;
        column(out, "l", rows, |row| i64::from(self.lane(row.lane)))?;
        column(out, "f", rows, |row| {
            file(row, &inodes).map_or(-1, i64::from)
        })?;
        column(out, "c", rows, |row| row.call.map_or(0, |call| call as i64))?;
        column(out, "o", rows, |row| number(row.offset))?;
        column(out, "n", rows, |row| number(row.length))?;
        out.write_all(b",\"x\":[")?;
        let mut comma = "";
        for (index, row) in self.kept.rows.iter().enumerate() {
            if !row.details.is_empty() {
                write!(out, "{comma}[{index},{}]", row.details)?;
                comma = ",";
            }
        }
        out.write_all(b"]")
    }

    fn tears(&self, base: u64, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b",\"tears\":[")?;
        // Where among the rows each tear is.
        let wanted = (0..).zip(&self.summary.tears.list);
        let mut rows: HashMap<(u64, u32), usize> = HashMap::new();
        for (index, row) in self.kept.rows.iter().enumerate() {
            if let Lane::Thread(thread) = row.lane
                && row.details.contains("\"tear\":")
            {
                rows.insert((row.time_ns, thread), index);
            }
        }
        for (index, tear) in wanted {
            if index > 0 {
                out.write_all(b",")?;
            }
            let row = rows.get(&(tear.time_ns, tear.about.thread));
            let row = row.map_or(-1, |row| *row as i64);
            serde_json::to_writer(&mut *out, &TearData::new(tear, base, row))?;
        }
        out.write_all(b"]")
    }

    fn sums(&self) -> Value {
        let (catalog, summary) = (self.catalog, self.summary);
        let files = (0..catalog.files().len().min(SUMS) as u32)
            .map(|id| sums(counts_of(&summary.files, id)));
        let processes = (0..catalog.processes().len().min(SUMS) as u32).map(|id| {
            let mut row = sums(counts_of(&summary.processes, id));
            row["pid"] = json!(catalog.processes()[id as usize]);
            row
        });
        let total = |of: fn(&Counts) -> u64| summary.processes.iter().map(of).sum::<u64>();
        let steps = summary
            .steps()
            .map(|(name, durations)| step(name, durations));
        let findings = summary.findings.list().into_iter().take(SUMS);
        let findings = findings.map(|(code, file, message, count)| {
            json!({ "code": code, "count": count, "message": message, "file": file.map_or(-1, i64::from) })
        });
        json!({
            "records": summary.records,
            "total": {
                "msyncs": total(|counts| counts.msyncs),
                "failed": total(|counts| counts.failed),
                "healed": total(|counts| counts.healed),
                "dirty": total(|counts| counts.dirty),
                "verified": total(|counts| counts.verified),
            },
            "files": files.collect::<Vec<_>>(),
            "processes": processes.collect::<Vec<_>>(),
            "steps": steps.collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }
}

/// What JavaScript can hold; what there is not is -1.
fn number(value: Option<u64>) -> i64 {
    value.map_or(-1, |value| value.min(1 << 53) as i64)
}

fn file(row: &Row, inodes: &HashMap<u64, FileId>) -> Option<FileId> {
    match row.which {
        Which::None => None,
        Which::File(file) => Some(file),
        Which::Inode(ino) => inodes.get(&ino).copied(),
    }
}

fn column(
    out: &mut impl Write,
    name: &str,
    rows: &[Row],
    mut of: impl FnMut(&Row) -> i64,
) -> io::Result<()> {
    write!(out, ",\"{name}\":[")?;
    for (index, row) in rows.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{}", of(row))?;
    }
    out.write_all(b"]")
}

fn sums(counts: Option<&Counts>) -> Value {
    let none = Counts::default();
    let counts = counts.unwrap_or(&none);
    json!({
        "records": counts.records, "msyncs": counts.msyncs, "failed": counts.failed,
        "healed": counts.healed, "tears": counts.tears, "dirty": counts.dirty,
        "verified": counts.verified, "newer": counts.newer, "stale": counts.stale,
        "uncertain": counts.uncertain, "dropped": counts.dropped, "reads": counts.reads,
        "median": counts.durations.quantile(0.5), "longest": counts.durations.longest,
    })
}

fn step(name: &str, durations: &Histogram) -> Value {
    json!({
        "name": name, "count": durations.count, "total": durations.total,
        "median": durations.quantile(0.5), "most": durations.quantile(0.99),
        "longest": durations.longest,
    })
}

#[derive(Serialize)]
struct TearData<'a> {
    time: i64,
    duration: i64,
    level: &'static str,
    event: &'a str,
    lane: u32,
    file: i64,
    row: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<keepmydata_records::Verdicts>,
    message: &'a str,
    dirty: Vec<u64>,
    pages: &'a [keepmydata_records::PageRow],
    truncated: bool,
}

impl<'a> TearData<'a> {
    fn new(tear: &'a Tear, base: u64, row: i64) -> Self {
        TearData {
            time: (tear.time_ns as i64).wrapping_sub(base as i64),
            duration: number(tear.duration_ns),
            level: tear.level.word(),
            event: &tear.event,
            lane: tear.about.thread,
            file: tear.about.file.map_or(-1, i64::from),
            row,
            call: tear.call,
            result: tear.result,
            errno: tear.errno.map(|errno| errno.to_string()),
            verdicts: tear.verdicts,
            message: &tear.message,
            dirty: tear
                .dirty
                .iter()
                .flat_map(|range| [range.offset, range.length])
                .collect(),
            pages: &tear.pages,
            truncated: tear.truncated,
        }
    }
}
