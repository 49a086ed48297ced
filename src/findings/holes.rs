//! Stores into holes: what had no blocks when it was mapped, was stored to, and has none yet when it is
//! synced.
//!
//! Only on filesystems of this machine's block devices that answer FIEMAP: whether another machine has
//! room, nobody here can say. A store into a hole shows as a range whose blocks are promised and not
//! allocated (`DELALLOC`), but so does a page that write(2) has filled, and on btrfs one that
//! fallocate(2) has; so what was a hole before the program could store is remembered from mmap on. The
//! memory for it is fixed: of more holes the first ones are known.

use super::{Call, for_each_file};
use crate::dirty::Ranges;
use crate::mappings;
use crate::stats::{self, Track};
use crate::sys;
use crate::sys::extents::{self, Hole};
use keepmydata_records::Finding;
use rustix::fd::BorrowedFd;

/// `[start, end)` is mapped now, and nobody has stored to it. On a thread of the program's.
pub fn mapped(start: usize, end: usize) {
    if !stats::on() {
        return;
    }
    for_each_file(start, end, |reporter| {
        let mut parts = Ranges::new();
        let handle = {
            let table = mappings::lock();
            table.for_each(start, end, |entry| {
                if entry.file == reporter.file && entry.writable {
                    parts.add(entry.offset, entry.offset + entry.len() as u64);
                }
                true
            });
            let handle = table.get(reporter.file).handle;
            reporter.file.traits.local_block.then_some(handle)
        };
        let handle = handle.and_then(|handle| reporter.worker.borrow_handle(&handle));
        if let (Some(handle), Some(mut track)) = (handle, reporter.slot.track()) {
            for part in parts.iter() {
                learn(handle, part.offset, part.end(), &mut track.holes);
            }
        }
    });
}

/// Adds the holes of `[start, end)` in whole pages, as long as there is room.
fn learn(handle: BorrowedFd<'_>, start: u64, end: u64, into: &mut Ranges) {
    let _ = extents::holes(handle, start, end, Hole::Unpromised, |from, to| {
        let room = !into.is_full();
        if room {
            into.add(sys::page_down(from), sys::page_up(to));
        }
        room
    });
}

/// Tells of what was stored to, by this process and since the last msync, in a hole. Before the real
/// msync.
#[inline(never)]
pub fn stored_into(call: &Call<'_>, track: &mut Track) {
    let handle = call.reporter.worker.borrow_handle(&call.handle);
    let Some(handle) = handle.filter(|_| !track.holes.is_empty()) else {
        return;
    };
    let (mut stored, mut found) = (Ranges::new(), Ranges::new());
    stored.add_all(track.owed.common(&track.holes));
    let mut note = |from, to| {
        found.add(sys::page_down(from), sys::page_up(to));
        true
    };
    for range in stored.iter() {
        let (start, end) = (range.offset, range.end());
        let _ = extents::holes(handle, start, end, Hole::Unallocated, &mut note);
    }
    // With blocks soon, or since.
    track.holes.remove_all(&stored);
    if !found.is_empty() {
        let message = "stored to where the file had no blocks: with the filesystem full such a store \
                       ends in SIGBUS, or is lost at writeback";
        call.reporter.tell(Finding::StoreIntoHole, &found, message);
    }
}
