//! Calls of the program's under way that lock memory: meanwhile no mapping is registered.
//!
//! mlock(2) reads in what it locks. If a page of that is write-protected for a userfaultfd, and was never touched, the call
//! does not return ([`super::pagemap::register`]), and holds a lock that every other thread needs to map memory.

use crate::process::{PerProcess, Zeroed};
use core::sync::atomic::{AtomicU32, Ordering};

/// All-zero is "none".
struct Calls(AtomicU32);

// SAFETY: a number.
unsafe impl Zeroed for Calls {}

static CALLS: PerProcess<Calls> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    CALLS.boot()
}

/// Whether there is one.
pub fn is_under_way() -> bool {
    CALLS.get().0.load(Ordering::Acquire) > 0
}

/// A call begins; [`end`] must follow.
pub fn begin() {
    CALLS.get().0.fetch_add(1, Ordering::AcqRel);
}

/// It has returned.
pub fn end() {
    CALLS.get().0.fetch_sub(1, Ordering::AcqRel);
}
