//! Group commit: several threads in msync on one file share a flush.
//!
//! Flushes of a file are numbered and run one after another. A caller that arrives while flush `n`
//! runs (or none) needs flush `n + 1`: that one begins after the call did, so it covers every store
//! that happened before the call. Whoever finds no flush running leads the next one; everybody who
//! waited for its number is served by it. Nobody is ever served by a flush that had begun before.

use crate::mappings::{self, file::File};
use crate::process;
use crate::sys::lock;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use rustix::io::Errno;

/// Results kept for callers that wake late; one that is overtaken takes the newest.
const KEPT: usize = 8;

/// The flushes of one file. Under the table lock but for `done`.
pub struct Group {
    /// The process that the rest belongs to: after a fork the child starts anew.
    generation: u32,
    running: bool,
    begun: u32,
    /// Number of the last flush that ended; waiters sleep on it.
    done: AtomicU32,
    results: [i32; KEPT],
}

/// How a call gets its flush.
pub enum Turn {
    /// The caller flushes, and calls [`leave`] with the number.
    Lead(u32),
    /// Another thread's flush, which began after the call, ended like this.
    Served(Result<(), Errno>),
}

impl Group {
    pub const fn new() -> Group {
        Group {
            generation: 0,
            running: false,
            begun: 0,
            done: AtomicU32::new(0),
            results: [0; KEPT],
        }
    }

    fn of_this_process(&mut self) -> &mut Group {
        let generation = process::this().birth();
        if self.generation != generation {
            *self = Group::new();
            self.generation = generation;
        }
        self
    }
}

/// Waits for the caller's turn on `file`, which it holds.
pub fn enter(file: NonNull<File>) -> Turn {
    let needed = with(file, |group| group.begun.wrapping_add(1));
    loop {
        let wait_on = with(file, |group| {
            let done = group.done.load(Ordering::Relaxed);
            if reached(done, needed) {
                return Ok(Turn::Served(group.result(needed, done)));
            }
            if group.running {
                return Err(done);
            }
            group.running = true;
            group.begun = group.begun.wrapping_add(1);
            Ok(Turn::Lead(group.begun))
        });
        match wait_on {
            Ok(turn) => return turn,
            // SAFETY: held by the caller, so live; only the atomic field is used.
            Err(seen) => lock::wait(unsafe { &(*file.as_ptr()).group.done }, seen),
        }
    }
}

/// The number of the flush of `file`, which the caller holds, that began last.
pub fn begun(file: NonNull<File>) -> u32 {
    with(file, |group| group.begun)
}

/// Ends flush `number` of `file` with `result`.
pub fn leave(file: NonNull<File>, number: u32, result: Result<(), Errno>) {
    with(file, |group| {
        group.running = false;
        group.results[number as usize % KEPT] = result.map_or_else(Errno::raw_os_error, |()| 0);
        group.done.store(number, Ordering::Release);
    });
    // SAFETY: as in `enter`.
    lock::wake_all(unsafe { &(*file.as_ptr()).group.done });
}

impl Group {
    fn result(&self, wanted: u32, done: u32) -> Result<(), Errno> {
        let overtaken = done.wrapping_sub(wanted) as usize >= KEPT;
        let number = if overtaken { done } else { wanted };
        match self.results[number as usize % KEPT] {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// Whether number `done` is at or after `wanted`; numbers wrap.
fn reached(done: u32, wanted: u32) -> bool {
    done.wrapping_sub(wanted) as i32 >= 0
}

fn with<R>(file: NonNull<File>, f: impl FnOnce(&mut Group) -> R) -> R {
    let _table = mappings::lock();
    // SAFETY: held by the caller, and under the table lock.
    f(unsafe { &mut (*file.as_ptr()).group }.of_this_process())
}
