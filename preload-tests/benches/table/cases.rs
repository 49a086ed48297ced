//! The rows of the table: what is measured, and what must be reached.

use std::path::Path;

use crate::contender::*;
use crate::options::{CaseName, FsName};
use crate::run::Row;
use crate::stats::Spread;

/// A guest, run by several contenders, and what of its rounds is of interest.
pub struct Case {
    pub name: CaseName,
    pub title: String,
    pub guest: &'static str,
    /// Its arguments: the file or directory, and what way to sync.
    pub arguments: fn(&Case, &Path, &'static str) -> Vec<String>,
    /// What is measured: bytes of the file, mappings...; it is up to `arguments`.
    pub size: u64,
    pub contenders: Vec<Contender>,
    pub rounds: usize,
    /// What the guest is asked in round number n.
    pub request: Box<dyn Fn(usize) -> String>,
    pub metrics: Vec<Metric>,
    /// Whose fdatasyncs are counted, in a round more, under strace; the msyncs of a round, and how
    /// many fdatasyncs there may be for each.
    pub counted: Option<(Contender, f64, f64)>,
}

/// A figure made of a round: the sum of some of its columns.
pub struct Metric {
    pub name: &'static str,
    pub columns: &'static [&'static str],
    /// Operations in a round.
    pub per: f64,
    /// Whom the others are compared with.
    pub baseline: Contender,
    pub goals: Vec<(Contender, Goal)>,
}

/// What a contender must reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// So many times the time of the baseline.
    AtMost(f64),
    /// So many times faster than the baseline.
    Faster(f64),
    /// So many ns more than the baseline.
    Added(f64),
}

impl Goal {
    pub fn text(self) -> String {
        match self {
            Goal::AtMost(times) => format!("at most {times:.2} x"),
            Goal::Faster(times) => format!("at least {times} x faster"),
            Goal::Added(ns) => format!("at most {ns} ns added"),
        }
    }

    /// What of a row is compared with it.
    pub fn measured(self, row: &Row) -> String {
        let Spread { min, median, max } = row.ratio;
        match self {
            Goal::AtMost(_) => format!("{min:.2} {median:.2} {max:.2}"),
            Goal::Faster(_) => format!("{:.2} {:.2} {:.2}", 1.0 / max, 1.0 / median, 1.0 / min),
            Goal::Added(_) => format!("{:.0} ns", row.ns.median - row.baseline_ns),
        }
    }

    /// Whether the medians reach it: of the ratio, of the time, and of the baseline's time.
    pub fn is_reached(self, ratio: f64, ns: f64, baseline: f64) -> bool {
        match self {
            Goal::AtMost(times) => ratio <= times,
            Goal::Faster(times) => ratio <= 1.0 / times,
            Goal::Added(added) => ns - baseline <= added,
        }
    }
}

pub const MIB: u64 = 1 << 20;

/// The cases that are measured on `fs`.
pub fn of(fs: FsName, quick: bool) -> Vec<Case> {
    let size = 256 * MIB;
    let rounds = |full| if quick { 3 } else { full };
    let mut cases = vec![threads(fs, rounds(15))];
    if fs == FsName::Fuse {
        cases.push(verify(16 * MIB, rounds(51)));
        cases.push(verify(size, rounds(15)));
        cases.extend([0, 1, 16, 4096].map(|dirty| reach(dirty, rounds(51))));
        cases.push(reach_calls(rounds(21)));
    } else {
        cases.push(lmdb(if quick { 1_000 } else { 10_000 }));
    }
    if fs == FsName::Ext4 {
        let counts = [100, 1_000, 10_000, 100_000];
        let counts = &counts[..if quick { 3 } else { 4 }];
        cases.extend(counts.iter().map(|&count| mappings(count, rounds(21))));
    }
    cases.push(sparse(fs, size, rounds(15)));
    cases.push(full(fs, size, rounds(5)));
    cases
}

impl Case {
    /// What of the case is run twice with `--before`: each contender that is preloaded, as it is, and with `library`.
    pub fn pairs(&self, library: &'static Path) -> Vec<[Contender; 2]> {
        self.contenders
            .iter()
            .filter_map(|&now| Some([now.with_library(library)?, now]))
            .collect()
    }

    /// Makes it a comparison of two: the second must not be slower, but for noise.
    pub fn compare(&mut self, pair: [Contender; 2]) {
        self.contenders = pair.to_vec();
        self.counted = None;
        for metric in &mut self.metrics {
            metric.baseline = pair[0];
            metric.goals = vec![(pair[1], Goal::AtMost(1.10))];
        }
    }
}

/// Arguments of bench_rounds.
pub fn whole_file(case: &Case, path: &Path, how: &'static str) -> Vec<String> {
    let size = case.size.to_string();
    vec![path.display().to_string(), size, how.into(), "full".into()]
}

fn sparse(fs: FsName, size: u64, rounds: usize) -> Case {
    let faster = match fs {
        FsName::Fuse => 20.0,
        _ => 4.0,
    };
    Case {
        name: CaseName::Sparse,
        title: format!("16 of {} MiB dirty", size / MIB),
        guest: "bench_rounds",
        arguments: whole_file,
        size,
        contenders: vec![
            NATIVE,
            FDATASYNC,
            DROP,
            NAIVE_KEEP,
            NAIVE,
            SHIM_OFF_OFF,
            SHIM_OFF_DIRTY,
            SHIM,
            STRACE,
        ],
        rounds,
        request: Box::new(|round| format!("16 {} 1", round + 1)),
        metrics: vec![
            sync_metric(vec![(SHIM_OFF_OFF, Goal::AtMost(1.10))]),
            reread_metric(vec![(SHIM_OFF_DIRTY, Goal::Faster(faster))]),
        ],
        counted: None,
    }
}

/// What a call costs, beside msync and fdatasync.
fn sync_metric(goals: Vec<(Contender, Goal)>) -> Metric {
    Metric {
        name: "msync",
        columns: &["sync"],
        per: 1.0,
        baseline: FDATASYNC,
        goals,
    }
}

/// What a call costs with the reading that follows, beside one that drops the page cache.
fn reread_metric(goals: Vec<(Contender, Goal)>) -> Metric {
    Metric {
        name: "msync + read all again",
        columns: &["sync", "read"],
        per: 1.0,
        baseline: DROP,
        goals,
    }
}

fn full(fs: FsName, size: u64, rounds: usize) -> Case {
    let pages = size / 4096;
    let stores = Metric {
        name: "stores",
        columns: &["store"],
        per: pages as f64,
        baseline: FDATASYNC,
        goals: vec![(SHIM_OFF, Goal::AtMost(1.05))],
    };
    let mut contenders = vec![NATIVE, FDATASYNC, DROP, NAIVE, SHIM_OFF_OFF, SHIM_OFF];
    if fs == FsName::Fuse {
        contenders.push(SHIM_ON);
    }
    Case {
        name: CaseName::Full,
        title: format!("all of {} MiB dirty", size / MIB),
        guest: "bench_rounds",
        arguments: whole_file,
        size,
        contenders,
        rounds,
        request: Box::new(move |round| format!("{pages} {} 1", round + 1)),
        metrics: vec![
            sync_metric(vec![(SHIM_OFF_OFF, Goal::AtMost(1.05))]),
            reread_metric(vec![]),
            stores,
        ],
        counted: None,
    }
}

fn verify(size: u64, rounds: usize) -> Case {
    Case {
        name: CaseName::Verify,
        title: format!("4 of {} MiB dirty", size / MIB),
        guest: "bench_rounds",
        arguments: whole_file,
        size,
        contenders: vec![NATIVE, FDATASYNC, DROP, NAIVE, SHIM_ON_DIRTY, SHIM_ON],
        rounds,
        request: Box::new(|round| format!("4 {} 1", round + 1)),
        metrics: vec![
            sync_metric(vec![(SHIM_ON_DIRTY, Goal::AtMost(2.0))]),
            reread_metric(vec![(SHIM_ON, Goal::AtMost(2.0))]),
        ],
        counted: None,
    }
}

/// The same program from inside and from outside.
fn reach(dirty: u64, rounds: usize) -> Case {
    let size = 64 * MIB;
    Case {
        name: CaseName::Reach,
        title: format!(
            "shim and supervisor, {dirty} pages of {} MiB dirty",
            size / MIB
        ),
        guest: "bench_rounds",
        arguments: whole_file,
        size,
        contenders: vec![NATIVE, SHIM, SUPERVISED],
        rounds,
        request: Box::new(move |round| format!("{dirty} {} 0", round + 1)),
        metrics: vec![Metric {
            name: "msync",
            columns: &["sync"],
            per: 1.0,
            baseline: SHIM,
            goals: vec![(SUPERVISED, Goal::AtMost(1.0))],
        }],
        counted: None,
    }
}

/// What the supervisor costs where it does nothing for the program.
fn reach_calls(rounds: usize) -> Case {
    let metric = |name, columns, baseline, goals| Metric {
        name,
        columns,
        per: 1.0,
        baseline,
        goals,
    };
    Case {
        name: CaseName::Reach,
        title: "shim and supervisor, other calls".to_owned(),
        guest: "bench_plain",
        arguments: |_, path, _| vec![path.display().to_string()],
        size: 0,
        contenders: vec![NATIVE, SHIM, SUPERVISED],
        rounds,
        request: Box::new(|_| "1000".to_owned()),
        metrics: vec![
            metric(
                "a plain system call",
                &["call"],
                NATIVE,
                vec![(SUPERVISED, Goal::Added(50.0))],
            ),
            metric("pread", &["read"], NATIVE, vec![]),
            metric("mmap + munmap of memory", &["memory"], NATIVE, vec![]),
            metric(ONE_MORE, &["file"], SHIM, vec![]),
            metric("fork, exec of true, its end", &["exec"], NATIVE, vec![]),
        ],
        counted: None,
    }
}

const THREADS: u64 = 8;
const SYNCS: u64 = 10;

fn threads(fs: FsName, rounds: usize) -> Case {
    let goals = match fs {
        FsName::Ext4 => vec![(SHIM_OFF_OFF, Goal::Faster(1.5))],
        _ => vec![],
    };
    Case {
        name: CaseName::Threads,
        title: format!("{THREADS} threads, own page each"),
        guest: "bench_threads",
        arguments: |case, path, how| {
            vec![
                path.display().to_string(),
                case.size.to_string(),
                how.into(),
            ]
        },
        size: THREADS,
        contenders: vec![NATIVE, FDATASYNC, NAIVE_KEEP, NAIVE, SHIM_OFF_OFF, SHIM],
        rounds,
        request: Box::new(|_| SYNCS.to_string()),
        metrics: vec![Metric {
            name: "msync",
            columns: &["all"],
            per: (THREADS * SYNCS) as f64,
            baseline: FDATASYNC,
            goals,
        }],
        // Where a flush takes no longer than a call, there is nobody to share it with.
        counted: (fs == FsName::Ext4).then_some((SHIM_OFF_OFF, (THREADS * SYNCS) as f64, 0.35)),
    }
}

fn lmdb(commits: usize) -> Case {
    let at_once = commits / 20;
    Case {
        name: CaseName::Lmdb,
        title: format!("LMDB, {commits} commits"),
        guest: "bench_lmdb",
        arguments: |_, path, how| vec![path.display().to_string(), how.into()],
        size: 0,
        contenders: vec![NATIVE, FDATASYNC, NAIVE_KEEP, NAIVE, SHIM_OFF_OFF, SHIM],
        rounds: 20,
        request: Box::new(move |_| at_once.to_string()),
        metrics: vec![Metric {
            name: "commit",
            columns: &["commits"],
            per: at_once as f64,
            baseline: FDATASYNC,
            goals: vec![(SHIM_OFF_OFF, Goal::AtMost(1.0 / 0.9))],
        }],
        counted: None,
    }
}

/// The metric that must not grow with the number of mappings.
pub const ONE_MORE: &str = "mmap + munmap of the file";

fn mappings(count: u64, rounds: usize) -> Case {
    Case {
        name: CaseName::Mappings,
        title: format!("beside {count} mappings"),
        guest: "bench_mappings",
        arguments: |case, path, _| vec![path.display().to_string(), case.size.to_string()],
        size: count,
        contenders: vec![NATIVE, SHIM, SHIM_ON],
        rounds,
        request: Box::new(|_| "100".to_owned()),
        metrics: vec![
            Metric {
                name: ONE_MORE,
                columns: &["file"],
                per: 1.0,
                baseline: NATIVE,
                goals: vec![(SHIM, Goal::Added(1000.0))],
            },
            Metric {
                name: "mmap + munmap of memory",
                columns: &["anonymous"],
                per: 1.0,
                baseline: NATIVE,
                goals: vec![(SHIM, Goal::Added(1000.0))],
            },
        ],
        counted: None,
    }
}
