//! Sums, and short lists.

use super::super::catalog::{About, FileId};
use super::super::histogram::Histogram;
use crate::report::text::short;
use keepmydata_records::{Finding, Record, Rung, Stats, event};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What happened to a file, or in a process.
#[derive(Clone, Default)]
pub struct Counts {
    pub records: u64,
    pub msyncs: u64,
    /// msyncs that answered -1.
    pub failed: u64,
    /// msyncs whose pages came right only after healing.
    pub healed: u64,
    /// By which rung how many of them.
    pub rungs: BTreeMap<Rung, u64>,
    /// Records that say that data is not safe, or may not be.
    pub tears: u64,
    /// Pages, over all msyncs.
    pub dirty: u64,
    pub verified: u64,
    pub newer: u64,
    pub stale: u64,
    pub uncertain: u64,
    pub dropped: u64,
    pub reads: u64,
    pub durations: Histogram,
}

impl Counts {
    pub fn add(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.tears += u64::from(super::is_tear(record));
        match &*record.event {
            event::MSYNC => {
                self.msyncs += 1;
                self.failed += u64::from(record.result.is_some_and(|result| result < 0));
                if let Some(rung) = record.rung {
                    self.healed += 1;
                    *self.rungs.entry(rung).or_default() += 1;
                }
                self.dirty += record.dirty_pages.unwrap_or(0);
                self.dropped += record.dropped_pages.unwrap_or(0);
                if let Some(verdicts) = record.verdicts {
                    self.verified += verdicts.verified;
                    self.newer += verdicts.newer;
                    self.stale += verdicts.stale;
                    self.uncertain += verdicts.uncertain;
                }
                if let Some(ns) = record.duration_ns {
                    self.durations.add(ns);
                }
            }
            event::READ => self.reads += 1,
            _ => {}
        }
    }
}

/// Something that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// How long.
    pub ns: u64,
    pub name: &'static str,
    pub time_ns: u64,
    pub call: Option<u64>,
    pub about: About,
}

impl Ord for Slow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ns, Reverse(self.time_ns)).cmp(&(other.ns, Reverse(other.time_ns)))
    }
}

impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The longest [`Slowest::KEPT`] of all.
#[derive(Default)]
pub struct Slowest(BinaryHeap<Reverse<Slow>>);

impl Slowest {
    const KEPT: usize = 10;

    pub fn add(&mut self, slow: Slow) {
        self.0.push(Reverse(slow));
        if self.0.len() > Self::KEPT {
            self.0.pop();
        }
    }

    /// The longest first.
    pub fn list(&self) -> Vec<Slow> {
        let mut list: Vec<Slow> = self.0.iter().map(|slow| slow.0).collect();
        list.sort_by_key(|slow| Reverse(*slow));
        list
    }
}

/// What the shim found out about a program: each kind once, with how often.
#[derive(Default)]
pub struct Findings {
    found: BTreeMap<(String, Option<FileId>, String), u64>,
    /// Those of kinds for which there was no room.
    pub more: u64,
    /// Counted at a process's end: figure by file, and by name.
    stats: BTreeMap<(Option<FileId>, &'static str), u64>,
}

impl Findings {
    /// So many kinds are told apart.
    const KINDS: usize = 1000;

    pub fn add(&mut self, record: &Record<'_>, about: About) {
        match &*record.event {
            event::FINDING | event::BAD_VALUE | event::RACE => {
                let known = Finding::ALL.iter().find(|one| one.code() == record.code);
                let code = match record.code.is_empty() {
                    true => short(&record.event, 40),
                    false => short(&record.code, 40),
                };
                // The messages of one kind differ by their figures.
                let message = known.map_or(&*record.message, |one| one.title());
                self.count((code, about.file, short(message, 400)));
            }
            event::BYPASS => {
                let reason = short(&record.reason, 400);
                self.count((event::BYPASS.into(), about.file, reason));
            }
            event::PREALLOC => {
                if let Some(errno) = record.errno {
                    let message = format!("{errno}: {}", record.message);
                    self.count((event::PREALLOC.into(), about.file, short(&message, 400)));
                }
            }
            event::SUMMARY => self.sum(record, about.file),
            _ => {}
        }
    }

    fn count(&mut self, key: (String, Option<FileId>, String)) {
        if let Some(count) = self.found.get_mut(&key) {
            *count += 1;
        } else if self.found.len() < Self::KINDS {
            self.found.insert(key, 1);
        } else {
            self.more += 1;
        }
    }

    fn sum(&mut self, record: &Record<'_>, file: Option<FileId>) {
        for (name, value) in record.stats.iter().flat_map(Stats::iter) {
            let key = (file, name);
            if let Some(sum) = self.stats.get_mut(&key) {
                *sum = sum.saturating_add(value);
            } else if self.stats.len() < Self::KINDS {
                self.stats.insert(key, value);
            }
        }
    }

    /// Code, file, message and how often; the most frequent first.
    pub fn list(&self) -> Vec<(&str, Option<FileId>, &str, u64)> {
        let mut list: Vec<_> = self
            .found
            .iter()
            .map(|((code, file, message), count)| (&**code, *file, &**message, *count))
            .collect();
        list.sort_by_key(|(.., count)| Reverse(*count));
        list
    }

    /// The figures that processes left at their end: of which file, name, sum.
    pub fn stats(&self) -> impl Iterator<Item = (Option<FileId>, &'static str, u64)> {
        let stats = self.stats.iter();
        stats.map(|(&(file, name), &sum)| (file, name, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepmydata_records::{Errno, Level};

    #[test]
    fn findings_are_counted_by_kind_and_figures_added() {
        let about = About {
            file: Some(1),
            process: 0,
            thread: 0,
        };
        let mut findings = Findings::default();
        let mut add = |event: &'static str, code: &'static str, msyncs: Option<u64>| {
            let record = Record {
                event: event.into(),
                code: code.into(),
                message: "something".into(),
                stats: Some(Stats {
                    msyncs,
                    ..Stats::default()
                }),
                ..Record::new(Level::Info, 1, 1)
            };
            findings.add(&record, about);
        };
        add("finding", "KMD-L6", None);
        add("finding", "", None);
        add("finding", "", None);
        add("summary", "", Some(3));
        add("summary", "", Some(4));
        add("msync", "", Some(5));
        let failed = |errno| Record {
            event: event::PREALLOC.into(),
            errno,
            message: "a hole".into(),
            ..Record::new(Level::Warn, 1, 1)
        };
        findings.add(&failed(Some(Errno(libc::ENOSPC))), about);
        findings.add(&failed(None), about);
        assert_eq!(
            findings.list(),
            [
                ("finding", Some(1), "something", 2),
                ("KMD-L6", Some(1), "MS_ASYNC was relied upon", 1),
                ("prealloc", Some(1), "ENOSPC: a hole", 1)
            ]
        );
        assert_eq!(
            findings.stats().collect::<Vec<_>>(),
            [(Some(1), "msyncs", 7)]
        );
    }

    #[test]
    fn the_slowest_are_kept_in_order() {
        let mut slowest = Slowest::default();
        for n in [5u64, 900, 3, 700] {
            for i in 0..5 {
                slowest.add(Slow {
                    ns: n + i,
                    name: "verify",
                    time_ns: 0,
                    call: None,
                    about: About {
                        file: None,
                        process: 0,
                        thread: 0,
                    },
                });
            }
        }
        let kept: Vec<u64> = slowest.list().iter().map(|slow| slow.ns).collect();
        assert_eq!(kept, [904, 903, 902, 901, 900, 704, 703, 702, 701, 700]);
    }
}
