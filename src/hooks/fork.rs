//! fork: what a child inherits of the shim's own mappings is of no use to it as it is.

use crate::dirty::eviction_probe;
use crate::mappings;

/// `_Fork`, vfork and raw system calls run no handlers. Called once, while booting.
pub fn boot() {
    // SAFETY: the handler lives as long as the process, and is async-signal-safe.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
}

extern "C" fn forked() {
    if mappings::any_verified() {
        eviction_probe::forked();
    }
}
