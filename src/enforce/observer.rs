//! Reports an enforcement to the log, the statistics and the findings, and changes nothing about it.

use super::invalidate::Dropped;
use super::report::Fill;
use super::request::{Ended, Request, Snapshot};
use super::{doubt, metrics, report};
use crate::dirty::Ranges;
use crate::findings;
use crate::helper::Worker;
use crate::log::{self, Timed, Timer};
use keepmydata_promise::{self as promise, Evidence, Told};
use keepmydata_records::{Finding, Level, Verdicts, event};
use rustix::io::Errno;

/// What happens.
pub enum Event<'a> {
    /// The dirty ranges were asked for.
    DirtyKnown(Timer),
    /// They were copied aside.
    Copied(Timer, Result<(), Errno>),
    /// That was all before the real msync.
    Begins,
    /// The real msync has returned.
    Called(Timed, Result<(), Errno>),
    /// A step of what judges.
    Judging(Timed, promise::Event),
    /// These pages were stored to since the dirty ranges were asked for.
    Raced(Timer, &'a Ranges),
    /// Clean pages have left the page cache.
    Dropped(Timer, Dropped),
    /// The kernel has not taken the call: nothing was done.
    NotTaken(Errno),
}

/// Something has happened to the file of `at`. On a helper thread, or where there is none.
pub fn tell(worker: &Worker, at: &Snapshot, what: Event<'_>) {
    match what {
        Event::DirtyKnown(timer) => step(
            worker,
            at,
            event::DIRTY,
            timer.stop(),
            Ok(()),
            &|record, at| {
                report::fill_dirty(record, at);
                record.message = at.known.chosen.into();
            },
        ),
        Event::Copied(timer, result) => {
            step(
                worker,
                at,
                event::COPY,
                timer.stop(),
                result,
                &|record, at| {
                    record.dirty_pages = Some(at.copies.pages() as u64);
                },
            );
        }
        Event::Begins => metrics::begin(worker, at),
        Event::Called(timed, result) => {
            step(worker, at, event::FLUSH, timed, result, &|record, at| {
                report::fill_range(record, at);
            })
        }
        Event::Judging(timed, promise::Event::Flushed(result)) => {
            step(worker, at, event::FDATASYNC, timed, result, &|_, _| {});
        }
        Event::Judging(timed, promise::Event::Synced(result)) => {
            step(worker, at, event::FSYNC, timed, result, &|_, _| {});
        }
        Event::Judging(timed, promise::Event::Compared(result)) => {
            step(worker, at, event::VERIFY, timed, result, &|_, _| {});
        }
        Event::Judging(
            timed,
            promise::Event::Healed {
                rung,
                before,
                after,
                result,
            },
        ) => {
            metrics::step(at, event::HEAL, timed);
            metrics::healed(at, before.stale.saturating_sub(after.stale));
            report::healed(worker, at, rung, timed, result, before, after);
        }
        Event::Raced(timer, ranges) => {
            let reporter = metrics::reporter(worker, at);
            if let Some(reporter) = &reporter {
                reporter.slot.count(Finding::Race);
            }
            report::raced(worker, at, timer.stop(), ranges, reporter.is_some());
        }
        Event::Dropped(timer, dropped) => {
            step(
                worker,
                at,
                event::DROP,
                timer.stop(),
                Ok(()),
                &|record, _| {
                    record.dropped_pages = dropped.pages;
                    record.cached_pages = dropped.left;
                },
            );
        }
        Event::NotTaken(errno) => report::answered(worker, at, Err(errno), &|_| {}),
    }
}

fn step(
    worker: &Worker,
    at: &Snapshot,
    what: &'static str,
    timed: Timed,
    result: Result<(), Errno>,
    fill: Fill<'_>,
) {
    metrics::step(at, what, timed);
    if log::enabled(Level::Debug) {
        report::step(worker, at, what, timed, result, fill);
    }
}

/// Whether anybody wants to know the dirty ranges. What is found for nobody else is told, and decides nothing.
pub fn wants_ranges() -> bool {
    log::enabled(Level::Info)
}

/// Whether anybody wants to know which pages are stored to while an msync runs.
pub fn wants_races() -> bool {
    log::enabled(Level::Info)
}

/// What msync fails for here will not be remembered when the file is unmapped.
pub fn forgets(worker: &Worker, request: &Request) {
    doubt::forgets(worker, request);
}

/// All steps are done, and the msync says `told` of earlier ones.
#[inline(never)]
pub fn ended(worker: &Worker, ended: &Ended, told: Told) {
    doubt::of(worker, ended, told);
    metrics::done(worker, ended);
    report::msync(worker, ended);
}

/// What was verified was looked at a second time.
pub fn reverified(
    worker: &Worker,
    request: &Request,
    timer: Timer,
    result: Result<(), Errno>,
    verdicts: Verdicts,
    evidence: &Evidence,
) {
    let found = report::Second {
        result,
        verdicts,
        evidence,
    };
    report::reverified(worker, request, timer.stop(), &found);
}

/// What was verified is not looked at a second time.
pub fn not_reverified(worker: &Worker, request: &Request) {
    report::not_reverified(worker, request);
}

/// Another thread's flush served the call. On a thread of the program's.
pub fn served(request: &Request, outcome: Result<(), Errno>) {
    metrics::served(request);
    report::shared(request, outcome);
}

/// An msync is about to be passed through. On the program's thread.
pub fn before_watched(addr: usize, len: usize, flags: i32) {
    findings::before_watched(addr, len, flags);
}

/// The kernel has refused a call before anything was done, as it says in errno. On the program's thread.
pub fn refused(addr: usize, len: usize, flags: i32, timer: Timer) {
    report::watched(addr, len, flags, -1, timer);
}

/// An msync was passed through. On the program's thread, which made the call.
pub fn watched(addr: usize, len: usize, flags: i32, result: i32, timer: Timer) {
    findings::after_watched(addr, len, flags, result);
    report::watched(addr, len, flags, result, timer);
}

/// For what judges.
pub struct Observer<'a>(pub &'a Worker);

impl promise::Observer<Request> for Observer<'_> {
    type Began = Timer;

    fn begin(&self) -> Timer {
        Timer::at(Level::Info)
    }

    fn tell(&self, at: &Snapshot, began: Timer, what: promise::Event) {
        tell(self.0, at, Event::Judging(began.stop(), what));
    }
}
