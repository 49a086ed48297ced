//! How far the stores to a mapping are tracked: up to where its file ended when it was looked at last, and beyond that.

use crate::helper::Worker;
use crate::mappings::{Guard, file::File, table::Entry};
use core::ops::Range;

/// So far beyond the end of the file the kernel is asked to track stores, bytes: write(2), stdio, io_uring or another
/// process may make it longer, and nobody sees when. Each page costs 8 bytes of page table.
const AHEAD: u64 = 1 << 20;

/// The address up to which stores to `entry`, a mapping of a file of `size` bytes in whole pages, are to be tracked.
pub fn end_ahead(entry: &Entry<'_>, size: u64) -> usize {
    end_inside(entry, size.saturating_add(AHEAD))
}

/// Whether `entry`, which is registered, is to be tracked further than it is: not with each page that the file grows by.
pub fn is_short(entry: &Entry<'_>, size: u64) -> bool {
    entry.marks.tracked < end_inside(entry, size.saturating_add(AHEAD / 2))
}

/// The address where `entry` ends, or where its file does, which is of `size` bytes in whole pages.
fn end_inside(entry: &Entry<'_>, size: u64) -> usize {
    let len = size.saturating_sub(entry.offset).min(entry.len() as u64);
    entry.start + len as usize
}

/// What of `entry`, which is registered, is inside of its file, of `size` bytes in whole pages, and not tracked:
/// the file has grown. As offsets in the file.
pub fn untracked(entry: &Entry<'_>, size: u64) -> Option<Range<u64>> {
    let end = end_inside(entry, size);
    let start = entry.marks.tracked.clamp(entry.start, entry.end);
    let at = |address: usize| entry.offset + (address - entry.start) as u64;
    (start < end).then(|| at(start)..at(end))
}

/// The part of `entry`, which is registered, that is tracked.
pub fn tracked(entry: &Entry<'_>) -> Range<u64> {
    entry.start as u64..entry.marks.tracked.clamp(entry.start, entry.end) as u64
}

/// Whether a registered mapping of `file` is not tracked up to the end of the file, which
/// is of `size` bytes.
pub fn has_untracked(worker: &Worker, table: &Guard, file: &File, size: u64) -> bool {
    let generation = worker.process().generation();
    let mut found = false;
    table.for_each_of(file, 0, |entry| {
        found = entry.writable
            && entry.marks.registered == generation
            && untracked(&entry, size).is_some();
        !found
    });
    found
}
