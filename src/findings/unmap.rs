//! A mapping is about to go: munmap(2), or mmap(2) with MAP_FIXED over it.

use super::{for_each_file, unsynced};
use crate::sys::{self, signals::Blocked};
use crate::{helper, mappings, process, stats};
use keepmydata_records::Finding;

/// Tells of pages in `[addr, addr + len)` that were never synced, and are mapped nowhere else in this
/// process, where an msync could still come. On a thread of the program's.
pub fn before_unmap(addr: usize, len: usize) {
    if !stats::on() {
        return;
    }
    let end = addr.saturating_add(sys::page_up(len as u64) as usize);
    for_each_file(addr, end, |reporter| {
        let Some(mut track) = reporter.slot.track() else {
            return;
        };
        let mut pages = unsynced::find(reporter, &track, addr, end);
        if pages.is_empty() {
            return;
        }
        track.owed.add_all(pages.iter());
        mappings::lock().for_each_of(reporter.file, 0, |entry| {
            let stays = [entry.clip(0, addr), entry.clip(end, usize::MAX)];
            for part in stays.iter().flatten().filter(|part| part.writable) {
                pages.remove(part.offset, part.offset + part.len() as u64);
            }
            true
        });
        unsynced::tell(reporter, &track, Finding::UnmappedUnsynced, &mut pages);
    });
    let process = process::this();
    if !process.is_borrowed() {
        let _quiet = Blocked::all();
        let _ = helper::run(process, |worker| stats::before_unmap(worker, addr, end));
    }
}
