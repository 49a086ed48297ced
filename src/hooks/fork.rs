//! fork: what a child inherits of the shim's own mappings is of no use to it as it is.

use crate::dirty::eviction_probe;
use crate::mappings::{self, family};
use crate::sys::clib;

/// `_Fork`, vfork and raw system calls run no handlers. Called once, while booting.
pub fn boot() {
    clib::pthread_atfork(Some(forking), None, Some(forked));
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
