//! fork: what a child inherits of the shim's own mappings is of no use to it as it is.

use crate::dirty::eviction_probe;
use crate::mappings::{self, family};
use crate::sys::clib;
use libc::pid_t;

/// `_Fork`, vfork and system calls run no handlers. Called once, while booting.
pub fn boot() {
    clib::pthread_atfork(Some(forking), None, Some(forked));
}

hook! {
    /// Hook for `_Fork` (fork(3), glibc 2.34): async-signal-safe.
    fn _Fork() -> pid_t, real => {
        around(real)
    }
}

/// Makes a call that forks, and returns 0 in the child, as `_Fork` does. Any context.
pub fn around<R: PartialEq + From<bool>>(call: impl FnOnce() -> R) -> R {
    forking();
    let child = call();
    if child == R::from(false) {
        forked();
    }
    child
}

extern "C" fn forking() {
    if mappings::any() {
        family::found();
    }
}

extern "C" fn forked() {
    if mappings::any_verified() {
        eviction_probe::forked();
    }
}
