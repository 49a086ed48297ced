//! Calls of the program's under way that lock memory: meanwhile no mapping is registered.
//!
//! mlock(2) reads in what it locks. If a page of that is write-protected for a userfaultfd, and was never touched, the call
//! does not return ([`super::pagemap::register`]), and holds a lock that every other thread needs to map memory.

use crate::process::PerProcess;
use core::sync::atomic::{AtomicU32, Ordering};

static CALLS: PerProcess<AtomicU32> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    CALLS.boot()
}

/// Whether there is one.
pub fn is_under_way() -> bool {
    CALLS.get().load(Ordering::Acquire) > 0
}

/// A call begins; [`end`] must follow.
pub fn begin() {
    CALLS.get().fetch_add(1, Ordering::AcqRel);
}

/// It has returned.
pub fn end() {
    CALLS.get().fetch_sub(1, Ordering::AcqRel);
}
