//! Before memory is locked, or guarded: then it is not tracked page by page.
//!
//! The kernel cannot have both ([`dirty::register`]). What is mapped while mlockall(2) with `MCL_FUTURE` is
//! in force, or with `MAP_LOCKED`, or moved by mremap(2), is seen to be locked where it would be registered.

use crate::dirty::eviction_probe;
use crate::sys::{self, signals::Blocked};
use crate::{dirty, mappings, next_fn, process};
use core::sync::atomic::{AtomicU32, Ordering};
use libc::c_int;

/// How often memory was about to be locked.
static TIMES: AtomicU32 = AtomicU32::new(0);

/// What [`since`] compares.
pub fn times() -> u32 {
    TIMES.load(Ordering::Acquire)
}

/// A mapping at `[start, end)` was registered after `before`, and is in the table now. Another thread that
/// locked memory meanwhile may not have found it there.
pub fn since(before: u32, start: usize, end: usize) {
    if times() != before {
        dirty::forget(start, end);
    }
}

/// The same as [`range`] for `call`, which locks. Where that fails because the shim has locked pages of its own, these are let go of,
/// and it is called `again`.
#[cold]
pub fn locked(
    addr: usize,
    len: usize,
    call: impl FnOnce() -> c_int,
    again: impl FnOnce() -> c_int,
) -> c_int {
    range(addr, len, || {
        let before = next_fn::errno();
        let result = call();
        let errno = next_fn::errno();
        if result == 0 || errno != libc::ENOMEM || !process::is_open() {
            return result;
        }
        let state = next_fn::enter();
        let is_less = eviction_probe::unlock();
        next_fn::leave(state);
        next_fn::set_errno(if is_less { before } else { errno });
        match is_less {
            true => again(),
            false => result,
        }
    })
}

/// `[addr, addr + len)` is locked or guarded by `call`, which returns what the program is told. No thread's msync registers what is
/// being locked anew meanwhile.
#[cold]
pub fn range(addr: usize, len: usize, call: impl FnOnce() -> c_int) -> c_int {
    if !process::is_open() {
        return call();
    }
    dirty::locking::begin();
    before(addr, len);
    let result = call();
    dirty::locking::end();
    result
}

fn before(addr: usize, len: usize) {
    TIMES.fetch_add(1, Ordering::AcqRel);
    let start = sys::page_down(addr as u64) as usize;
    let end = addr.saturating_add(len);
    let end = sys::page_up(end as u64) as usize;
    if mappings::overlaps(start, end.saturating_sub(start)) {
        let _quiet = Blocked::all();
        dirty::forget(start, end);
    }
}
