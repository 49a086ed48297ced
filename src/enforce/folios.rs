//! `KEEPMYDATA_INVALIDATE=dirty`: the dirty ranges leave the page cache, and nothing else does.
//!
//! The page cache is made of folios, which on ext4 and xfs can have many pages; they leave as a whole
//! or not at all, and only if no page of them is mapped. Dirty ranges from cachestat(2) are whole folios;
//! those from the page tables are single pages. Nobody tells how large a folio is, but it is a power of
//! two and aligned to that: where a range stays, growing windows around it are tried until it goes.

use super::context::Context;
use super::invalidate::drop_mappings;
use crate::custodian::Worker;
use crate::dirty::Ranges;
use crate::sys::{self, cachestat::cachestat};
use core::num::NonZeroU64;
use keepmydata_records::ByteRange;
use rustix::fd::BorrowedFd;
use rustix::fs::{Advice, fadvise};

/// The largest folio that is looked for, bytes: what one page table can map.
const LARGEST: u64 = 2 << 20;

/// Drops the dirty ranges of the file, in whole folios.
pub fn drop_dirty(worker: &Worker, context: &Context, handle: BorrowedFd<'_>) {
    drop_mappings(worker, context, &context.dirty);
    // What is locked, or mapped by another process, stays whatever the window.
    let mut in_vain = false;
    for range in context.dirty.as_slice() {
        advise(handle, range.offset, range.length);
        if !in_vain && !is_gone(handle, range) {
            in_vain = !widen(worker, context, handle, range);
        }
    }
}

/// Says whether the range is gone in the end.
#[cold]
fn widen(worker: &Worker, context: &Context, handle: BorrowedFd<'_>, range: &ByteRange) -> bool {
    let mut size = 2 * sys::page_size() as u64;
    while size <= LARGEST {
        let start = range.offset & !(size - 1);
        let end = (range.offset + range.length).next_multiple_of(size);
        let mut window = Ranges::new();
        window.add(start, end);
        drop_mappings(worker, context, &window);
        advise(handle, start, end - start);
        if is_gone(handle, range) {
            return true;
        }
        size *= 2;
    }
    false
}

fn advise(handle: BorrowedFd<'_>, offset: u64, length: u64) {
    let _ = fadvise(handle, offset, NonZeroU64::new(length), Advice::DontNeed);
}

/// Whether no clean page of the range is cached: a dirty one raced with the msync, and stays. Where
/// the kernel does not tell, it is taken for gone.
fn is_gone(handle: BorrowedFd<'_>, range: &ByteRange) -> bool {
    cachestat(handle, range.offset, range.length)
        .map_or(true, |stat| stat.cached <= stat.dirty + stat.writeback)
}
