//! What the shim's records say of the program and of the filesystem.

use keepmydata_records::{Finding, NAMELESS, UNSEEN, event};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Records shown of a kind.
const SHOWN: usize = 3;
/// Files remembered.
const FILES: usize = 1000;

/// Counts over all processes of all runs of a setting. What a program does at fault is counted in
/// calls, what a filesystem does in pages.
#[derive(Debug, Default, Serialize)]
pub struct Evidence {
    /// Processes in which the shim was active.
    pub processes: u64,
    pub msyncs: u64,
    /// Of these, calls with MS_SYNC.
    pub synchronous: u64,
    /// Calls that failed, with errno and how often.
    pub failed: BTreeMap<String, u64>,
    /// Of these, calls after which the program went on with the file or ended well.
    pub ignored: u64,
    /// Files of which the last msync was one with MS_ASYNC.
    pub async_only: u64,
    /// Calls with dirty pages of the file outside of their range.
    pub outside: u64,
    /// Calls with which a store raced.
    pub raced: u64,
    /// Pages that the filesystem gave back wrong although msync had been acknowledged,
    pub stale: u64,
    /// of which nobody can tell,
    pub uncertain: u64,
    /// which the filesystem holds and its other client was not shown in time (KEEPMYDATA_SEEN_BY),
    pub unseen: u64,
    /// and pages that were verified, and wrong when they were verified again.
    pub changed_later: u64,
    /// Calls that had to be healed, by the kind of retry that did it.
    pub healed: BTreeMap<String, u64>,
    /// The longest of these, ms: after so long it may be time that has helped.
    pub healed_ms: u64,
    /// Findings by code.
    pub findings: BTreeMap<String, u64>,
    /// The first records of each kind.
    pub records: BTreeMap<&'static str, Vec<Value>>,
    /// Files that were synced, the first ones,
    #[serde(skip)]
    pub files: BTreeSet<String>,
    /// and their directories, for the doctor.
    pub directories: BTreeSet<String>,
}

/// What is pending in one process.
#[derive(Default)]
struct Process {
    /// Files by path with an msync that failed and nothing since.
    failed: BTreeMap<String, Value>,
    /// Files whose last msync was MS_ASYNC.
    asynchronous: BTreeMap<String, Value>,
    /// The last call with which a store raced; its record comes after that of the race.
    raced: Option<u64>,
}

impl Evidence {
    /// Adds the records of one process; `ended_well` is whether the run ended with exit code 0.
    pub fn add(&mut self, records: impl IntoIterator<Item = Value>, ended_well: bool) {
        let mut process = Process::default();
        for record in records {
            self.take(&mut process, &record);
        }
        for record in process.asynchronous.values() {
            self.async_only += 1;
            self.keep("async", record);
        }
        if ended_well {
            for record in process.failed.values() {
                self.ignored += 1;
                self.keep("ignored", record);
            }
        }
    }

    fn take(&mut self, process: &mut Process, record: &Value) {
        let path = record["path"].as_str().unwrap_or_default();
        match record["event"].as_str().unwrap_or_default() {
            event::START => self.processes += 1,
            event::MSYNC => self.msync(process, path, record),
            event::RACE => {
                self.raced += 1;
                process.raced = record["call"].as_u64();
                self.keep(event::RACE, record);
            }
            event::REPORT => {
                self.stale += record["verdicts"]["stale"].as_u64().unwrap_or(0);
                let uncertain = record["verdicts"]["uncertain"].as_u64().unwrap_or(0);
                let message = record["message"].as_str().unwrap_or_default();
                match message.contains(UNSEEN) {
                    // A temporary file that is unlinked: nobody reads it through another client.
                    true if message.contains(NAMELESS) => {}
                    true => self.unseen += uncertain,
                    false => self.uncertain += uncertain,
                }
                self.keep(event::REPORT, record);
            }
            event::REVERIFY if record["level"] == "error" => {
                self.changed_later += record["verdicts"]["stale"].as_u64().unwrap_or(0);
                self.keep(event::REVERIFY, record);
            }
            event::FINDING => {
                let code = record["code"].as_str().unwrap_or("?");
                *self.findings.entry(code.to_owned()).or_default() += 1;
                self.keep(kind_of(code), record);
            }
            // Still in use after an msync of it had failed.
            event::MMAP | event::READ => self.went_on(process, path),
            _ => {}
        }
    }

    fn msync(&mut self, process: &mut Process, path: &str, record: &Value) {
        // Calls that concern no tracked file.
        if path.is_empty() {
            return;
        }
        self.msyncs += 1;
        if self.files.len() < FILES {
            self.files.insert(path.to_owned());
        }
        if let Some((directory, _)) = path.rsplit_once('/') {
            self.directories.insert(directory.to_owned());
        }
        self.went_on(process, path);
        let flags = record["flags"].as_str().unwrap_or_default();
        if flags.contains("MS_SYNC") {
            self.synchronous += 1;
            process.asynchronous.remove(path);
        } else {
            process.asynchronous.insert(path.to_owned(), record.clone());
        }
        if let Some(errno) = record["errno"].as_str() {
            *self.failed.entry(errno.to_owned()).or_default() += 1;
            process.failed.insert(path.to_owned(), record.clone());
        }
        // Pages that are stored to all the time are looked at again too.
        let raced = process.raced == record["call"].as_u64()
            || record["verdicts"]["newer"].as_u64().unwrap_or(0) > 0;
        if let Some(retry) = record["rung"].as_str().filter(|_| !raced) {
            *self.healed.entry(retry.to_owned()).or_default() += 1;
            let ns = record["duration_ns"].as_u64().unwrap_or(0);
            self.healed_ms = self.healed_ms.max(ns / 1_000_000);
            self.keep("healed", record);
        }
        if is_outside(record) {
            self.outside += 1;
            self.keep("outside", record);
        }
    }

    fn went_on(&mut self, process: &mut Process, path: &str) {
        if let Some(failed) = process.failed.remove(path) {
            self.ignored += 1;
            self.keep("ignored", &failed);
        }
    }

    fn keep(&mut self, kind: &'static str, record: &Value) {
        let kept = self.records.entry(kind).or_default();
        if kept.len() < SHOWN {
            kept.push(record.clone());
        }
    }

    /// How often one of these was found.
    pub fn found(&self, findings: &[Finding]) -> u64 {
        let counts = findings.iter().filter_map(|f| self.findings.get(f.code()));
        counts.sum()
    }

    /// Whether the shim looked again after msync had returned and found something wrong.
    pub fn reported_afterwards(&self) -> bool {
        self.records.contains_key(event::REVERIFY)
    }

    /// Whether the filesystem was seen to hold something else than it had acknowledged.
    pub fn blames_filesystem(&self) -> bool {
        self.stale > 0 || self.changed_later > 0 || !self.healed.is_empty()
    }
}

/// With which of the shim's other records a finding belongs.
fn kind_of(code: &str) -> &'static str {
    match Finding::ALL.iter().find(|finding| finding.code() == code) {
        Some(Finding::OutsideRange) => "outside",
        Some(Finding::AsyncOnly) => "async",
        Some(Finding::SuccessAfterFailure) => "ignored",
        Some(Finding::UnmappedUnsynced | Finding::ExitUnsynced | Finding::ExecUnsynced) => {
            "unsynced"
        }
        _ => "finding",
    }
}

/// Whether the file had dirty pages that are not in the range of the call.
fn is_outside(record: &Value) -> bool {
    let (Some(offset), Some(length)) = (record["offset"].as_u64(), record["length"].as_u64())
    else {
        return false;
    };
    let page = rustix::param::page_size() as u64;
    let start = offset / page * page;
    let end = offset.saturating_add(length).next_multiple_of(page);
    let dirty = record["dirty"].as_array().into_iter().flatten();
    // A tracker that does not know calls all dirty.
    record["tracker"] == "pagemap"
        && dirty
            .filter_map(|range| Some((range[0].as_u64()?, range[1].as_u64()?)))
            .any(|(from, bytes)| from < start || from + bytes > end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(lines: &[&str], ended_well: bool) -> Evidence {
        let logs = tempfile::tempdir().unwrap();
        std::fs::write(logs.path().join("1.log"), lines.join("\n")).unwrap();
        let mut evidence = Evidence::default();
        for records in crate::trial::records(logs.path()).unwrap() {
            evidence.add(records, ended_well);
        }
        evidence
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        let found = evidence(
            &["", "{\"event\":\"start\"}", "[1]", "{\"event\":\"msy"],
            true,
        );
        assert_eq!((found.processes, found.msyncs), (1, 0));
    }

    #[test]
    fn what_has_no_name_is_not_held_against_the_other_client() {
        let report = |why: &str| {
            let verdicts = r#"{"verified":0,"newer":0,"stale":0,"uncertain":2}"#;
            let message = format!("2 pages {UNSEEN}: {why}");
            format!(
                r#"{{"event":"report","path":"/d/f","verdicts":{verdicts},"message":"{message}"}}"#
            )
        };
        let found = evidence(
            &[&report("did not see them in time"), &report(NAMELESS)],
            true,
        );
        assert_eq!((found.unseen, found.uncertain), (2, 0));
    }

    #[test]
    fn a_failure_is_ignored_where_the_program_goes_on() {
        let failed = r#"{"event":"msync","path":"/d/f","flags":"MS_SYNC","errno":"EIO"}"#;
        assert_eq!(evidence(&[failed], false).ignored, 0);
        assert_eq!(evidence(&[failed], true).ignored, 1);
        let read = r#"{"event":"read","path":"/d/f"}"#;
        let other = r#"{"event":"read","path":"/d/g"}"#;
        assert_eq!(evidence(&[failed, read], false).ignored, 1);
        assert_eq!(evidence(&[failed, other], false).ignored, 0);
    }

    #[test]
    fn an_asynchronous_msync_counts_where_none_follows() {
        let start = r#"{"event":"msync","path":"/d/f","flags":"MS_ASYNC"}"#;
        let sync = r#"{"event":"msync","path":"/d/f","flags":"MS_SYNC"}"#;
        assert_eq!(evidence(&[start], true).async_only, 1);
        assert_eq!(evidence(&[start, sync], true).async_only, 0);
        assert_eq!(evidence(&[sync, start], true).async_only, 1);
    }

    #[test]
    fn what_raced_is_not_the_filesystems_fault() {
        let race = r#"{"event":"race","call":1}"#;
        let msync = |call: u64, newer: u64| {
            format!(
                r#"{{"event":"msync","path":"/d/f","flags":"MS_SYNC","call":{call},"rung":"wait","verdicts":{{"newer":{newer}}}}}"#
            )
        };
        assert!(!evidence(&[race, &msync(1, 0)], true).blames_filesystem());
        assert!(!evidence(&[&msync(2, 1)], true).blames_filesystem());
        assert!(evidence(&[race, &msync(2, 0)], true).blames_filesystem());
    }

    #[test]
    fn findings_are_counted_and_kept_with_what_they_are_about() {
        let finding = r#"{"event":"finding","code":"KMD-L6","path":"/d/f"}"#;
        let unknown = r#"{"event":"finding","code":"KMD-L999"}"#;
        let found = evidence(&[finding, finding, unknown], true);
        assert_eq!(found.found(&[Finding::AsyncOnly, Finding::Race]), 2);
        assert_eq!(found.records["async"].len(), 2);
        assert_eq!(found.records["finding"].len(), 1);
    }

    #[test]
    fn the_range_is_that_of_whole_pages() {
        let msync = |offset: u64, length: u64, tracker: &str| {
            let line = format!(
                r#"{{"event":"msync","path":"/d/f","flags":"MS_SYNC","tracker":"{tracker}",
                "offset":{offset},"length":{length},"dirty":[[4096,8192]]}}"#
            );
            evidence(&[&line.replace('\n', "")], true).outside
        };
        assert_eq!(msync(0, 12288, "pagemap"), 0);
        assert_eq!(msync(4096, 4097, "pagemap"), 0);
        assert_eq!(msync(4096, 4096, "pagemap"), 1);
        assert_eq!(msync(8192, 65536, "pagemap"), 1);
        assert_eq!(msync(8192, 65536, "whole"), 0);
    }
}
