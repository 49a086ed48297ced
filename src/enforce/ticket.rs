//! A file's commit tickets: its [`GroupCommit`](keepmydata_sync::commit::GroupCommit), under the table lock.

use crate::mappings::{self, file::File};
use crate::process;
use crate::sys;
use keepmydata_promise::Zero;
use keepmydata_sync::commit::{Begun, Locked, Ticket};
use rustix::io::Errno;

const LONGEST_GATHER_NS: u64 = 1_000_000;

/// Waits for a ticket of `file`, which the caller holds: nothing where that is to lead the next flush; else what
/// another thread's flush, which began after the call, came to.
pub fn enter(file: &File) -> Option<Result<Zero, Errno>> {
    match group(file).enter() {
        Ticket::Lead => None,
        Ticket::Served(outcome) => Some(outcome),
    }
}

/// Begins the flush that the caller leads.
pub fn begin(file: &File) -> Begun {
    group(file).begin()
}

/// Waits, half of what a flush takes at the most, for as many callers as the last flushes of `file` began with: those
/// that were served come again while this one is about to begin, and would have to wait for the one after. The leader
/// calls this before [`begin`].
pub fn gather(file: &File) {
    let is_short = || group(file).is_short();
    if !is_short() {
        return;
    }
    let last = { mappings::lock_blocked().get(file).fdatasync_ns };
    let until = sys::monotonic_ns() + (last / 2).min(LONGEST_GATHER_NS);
    while is_short() && sys::monotonic_ns() < until {
        rustix::thread::sched_yield();
    }
}

/// The number of the flush of `file` that began last.
pub fn begun(file: &File) -> u32 {
    group(file).begun()
}

/// Ends flush `number` of `file` with `outcome`.
pub fn leave(file: &File, number: u32, outcome: Result<Zero, Errno>) {
    group(file).leave(number, Some(outcome));
}

/// Ends flush `number` of `file`, which was not done: those who wait for it need another.
pub fn abandon(file: &File, number: u32) {
    group(file).leave(number, None);
}

fn group(file: &File) -> Locked<'_, Result<Zero, Errno>, fn() -> mappings::Guard> {
    let lock: fn() -> mappings::Guard = mappings::lock_blocked;
    // SAFETY: every use of a group comes through here, and takes the table lock.
    unsafe { file.group.under(lock, process::this().birth()) }
}
