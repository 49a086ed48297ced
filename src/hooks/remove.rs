//! madvise and fallocate, which can take pages out of a file.

use super::change;
use crate::dirty::removal;
use crate::enforce::before;
use crate::track::lock_in_memory;
use crate::{mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, off_t, size_t};

/// `MADV_GUARD_INSTALL` (Linux 6.13; of files 6.15), for which the call empties page table entries until they are: those
/// that are write-protected for a userfaultfd never are, and it does not return.
const GUARD_INSTALL: c_int = 102;

hook! {
    /// Hook for [`libc::madvise`].
    fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int, real => {
        let drops = matches!(
            advice,
            libc::MADV_DONTNEED | libc::MADV_REMOVE | libc::MADV_PAGEOUT
        ) && mappings::overlaps(addr as usize, len);
        if advice == GUARD_INSTALL && mappings::any() {
            return lock_in_memory::range(addr as usize, len, real);
        }
        let end = (addr as usize).saturating_add(len);
        if drops && before::is_needed() {
            let state = next_fn::enter();
            before::dropping(addr as usize, end);
            if advice == libc::MADV_REMOVE {
                removal::advising(addr as usize, end);
            }
            next_fn::leave(state);
        }
        let result = real();
        if drops && advice == libc::MADV_REMOVE && result == 0 {
            let state = next_fn::enter();
            removal::advised(addr as usize, end);
            next_fn::leave(state);
        }
        result
    }
}

macro_rules! fallocate {
    ($name:ident) => {
        hook! {
            #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
            fn $name(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int, real => {
                let takes = removal::takes_pages(mode) && mappings::any();
                if takes && before::is_needed() {
                    change::before_fd(fd, removal::taken(mode, offset, len));
                }
                let result = real();
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
        }
    };
}

fallocate!(fallocate);
fallocate!(fallocate64);
