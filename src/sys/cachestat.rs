//! cachestat(2), Linux 6.5: the state of a file's page cache.

use super::raw;
pub use keepmydata_records::kernel::CacheStat;
use keepmydata_records::kernel::SYS_CACHESTAT;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

#[repr(C)]
struct Range {
    off: u64,
    len: u64,
}

/// Counts the pages of `[off, off + len)` bytes; `len` 0 means to the end of the file.
///
/// Errors: `ENOSYS` before Linux 6.5, `EPERM` under some seccomp profiles, `EOPNOTSUPP` on
/// hugetlbfs, `EPERM` for a file that the caller neither owns nor may write (Linux 6.15).
pub fn cachestat(fd: BorrowedFd<'_>, off: u64, len: u64) -> Result<CacheStat, Errno> {
    let range = Range { off, len };
    let mut stat = CacheStat::default();
    // SAFETY: both structures are live and of the layout that the kernel expects.
    unsafe {
        raw::syscall(
            SYS_CACHESTAT,
            [
                fd.as_raw_fd() as usize,
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
