//! mlock, mlock2, mlockall: see [`lock_in_memory`].

use crate::track::lock_in_memory;
use crate::{mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, c_uint, size_t};

hook! {
    /// Hook for [`libc::mlock`].
    fn mlock(addr: *const c_void, len: size_t) -> c_int, real => {
        match mappings::any() {
            // SAFETY: as the program has called it.
            true => lock_in_memory::locked(addr as usize, len, real, || unsafe {
                next_fn::mlock(addr, len)
            }),
            false => real(),
        }
    }
}

hook! {
    /// Hook for `mlock2`.
    fn mlock2(addr: *const c_void, len: size_t, flags: c_uint) -> c_int, real => {
        match mappings::any() {
            // SAFETY: as the program has called it.
            true => lock_in_memory::locked(addr as usize, len, real, || unsafe {
                next_fn::mlock2(addr, len, flags)
            }),
            false => real(),
        }
    }
}

hook! {
    /// Hook for [`libc::mlockall`].
    fn mlockall(flags: c_int) -> c_int, real => {
        match mappings::any() && flags & libc::MCL_CURRENT != 0 {
            true => lock_in_memory::range(0, usize::MAX, real),
            false => real(),
        }
    }
}
