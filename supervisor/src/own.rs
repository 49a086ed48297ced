//! The supervisor's own memory: mappings of files, by which it sees the very pages that others store to.

use keepmydata_sys::{self as sys, vm};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::sync::OnceLock;

/// /proc/self/pagemap; nothing where it cannot be read.
fn pagemap() -> Option<BorrowedFd<'static>> {
    static PAGEMAP: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let open = || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(CWD, c"/proc/self/pagemap", flags, Mode::empty()).ok()
    };
    PAGEMAP.get_or_init(open).as_ref().map(AsFd::as_fd)
}

/// Whether the page at `addr` has a page table entry; yes where that cannot be told.
pub fn is_present(addr: usize) -> bool {
    pagemap().is_none_or(|pagemap| vm::is_present(pagemap, addr))
}

/// Maps a part of a file, shared; for storing too where its descriptor allows that.
pub fn map(file: BorrowedFd<'_>, offset: u64, len: usize) -> Option<usize> {
    let with = |prot: ProtFlags| {
        // SAFETY: a new mapping; the caller unmaps it.
        unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                prot,
                MapFlags::SHARED,
                file,
                offset,
            )
        }
    };
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let mapped = match with(both) {
        Err(Errno::ACCESS | Errno::PERM) => with(ProtFlags::READ),
        mapped => mapped,
    };
    Some(mapped.ok()? as usize)
}

/// Takes a mapping of the supervisor's away.
pub fn unmap(start: usize, len: usize) {
    // SAFETY: the supervisor's own, and nobody uses it any more.
    let _ = unsafe {
        munmap(
            start as *mut core::ffi::c_void,
            sys::page_up(len as u64) as usize,
        )
    };
}
