//! What the custodian's threads do because the program changed who or where it is.
//!
//! The C library has all its threads follow when one calls setuid(3); it knows nothing of the
//! custodian's. A thread left behind with the old ids would be a way back to them, through the
//! memory that all threads share or through /proc/self/task/TID.

use crate::process::{self, Process};
use crate::sys::ids::Ids;
use crate::sys::signals::Blocked;
use crate::{boot, sys};
use core::cell::OnceCell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// After the calling thread has changed its ids: the custodian's threads take them on. When this
/// returns, none of them has others. Any context.
pub fn adopt_ids() {
    let Some((process, _quiet)) = of_this_process() else {
        return;
    };
    let custodian = &process.custodian;
    // Made when it is this call's turn: of two threads, the later order is of the later ids.
    let ids = OnceCell::new();
    let make = || NonNull::from(ids.get_or_init(Ids::of_caller));
    custodian.pool.order(make, || process.later.nudge());
    if custodian.stranger.swap(false, Ordering::Relaxed) {
        // Others, with the caller's ids, are started with the next need.
        dismiss(process);
    }
}

/// Ends the custodian's threads if, but for them, the process has one thread: for calls that the
/// kernel grants to such a process only, or that move its only thread elsewhere. Says whether it
/// did. The next need starts others; as after a fork, they open files anew.
pub fn leave_if_alone() -> bool {
    let Some((process, _quiet)) = of_this_process() else {
        return false;
    };
    let own = process.custodian.pool.members() as usize;
    if own == 0 || threads() != Some(own + 1) || !dismiss(process) {
        return false;
    }
    // Those that left may not have ended yet.
    let until = sys::monotonic_ns() + 1_000_000_000;
    while threads() != Some(1) && sys::monotonic_ns() < until {
        rustix::thread::sched_yield();
    }
    true
}

fn dismiss(process: &'static Process) -> bool {
    let gone = || {
        process.custodian.forget_descriptors();
        process.renew();
    };
    process
        .custodian
        .pool
        .dismiss(|| process.later.nudge(), gone)
}

/// The process, with signals blocked; nothing before boot and in a `vfork` child, whose parent's
/// threads are none of its business.
fn of_this_process() -> Option<(&'static Process, Blocked)> {
    if !boot::is_open() {
        return None;
    }
    let quiet = Blocked::all();
    let process = process::this();
    (!process.is_borrowed()).then_some((process, quiet))
}

/// Threads of this process (`proc_task_getattr` in fs/proc/base.c counts them as links), without a
/// descriptor; nothing where /proc is not mounted.
fn threads() -> Option<usize> {
    let stat = rustix::fs::stat(c"/proc/self/task").ok()?;
    (stat.st_nlink as usize).checked_sub(2)
}
