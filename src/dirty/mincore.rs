//! What of a file is in the page cache, by its mappings: where there is no cachestat(2).

use super::{LARGEST, Ranges};
use crate::mappings::{self, file::File, table::Entry};
use crate::sys::{self, vm};

/// Pages that one call asks about.
const PAGES: usize = 1024;

/// Adds what the writable mappings of `file` have in the page cache; of those
/// that are too large to go through, all up to `size` bytes of the file.
pub fn cached(file: &File, size: u64, into: &mut Ranges) {
    mappings::lock().for_each_of(file, 0, |entry| {
        if entry.writable {
            cached_in(&entry, size, into);
        }
        true
    });
}

/// The same for one mapping. Under the table lock, so that it stays.
pub fn cached_in(entry: &Entry<'_>, size: u64, into: &mut Ranges) {
    cached_from(entry, entry.offset, size, into);
}

/// The same for what of a mapping lies between the offsets `start` and `size` of the file.
pub fn cached_from(entry: &Entry<'_>, start: u64, size: u64, into: &mut Ranges) {
    let page = sys::page_size();
    let end = size.min(entry.offset + entry.len() as u64);
    let offset = start.max(entry.offset);
    if end <= offset {
        return;
    }
    let pages = (end - offset) as usize / page;
    if (pages * page) as u64 > LARGEST {
        into.add(offset, end);
        return;
    }
    let address = entry.start + (offset - entry.offset) as usize;
    for first in (0..pages).step_by(PAGES) {
        let mut states = [1; PAGES];
        let states = &mut states[..PAGES.min(pages - first)];
        // What cannot be told counts as cached: an error leaves the states as they are.
        let _ = vm::are_cached(address + first * page, states);
        for run in states.chunk_by(|a, b| (a ^ b) & 1 == 0) {
            if run[0] & 1 != 0 {
                let before = run.as_ptr() as usize - states.as_ptr() as usize;
                let start = offset + ((first + before) * page) as u64;
                into.add(start, start + (run.len() * page) as u64);
            }
        }
    }
}
