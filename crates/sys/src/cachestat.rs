//! cachestat(2), Linux 6.5: the state of a file's page cache.

use super::raw;
use crate::kernel::CacheRange;
pub use crate::kernel::CacheStat;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

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

    /// Its descriptor.
    pub fn fd(self) -> BorrowedFd<'a> {
        self.0
    }
}

/// Counts the pages of `[offset, offset + len)` bytes; `len` 0 means to the end of the file.
///
/// Errors: `ENOSYS` before Linux 6.5, `EPERM` under some seccomp profiles, `EOPNOTSUPP` on
/// hugetlbfs, `EPERM` for a file that the caller neither owns nor may write (Linux 6.15).
pub fn cachestat(file: Cached<'_>, offset: u64, len: u64) -> Result<CacheStat, Errno> {
    let mut stat = CacheStat::default();
    raw::sys_cachestat(file.0, &CacheRange { offset, len }, &mut stat)?;
    Ok(stat)
}
