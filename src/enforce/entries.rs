//! Page table entries leave before the pages can: a mapped page stays in the page cache.

use crate::dirty::{self, Ranges};
use crate::helper::Worker;
use crate::mappings::{self, file::File, table::Entry};
use crate::sys::{self, vm};

/// How much of a mapping is dropped while the table lock is held, bytes: mmap callers wait for it.
const AT_ONCE: usize = 16 << 20;

/// Drops the page table entries of `ranges` in every mapping of the file: mapped pages stay in the
/// page cache. Bit by bit under the table lock: a range that is in the table cannot be unmapped, and
/// its addresses be given to somebody else, before the lock is free. What has no entries costs nothing: a
/// mapping may be a thousand times larger than what of it was touched.
pub fn drop_mappings(worker: &Worker, file: &File, ranges: &Ranges) {
    let mut at = 0;
    loop {
        let mut left = AT_ONCE;
        let table = mappings::lock();
        table.for_each_of(file, at, |entry| {
            let end = entry.offset + entry.len() as u64;
            let is_shared =
                || dirty::is_tracked(worker, &entry) || is_shared(entry.start, entry.len());
            // Asked where something is to be dropped.
            let mut shared = None;
            for range in ranges.within(entry.offset, end) {
                let start = entry.start + (range.offset - entry.offset) as usize;
                let range = start..start + range.length as usize;
                let whole = dirty::for_each_mapped(
                    worker,
                    &entry,
                    range,
                    AT_ONCE,
                    &mut |mapped, written| {
                        let len = mapped.len().min(left);
                        let shared = *shared.get_or_insert_with(is_shared);
                        let (start, end) = (mapped.start, mapped.start + len);
                        match written {
                            true => drop_unwritten(worker, &entry, shared, start, end),
                            false => drop_again_present(worker, &entry, shared, start, end),
                        }
                        left -= len;
                        at = mapped.start + len;
                        left > 0
                    },
                );
                if !whole {
                    return false;
                }
            }
            at = entry.end;
            true
        });
        if left > 0 {
            return;
        }
    }
}

/// Drops the entries of pages that were not stored to since the dirty ranges were asked for. One that
/// was, by another thread, must keep its entry: an empty one means, to the next msync, that the page
/// was dropped from the page cache with what was stored in it.
fn drop_unwritten(worker: &Worker, entry: &Entry<'_>, shared: bool, start: usize, end: usize) {
    let mut at = start;
    dirty::for_each_written(worker, entry, start, end, |from, to| {
        drop_again_present(worker, entry, shared, at, from);
        at = to;
    });
    drop_again_present(worker, entry, shared, at, end);
}

/// Drops entries; those of pages that were stored to in this very moment come back at once, from the
/// page cache, where they are dirty.
fn drop_again_present(worker: &Worker, entry: &Entry<'_>, shared: bool, start: usize, end: usize) {
    if start < end {
        match shared {
            // SAFETY: within what is shared, and stays: the entry is lent by the guard of the table.
            true => drop(unsafe { vm::drop_ptes(start, end - start) }),
            false => drop_shared(start, end - start),
        }
        dirty::for_each_written(worker, entry, start, end, |from, to| {
            let _ = vm::populate_read(from, to - from);
        });
    }
}

/// Drops page table entries of a range that is not one shared mapping as a whole: of the parts that are.
fn drop_shared(start: usize, len: usize) {
    if is_shared(start, len) {
        // SAFETY: shared.
        let _ = unsafe { vm::drop_ptes(start, len) };
    } else if len > sys::page_size() {
        // Split by mprotect(2): the parts by themselves.
        let half = sys::page_up(len as u64 / 2) as usize;
        drop_shared(start, half);
        drop_shared(start + half, len - half);
    }
}

/// Whether the range is one shared mapping: where the program has replaced one by a raw system call, the
/// table does not know, and on a private mapping dropping its entries would destroy data. The kernel
/// duplicates nothing but shared mappings, and so answers the question.
fn is_shared(start: usize, len: usize) -> bool {
    // Unmapped at once; a duplicate has no pages until it is touched.
    vm::duplicate(start, len).is_ok()
}
