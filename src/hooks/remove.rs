//! madvise and fallocate, which can take pages out of a file.

use super::change;
use crate::dirty::removal;
use crate::enforce::before;
use crate::sys::{raw, vm};
use crate::track::lock_in_memory;
use crate::{mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, c_uint, iovec, off_t, size_t, ssize_t};

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
            before::dropping(addr as usize, end, advice != libc::MADV_DONTNEED);
            if advice == libc::MADV_REMOVE {
                removal::advising(addr as usize, end);
            }
            next_fn::leave(state);
        }
        let result = real();
        let after = match advice {
            libc::MADV_REMOVE if result == 0 => Some(removal::advised as fn(usize, usize)),
            // It may have done a part of it.
            libc::MADV_PAGEOUT => Some(removal::paged_out as fn(usize, usize)),
            _ => None,
        };
        if let Some(after) = after.filter(|_| drops) {
            let state = next_fn::enter();
            after(addr as usize, end);
            next_fn::leave(state);
        }
        result
    }
}

/// Of this many ranges a call takes no more (`UIO_MAXIOV`).
const MOST: size_t = 1024;

/// Hook for process_madvise(2), by its system call: C libraries before 2.36 have no such function. The process may be this
/// one; where it is another, what is proved here does no harm.
///
/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn process_madvise(
    process: c_int,
    ranges: *const iovec,
    count: size_t,
    advice: c_int,
    flags: c_uint,
) -> ssize_t {
    let is_needed = before::is_needed();
    let evicts = advice == libc::MADV_PAGEOUT;
    if (evicts || advice == libc::MADV_DONTNEED) && is_needed {
        for_each(ranges, count, |start, end| {
            before::dropping(start, end, evicts);
        });
    }
    let a = [
        process as usize,
        ranges as usize,
        count,
        advice as usize,
        flags as usize,
        0,
    ];
    // SAFETY: as the program has called this one.
    let result = unsafe { raw::syscall(libc::SYS_process_madvise, a) };
    if evicts && is_needed {
        for_each(ranges, count, removal::paged_out);
    }
    match result {
        Ok(done) => done as ssize_t,
        Err(errno) => {
            next_fn::set_errno(errno.raw_os_error());
            -1
        }
    }
}

/// Tells `each` of the start and end of those `ranges` that are tracked.
#[cold]
#[inline(never)]
fn for_each(ranges: *const iovec, count: size_t, each: impl Fn(usize, usize)) {
    let state = next_fn::enter();
    for at in 0..count.min(MOST) {
        // Any pointer: the kernel answers a bad one.
        let mut range = [0; size_of::<iovec>()];
        let size = range.len();
        if vm::read_own_memory(ranges.wrapping_add(at) as usize, &mut range) != Ok(size) {
            break;
        }
        let (start, len) = range.split_at(size / 2);
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
        let (start, len) = (number(start), number(len));
        if mappings::overlaps(start, len) {
            each(start, start.saturating_add(len));
        }
    }
    next_fn::leave(state);
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
