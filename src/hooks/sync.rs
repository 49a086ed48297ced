//! msync.

use crate::{enforce, mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, size_t};

/// Hook for [`libc::msync`].
///
/// # Safety
/// As msync(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int {
    match mappings::overlaps(addr as usize, len) {
        true => enforce::msync(addr, len, flags),
        // SAFETY: the caller's contract.
        false => unsafe { next_fn::msync(addr, len, flags) },
    }
}
