//! madvise and fallocate, which can take pages out of a file.

use super::change;
use crate::dirty::removal;
use crate::enforce::before;
use crate::{mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, off_t, size_t};

/// Hook for [`libc::madvise`].
///
/// # Safety
/// As madvise(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int {
    let drops = matches!(
        advice,
        libc::MADV_DONTNEED | libc::MADV_REMOVE | libc::MADV_PAGEOUT
    ) && mappings::overlaps(addr as usize, len);
    let end = (addr as usize).saturating_add(len);
    if drops && before::is_needed() {
        let state = next_fn::enter();
        before::dropping(addr as usize, end);
        if advice == libc::MADV_REMOVE && removal::is_awaited() {
            removal::advising(addr as usize, end);
        }
        next_fn::leave(state);
    }
    // SAFETY: the caller's contract.
    let result = unsafe { next_fn::madvise(addr, len, advice) };
    if drops && advice == libc::MADV_REMOVE && result == 0 {
        let state = next_fn::enter();
        removal::advised(addr as usize, end);
        next_fn::leave(state);
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
            let takes = removal::takes_pages(mode) && mappings::any();
            if takes && before::is_needed() {
                change::before_fd(fd, removal::taken(mode, offset, len));
            }
            // SAFETY: the caller's contract.
            let result = unsafe { next_fn::$name(fd, mode, offset, len) };
            if result == 0 && mappings::any() {
                let state = next_fn::enter();
                match removal::tracked_fd(fd) {
                    Some(inode) if takes => removal::allocated(inode, mode, offset, len),
                    Some(inode) => removal::grown(inode),
                    None => {}
                }
                next_fn::leave(state);
            }
            result
        }
    };
}

fallocate!(fallocate);
fallocate!(fallocate64);
