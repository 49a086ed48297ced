//! The shim's logs of a test: gathered from its processes, read, and summed up.

use super::plan::Side;
use crate::failure::Failure;
use crate::words::count;
use keepmydata_records::{Level, Record, event};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// What the log of a test tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Processes that the shim was loaded into.
    pub processes: u64,
    pub msyncs: u64,
    /// Syncs that could not be made good: reports with which an msync failed.
    pub failed_syncs: u64,
    /// Pages by their verdict, over all msyncs.
    pub verified_pages: u64,
    pub newer_pages: u64,
    pub stale_pages: u64,
    pub uncertain_pages: u64,
    /// Everything else at `warn` and `error`, and findings, by code or by event.
    pub others: BTreeMap<String, u64>,
}

impl Findings {
    /// What a person should look at, in few words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.processes == 0 {
            words.push("not reached".to_owned());
        }
        if self.failed_syncs != 0 {
            words.push(count(self.failed_syncs, "failed sync"));
        }
        for (count, what) in [
            (self.stale_pages, "stale"),
            (self.uncertain_pages, "uncertain"),
        ] {
            if count != 0 {
                words.push(format!("{count} {what}"));
            }
        }
        words.extend(
            self.others
                .iter()
                .map(|(what, count)| format!("{count} {what}")),
        );
        words.join(", ")
    }
}

/// Joins the logs of a test's processes to one, by time, and sums it up.
pub fn gather(side: &Side, number: usize) -> Result<Findings, Failure> {
    let directory = side.process_logs(number);
    if !directory.exists() {
        return Ok(Findings::default());
    }
    let path = side.log(number);
    join(&directory, &path)
        .and_then(|()| summary(&path))
        .and_then(|findings| fs::remove_dir_all(&directory).map(|()| findings))
        .map_err(|error| Failure::of(directory.display(), &error))
}

fn join(directory: &Path, to: &Path) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Time {
        time_ns: u64,
    }
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory)? {
        texts.push(String::from_utf8_lossy(&fs::read(entry?.path())?).into_owned());
    }
    let mut lines = Vec::new();
    for text in &texts {
        // What has no time of its own, a line cut off by a full disk, stays behind the one before.
        let mut last = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            last = serde_json::from_str(line).map_or(last, |Time { time_ns }| time_ns);
            lines.push((last, line));
        }
    }
    lines.sort_by_key(|(time, _)| *time);
    let mut out = BufWriter::new(File::create(to)?);
    for (_, line) in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn summary(log: &Path) -> io::Result<Findings> {
    let text = fs::read_to_string(log)?;
    let mut findings = Findings::default();
    let mut processes = BTreeSet::new();
    for line in text.lines() {
        let Ok(record) = serde_json::from_str::<Record<'_>>(line) else {
            *findings.others.entry("unreadable".to_owned()).or_default() += 1;
            continue;
        };
        match &*record.event {
            event::START => {
                processes.insert(record.pid);
            }
            event::MSYNC => {
                findings.msyncs += 1;
                let verdicts = record.verdicts.unwrap_or_default();
                findings.verified_pages += verdicts.verified;
                findings.newer_pages += verdicts.newer;
                findings.stale_pages += verdicts.stale;
                findings.uncertain_pages += verdicts.uncertain;
            }
            // Its pages are counted with the msync that it belongs to. What the shim found of its own accord, before
            // an munmap say, has no range.
            event::REPORT => {
                let of_a_call = record.length != Some(0);
                findings.failed_syncs += u64::from(of_a_call && record.result == Some(-1));
            }
            event::FINDING => {
                let what = match &*record.code {
                    "" => event::FINDING,
                    code => code,
                };
                *findings.others.entry(what.to_owned()).or_default() += 1;
            }
            other if matches!(record.level, Level::Error | Level::Warn) => {
                *findings.others.entry(other.to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    findings.processes = processes.len() as u64;
    Ok(findings)
}

/// The records of a gathered log that can be read; none where there is no log.
pub fn read(text: &str) -> Vec<Record<'_>> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_joined_by_time_and_summed_up() {
        let directory = tempfile::tempdir().unwrap();
        let side = Side(directory.path().to_owned());
        let logs = side.process_logs(0);
        fs::create_dir_all(&logs).unwrap();
        let log = |pid: u64, records: &[(u64, &str)]| -> String {
            let line = |(time, rest): &(u64, &str)| {
                format!(r#"{{"time_ns":{time},"level":"info","pid":{pid},"tid":{pid},{rest}}}"#)
                    + "\n"
            };
            records.iter().map(line).collect()
        };
        let uncertain = r#""verdicts":{"verified":3,"newer":1,"stale":0,"uncertain":2}"#;
        let stale = r#""result":-1,"verdicts":{"verified":0,"newer":0,"stale":4,"uncertain":0}"#;
        let one = [
            (1, r#""event":"start""#),
            (6, &format!(r#""event":"msync","result":0,{uncertain}"#)),
            (9, r#""event":"finding","code":"KMD-L3""#),
        ];
        let two = [
            (2, r#""event":"start""#),
            (3, &format!(r#""event":"report",{stale}"#)),
            (3, &format!(r#""event":"msync",{stale}"#)),
        ];
        let (one, two) = (log(7, &one), log(8, &two) + "{\"time_ns\":4,\"lev");
        fs::write(logs.join("7.jsonl"), one).unwrap();
        fs::write(logs.join("8.jsonl"), two).unwrap();
        let findings = gather(&side, 0).unwrap();
        assert!(!logs.exists());
        let text = fs::read_to_string(side.log(0)).unwrap();
        let times: Vec<u64> = read(&text).iter().map(|record| record.time_ns).collect();
        assert_eq!(times, [1, 2, 3, 3, 6, 9]);
        assert_eq!((findings.processes, findings.msyncs), (2, 2));
        assert_eq!(findings.failed_syncs, 1);
        assert_eq!((findings.stale_pages, findings.uncertain_pages), (4, 2));
        assert_eq!(
            findings.words(),
            "1 failed sync, 4 stale, 2 uncertain, 1 KMD-L3, 1 unreadable"
        );
        assert_eq!(gather(&side, 1).unwrap().words(), "not reached");
    }
}
