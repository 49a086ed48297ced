//! The rule *never silent*: whenever the doio-like guest finds bad data, the log of the process
//! that synced it names that very page as stale or uncertain, in the report of the sync itself.
//!
//! There is one way round it that the shim does not see. While a store is under way, another process
//! makes the kernel drop the page cache: the half-stored page is written to the daemon and leaves.
//! The rest of the store faults the page in again, and a daemon that answers that READ with what
//! was there before the WRITE it has acknowledged takes the first half away, before msync begins.
//! What msync finds is a page that was stored to, and what it syncs is what it found. The op log
//! proves or disproves it: see [`lost_before`].

use preload_tests::harness::{Outcome, Records};
use serde_json::Value;

use super::oplog::{Op, PAGE};

/// A line of the guest's: what it found, where, and when.
#[derive(Debug)]
struct BadData {
    pid: u64,
    page: u64,
    time_ns: u64,
}

/// How bad data came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    Reported,
    /// Lost before msync began, by the op log.
    LostBefore,
    Silent,
}

/// How each piece of bad data that the guest found had been announced.
///
/// # Panics
/// If the guest failed but did not say where.
pub fn notices(outcome: &Outcome, ops: &[Op]) -> Vec<(Notice, String)> {
    let records = outcome.records();
    let found: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("bad data"))
        .collect();
    assert!(!found.is_empty(), "bad data, but where? {outcome:?}");
    found
        .into_iter()
        .map(|line| {
            let bad = parse(line).unwrap_or_else(|| panic!("not understood: {line}"));
            (notice(&records, &bad, ops), line.to_owned())
        })
        .collect()
}

/// `doio PID: bad data offset N page N ... time SECONDS.NANOSECONDS`
fn parse(line: &str) -> Option<BadData> {
    let words: Vec<&str> = line.split(' ').collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).copied()
    };
    let (seconds, nanoseconds) = words.last()?.split_once('.')?;
    Some(BadData {
        pid: after("doio")?.strip_suffix(':')?.parse().ok()?,
        page: after("page")?.parse().ok()?,
        time_ns: seconds.parse::<u64>().ok()? * 1_000_000_000 + nanoseconds.parse::<u64>().ok()?,
    })
}

fn notice(records: &Records, bad: &BadData, ops: &[Op]) -> Notice {
    let before = |record: &&Value| record["pid"] == bad.pid && began(record) <= bad.time_ns;
    // The guest looks at nothing but its last store: the report must be of that store's msync.
    let mut syncs: Vec<&Value> = records.of("msync").filter(before).collect();
    let Some(last) = syncs.pop() else {
        return Notice::Silent;
    };
    let reported = records
        .of("report")
        .filter(before)
        .filter(|record| record["call"] == last["call"])
        .any(|record| names(record, bad.page));
    let previous = syncs.last().map_or(0, |record| ended(record));
    if reported {
        Notice::Reported
    } else if lost_before(ops, bad, previous, began(last)) {
        Notice::LostBefore
    } else {
        Notice::Silent
    }
}

/// Whether a report calls the page stale or uncertain: in its table, which shows the first pages,
/// or in its ranges, which are all of them.
fn names(report: &Value, page: u64) -> bool {
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    list("pages").iter().any(|row| {
        row["page"] == page && (row["verdict"] == "stale" || row["verdict"] == "uncertain")
    }) || list("dirty").iter().any(|range| {
        let number = |at: usize| range[at].as_u64().expect("a range");
        (number(0)..number(0) + number(1)).contains(&(page * PAGE))
    })
}

/// Whether, after the previous msync had ended and before this one began, the process read the page
/// in to store to it, the page was written back, and the process had to read it in again. A page
/// written earlier, or read in only once, proves nothing.
fn lost_before(ops: &[Op], bad: &BadData, previous: u64, msync: u64) -> bool {
    let mut steps = ops
        .iter()
        .filter(|op| (previous..msync).contains(&op.time_ns) && op.covers(bad.page));
    let read_in = |op: &Op| op.is_read_of_mapping() && op.pid == bad.pid;
    steps.any(read_in) && steps.any(Op::is_page_write) && steps.any(read_in)
}

fn ended(record: &Value) -> u64 {
    began(record) + record["duration_ns"].as_u64().unwrap_or(0)
}

fn began(record: &Value) -> u64 {
    record["time_ns"].as_u64().expect("time of a record")
}
