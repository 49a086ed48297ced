//! The records that the page shows. There is an end to how many: where more come, whole calls are
//! left out, chosen by a hash of process and number, and what failed is kept as long as it fits.

use super::catalog::About;
use super::daemon::Op;
use super::text::short;
use keepmydata_records::{FindingCounts, Level, Record, Stats, Verdicts, event};
use serde::Serialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names of events that are told apart, those of daemons included.
const EVENTS: usize = 200;
/// Dirty ranges of a record.
const RANGES: usize = 64;

/// Where a record is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Of the catalog.
    Thread(u32),
    /// By its place among the options.
    Daemon(u32),
}

/// Which file a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    None,
    /// Of the catalog.
    File(u32),
    /// What a daemon calls it.
    Inode(u64),
}

pub struct Row {
    pub time_ns: u64,
    pub duration_ns: Option<u64>,
    pub event: u16,
    pub lane: Lane,
    pub which: Which,
    pub call: Option<u64>,
    pub offset: Option<u64>,
    pub length: Option<u64>,
    /// A JSON object of what few records have, or nothing.
    pub details: Box<str>,
    /// The hash of what is kept or left out together.
    unit: u64,
    important: bool,
}

pub struct Kept {
    limit: usize,
    /// A unit stays while its hash ends in so many zeros.
    zeros: u32,
    pub rows: Vec<Row>,
    important: usize,
    /// Calls whose end was not seen yet.
    pending: HashMap<(u32, u64), Vec<Row>>,
    waiting: usize,
    pub seen: u64,
    pub events: Vec<String>,
    event_ids: HashMap<String, u16>,
}

impl Kept {
    pub fn new(limit: usize) -> Self {
        Kept {
            limit,
            zeros: 0,
            rows: Vec::new(),
            important: 0,
            pending: HashMap::new(),
            waiting: 0,
            seen: 0,
            events: Vec::new(),
            event_ids: HashMap::new(),
        }
    }

    /// Takes a record; `tear` is its place among the tears.
    pub fn add(&mut self, record: &Record<'_>, about: About, tear: Option<usize>) {
        self.seen += 1;
        let call = record.call.filter(|call| *call > 0);
        let unit = match call {
            Some(call) => hash(&(record.pid, call)),
            None => hash(&(record.pid, record.tid, record.time_ns)),
        };
        let row = Row {
            time_ns: record.time_ns,
            duration_ns: record.duration_ns,
            event: self.event(&record.event),
            lane: Lane::Thread(about.thread),
            which: about.file.map_or(Which::None, Which::File),
            call,
            offset: record.offset,
            length: record.length,
            details: details(record, tear),
            unit,
            important: is_important(record),
        };
        let Some(call) = call else {
            return self.keep(row);
        };
        self.waiting += 1;
        self.pending
            .entry((record.pid, call))
            .or_default()
            .push(row);
        if record.event == event::MSYNC {
            self.finish((record.pid, call));
        } else if self.waiting > self.limit / 4 {
            self.finish_all();
        }
    }

    /// Takes an operation of a daemon.
    pub fn add_op(&mut self, op: &Op) {
        self.seen += 1;
        let row = Row {
            time_ns: op.time_ns,
            duration_ns: op.duration_ns,
            event: self.event(&op.name),
            lane: Lane::Daemon(op.daemon),
            which: op.ino.map_or(Which::None, Which::Inode),
            call: None,
            offset: op.offset,
            length: op.length,
            details: op.details().into(),
            unit: hash(&(op.daemon, op.time_ns, &op.name)),
            important: false,
        };
        self.keep(row);
    }

    /// Brings all that is kept into order of time; longer ones first where they begin together.
    pub fn sort(&mut self) {
        self.finish_all();
        self.rows
            .sort_by_key(|row| (row.time_ns, std::cmp::Reverse(row.duration_ns)));
    }

    fn event(&mut self, name: &str) -> u16 {
        if let Some(&id) = self.event_ids.get(name) {
            return id;
        }
        let name = match self.events.len() < EVENTS {
            true => short(name, 40),
            false => "(others)".into(),
        };
        let next = self.events.len() as u16;
        let id = *self.event_ids.entry(name.clone()).or_insert(next);
        if id == next {
            self.events.push(name);
        }
        id
    }

    fn finish(&mut self, key: (u32, u64)) {
        let rows = self.pending.remove(&key).unwrap_or_default();
        self.waiting -= rows.len();
        let important = rows.iter().any(|row| row.important);
        for mut row in rows {
            row.important = important;
            self.keep(row);
        }
    }

    fn finish_all(&mut self) {
        let keys: Vec<_> = self.pending.keys().copied().collect();
        for key in keys {
            self.finish(key);
        }
    }

    fn keep(&mut self, mut row: Row) {
        row.important &= self.important < self.limit / 2;
        self.important += usize::from(row.important);
        if !row.important && row.unit.trailing_zeros() < self.zeros {
            return;
        }
        self.rows.push(row);
        while self.rows.len() > self.limit && self.zeros < u64::BITS {
            self.zeros += 1;
            let zeros = self.zeros;
            self.rows
                .retain(|row| row.important || row.unit.trailing_zeros() >= zeros);
        }
    }
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn is_important(record: &Record<'_>) -> bool {
    let event = &*record.event;
    record.level <= Level::Warn
        || matches!(
            event,
            event::REPORT | event::START | event::FINDING | event::SUMMARY
        )
        || (event == event::MSYNC && record.result.is_some_and(|result| result < 0))
}

/// What few records have.
#[derive(Default, PartialEq, Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    flags: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    prot: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tracker: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dirty: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirty_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_pages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rung: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<FindingCounts>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tear: Option<usize>,
}

fn details(record: &Record<'_>, tear: Option<usize>) -> Box<str> {
    let is_call = record.event == event::MSYNC || record.event == event::MMAP;
    // What every good call and step answers, and a read of all that was asked for.
    let usual = match &*record.event {
        event::READ => record.length.map(|length| length as i64),
        _ => Some(0),
    };
    let mut dirty = Vec::new();
    for range in record.dirty.iter().take(RANGES) {
        dirty.extend([range.offset, range.length]);
    }
    let details = Details {
        level: Some(record.level).filter(|level| *level <= Level::Warn),
        result: record.result.filter(|_| record.result != usual),
        errno: record.errno.map(|errno| errno.to_string()),
        flags: &record.flags[..record.flags.floor_char_boundary(200)],
        prot: &record.prot[..record.prot.floor_char_boundary(200)],
        addr: record.addr.filter(|_| is_call).map(|addr| addr.to_string()),
        fd: record.fd,
        tracker: &record.tracker[..record.tracker.floor_char_boundary(40)],
        dirty,
        dirty_pages: record.dirty_pages,
        dropped_pages: record.dropped_pages,
        cached_pages: record.cached_pages,
        verdicts: record.verdicts,
        rung: record.rung.map(|rung| rung.word()),
        code: short(&record.code, 40),
        reason: short(&record.reason, 400),
        message: short(&record.message, 400),
        stats: record.stats,
        findings: record.findings,
        truncated: record.truncated,
        tear,
    };
    match details == Details::default() {
        true => "".into(),
        false => serde_json::to_string(&details).expect("plain data").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        file: None,
        process: 0,
        thread: 0,
    };

    fn step(event: &'static str, call: u64, level: Level) -> Record<'static> {
        Record {
            event: event.into(),
            call: Some(call),
            time_ns: call,
            ..Record::new(level, 1, 1)
        }
    }

    #[test]
    fn calls_are_kept_whole_and_failed_ones_all() {
        let mut kept = Kept::new(1000);
        for call in 1..=5000 {
            kept.add(&step("dirty", call, Level::Debug), ABOUT, None);
            kept.add(&step("verify", call, Level::Debug), ABOUT, None);
            if call % 100 == 0 {
                kept.add(&step("report", call, Level::Error), ABOUT, Some(0));
            }
            kept.add(&step("msync", call, Level::Info), ABOUT, None);
        }
        assert_eq!(kept.seen, 15_050);
        let mut calls: HashMap<u64, usize> = HashMap::new();
        kept.sort();
        for row in &kept.rows {
            *calls.entry(row.call.unwrap()).or_default() += 1;
        }
        let rows: usize = calls.values().sum();
        assert!(rows <= 1000 && rows > 400, "{rows}");
        for (call, rows) in &calls {
            assert_eq!(*rows, if call % 100 == 0 { 4 } else { 3 }, "{call}");
        }
        assert_eq!(calls.keys().filter(|call| *call % 100 == 0).count(), 50);
    }

    #[test]
    fn calls_without_end_and_failures_without_number_are_bounded_too() {
        let mut kept = Kept::new(400);
        for call in 1..=10_000 {
            let record = step("report", call, Level::Error);
            kept.add(&record, ABOUT, None);
            assert!(kept.rows.len() + kept.waiting <= 500);
        }
        kept.sort();
        assert!(!kept.rows.is_empty());
    }

    #[test]
    fn there_is_an_end_to_names_of_events() {
        let mut kept = Kept::new(100_000);
        for n in 0..1000 {
            let name = format!("event{n}");
            let record = Record {
                event: name.as_str().into(),
                ..Record::new(Level::Info, 1, 1)
            };
            kept.add(&record, ABOUT, None);
        }
        assert_eq!(kept.events.len(), EVENTS + 1);
    }
}
