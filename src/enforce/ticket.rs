//! A file's turns: its [`GroupCommit`](keepmydata_sync::commit::GroupCommit), under the table lock.

use crate::mappings::{self, file::File};
use crate::process;
use crate::sys;
use keepmydata_sync::commit::{ABANDONED, Begun, Ticket};
use rustix::io::Errno;

const LONGEST_GATHER_NS: u64 = 1_000_000;

/// Waits for the caller's turn on `file`, which it holds.
pub fn enter(file: &File) -> Ticket {
    // SAFETY: every use of a group takes the table lock.
    unsafe {
        file.group
            .enter(mappings::lock_blocked, process::this().birth())
    }
}

/// Begins the flush that the caller leads.
pub fn begin(file: &File) -> Begun {
    // SAFETY: as in `enter`.
    unsafe {
        file.group
            .begin(mappings::lock_blocked, process::this().birth())
    }
}

/// Waits, a fraction of what a flush takes, for as many callers as the last flush of `file` began with:
/// those that it served come again while this one is about to begin, and would have to wait for the one
/// after. The leader calls this before [`begin`].
pub fn gather(file: &File) {
    // SAFETY: as in `enter`.
    let is_short = || unsafe {
        file.group
            .is_short(mappings::lock_blocked, process::this().birth())
    };
    if !is_short() {
        return;
    }
    let last = { mappings::lock_blocked().get(file).fdatasync_ns };
    let until = sys::monotonic_ns() + (last / 4).min(LONGEST_GATHER_NS);
    while is_short() && sys::monotonic_ns() < until {
        rustix::thread::sched_yield();
    }
}

/// The number of the flush of `file` that began last.
pub fn begun(file: &File) -> u32 {
    // SAFETY: as in `enter`.
    unsafe {
        file.group
            .begun(mappings::lock_blocked, process::this().birth())
    }
}

/// Ends flush `number` of `file` with `result`.
pub fn leave(file: &File, number: u32, result: Result<(), Errno>) {
    end(
        file,
        number,
        result.map_or_else(Errno::raw_os_error, |()| 0),
    );
}

/// Ends flush `number` of `file`, which was not done: those who wait for it need another.
pub fn abandon(file: &File, number: u32) {
    end(file, number, ABANDONED);
}

fn end(file: &File, number: u32, result: i32) {
    // SAFETY: as in `enter`.
    unsafe {
        file.group.leave(
            mappings::lock_blocked,
            process::this().birth(),
            number,
            result,
        )
    }
}
