//! Step 5: what the filesystem does not hold is tried again, rung by rung, until a deadline.
//!
//! 1. *resync*: msync and fsync again, for as long as that makes progress (a daemon that applies a
//!    little with each FSYNC);
//! 2. *redirty*: each stale page is made dirty again and synced alone (a daemon that drops the first
//!    write of a page, or all but the first page of a request);
//! 3. *wait*, longer each time, then both again (a daemon that applies late).
//!
//! After a flush that failed what was not written is clean, and a sync alone would succeed by doing nothing:
//! then every page is made dirty again, each time.
//!
//! Only the page cache's own content is ever sent again. The shim writes no byte: another process
//! may have stored newer ones.

use super::context::Context;
use super::copy::State;
use super::flush;
use super::report;
use super::snapshot;
use super::verify::{self, Unsettled};
use crate::config;
use crate::dirty::{self, Ranges, eviction_probe};
use crate::helper::Worker;
use crate::log::Timer;
use crate::mappings;
use crate::sys::cachestat::{CacheStat, cachestat};
use crate::sys::{self, vm};
use keepmydata_records::{Level, Rung, Verdict, event, page_hash};
use rustix::io::Errno;
use rustix::mm::{MprotectFlags, MsyncFlags, mprotect, msync};

const FIRST_WAIT_NS: u64 = 1_000_000;
const LONGEST_WAIT_NS: u64 = 100_000_000;

/// Steps 4 and 5. What remains wrong is in the verdicts, and in the states of the copies.
pub fn verify_and_heal(worker: &Worker, context: &mut Context) {
    if context.flush_error.is_some() {
        context.stands = defect!(ProvesWhatItKnowsOnly => false; !snapshot_all(worker, context));
    }
    if context.copies.pages() > 0 {
        climb(worker, context);
        if defect!(TrustsWhatWasReadAgain => false; context.refilled) {
            doubt(context);
        }
        for page in 0..context.copies.pages() {
            let verdict = match context.copies.state(page) {
                State::Verified => Verdict::Verified,
                State::Newer => Verdict::Newer,
                // Bytes that nobody has touched since are not there after flush upon flush.
                State::Stale => Verdict::Stale,
                State::Racing if context.copies.copy(page).is_some() => {
                    defect!(RacingIsNewer => Verdict::Newer; Verdict::Stale)
                }
                State::Racing
                | State::Uncertain
                | State::Gone
                | State::Unread
                | State::Refilled => Verdict::Uncertain,
                State::Unchecked | State::Skipped => continue,
            };
            context.unread_pages += u64::from(context.copies.state(page) == State::Unread);
            context.verdicts.count(verdict);
        }
    }
}

/// What is right as copied may lack what was stored before the page cache was dropped, and so may what
/// is not there any more. Pages that nobody saw stored to lack nothing, where stores are seen.
fn doubt(context: &mut Context) {
    let sees_stores = context.sees_stores();
    for page in 0..context.copies.pages() {
        let (offset, _) = context.copies.place_of(page);
        let state = &mut context.copies.states()[page];
        let doubtful = match state {
            State::Verified | State::Newer => !sees_stores || !context.assumed_dirty.has(offset),
            State::Skipped => !sees_stores,
            _ => false,
        };
        if doubtful {
            *state = State::Refilled;
            context.refilled_pages += 1;
        }
    }
}

/// After a flush that failed: whatever may have been dirty in the inode then, by whomever it was stored, must
/// be proved before msync returns 0. It is clean now, and in the page cache; so all of that is copied and
/// witnessed as what was known to be dirty is. False where it cannot be: then the error stands.
///
/// On a local filesystem it stands always: pages that it could not write may be gone.
fn snapshot_all(worker: &Worker, context: &mut Context) -> bool {
    let Some(file) = worker.borrow_cached(&context.handle) else {
        return false;
    };
    if context.traits.local_block || context.refilled {
        return false;
    }
    if mappings::lock().get(&context.file).dropped {
        return false;
    }
    let evicted = |stat: &CacheStat| stat.evicted + stat.recently_evicted > 0;
    if cachestat(file, 0, 0).map_or(true, |stat| evicted(&stat)) {
        return false;
    }
    let mut cached = Ranges::new();
    if dirty::cached(file, &mut cached).is_err() {
        return false;
    }
    let mut others = Ranges::new();
    others.add_all(cached.iter());
    others.remove_all(&context.dirty);
    context.assumed_dirty.add_all(others.iter());
    context.dirty.add_all(others.iter());
    context.copies.let_go();
    if snapshot::take(worker, context).is_err() {
        context.copies.let_go();
        return false;
    }
    let pages = context.dirty.bytes() / sys::page_size() as u64;
    context.copies.missed == 0
        && context.copies.pages() as u64 == pages
        && !eviction_probe::ask(worker, &context.file, false).dropped
}

fn climb(worker: &Worker, context: &mut Context) {
    let started = Timer::start();
    let deadline = config::settings().deadline_ms.0.saturating_mul(1_000_000);
    let mut wait = FIRST_WAIT_NS;
    let mut left = check(worker, context);
    // A flush that failed may have dropped what it should have written: everything again.
    let mut next = match context.flush_error {
        // The caller is told, and nothing is gained by trying again meanwhile.
        Some(_) if context.traits.local_block => None,
        Some(_) => Some(Rung::Redirty),
        None => (left.total() > 0).then_some(Rung::Resync),
    };
    while let Some(rung) = next {
        let timer = Timer::at(Level::Info);
        let done = match rung {
            Rung::Resync => resync(worker, context),
            Rung::Redirty => redirty(worker, context),
            Rung::Wait => {
                sys::sleep(wait.min(deadline.saturating_sub(started.elapsed())));
                wait = (wait * 2).min(LONGEST_WAIT_NS);
                match context.flush_error {
                    Some(_) => redirty(worker, context),
                    None => resync(worker, context),
                }
            }
        };
        match done {
            Ok(()) => context.rewritten = true,
            Err(errno) => {
                context.rewritten = false;
                context.fails(errno);
            }
        }
        let before = left;
        left = check(worker, context);
        report::healed(worker, context, rung, timer, done, before, left);
        if left.total() < before.total() || left.total() == 0 {
            context.healed = Some(rung);
        }
        if left.total() == 0 && (context.flush_error.is_none() || context.rewritten) {
            let proved = !context.stands && are_all_proved(context);
            if defect!(SecondFlushEndsTheError => true; proved) {
                context.flush_error = None;
            }
            return;
        }
        let late = started.elapsed() >= deadline;
        next = match rung {
            _ if late => None,
            Rung::Resync if left.total() < before.total() => Some(Rung::Resync),
            Rung::Resync => Some(Rung::Redirty),
            Rung::Redirty if left.total() < before.total() => Some(Rung::Redirty),
            Rung::Redirty => Some(Rung::Wait),
            Rung::Wait if left.stale > 0 && wait >= 8 * FIRST_WAIT_NS => Some(Rung::Redirty),
            Rung::Wait => Some(Rung::Wait),
        };
    }
}

/// Whether every page that was copied is there.
fn are_all_proved(context: &mut Context) -> bool {
    let states = context.copies.states();
    states
        .iter()
        .all(|state| matches!(state, State::Verified | State::Newer | State::Skipped))
}

fn check(worker: &Worker, context: &mut Context) -> Unsettled {
    let timer = Timer::at(Level::Info);
    let result = verify::check(worker, context);
    let (left, result) = match result {
        Ok(left) => (left, Ok(())),
        // Another thread's exec has ended the helper, and its descriptors are gone: that is no word of the
        // filesystem's.
        Err(Errno::BADF) => {
            context.reason = "not verified: no handle of the file";
            context.copies.miss_unsettled();
            context.stands = true;
            (Unsettled::default(), Err(Errno::BADF))
        }
        Err(errno) => {
            context.reason = "not verified: reading back failed";
            context.fails(errno);
            (Unsettled::default(), Err(errno))
        }
    };
    report::step(worker, context, event::VERIFY, timer, result);
    left
}

/// msync of the witnesses, which are mappings of the file as any other, and fsync.
fn resync(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    let mut result = Ok(());
    let mut i = 0;
    while let Some(piece) = context.copies.witnessed_piece(i) {
        // SAFETY: msync changes no memory.
        let synced = unsafe { msync(piece.witness as *mut _, piece.len, MsyncFlags::SYNC) };
        result = result.and(synced);
        i += 1;
        // One reaches the daemon as well as many where nothing is dirty.
        if result.is_err() || i >= 16 {
            break;
        }
    }
    flush::fsync(worker, context).and(result)
}

/// Makes each stale page dirty again and syncs it alone; after a failed flush, every page, and syncs them
/// together: where one cannot be made dirty, that flush still counts.
fn redirty(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    let failed = context.flush_error;
    let all = failed.is_some();
    let left_out = failed.map_or(Ok(()), Err);
    let mut result = Ok(());
    for page in 0..context.copies.pages() {
        let state = context.copies.state(page);
        let again = state == State::Stale
            || all && !matches!(state, State::Skipped | State::Uncertain | State::Gone);
        if !again {
            continue;
        }
        // What makes a page dirty maps it, and where it was dropped a moment ago that reads in what
        // the filesystem holds: a newcomer, which must not pass for the page that held the data.
        let Some(held) = context.copies.look(worker, page).map(page_hash) else {
            result = result.and(left_out);
            continue;
        };
        let (_, at) = context.copies.place_of(page);
        let size = sys::page_size();
        if make_page_dirty(at).is_err() {
            result = result.and(left_out);
            continue;
        }
        if context.copies.look(worker, page).map(page_hash) != Some(held) {
            context.copies.states()[page] = State::Uncertain;
            result = result.and(left_out);
            continue;
        }
        if !all {
            // SAFETY: msync changes no memory.
            result = result.and(unsafe { msync(at as *mut _, size, MsyncFlags::SYNC) });
        }
    }
    flush::fsync(worker, context).and(result)
}

/// Makes one page of a witness dirty again.
pub fn make_page_dirty(at: usize) -> Result<(), Errno> {
    let size = sys::page_size();
    match vm::make_dirty(at, size) {
        // The program's mapping, and so its duplicate, is read-only now.
        Err(Errno::INVAL) => {
            // SAFETY: the witness is the shim's own.
            unsafe {
                mprotect(
                    at as *mut _,
                    size,
                    MprotectFlags::READ | MprotectFlags::WRITE,
                )?;
            }
            vm::make_dirty(at, size)
        }
        done => done,
    }
}
