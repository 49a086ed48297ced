//! mlock, mlock2, mlockall: see [`lock_in_memory`](crate::track::lock_in_memory).

use crate::track::lock_in_memory;
use crate::{mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, c_uint, size_t};

/// Hook for [`libc::mlock`].
///
/// # Safety
/// As mlock(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mlock(addr: *const c_void, len: size_t) -> c_int {
    // SAFETY: the caller's contract.
    let call = || unsafe { next_fn::mlock(addr, len) };
    match mappings::any() {
        true => lock_in_memory::range(addr as usize, len, call),
        false => call(),
    }
}

/// Hook for `mlock2`.
///
/// # Safety
/// As mlock2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mlock2(addr: *const c_void, len: size_t, flags: c_uint) -> c_int {
    // SAFETY: the caller's contract.
    let call = || unsafe { next_fn::mlock2(addr, len, flags) };
    match mappings::any() {
        true => lock_in_memory::range(addr as usize, len, call),
        false => call(),
    }
}

/// Hook for [`libc::mlockall`].
///
/// # Safety
/// As mlockall(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mlockall(flags: c_int) -> c_int {
    // SAFETY: the caller's contract.
    let call = || unsafe { next_fn::mlockall(flags) };
    match mappings::any() && flags & libc::MCL_CURRENT != 0 {
        true => lock_in_memory::range(0, usize::MAX, call),
        false => call(),
    }
}
