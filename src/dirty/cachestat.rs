//! `cachestat`: the page cache of the whole file, in parts and by halving.

use super::{Query, Ranges};
use crate::mappings;
use crate::sys;
use crate::sys::cachestat::{CacheStat, Cached, cachestat};
use core::sync::atomic::{AtomicU8, Ordering};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The place where dirty pages are looked for first begins and ends at a multiple of this, bytes.
const NEAR: u64 = 256 << 10;
/// So many times as long as what was found there last it is at the most.
const NEAR_ENOUGH: u64 = 4;

/// Adds the ranges of the file that are dirty or being written: first from where they were the last time, which are all
/// if the whole file has no more.
pub fn all_unstable(query: &Query<'_>, into: &mut Ranges) -> Result<(), Errno> {
    let file = query.cache().ok_or(Errno::BADF)?;
    let size = sys::page_up(sys::fd::size(file.fd())?);
    let (start, end) = mappings::lock().get(query.file).dirty_near;
    let near = start..end.min(size);
    let place = match near.is_empty() {
        true => 0..size,
        false => match count(file, unstable, 0, size)? {
            0 => return Ok(()),
            all if count(file, unstable, near.start, near.end)? == all => near.clone(),
            _ => 0..size,
        },
    };
    find_in(file, unstable, place.start, place.end, into)?;
    let (Some(first), Some(last)) = (into.iter().next(), into.iter().last()) else {
        return Ok(());
    };
    let found = first.offset & !(NEAR - 1)..last.end().next_multiple_of(NEAR);
    let both = start.min(found.start)..end.max(found.end);
    let near = match both.end - both.start <= NEAR_ENOUGH * (found.end - found.start) {
        true if !near.is_empty() => both,
        _ => found,
    };
    mappings::lock().get_mut(query.file).dirty_near = (near.start, near.end);
    Ok(())
}

/// Pages newer than the backing store, or on the way there.
fn unstable(stat: &CacheStat) -> u64 {
    stat.dirty + stat.writeback
}

/// Adds what is dirty or being written of `[start, end)`, in whole pages.
pub fn unstable_in(file: Cached<'_>, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno> {
    find_in(file, unstable, start, end, into)
}

/// Whether any page of the range is newer than the backing store, or that cannot be told.
pub fn is_unstable(file: Cached<'_>, offset: u64, len: u64) -> bool {
    cachestat(file, offset, len).map_or(true, |stat| unstable(&stat) > 0)
}

/// Adds the ranges of the file that are dirty and not being written.
pub fn dirty(file: Cached<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(file, |stat| stat.dirty, into)
}

/// Adds the ranges of the file that are in the page cache, dirty or not.
pub fn cached(file: Cached<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(file, |stat| stat.cached, into)
}

/// The same of `[start, end)`.
pub fn cached_in(file: Cached<'_>, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno> {
    find_in(file, |stat| stat.cached, start, end, into)
}

type Count = fn(&CacheStat) -> u64;

/// Parts of a file that are asked about one by one, at the most, and cached pages for each.
const PARTS: u64 = 128;
const PART_PAGES: u64 = 512;

/// Of so many pages one is cached, or fewer: halves would hold the same cached pages again and again. Such a range
/// is split into so many parts at once.
const SPARSE: u64 = 8;
const SPLIT: u64 = 32;

fn find(file: Cached<'_>, what: Count, into: &mut Ranges) -> Result<(), Errno> {
    let size = sys::page_up(sys::fd::size(file.fd())?);
    find_in(file, what, 0, size, into)
}

/// The kernel looks at every cached page of what it is asked about. Halving alone asks about all of
/// them again and again, from one half to the next, until the parts are few enough; so they are asked
/// about once as a whole, and once in parts small enough to be halved.
fn find_in(
    file: Cached<'_>,
    what: Count,
    start: u64,
    end: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    if start >= end {
        return Ok(());
    }
    let all = cachestat(file, start, end - start)?;
    let parts = (all.cached / PART_PAGES).clamp(1, PARTS);
    let pages = (end - start) / sys::page_size() as u64;
    match what(&all) {
        0 => return Ok(()),
        _ if pages > SPARSE * SPLIT && all.cached < pages / SPARSE => {
            return split(file, what, start, end, into);
        }
        found if parts == 1 => return halve(file, what, start, end, found, into),
        _ => {}
    }
    let part = sys::page_up((end - start) / parts);
    let mut at = start;
    while at < end {
        let next = (at + part).min(end);
        let found = count(file, what, at, next)?;
        if found > 0 {
            halve(file, what, at, next, found, into)?;
        }
        at = next;
    }
    Ok(())
}

/// The same in equal parts. Where something was found in one, the rest is asked about as a whole: what is cached of
/// a sparse file often lies together.
fn split(
    file: Cached<'_>,
    what: Count,
    start: u64,
    end: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let part = sys::page_up((end - start).div_ceil(SPLIT));
    let mut at = start;
    while at < end {
        let next = end.min(at + part);
        let before = into.bytes();
        find_in(file, what, at, next, into)?;
        if into.bytes() > before && count(file, what, next, end)? == 0 {
            break;
        }
        at = next;
    }
    Ok(())
}

fn count(file: Cached<'_>, what: Count, start: u64, end: u64) -> Result<u64, Errno> {
    if start == end {
        return Ok(0);
    }
    Ok(what(&cachestat(file, start, end - start)?))
}

/// Adds the pages of `[start, end)` that are wanted, which are `found` in number.
fn halve(
    file: Cached<'_>,
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
    let left = count(file, what, start, middle)?;
    if left > 0 {
        halve(file, what, start, middle, left, into)?;
    }
    // A page of the left half may have been stored to since the sum was taken: where nothing seems to be
    // left for the right half, it is asked about.
    let right = match found.saturating_sub(left) {
        0 => count(file, what, middle, end)?,
        right => right,
    };
    if right > 0 {
        halve(file, what, middle, end, right, into)?;
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
        let works =
            Cached::new(none, false).is_some_and(|none| cachestat(none, 0, 0) == Err(Errno::BADF));
        KNOWN.store(if works { WORKS } else { MISSING }, Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == WORKS
}
