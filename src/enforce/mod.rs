//! Enforcement: one msync, step by step (docs/promise.md). Each step makes a value from that of the one before and
//! uses it up ([`request`], and `keepmydata_promise` for what judges):
//!
//! 1. [`prepare`], a `Snapshot`: the dirty ranges and, where the file is verified, copies of them with a witness of each page;
//! 2. the real msync, exactly as called; left out where step 3 is the same call to the filesystem
//!    ([`msync_call::MsyncCall::is_one_sync`]);
//! 3. `flush`, a `Flushed`: fdatasync through the shim's own handle. The kernel collects the dirty pages of an inode from
//!    all its mappings (`folio_mkclean` in mm/rmap.c); msync of the other mappings would take pending writeback errors from
//!    the program's descriptors;
//! 4. `compare`, a `Compared`: the ranges are read back past the page cache, compared and healed until a deadline;
//! 5. `judge`, a `Proved` or a `Refused`, by what is owed;
//! 6. [`invalidate`] drops clean pages of what is proved; [`fail`] keeps the data of what is refused: an `Ended`;
//! 7. [`observer`] reports it.
//!
//! Steps 1 and 3-7 run on a helper thread ([`steps`]), in one trip; so does 2 where 1 has something to do there. All
//! signals are blocked throughout, as during the system call; pthread_cancel(3) acts before or after.

pub mod before;
pub mod doubt;
mod elsewhere;
mod entries;
mod fail;
mod folios;
mod here;
mod invalidate;
mod metrics;
mod msync_call;
mod observer;
mod prepare;
mod report;
mod request;
mod reverify;
pub mod sandbox;
mod spare;
mod steps;
mod ticket;
pub mod told;
mod zero;

pub use request::keep_memory;

use crate::helper::{self, Worker};
use crate::mappings;
use crate::process;
use crate::sys::signals::{Blocked, Quiet};
use crate::sys::vm::is_refusal;
use crate::{config, dirty, log, next_fn, sys};
use core::ffi::c_void;
use keepmydata_records::{Async, Enforce, Invalidate, Level};
use libc::{c_int, size_t};
use msync_call::MsyncCall;
use rustix::io::Errno;
use zero::{Answer, Zero, next_msync, real_msync, returned};

/// msync(2) of a range with tracked mappings. Any context that msync may be called from, signal
/// handlers included.
#[cold]
#[inline(never)]
pub fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    // A cancellation point, as msync is: before anything is held, and after all is let go.
    test_cancel();
    let state = next_fn::enter();
    let done =
        is_enforced(flags).then(|| returned(enforced(&state.quiet, addr as usize, len, flags)));
    next_fn::leave(state);
    match done {
        Some(result) => {
            test_cancel();
            result
        }
        None if promises(flags) => borrowed(addr, len, flags),
        None => watch(addr, len, flags).number(),
    }
}

fn test_cancel() {
    // Where it unwinds, nothing in its callers needs to be dropped.
    next_fn::pthread_testcancel();
}

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    request::boot() && reverify::boot() && doubt::boot() && spare::boot() && told::boot()
}

fn is_enforced(flags: c_int) -> bool {
    promises(flags) && !process::this().is_borrowed()
}

/// Whether a 0 of msync with `flags` is to say something.
fn promises(flags: c_int) -> bool {
    let settings = config::settings();
    let syncs =
        flags & libc::MS_SYNC != 0 || flags & libc::MS_ASYNC != 0 && settings.async_ == Async::Sync;
    syncs && settings.enforce == Enforce::Full
}

/// msync(2) in a vfork child. It runs on its parent's memory and may end at any moment, with what the parent waits for:
/// nothing is compared, and the parent's next msync is about the same stores.
#[cold]
fn borrowed(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    let answer = watch(addr, len, flags);
    let state = next_fn::enter();
    let Some(passed) = answer.passed() else {
        let errno = next_fn::errno();
        told::msync_failed(addr as usize, len, Errno::from_raw_os_error(errno));
        next_fn::set_errno(errno);
        next_fn::leave(state);
        return answer.number();
    };
    let outcome = doubt::of_borrowed(addr as usize, len);
    next_fn::leave(state);
    returned(outcome.map(|()| Zero::Passed(passed)))
}

/// Syncs what is about to be unmapped, if it is dirty (`KEEPMYDATA_MUNMAP=sync`). Failures are in
/// the log.
pub fn before_unmap(quiet: &Quiet, addr: usize, len: usize) {
    if config::settings().enforce == Enforce::Full
        && !process::this().is_borrowed()
        && may_be_dirty(addr, addr.saturating_add(len))
    {
        // munmap is to leave it as it is.
        let before = next_fn::errno();
        let _ = enforced(quiet, addr, len, libc::MS_SYNC);
        next_fn::set_errno(before);
    }
}

/// Whether a tracked mapping has pages in `[start, end)` that may be dirty.
fn may_be_dirty(start: usize, end: usize) -> bool {
    let _quiet = Blocked::all();
    mappings::any_of(start, end, |entry| {
        if !entry.writable || mappings::lock().get(entry.file).excluded {
            return false;
        }
        let ask = |worker: &mut Worker| dirty::may_be_dirty(worker, entry);
        helper::run(process::this(), ask) != Ok(false)
    })
}

/// The real call, and a record of it.
fn watch(addr: *mut c_void, len: size_t, flags: c_int) -> Answer {
    let state = next_fn::enter();
    let timer = log::Timer::at(Level::Info);
    observer::before_watched(addr as usize, len, flags);
    next_fn::leave(state);
    let answer = next_msync(addr, len, flags);
    let state = next_fn::enter();
    observer::watched(addr as usize, len, flags, answer.number(), timer);
    next_fn::leave(state);
    answer
}

/// All signals of the calling thread are blocked, as `_quiet` says.
#[inline(never)]
fn enforced(_quiet: &Quiet, addr: usize, len: size_t, flags: c_int) -> Result<Zero, Errno> {
    let process = process::this();
    // Asked before the shim maps anything of its own, which might fill a hole.
    let judged = sys::vm::judge_msync(addr, len, flags);
    let has_hole = judged == Err(Errno::NOMEM);
    if is_refusal(judged) {
        // Before the marks of what was stored are taken away, which the next msync needs, and before
        // other threads wait for what will not be done.
        let timer = log::Timer::at(Level::Info);
        let real = real_msync(addr, len, flags);
        if let Err(errno) = real
            && errno != Errno::NOMEM
        {
            observer::refused(addr, len, flags, timer);
            // Of what comes before the mapping for which it is refused.
            told::msync_failed(addr, len, errno);
            return Err(errno);
        }
    }
    let mut files = MsyncCall::collect(process, addr, len, flags);
    let shared = files.enter();
    let complete = files.complete();
    // The kernel still judges the arguments where there is nothing to write.
    let only_judged = flags & !libc::MS_SYNC | libc::MS_ASYNC;
    if files.is_empty() {
        // Only read-only and excluded mappings; or another thread's flush did it all.
        let flags = if files.was_served() {
            only_judged
        } else {
            flags
        };
        let passed = real_msync(addr, len, flags)?;
        let shared = shared.transpose()?;
        return complete.map(|()| shared.map_or(Zero::Passed(passed), Zero::Proved));
    }

    if config::settings().invalidate != Invalidate::Off {
        sys::vm::let_go_of_pages(process::untouched());
    }
    // The kernel has judged them already; another library's msync has not.
    let is_judged = judged.is_ok() && next_fn::msync_is_the_c_librarys();
    let at_once = files.is_one_sync() && (is_judged || real_msync(addr, len, only_judged).is_ok());
    let (files, learns) = match at_once {
        false => files.begin(),
        true => match files.sync_at_once() {
            Some(Ok(ended)) => {
                let proved = ended.leave()?;
                return complete.map(|()| Zero::Proved(proved));
            }
            // The real msync tells the program's own open file of the error.
            Some(Err(files)) => (files, false),
            None => return Err(Errno::IO),
        },
    };
    let on_helper = learns || !at_once && config::settings().invalidate != Invalidate::Off;
    let real_call = |worker: Option<&Worker>| {
        let timer = log::Timer::at(Level::Info);
        let mut real = real_msync_from(worker, addr, len, flags);
        if has_hole && real.is_ok() {
            real = Err(Errno::NOMEM);
        }
        (timer.stop(), real)
    };
    let made = (!on_helper).then(|| real_call(None));
    let ended = files.in_one_trip(|worker, mut files| {
        let (timed, real) = match made {
            Some(made) => made,
            None => {
                files = files.prepare(worker, learns);
                real_call(Some(worker))
            }
        };
        match real {
            Err(errno) if is_refusal(real) => {
                files.give_up(worker, errno);
                return Err(errno);
            }
            Ok(()) if flags & libc::MS_SYNC != 0 => files.note_errseq_seen(addr, len),
            // Of ENOMEM, the part that is mapped is still enforced.
            _ => {}
        }
        Ok((files.finish(worker, timed, real), real))
    });
    let (ended, real) = ended.unwrap_or(Err(Errno::IO))?;
    let proved = ended.leave();
    if real == Err(Errno::NOMEM) {
        return Err(Errno::NOMEM);
    }
    shared.transpose()?;
    let proved = proved?;
    complete.map(|()| Zero::Proved(proved))
}

/// The real msync of a thread that waits for `worker`, if there is one. The kernel asks the mapping's own open file and
/// not the thread that calls; another library's msync is called on the program's thread, for which it is made.
fn real_msync_from(
    worker: Option<&Worker>,
    addr: usize,
    len: size_t,
    flags: c_int,
) -> Result<(), Errno> {
    let real = || real_msync(addr, len, flags).map(|_| ());
    match worker {
        Some(worker) if worker.has_descriptors() => match next_fn::msync_is_the_c_librarys() {
            true => sys::vm::sync_mapped(addr, len, flags),
            false => helper::on_program(real).unwrap_or(Err(Errno::IO)),
        },
        _ => real(),
    }
}
