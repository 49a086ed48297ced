//! `KEEPMYDATA_INVALIDATE=dirty`: the dirty ranges leave the page cache, and nothing else does.
//!
//! The page cache is made of folios, which on ext4 and xfs can have many pages; they leave as a whole
//! or not at all, and only if no page of them is mapped. Dirty ranges from cachestat(2) are whole folios;
//! those from the page tables are single pages. Nobody tells how large a folio is, but it is a power of
//! two and aligned to that: where a range stays, growing windows around it are tried until it goes.

use super::entries::drop_mappings;
use crate::dirty::{Ranges, eviction_probe};
use crate::helper::Worker;
use crate::mappings::file::File;
use crate::sys;
use crate::sys::cachestat::{Cached, cachestat};
use crate::sys::fd::fadvise;
use core::num::NonZeroU64;
use core::ops::Range;
use keepmydata_promise::cached_pages::has_clean;
use keepmydata_records::ByteRange;
use rustix::fs::Advice;

/// Drops the `dirty` ranges of `mapped`, which is what `file` is open on, in whole folios.
pub fn drop_dirty(worker: &Worker, mapped: &File, file: Cached<'_>, dirty: &Ranges) {
    drop_mappings(worker, mapped, dirty);
    for range in dirty.as_slice() {
        drop_range(mapped, file, range.offset..range.end());
        if stays(file, range) {
            widen(worker, mapped, file, range);
        }
    }
}

#[cold]
fn widen(worker: &Worker, mapped: &File, file: Cached<'_>, range: &ByteRange) {
    let file_end = sys::fd::size(file.fd()).map_or(0, sys::page_up);
    let mut size = 2 * sys::page_size() as u64;
    while size <= sys::page_table_reach() as u64 {
        let start = range.offset & !(size - 1);
        let end = range.end().next_multiple_of(size);
        // A folio around it would be cached as a whole. If that is not so, the range stays for
        // another reason: it is locked, or mapped by another process.
        let pages = end.min(file_end).saturating_sub(start) / sys::page_size() as u64;
        if cachestat(file, start, end - start).map_or(true, |stat| stat.cached < pages) {
            return;
        }
        let mut window = Ranges::new();
        window.add(start, end);
        drop_mappings(worker, mapped, &window);
        drop_range(mapped, file, start..end);
        if !stays(file, range) {
            return;
        }
        size *= 2;
    }
}

/// Drops the clean pages of the bytes `range` of `mapped`, which is what `file` is open on, from the page cache. Not the
/// eviction probes: where a page stays, the kernel has every processor let go of pages that it is about to put on a list,
/// waits for that, and tries again (mm/fadvise.c), longer than the rest of a small msync takes.
pub fn drop_range(mapped: &File, file: Cached<'_>, range: Range<u64>) {
    eviction_probe::for_each_between(mapped, range, |part| {
        // To the end of the file.
        let end = part.end.min(i64::MAX as u64);
        if let Some(len) = NonZeroU64::new(end.saturating_sub(part.start)) {
            let _ = fadvise(file.fd(), part.start, Some(len), Advice::DontNeed);
        }
    });
}

/// Whether a clean page of the range is cached: a dirty one raced with the msync, and is to stay.
fn stays(file: Cached<'_>, range: &ByteRange) -> bool {
    cachestat(file, range.offset, range.length).is_ok_and(|stat| has_clean(&stat))
}
