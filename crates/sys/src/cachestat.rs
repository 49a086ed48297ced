//! cachestat(2), Linux 6.5: the state of a file's page cache.

use super::raw;
pub use crate::kernel::CacheStat;
use crate::kernel::SYS_CACHESTAT;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

#[repr(C)]
struct Range {
    off: u64,
    len: u64,
}

/// A file with a page cache: one that is not on DAX. There the kernel takes what it keeps in place of
/// cached pages for traces of evicted ones, and follows them to where there is nothing (an oops in
/// `workingset_test_recent`, Linux 6.12).
#[derive(Clone, Copy)]
pub struct Cached<'a>(BorrowedFd<'a>);

impl<'a> Cached<'a> {
    /// Nothing for a file on DAX.
    pub fn new(fd: BorrowedFd<'a>, dax: bool) -> Option<Cached<'a>> {
        (!dax).then_some(Cached(fd))
    }

    pub fn fd(self) -> BorrowedFd<'a> {
        self.0
    }
}

/// Counts the pages of `[off, off + len)` bytes; `len` 0 means to the end of the file.
///
/// Errors: `ENOSYS` before Linux 6.5, `EPERM` under some seccomp profiles, `EOPNOTSUPP` on
/// hugetlbfs, `EPERM` for a file that the caller neither owns nor may write (Linux 6.15).
pub fn cachestat(file: Cached<'_>, off: u64, len: u64) -> Result<CacheStat, Errno> {
    let range = Range { off, len };
    let mut stat = CacheStat::default();
    // SAFETY: both structures are live and of the layout that the kernel expects.
    unsafe {
        raw::syscall(
            SYS_CACHESTAT,
            [
                file.0.as_raw_fd() as usize,
                &raw const range as usize,
                &raw mut stat as usize,
                0,
                0,
                0,
            ],
        )?;
    }
    Ok(stat)
}
