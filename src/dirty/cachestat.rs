//! `cachestat`: the page cache of the whole file, by halving.

use super::{Found, Query, Ranges, Tracker};
use crate::sys;
use crate::sys::cachestat::{CacheStat, cachestat};
use core::sync::atomic::{AtomicU8, Ordering};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// cachestat(2), Linux 6.5. Counts pages under writeback as dirty: they are not stable yet.
/// Granular as the filesystem's folios: 4 KiB on FUSE, up to 1 MiB on ext4 and xfs.
pub struct Cachestat;

impl Tracker for Cachestat {
    fn name(&self) -> &'static str {
        "cachestat"
    }

    fn dirty(&self, query: &Query<'_>, into: &mut Found<'_>) -> Result<(), Errno> {
        find(query.handle.ok_or(Errno::BADF)?, unstable, into.dirty)
    }
}

/// Pages newer than the backing store, or on the way there.
fn unstable(stat: &CacheStat) -> u64 {
    stat.dirty + stat.writeback
}

/// Adds what is dirty or being written of `[start, end)`, in whole pages.
pub fn unstable_in(
    handle: BorrowedFd<'_>,
    start: u64,
    end: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    match count(handle, unstable, start, end)? {
        0 => Ok(()),
        pages => halve(handle, unstable, start, end, pages, into),
    }
}

/// Whether any page of the range is newer than the backing store, or that cannot be told.
pub fn is_unstable(handle: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
    cachestat(handle, offset, len).map_or(true, |stat| unstable(&stat) > 0)
}

/// Adds the ranges of the file that are dirty and not being written.
pub fn dirty(handle: BorrowedFd<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(handle, |stat| stat.dirty, into)
}

/// Adds the ranges of the file that are in the page cache, dirty or not.
pub fn cached(handle: BorrowedFd<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(handle, |stat| stat.cached, into)
}

type Count = fn(&CacheStat) -> u64;

fn find(fd: BorrowedFd<'_>, what: Count, into: &mut Ranges) -> Result<(), Errno> {
    let size = sys::page_up(sys::fd::size(fd)?);
    let pages = count(fd, what, 0, size)?;
    if pages > 0 {
        halve(fd, what, 0, size, pages, into)?;
    }
    Ok(())
}

fn count(fd: BorrowedFd<'_>, what: Count, start: u64, end: u64) -> Result<u64, Errno> {
    if start == end {
        return Ok(0);
    }
    Ok(what(&cachestat(fd, start, end - start)?))
}

/// Adds the pages of `[start, end)` that are wanted, which are `found` in number.
fn halve(
    fd: BorrowedFd<'_>,
    what: Count,
    start: u64,
    end: u64,
    found: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let page = sys::page_size() as u64;
    let pages = (end - start) / page;
    if found >= pages || pages <= 1 {
        into.add(start, end);
        return Ok(());
    }
    let middle = start + pages / 2 * page;
    let left = count(fd, what, start, middle)?;
    if left > 0 {
        halve(fd, what, start, middle, left, into)?;
    }
    // A page may have been stored to since the sum was taken, but that store races with this msync.
    let right = found.saturating_sub(left);
    if right > 0 {
        halve(fd, what, middle, end, right, into)?;
    }
    Ok(())
}

const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const MISSING: u8 = 2;

/// Whether this kernel has the call (it answers EBADF for no descriptor).
pub fn works() -> bool {
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    if KNOWN.load(Ordering::Relaxed) == UNKNOWN {
        // SAFETY: number -1 is no descriptor, which is the point.
        let none = unsafe { BorrowedFd::borrow_raw(i32::MAX) };
        let works = cachestat(none, 0, 0) == Err(Errno::BADF);
        KNOWN.store(if works { WORKS } else { MISSING }, Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == WORKS
}
