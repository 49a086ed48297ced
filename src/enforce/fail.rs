//! After a failure: nothing is dropped, and what was not written is made dirty again.
//!
//! Plain Linux marks pages clean when their writeback has failed, so that the next msync returns 0 with data lost. Where even the
//! page is gone (ext4 drops pages that it could allocate no block for), no later msync of the file returns 0 until it is
//! unmapped: only the program knows what the page held.
//!
//! Where the dirty ranges were not asked for before the flush, the cached pages are compared with what the filesystem holds:
//! what differs was not written.

use super::here::{Here, make_page_dirty};
use super::request::Refused;
use crate::dirty::{self, Ranges};
use crate::mappings::{self, file::File};
use crate::sys::extents::{self, Hole};
use crate::sys::{self, vm, wipe::Region};
use keepmydata_promise::{BUFFER, State};
use keepmydata_records::ByteRange;
use rustix::io::Errno;

/// Keeps the data of a file whose sync failed, and remembers the failure. Returns how many pages are lost.
pub fn keep_dirty(here: &Here<'_>, refused: &mut Refused) -> u64 {
    let errno = refused.errno();
    let traits = here.file.traits;
    // Through the program's own mappings: unmapping one of a FUSE file, a witness too, writes all its
    // dirty pages back (`fuse_vma_close` in fs/fuse/file.c), and they would not stay dirty.
    refused.let_go_witnesses(here);
    let lost = match refused.facts.flush_error {
        // Read back and found stale.
        None => {
            stale_dirty_again(here, refused);
            0
        }
        // What was written back before that, and the filesystem had not made safe, is clean.
        Some(_) if !refused.verify && !traits.local_block => {
            ranges_dirty_again(here, &refused.dirty).max(unwritten_dirty_again(here))
        }
        Some(_) if refused.dirty_known => {
            let lost = ranges_dirty_again(here, &refused.dirty);
            match traits.loses_unwritten && !traits.dax {
                true => lost.max(refused.dirty_pages()),
                false => lost,
            }
        }
        Some(_) => unwritten_dirty_again(here),
    };
    let lost = lost.max(u64::from(may_have_dropped(here, refused, errno)));
    let mut table = mappings::lock();
    let file = table.get_mut(&here.file);
    // EIO on a local filesystem may be the kernel's word for a collision with another's direct I/O, which
    // is told once, and after which nothing is missing (`dio_warn_stale_pagecache` in fs/iomap/direct-io.c).
    file.suspect = !(traits.local_block && errno == Errno::IO);
    if lost > 0 && file.lost == 0 {
        file.lost = errno.raw_os_error();
        file.debt.failed |= !refused.verify;
    }
    crate::reads::set_fresh(&here.file.key, false);
    lost
}

fn stale_dirty_again(here: &Here<'_>, refused: &Refused) {
    for (page, state) in refused.copies.states().enumerate() {
        if matches!(state, State::Stale | State::Racing) {
            let (offset, _) = refused.copies.place_of(page);
            let _ = dirty_again(&here.file, offset);
        }
    }
}

/// Every page of the dirty ranges that is still in the page cache; returns how many are lost.
fn ranges_dirty_again(here: &Here<'_>, dirty: &Ranges) -> u64 {
    let size = sys::page_size();
    let mut lost = 0;
    for range in dirty.as_slice() {
        for offset in (range.offset..range.end()).step_by(size) {
            lost += u64::from(is_lost(&here.file, dirty_again(&here.file, offset)));
        }
    }
    lost
}

/// Whether the filesystem may have dropped pages that it found no block for. Those lie in holes ever after; so
/// where what is mapped has no hole, none was. The error for that is not EIO but that there is no room.
fn may_have_dropped(here: &Here<'_>, refused: &Refused, errno: Errno) -> bool {
    let traits = here.file.traits;
    let failed = refused.facts.flush_error.is_some() && !traits.dax;
    if !failed || !traits.drops_unallocated || errno == Errno::IO {
        return false;
    }
    let Some(handle) = here.worker.borrow_handle(&here.handle) else {
        return true;
    };
    let size = sys::fd::size(handle).unwrap_or(u64::MAX);
    let mut mapped = Ranges::new();
    mappings::lock().for_each_of(&here.file, 0, |entry| {
        if entry.writable {
            mapped.add(entry.offset, entry.offset + entry.len() as u64);
        }
        true
    });
    let mut has_hole = false;
    let mut found = |_, _| {
        has_hole = true;
        false
    };
    let asked = mapped.within(0, size).all(|range| {
        extents::holes(
            handle,
            range.offset,
            range.end(),
            Hole::Unpromised,
            &mut found,
        )
        .is_ok()
    });
    has_hole || !asked
}

/// Whether nobody will write the page any more, or see that it was not written. What has left the page cache
/// was clean: it is not lost by that.
fn is_lost(file: &File, page: Again) -> bool {
    match page {
        // The next sync would find nothing to write, and compare the page with itself.
        Again::Clean => file.traits.encodes,
        Again::Gone | Again::Dirty | Again::Unmapped => false,
    }
}

/// Every cached page that the filesystem does not hold as it is; returns how many are lost. Where it
/// cannot be asked past the page cache, every cached page.
fn unwritten_dirty_again(here: &Here<'_>) -> u64 {
    let [mut cached, mut absent, mut gone, mut assumed_dirty] = [const { Ranges::new() }; 4];
    let mut found = dirty::Found {
        dirty: &mut cached,
        absent: &mut absent,
        gone: &mut gone,
        assumed_dirty: &mut assumed_dirty,
    };
    dirty::learn(&here.query(), false, true, &mut found);
    let Some(mut memory) = Region::new(BUFFER + sys::page_size()) else {
        return 0;
    };
    let memory = memory.numbers_mut(0, BUFFER + sys::page_size());
    let mut lost = 0;
    for range in cached.iter() {
        for offset in (range.offset..range.end()).step_by(BUFFER) {
            let length = (range.end() - offset).min(BUFFER as u64);
            lost += compare_again(here, ByteRange { offset, length }, memory);
        }
    }
    lost
}

/// The same for a range of at most [`BUFFER`] bytes; `memory` has room for a page more.
fn compare_again(here: &Here<'_>, range: ByteRange, memory: &mut [u8]) -> u64 {
    let page = sys::page_size();
    let (buffer, now) = memory.split_at_mut(BUFFER);
    let handle = here.worker.borrow_handle(&here.handle);
    let (mut have, mut size) = (0, 0);
    let mut opaque = Ranges::new();
    if let Some(handle) = handle.filter(|_| here.handle.direct) {
        let buffer = &mut buffer[..range.length as usize];
        have = sys::fd::read_back(handle, buffer, range.offset).unwrap_or(0);
        size = sys::fd::size(handle).unwrap_or(0);
        let (start, end) = (range.offset, range.end());
        let each = |from, to| opaque.add(from, to);
        if here.file.traits.encodes && extents::encoded(handle, start, end, each).is_err() {
            opaque.add(start, end);
        }
    }
    let mut lost = 0;
    for at in (0..range.length as usize).step_by(page) {
        let offset = range.offset + at as u64;
        let valid = size.saturating_sub(offset).min(page as u64) as usize;
        let held = &buffer[at.min(have)..(at + page).min(have)];
        let written = valid > 0
            && !opaque.has(offset)
            && held.len() >= valid
            && read_page(&here.file, offset, now)
            && now[..valid] == held[..valid];
        if !written {
            let again = dirty_again(&here.file, offset);
            lost += u64::from(opaque.has(offset) && is_lost(&here.file, again));
        }
    }
    lost
}

/// What a mapping has of the page at `offset` in the file. Not under the table lock: where the page
/// has left the page cache this waits for the filesystem.
fn read_page(file: &File, offset: u64, into: &mut [u8]) -> bool {
    let mut found = None;
    mappings::lock().for_each_of(file, 0, |entry| {
        let end = entry.offset + entry.len() as u64;
        if entry.writable && (entry.offset..end).contains(&offset) {
            found = Some(entry.start + (offset - entry.offset) as usize);
        }
        found.is_none()
    });
    found.is_some_and(|at| vm::read_own_memory(at, into) == Ok(into.len()))
}

/// What became of a page that was to be made dirty again.
#[derive(Clone, Copy)]
enum Again {
    Dirty,
    /// In the page cache, and the filesystem refuses to have it dirty: it is full.
    Clean,
    /// Not in the page cache any more.
    Gone,
    /// Nobody can tell: it is not mapped any more.
    Unmapped,
}

/// Makes the page at `offset` in the file dirty, if it is in the page cache. Under the table lock, so
/// that the mapping stays: a page in the page cache is made dirty without a read.
fn dirty_again(file: &File, offset: u64) -> Again {
    let size = sys::page_size();
    let mut done = Again::Unmapped;
    let table = mappings::lock();
    table.for_each_of(file, 0, |entry| {
        let end = entry.offset + entry.len() as u64;
        if !entry.writable || !(entry.offset..end).contains(&offset) {
            return true;
        }
        let at = entry.start + (offset - entry.offset) as usize;
        done = match vm::is_cached(at) {
            false => Again::Gone,
            true if vm::make_dirty(at, size).is_ok() => Again::Dirty,
            // Read-only now: through a duplicate, which may write it back at once.
            true => match duplicate_dirty(at) {
                Ok(()) => Again::Dirty,
                Err(_) => Again::Clean,
            },
        };
        false
    });
    done
}

fn duplicate_dirty(at: usize) -> Result<(), Errno> {
    make_page_dirty(&mut vm::duplicate(at, sys::page_size())?)
}
