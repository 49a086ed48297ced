//! What is tried: the seed case and the workload, natively and under the shim, and each step that
//! may cure it.

mod guests;
mod workplace;

pub use guests::{Guests, Pace};
pub use workplace::Workplace;

use super::guest::{NeighbourFound, SeedFound, SeedTask, Step, WorkloadFound};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::trial::Under;
use keepmydata_records::Backing;
use serde::Serialize;
use serde_json::Value;

/// The shim's deadline.
const DEADLINE_MS: u64 = 2000;
/// How long readers look again natively, in ms: longer than that.
const WAIT_MS: u64 = 3000;
/// How long it is watched whether old data comes back, in ms.
const WATCH_MS: u64 = 1000;
/// How long after msync the shim verifies again at least, in ms, where old data comes back.
const REVERIFY_MS: u64 = 500;
/// From here on a sync is slow, and as many heal a few pages.
const SLOW_NS: u64 = 100_000_000;
const SYNCS_TO_HEAL: u64 = 20;
/// How long the workload runs, in ms.
const WORKLOAD_MS: u64 = 500;
/// The same for two processes under the shim that found bad data natively.
const LONG_WORKLOAD_MS: u64 = 3000;

/// The steps that are tried alone and together.
pub const STEPS: [(Step, &str); 8] = [
    (Step::Msync, "msync again"),
    (Step::Fdatasync, "fdatasync"),
    (Step::Fsync, "fsync"),
    (Step::Fsyncs, "fsync until whole"),
    (Step::Drop, "drop the page cache"),
    (Step::Reopen, "close and open again"),
    (Step::Redirty, "make each page dirty again, sync it alone"),
    (Step::Together, "msync, fdatasync, fsync, drop"),
];

/// What was found, or why nothing was.
pub type Found<T> = Result<T, String>;

/// Under the shim.
#[derive(Serialize)]
pub struct Shimmed {
    pub settings: String,
    pub found: Found<SeedFound>,
    /// The shim's records, as it wrote them.
    pub records: Vec<Value>,
}

#[derive(Serialize)]
pub struct Trials {
    /// The seed case natively.
    pub native: Found<SeedFound>,
    /// The same where nobody had read the range before the store.
    pub unread: Found<SeedFound>,
    pub steps: Vec<(&'static str, Step, Found<SeedFound>)>,
    pub workload: Found<WorkloadFound>,
    /// Two processes on one file; only where all else was well.
    pub pair: Option<Found<WorkloadFound>>,
    /// One that also changes the file's size and makes holes; only where all else was well.
    pub fsx: Option<Found<WorkloadFound>>,
    /// Another process that had the file open or mapped before, both under the shim; only where the shim cures.
    pub neighbour: Option<Found<NeighbourFound>>,
    pub flush_only: Shimmed,
    pub shim: Shimmed,
    pub shim_workload: Found<WorkloadFound>,
    /// With settings that suit what was found, where the defaults did not do.
    pub tuned: Option<Shimmed>,
}

/// How many trials there are at most, for the progress.
pub const COUNT: u64 = STEPS.len() as u64 + 13;

impl Trials {
    /// Runs everything, what matters most first: time may run out.
    pub fn run(guests: &Guests, backing: Backing, progress: &Progress) -> Result<Self, Failure> {
        let native = progress.step("msync natively", || {
            guests.seed(
                &task(Step::Nothing, true, WAIT_MS, WATCH_MS),
                Under::Nothing,
            )
        })?;
        let shim = progress.step("msync under the shim", || {
            shimmed(guests, String::new(), WATCH_MS)
        })?;
        let workload = progress.step("a workload natively", || {
            guests.workload(WORKLOAD_MS, 1, Under::Nothing)
        })?;
        let shim_workload = progress.step("a workload under the shim", || {
            guests.workload(WORKLOAD_MS, 1, under_shim(&[]))
        })?;
        let unread = progress.step("msync of what was not read", || {
            guests.seed(&task(Step::Nothing, false, 0, 0), Under::Nothing)
        })?;
        let flush_only = progress.step("flush only", || {
            shimmed(guests, "KEEPMYDATA_VERIFY=off".to_owned(), 0)
        })?;
        let mut steps = Vec::new();
        for (step, name) in STEPS {
            let found = progress.step(name, || {
                guests.seed(&task(step, true, 0, 0), Under::Nothing)
            })?;
            steps.push((name, step, found));
        }
        let mut trials = Trials {
            native: native.map(|(found, _)| found),
            unread: unread.map(|(found, _)| found),
            steps: steps
                .into_iter()
                .map(|(name, step, found)| (name, step, found.map(|(found, _)| found)))
                .collect(),
            workload,
            pair: None,
            fsx: None,
            neighbour: None,
            flush_only,
            shim,
            shim_workload,
            tuned: None,
        };
        if trials.native_is_whole() && backing != Backing::Nothing {
            let pair = progress.step("two processes natively", || {
                guests.workload(WORKLOAD_MS, 2, Under::Nothing)
            })?;
            if pair.as_ref().is_ok_and(|found| found.bad.is_some()) {
                trials.shim_workload = progress.step("two processes under the shim", || {
                    guests.workload(LONG_WORKLOAD_MS, 2, under_shim(&[]))
                })?;
            }
            trials.pair = Some(pair);
        }
        if trials.native_is_whole() && backing != Backing::Nothing {
            let fsx = progress.step("sizes and holes natively", || {
                guests.fsx(WORKLOAD_MS, Under::Nothing)
            })?;
            if fsx.as_ref().is_ok_and(|found| found.bad.is_some()) {
                trials.shim_workload = progress.step("sizes and holes under the shim", || {
                    guests.fsx(LONG_WORKLOAD_MS, under_shim(&[]))
                })?;
            }
            trials.fsx = Some(fsx);
        }
        if !trials.native_is_whole() && backing != Backing::Nothing {
            trials.neighbour = Some(progress.step("another process under the shim", || {
                guests.neighbour(under_shim(&[]))
            })?);
        }
        if let Some(settings) = trials.suitable_settings() {
            trials.tuned = Some(
                progress.step("msync under the shim, with other settings", || {
                    shimmed(guests, settings, WATCH_MS)
                })?,
            );
        }
        Ok(trials)
    }

    /// All that ran natively, with the workloads apart.
    pub fn native_seeds(&self) -> impl Iterator<Item = &SeedFound> {
        let steps = self.steps.iter().map(|(_, _, found)| found);
        [&self.native, &self.unread]
            .into_iter()
            .chain(steps)
            .flatten()
    }

    /// The workloads that ran natively.
    pub fn native_workloads(&self) -> impl Iterator<Item = &WorkloadFound> {
        [Some(&self.workload), self.pair.as_ref(), self.fsx.as_ref()]
            .into_iter()
            .flatten()
            .flatten()
    }

    /// All that ran under the shim, with the workload apart.
    pub fn shimmed(&self) -> impl Iterator<Item = &Shimmed> {
        [
            Some(&self.flush_only),
            Some(&self.shim),
            self.tuned.as_ref(),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether wherever msync returned 0 the readers got all data, and always.
    pub fn native_is_whole(&self) -> bool {
        self.native_seeds()
            .all(|found| found.is_whole() || !found.acknowledged())
            && self.native_workloads().all(|found| found.bad.is_none())
    }

    /// Whether natively old data came back after the new had been seen.
    pub fn comes_back(&self) -> bool {
        let native = self.native.as_ref();
        native.is_ok_and(|found| found.worse_after_ns().is_some())
    }

    /// The step that was tried.
    pub fn step(&self, wanted: Step) -> Option<&SeedFound> {
        let mut steps = self.steps.iter();
        let (_, _, found) = steps.find(|(_, step, _)| *step == wanted)?;
        found.as_ref().ok()
    }

    /// Settings under which the shim may do better than by default.
    fn suitable_settings(&self) -> Option<String> {
        let native = self.native.as_ref().ok()?;
        let ms = |ns: u64| ns / 1_000_000 + 1;
        if let Some(worse) = native.worse_after_ns() {
            let reverify = (2 * ms(worse)).max(REVERIFY_MS);
            return Some(format!("KEEPMYDATA_REVERIFY_MS={reverify}"));
        }
        let shim = self.shim.found.as_ref().ok()?;
        // On a busy machine the seed case may take long enough for the data to be there in time.
        let workload = self.shim_workload.as_ref();
        let gives_up =
            shim.msync.error.is_some() || workload.is_ok_and(|found| found.msync_error.is_some());
        match native.whole_after_ns() {
            Some(late) if gives_up && !native.is_whole() => {
                let deadline = 2 * ms(late).max(DEADLINE_MS);
                Some(format!("KEEPMYDATA_DEADLINE_MS={deadline}"))
            }
            // Each attempt takes long.
            None if shim.msync.error.is_some() && native.msync.ns > SLOW_NS => {
                let deadline = SYNCS_TO_HEAL * ms(native.msync.ns);
                Some(format!("KEEPMYDATA_DEADLINE_MS={deadline}"))
            }
            _ => None,
        }
    }
}

fn task(step: Step, read_before: bool, wait_ms: u64, watch_ms: u64) -> SeedTask {
    SeedTask {
        file: Default::default(),
        step,
        read_before,
        wait_ms,
        watch_ms,
    }
}

/// The seed case under the shim, with `VARIABLE=VALUE` or nothing.
fn shimmed(guests: &Guests, settings: String, watch_ms: u64) -> Shimmed {
    let setting = settings.split_once('=');
    let ran = guests.seed(
        &task(Step::Nothing, true, 0, watch_ms),
        under_shim(setting.as_slice()),
    );
    let (found, records) = match ran {
        Ok((found, records)) => (Ok(found), records),
        Err(why) => (Err(why), Vec::new()),
    };
    Shimmed {
        settings,
        found,
        records,
    }
}

fn under_shim<'a>(settings: &'a [(&'a str, &'a str)]) -> Under<'a> {
    Under::Shim {
        level: "debug",
        settings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Readers that see all from so many ms on.
    fn seed(whole_after_ms: u64, error: Option<&str>) -> SeedFound {
        let look = |ms: u64, page: &str| {
            let readings = json!([{ "reader": "fresh", "pages": { "Ok": [page] } }]);
            json!({ "after_ns": ms * 1_000_000, "readings": readings })
        };
        let mut looks = vec![look(0, "old"), look(whole_after_ms, "new")];
        looks.drain(..usize::from(whole_after_ms == 0));
        let found = json!({
            "msync": { "name": "msync", "error": error, "ns": 1000 },
            "retry": null, "step": [], "looks": looks, "looked_ns": 3_000_000_000u64, "close_error": null,
        });
        serde_json::from_value(found).expect("a seed")
    }

    fn trials(native: SeedFound, shim: SeedFound, workload_error: Option<&str>) -> Trials {
        let shimmed = |found| Shimmed {
            settings: String::new(),
            found: Ok(found),
            records: Vec::new(),
        };
        let workload = WorkloadFound {
            msync_error: workload_error.map(str::to_owned),
            ..WorkloadFound::default()
        };
        Trials {
            native: Ok(native),
            unread: Ok(seed(0, None)),
            steps: Vec::new(),
            workload: Ok(WorkloadFound::default()),
            pair: None,
            fsx: None,
            neighbour: None,
            flush_only: shimmed(seed(0, None)),
            shim: shimmed(shim),
            shim_workload: Ok(workload),
            tuned: None,
        }
    }

    #[test]
    fn where_only_the_workload_misses_the_deadline_a_longer_one_is_tried() {
        let eio = Some("Input/output error");
        for (native, shim, workload, deadline) in [
            (2600, eio, eio, Some("KEEPMYDATA_DEADLINE_MS=5202")),
            // The seed case was late enough by luck.
            (2600, None, eio, Some("KEEPMYDATA_DEADLINE_MS=5202")),
            (2600, None, None, None),
            // Time is not what it lacks.
            (0, None, eio, None),
        ] {
            let trials = trials(seed(native, None), seed(0, shim), workload);
            let settings = trials.suitable_settings();
            assert_eq!(settings.as_deref(), deadline, "{native} {shim:?}");
        }
    }
}
