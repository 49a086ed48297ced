//! What of a file is in the page cache, and in which state: cachestat(2), in parts and by halving.

use core::ops::Range;
use keepmydata_ranges::Ranges;
use keepmydata_sys as sys;
use keepmydata_sys::cachestat::{CacheStat, Cached, cachestat};
use rustix::io::Errno;

/// Pages newer than the backing store, or on the way there.
pub fn unstable(stat: &CacheStat) -> u64 {
    stat.dirty + stat.writeback
}

/// Whether there is a page that is not.
pub fn has_clean(stat: &CacheStat) -> bool {
    stat.cached > unstable(stat)
}

/// Adds what is dirty or being written of `[start, end)`, in whole pages.
pub fn add_unstable(
    file: Cached<'_>,
    start: u64,
    end: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    find_in(file, unstable, start, end, into)
}

/// Whether any page of the range is newer than the backing store, or that cannot be told.
pub fn is_unstable(file: Cached<'_>, offset: u64, len: u64) -> bool {
    cachestat(file, offset, len).map_or(true, |stat| unstable(&stat) > 0)
}

/// Adds the ranges of the file that are dirty and not being written.
pub fn add_dirty(file: Cached<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(file, |stat| stat.dirty, into)
}

/// Adds the ranges of the file that are in the page cache, dirty or not.
pub fn add_cached(file: Cached<'_>, into: &mut Ranges) -> Result<(), Errno> {
    find(file, |stat| stat.cached, into)
}

/// The same of `[start, end)`.
pub fn add_cached_in(
    file: Cached<'_>,
    start: u64,
    end: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    find_in(file, |stat| stat.cached, start, end, into)
}

/// What of a count is wanted, pages.
pub type Count = fn(&CacheStat) -> u64;

/// Parts of a file that are asked about one by one, at the most, and cached pages for each.
const PARTS: u64 = 128;
const PART_PAGES: u64 = 512;

/// Of so many pages one is cached, or fewer: halves would hold the same cached pages again and again. Such a range
/// is split into so many parts at once.
const SPARSE: u64 = 8;
const SPLIT: u64 = 32;
/// Fewer cached pages are counted again sooner than so many parts are asked about.
const FEW: u64 = 64;

fn find(file: Cached<'_>, what: Count, into: &mut Ranges) -> Result<(), Errno> {
    let size = sys::page_up(sys::fd::size(file.fd())?);
    find_in(file, what, 0, size, into)
}

/// Adds the pages of `[start, end)` that `what` counts.
///
/// The kernel looks at every cached page of what it is asked about. Halving alone asks about all of
/// them again and again, from one half to the next, until the parts are few enough; so they are asked
/// about once as a whole, and once in parts small enough to be halved.
pub fn find_in(
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
    find_counted(file, what, start, end, &all, into)
}

/// The same where `all` is what [`cachestat`] has said of `[start, end)`.
fn find_counted(
    file: Cached<'_>,
    what: Count,
    start: u64,
    end: u64,
    all: &CacheStat,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let parts = (all.cached / PART_PAGES).clamp(1, PARTS);
    let pages = (end - start) / sys::page_size() as u64;
    match what(all) {
        0 => return Ok(()),
        found if pages > SPARSE * SPLIT && (FEW..pages / SPARSE).contains(&all.cached) => {
            return split(file, what, start, end, found, into);
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

/// The same in equal parts, until the `found` pages are: what is cached of a sparse file often lies together.
fn split(
    file: Cached<'_>,
    what: Count,
    start: u64,
    end: u64,
    found: u64,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let part = sys::page_up((end - start).div_ceil(SPLIT));
    let (mut at, mut left) = (start, found);
    while at < end {
        let next = end.min(at + part);
        let all = cachestat(file, at, next - at)?;
        find_counted(file, what, at, next, &all, into)?;
        left = left.saturating_sub(what(&all));
        // More may have been stored to since they were counted.
        if left == 0 {
            left = count(file, what, next, end)?;
            if left == 0 {
                break;
            }
        }
        at = next;
    }
    Ok(())
}

/// How many pages of `[start, end)` `what` counts.
pub fn count(file: Cached<'_>, what: Count, start: u64, end: u64) -> Result<u64, Errno> {
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
    let mut search = Halving {
        file,
        what,
        into,
        unasked: 0..0,
    };
    search.halve(start, end, found)?;
    search.ask()
}

struct Halving<'a, 'b> {
    file: Cached<'a>,
    what: Count,
    into: &'b mut Ranges,
    /// A part where nothing is left of the sum: a page beside it may have been stored to since that was taken, so
    /// it is asked about, together with those that follow it.
    unasked: Range<u64>,
}

impl Halving<'_, '_> {
    fn halve(&mut self, start: u64, end: u64, found: u64) -> Result<(), Errno> {
        let page = sys::page_size() as u64;
        let pages = (end - start) / page;
        if found >= pages || pages <= 1 {
            self.into.add(start, end);
            return Ok(());
        }
        let middle = start + pages / 2 * page;
        let left = count(self.file, self.what, start, middle)?;
        if left > 0 {
            self.halve(start, middle, left)?;
        }
        match found.saturating_sub(left) {
            0 => self.put_off(middle..end),
            right => self.halve(middle, end, right),
        }
    }

    fn put_off(&mut self, part: Range<u64>) -> Result<(), Errno> {
        if self.unasked.end == part.start {
            self.unasked.end = part.end;
            return Ok(());
        }
        self.ask()?;
        self.unasked = part;
        Ok(())
    }

    fn ask(&mut self) -> Result<(), Errno> {
        let part = core::mem::take(&mut self.unasked);
        match count(self.file, self.what, part.start, part.end)? {
            0 => Ok(()),
            found => self.halve(part.start, part.end, found),
        }
    }
}
