//! Whether the filesystem keeps the promise of msync, from what was tried, in sentences that a
//! person can act on.

mod cause;
mod cure;
mod symptom;

use super::trials::Trials;
use crate::trial;
use crate::words::count;
use serde::Serialize;
use std::ffi::c_int;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Wherever msync returned 0, all readers got all data.
    Keeps,
    /// Not so, but under the shim.
    Cured,
    /// Not so, under the shim neither, or that could not be tried.
    NotCured,
    /// msync failed, or nothing could be tried.
    Unknown,
}

pub struct Judgement {
    pub said: trial::Judgement<Verdict>,
    /// What else a person should know.
    pub limits: Vec<String>,
}

/// What the words of a verdict need to know besides the trials.
pub struct Setting<'a> {
    pub is_fuse: bool,
    /// `the daemon` or `the filesystem`.
    pub actor: &'static str,
    /// Whether a file that is opened twice is one inode to the kernel.
    pub one_inode: bool,
    /// Whether there is a backing store.
    pub has_store: bool,
    /// Why nothing could be run under the shim.
    pub no_shim: Option<&'a str>,
}

pub fn judge(trials: &Trials, setting: &Setting) -> Judgement {
    if let Err(why) = &trials.native {
        let mut judgement = Judgement::unknown(format!("msync could not be tried: {why}."));
        // ENODEV, see mmap(2) and fuse_file_mmap in fs/fuse/file.c.
        if setting.is_fuse && why.contains("mmap MAP_SHARED: No such device") {
            judgement.said.sentences.push(
                "The daemon opens files with direct_io (FOPEN_DIRECT_IO), which rules out shared \
                 mappings: mount without that option, or have the daemon ask the kernel for \
                 FUSE_DIRECT_IO_ALLOW_MMAP."
                    .to_owned(),
            );
        }
        judgement.said.sentences.extend(met(why).map(str::to_owned));
        return judgement;
    }
    if trials.native_is_whole() {
        return whole(trials, setting);
    }
    let mut sentences = vec![symptom::sentence(trials)];
    sentences.extend(cause::sentences(trials, setting.actor));
    let (verdict, cure) = cure::judge(trials, setting);
    sentences.extend(cure);
    sentences.extend(met_anywhere(trials).map(str::to_owned));
    Judgement::new(verdict, sentences)
}

fn whole(trials: &Trials, setting: &Setting) -> Judgement {
    let failed = trials
        .native_seeds()
        .find(|found| !found.acknowledged())
        .and_then(|found| found.msync.error.clone())
        .or_else(|| {
            trials
                .native_workloads()
                .find_map(|found| found.msync_error.clone())
        });
    if let Some(error) = failed {
        let mut judgement = Judgement::unknown(format!(
            "msync fails here, and says so: {error}. What it promises could not be tried."
        ));
        judgement
            .said
            .sentences
            .extend(met(&error).map(str::to_owned));
        return judgement;
    }
    let workloads = [
        Some(&trials.workload),
        trials.pair.as_ref(),
        trials.fsx.as_ref(),
    ];
    let untried = workloads.into_iter().flatten().find_map(|found| {
        let why = found.as_ref().err()?;
        Some((why, met(why)?))
    });
    if let Some((why, means)) = untried {
        let sentence = format!(
            "In the seed case all readers got the new data at once, and a workload could not be tried: {why}."
        );
        let mut judgement = Judgement::unknown(sentence);
        judgement.said.sentences.push(means.to_owned());
        return judgement;
    }
    let operations: u64 = trials
        .native_workloads()
        .map(|found| found.operations)
        .sum();
    let mut sentences = vec![format!(
        "Each time msync returned 0, all readers got the new data at once: in the seed case, and in \
         {} of random length at random places.",
        count(operations, "store")
    )];
    if !setting.has_store {
        sentences.push(
            "There is no backing store: data lives in memory only, and the shim leaves files \
             here alone."
                .to_owned(),
        );
    }
    Judgement {
        limits: cure::harm(trials),
        ..Judgement::new(Verdict::Keeps, sentences)
    }
}

/// What an error means that msync returned, where it was the kernel's. The shim returns EIO for what it finds itself.
fn met_anywhere(trials: &Trials) -> Option<&'static str> {
    let natively = trials
        .native_seeds()
        .find_map(|found| found.msync.error.as_deref());
    let natively = natively.or_else(|| {
        let mut workloads = trials.native_workloads();
        workloads.find_map(|found| found.msync_error.as_deref())
    });
    let shimmed = trials
        .shim
        .found
        .iter()
        .find_map(|found| found.msync.error.as_deref())
        .or_else(|| {
            let workload = trials.shim_workload.as_ref().ok()?;
            workload.msync_error.as_deref()
        })
        .filter(|error| !error.contains(FAILS));
    natively.or(shimmed).and_then(met)
}

const FAILS: &str = "Input/output error";

/// What an error means that the doctor meets, and what to do.
fn met(why: &str) -> Option<&'static str> {
    [
        (
            "No space left",
            "The filesystem is full, or has too little room for the doctor's files, 13 MB each: free some, and ask again.",
        ),
        (
            "Disk quota exceeded",
            "The quota is used up: the doctor's files take 13 MB each.",
        ),
        (
            "SIGBUS",
            "A store through a mapping was refused: the filesystem has no room for it (the doctor's files take 13 MB each), or cannot \
             read what is there.",
        ),
        (
            FAILS,
            "The filesystem fails itself, or what it lies on: look into the kernel's log (dmesg) and the daemon's.",
        ),
        (
            "Read-only file system",
            "It is mounted read-only, or the kernel has made it so after an error: look into the kernel's log (dmesg).",
        ),
        (
            "Transport endpoint is not connected",
            "The daemon has ended: mount it again, and look into its log.",
        ),
    ]
    .into_iter()
    .find_map(|(error, means)| why.contains(error).then_some(means))
}

impl Judgement {
    fn new(verdict: Verdict, sentences: Vec<String>) -> Self {
        Judgement {
            said: trial::Judgement { verdict, sentences },
            limits: Vec::new(),
        }
    }

    /// Nothing can be said, and why.
    pub fn unknown(sentence: String) -> Self {
        Judgement::new(Verdict::Unknown, vec![sentence])
    }
}

impl trial::Verdict for Verdict {
    fn code(self) -> c_int {
        match self {
            Verdict::Keeps => 0,
            Verdict::Cured => 1,
            Verdict::NotCured => 2,
            Verdict::Unknown => 3,
        }
    }

    fn is_unknown(self) -> bool {
        self == Verdict::Unknown
    }

    fn headline(self) -> &'static str {
        match self {
            Verdict::Keeps => "msync keeps its promise here",
            Verdict::Cured => "msync breaks its promise here, and keepmydata cures it",
            Verdict::NotCured => "msync breaks its promise here, and keepmydata does not cure it",
            Verdict::Unknown => "Whether msync keeps its promise here is not known",
        }
    }
}

/// `35 us`, `1.2 ms`, `310 ms`.
fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ms {
        ms if ms < 0.1 => format!("{} us", ns / 1000),
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::trials::Shimmed;

    #[test]
    fn a_time_is_never_zero_for_want_of_digits() {
        let shown = [35_400, 99_999, 100_000, 9_940_000, 310_000_000].map(ms);
        assert_eq!(shown, ["35 us", "99 us", "0.1 ms", "9.9 ms", "310 ms"]);
    }

    #[test]
    fn a_daemon_that_rules_out_shared_mappings_is_told_how_to_allow_them() {
        fn not_tried<T>() -> Result<T, String> {
            Err("mmap MAP_SHARED: No such device".to_owned())
        }
        let shimmed = || Shimmed {
            settings: String::new(),
            found: not_tried(),
            records: Vec::new(),
        };
        let trials = Trials {
            native: not_tried(),
            unread: not_tried(),
            steps: Vec::new(),
            workload: not_tried(),
            pair: None,
            fsx: None,
            neighbour: None,
            flush_only: shimmed(),
            shim: shimmed(),
            shim_workload: not_tried(),
            tuned: None,
        };
        let setting = |is_fuse| Setting {
            is_fuse,
            actor: "the daemon",
            one_inode: true,
            has_store: true,
            no_shim: None,
        };
        let sentences = judge(&trials, &setting(true)).said.sentences;
        assert_eq!(
            sentences[0],
            "msync could not be tried: mmap MAP_SHARED: No such device."
        );
        assert!(
            sentences[1].contains("FUSE_DIRECT_IO_ALLOW_MMAP"),
            "{sentences:?}"
        );
        assert_eq!(judge(&trials, &setting(false)).said.sentences.len(), 1);
    }
}
