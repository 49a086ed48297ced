//! msync.

use crate::{enforce, mappings};
use core::ffi::c_void;
use libc::{c_int, size_t};

hook! {
    /// Hook for [`libc::msync`].
    fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int, real => {
        match mappings::overlaps(addr as usize, len) {
            true => enforce::msync(addr, len, flags),
            false => real(),
        }
    }
}
