//! madvise and fallocate, which can take pages out of a file.

use crate::dirty::removal;
use crate::{mappings, real};
use core::ffi::c_void;
use libc::{c_int, off_t, size_t};

/// Hook for [`libc::madvise`].
///
/// # Safety
/// As madvise(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    // SAFETY: the caller's contract.
    let result = unsafe { real::madvise(addr, len, advice) };
    if advice == libc::MADV_REMOVE && result == 0 && mappings::overlaps(addr as usize, len) {
        let state = real::enter();
        removal::advised(addr as usize, (addr as usize).saturating_add(len));
        real::leave(state);
    }
    result
}

macro_rules! fallocate {
    ($name:ident) => {
        #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
        ///
        /// # Safety
        /// As fallocate(2).
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            fd: c_int,
            mode: c_int,
            offset: off_t,
            len: off_t,
        ) -> c_int {
            // SAFETY: the caller's contract.
            let result = unsafe { real::$name(fd, mode, offset, len) };
            if result == 0 && removal::takes_pages(mode) && mappings::any() {
                let state = real::enter();
                if let Some(inode) = removal::tracked_fd(fd) {
                    removal::allocated(inode, mode, offset, len);
                }
                real::leave(state);
            }
            result
        }
    };
}

fallocate!(fallocate);
fallocate!(fallocate64);
