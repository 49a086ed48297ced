//! userfaultfd(2) in asynchronous write-protect mode, and the `PAGEMAP_SCAN` ioctl (Linux 6.7).
//!
//! A page of a registered range that is write-protected loses the protection with the first store
//! (the kernel resolves the fault itself); the scan finds such pages and protects them again, in one
//! step. include/uapi/linux/userfaultfd.h, include/uapi/linux/fs.h.

use super::raw;
pub use crate::kernel::pagemap_scan::Region;
use crate::kernel::pagemap_scan::*;
use crate::kernel::userfaultfd::*;
use core::ops::Range;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// What a scan looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Pages that were stored to since they were last protected, or whose entry has been emptied
    /// since; they are protected again in the same step.
    WrittenAndProtect,
    /// The same pages, left as they are.
    Written,
    /// Those of them with a page behind their entry: they were stored to.
    WrittenPresent,
    /// Those of them whose entry is empty; they are protected again in the same step.
    WrittenAbsentAndProtect,
    /// Pages without a page behind their entry.
    Absent,
    /// Pages with one.
    Present,
    /// Pages of a mapping that is registered ([`register`]) with a page behind their entry, and those that were stored to:
    /// each run says which ([`is_present`], [`is_written`]).
    RegisteredAsTheyAre,
}

/// A descriptor for [`register`], if the kernel grants asynchronous write protection: a synchronous
/// registration would stop the program at its first store.
///
/// Errors: `ENOSYS`, `EPERM` (seccomp, vm.unprivileged_userfaultfd), `EINVAL` before Linux 6.7.
pub fn open() -> Result<OwnedFd, Errno> {
    let fd = raw::sys_userfaultfd(FLAGS)?;
    enable(fd.as_fd())?;
    Ok(fd)
}

/// The argument of the system call.
pub const FLAGS: i32 = USER_MODE_ONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;

/// Asks for asynchronous write protection by a new descriptor.
///
/// Errors: `EINVAL` before Linux 6.7.
fn enable(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    enable_features(fd, 0)
}

/// The same by a descriptor that another process has made. A thread there that unmaps or moves what is registered then
/// waits until that was read from the descriptor ([`read_event`]).
///
/// Errors: `EINVAL` before Linux 6.7.
pub fn enable_with_events(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    enable_features(fd, FEATURE_EVENT_UNMAP | FEATURE_EVENT_REMAP)
}

/// Lets the thread go on that has waited longest, if one waits; says whether one did.
pub fn read_event(fd: BorrowedFd<'_>) -> bool {
    // `struct uffd_msg`.
    rustix::io::read(fd, &mut [0; 32]) == Ok(32)
}

fn enable_features(fd: BorrowedFd<'_>, more: u64) -> Result<(), Errno> {
    let wanted = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | more;
    let mut api = [API, wanted, 0];
    raw::sys_uffdio_api(fd, &mut api)?;
    match api[1] & wanted == wanted {
        true => Ok(()),
        false => Err(Errno::INVAL),
    }
}

/// Registers `[start, start + len)`, which the program has just mapped, and protects the pages of the first
/// `protected` bytes. The kernel makes page tables for all that is protected.
///
/// It is one mapping, of which all is registered: a part would be split off, and mremap(2) takes no two mappings
/// at once.
pub fn register(
    fd: BorrowedFd<'_>,
    start: usize,
    len: usize,
    protected: usize,
) -> Result<(), Errno> {
    let mut register = [start as u64, len as u64, REGISTER_MODE_WP, 0];
    raw::sys_uffdio_register(fd, &mut register)?;
    let done = protect(fd, start, protected);
    if done.is_err() {
        unregister(fd, start, len);
    }
    done
}

/// Protects the pages of `[start, start + len)`, which is registered. What was stored to them before is not known
/// any more.
pub fn protect(fd: BorrowedFd<'_>, start: usize, len: usize) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    let protect = [start as u64, len as u64, WRITEPROTECT_MODE_WP];
    raw::sys_uffdio_writeprotect(fd, &protect).map(drop)
}

/// Takes back [`register`], with all marks.
pub fn unregister(fd: BorrowedFd<'_>, start: usize, len: usize) {
    let _ = raw::sys_uffdio_unregister(fd, &[start as u64, len as u64]);
}

/// Whether the pages of a run have a page behind their entry. With [`Find::RegisteredAsTheyAre`].
pub fn is_present(run: &Region) -> bool {
    run.categories & IS_PRESENT != 0
}

/// Whether those of a run were stored to since they were last protected, or emptied. Likewise.
pub fn is_written(run: &Region) -> bool {
    run.categories & IS_WRITTEN != 0
}

/// Runs of pages that one call brings.
const RUNS: usize = 128;

/// Tells `each` of the runs of pages in `addresses` that are so.
///
/// Errors: `ENOTTY` before Linux 6.7, `EPERM` where the range is not registered.
pub fn each_run(
    pagemap: BorrowedFd<'_>,
    addresses: Range<u64>,
    find: Find,
    mut each: impl FnMut(&Region),
) -> Result<(), Errno> {
    each_run_while(pagemap, addresses, find, 0, |run| {
        each(run);
        true
    })
    .map(drop)
}

/// The same, until `each` has returned false, which is looked at where a scan ends: with as many pages as `ahead` bytes have,
/// unless that is 0. Returns where it ended.
pub fn each_run_while(
    pagemap: BorrowedFd<'_>,
    addresses: Range<u64>,
    find: Find,
    ahead: usize,
    mut each: impl FnMut(&Region) -> bool,
) -> Result<u64, Errno> {
    let least = (ahead / super::page_size()) as u64;
    let mut most = least;
    let (mut at, mut goes_on) = (addresses.start, true);
    while goes_on && at < addresses.end {
        let mut runs = [Region::default(); RUNS];
        let (count, next) = scan(pagemap, at, addresses.end, find, most, &mut runs)?;
        for run in &runs[..count] {
            goes_on = each(run);
        }
        // Of what nobody has touched the kernel tells at once, however much that is.
        most = match runs[..count].iter().any(is_present) {
            true => least,
            false => most.saturating_mul(8),
        };
        if next <= at {
            return Ok(addresses.end);
        }
        at = next;
    }
    Ok(at)
}

/// Finds pages of `[start, end)` into `found`, at most `most` of them unless that is 0. Returns how many runs were found
/// and where the scan ended: go on from there until that is `end`.
fn scan(
    pagemap: BorrowedFd<'_>,
    start: u64,
    end: u64,
    find: Find,
    most: u64,
    found: &mut [Region],
) -> Result<(usize, u64), Errno> {
    let (category, inverted) = match find {
        // With this alone, an entry that is empty counts as written.
        Find::WrittenAndProtect | Find::Written => (IS_WRITTEN, 0),
        Find::WrittenPresent => (IS_WRITTEN | IS_PRESENT, 0),
        Find::WrittenAbsentAndProtect => (IS_WRITTEN | IS_PRESENT, IS_PRESENT),
        Find::Absent => (IS_PRESENT, IS_PRESENT),
        Find::Present => (IS_PRESENT, 0),
        Find::RegisteredAsTheyAre => (IS_WPALLOWED, 0),
    };
    let any = match find {
        Find::RegisteredAsTheyAre => IS_PRESENT | IS_WRITTEN,
        _ => 0,
    };
    let mut arg = ScanArg {
        flags: match find {
            Find::WrittenAndProtect | Find::WrittenAbsentAndProtect => WP_MATCHING | CHECK_WPASYNC,
            Find::Written
            | Find::WrittenPresent
            | Find::Absent
            | Find::Present
            | Find::RegisteredAsTheyAre => 0,
        },
        start,
        end,
        max_pages: most,
        category_inverted: inverted,
        category_mask: category,
        category_anyof_mask: any,
        return_mask: category | any,
        ..ScanArg::default()
    };
    let runs = raw::sys_pagemap_scan(pagemap, &mut arg, found)?;
    Ok((runs, arg.walk_end))
}
