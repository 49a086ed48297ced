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

/// What the guest found and no report had named before, a line each.
///
/// # Panics
/// If the guest failed but did not say where.
pub fn unreported(outcome: &Outcome) -> Vec<String> {
    let records = outcome.records();
    let found: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| line.contains("bad data"))
        .collect();
    assert!(!found.is_empty(), "bad data, but where? {outcome:?}");
    found
        .into_iter()
        .filter(|line| {
            let bad = parse(line).unwrap_or_else(|| panic!("not understood: {line}"));
            !is_reported(&records, &bad)
        })
        .map(str::to_owned)
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

fn is_reported(records: &Records, bad: &BadData) -> bool {
    let before = |record: &&Value| {
        record["pid"] == bad.pid && record["time_ns"].as_u64().is_some_and(|t| t <= bad.time_ns)
    };
    // The guest looks at nothing but its last store: the report must be of that store's msync.
    let last = records
        .of("msync")
        .filter(before)
        .filter_map(|record| record["call"].as_u64())
        .max();
    records
        .of("report")
        .filter(before)
        .filter(|record| record["call"].as_u64() == last)
        .flat_map(|record| record["pages"].as_array().cloned().unwrap_or_default())
        .any(|row| {
            row["page"] == bad.page && (row["verdict"] == "stale" || row["verdict"] == "uncertain")
        })
}
