//! The rule *never silent*: whenever the doio-like guest finds bad data, the log of the process
//! that synced it names that very page as stale or uncertain, in the report of the sync itself.

use preload_tests::harness::{Outcome, Records};
use serde_json::Value;

/// A line of the guest's: what it found, where, and when.
#[derive(Debug)]
struct BadData {
    pid: u64,
    page: u64,
    time_ns: u64,
}

/// The first line of bad data, if any, that the guest found and nobody had announced.
///
/// # Panics
/// If the guest failed but did not say where.
pub fn not_announced(outcome: &Outcome) -> Option<String> {
    let records = outcome.records();
    let mut found = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("bad data"))
        .peekable();
    assert!(found.peek().is_some(), "bad data, but where? {outcome:?}");
    found
        .find(|line| {
            let bad = parse(line).unwrap_or_else(|| panic!("not understood: {line}"));
            !was_announced(&records, &bad)
        })
        .map(str::to_owned)
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

fn was_announced(records: &Records, bad: &BadData) -> bool {
    let before = |record: &&Value| record["pid"] == bad.pid && began(record) <= bad.time_ns;
    // The guest looks at nothing but its last store: the report must be of that store's msync.
    let Some(last) = records.of("msync").filter(before).last() else {
        return false;
    };
    records
        .of("report")
        .filter(before)
        .filter(|record| record["call"] == last["call"])
        .any(|record| names(record, bad.page))
}

/// Whether a report calls the page stale or uncertain: in its table, which shows the first pages,
/// or in its ranges, which are all of them.
fn names(report: &Value, page: u64) -> bool {
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    list("pages").iter().any(|row| {
        row["page"] == page && (row["verdict"] == "stale" || row["verdict"] == "uncertain")
    }) || list("dirty").iter().any(|range| {
        let number = |at: usize| range[at].as_u64().expect("a range");
        (number(0)..number(0) + number(1)).contains(&(page * preload_tests::page_size() as u64))
    })
}

fn began(record: &Value) -> u64 {
    record["time_ns"].as_u64().expect("time of a record")
}
