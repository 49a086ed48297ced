//! After a failure: nothing is dropped, and what was not written is dirty again.
//!
//! Plain Linux marks pages clean when their writeback has failed, so that the next msync returns 0
//! with data lost. Here they are made dirty again. Where even the page is gone (ext4 drops pages
//! that it could allocate no block for), no later msync of the file returns 0 until it is unmapped:
//! nobody but the program can know what the page held.
//!
//! Where nobody had asked for the dirty ranges before the flush, the cached pages are compared with
//! what the filesystem holds: what differs was not written.

use super::context::Context;
use super::copy::State;
use super::heal::make_page_dirty;
use super::readback::BUFFER;
use crate::dirty::{self, Query, Ranges};
use crate::helper::Worker;
use crate::mappings;
use crate::sys::extents::{self, Hole};
use crate::sys::{self, vm, wipe};
use core::slice;
use keepmydata_records::ByteRange;
use rustix::io::Errno;

/// Keeps the data of a file whose sync failed with `errno`, and remembers the failure.
pub fn keep_dirty(worker: &Worker, context: &mut Context, errno: Errno) {
    let lost = match context.flush_error {
        // Read back and found stale: those pages, through their witnesses.
        None => {
            stale_dirty_again(context);
            0
        }
        Some(_) if context.dirty_known => {
            let lost = ranges_dirty_again(context);
            match context.traits.loses_unwritten && !context.traits.dax {
                true => lost.max(context.dirty.bytes() / sys::page_size() as u64),
                false => lost,
            }
        }
        Some(_) => unwritten_dirty_again(worker, context),
    };
    let lost = lost.max(u64::from(may_have_dropped(worker, context, errno)));
    let mut table = mappings::lock();
    let file = table.get_mut(&context.file);
    // EIO on a local filesystem may be the kernel's word for a collision with another's direct I/O, which
    // is told once, and after which nothing is missing (`dio_warn_stale_pagecache` in fs/iomap/direct-io.c).
    file.suspect = !(context.traits.local_block && errno == Errno::IO);
    if lost > 0 && file.lost == 0 {
        file.lost = errno.raw_os_error();
    }
    context.lost_pages = lost;
    crate::reads::set_fresh(&context.file.key, false);
}

/// Through the program's own mappings: unmapping one of a FUSE file, a witness too, writes all its
/// dirty pages back (`fuse_vma_close` in fs/fuse/file.c), and they would not stay dirty.
fn stale_dirty_again(context: &mut Context) {
    context.copies.let_go_witnesses();
    for page in 0..context.copies.pages() {
        if matches!(context.copies.state(page), State::Stale | State::Racing) {
            let (offset, _) = context.copies.place_of(page);
            let _ = dirty_again(context, offset);
        }
    }
}

/// Every page of the dirty ranges that is still in the page cache; returns how many are lost.
fn ranges_dirty_again(context: &mut Context) -> u64 {
    context.copies.let_go_witnesses();
    let size = sys::page_size() as u64;
    let mut lost = 0;
    for range in context.dirty.as_slice() {
        let mut offset = range.offset;
        while offset < range.end() {
            lost += u64::from(is_lost(context, dirty_again(context, offset)));
            offset += size;
        }
    }
    lost
}

/// Whether the filesystem may have dropped pages that it found no block for. Those lie in holes ever after; so
/// where what is mapped has no hole, none was. The error for that is not EIO but that there is no room.
fn may_have_dropped(worker: &Worker, context: &Context, errno: Errno) -> bool {
    let failed = context.flush_error.is_some() && !context.traits.dax;
    if !failed || !context.traits.drops_unallocated || errno == Errno::IO {
        return false;
    }
    let Some(handle) = worker.borrow_handle(&context.handle) else {
        return true;
    };
    let size = sys::fd::size(handle).unwrap_or(u64::MAX);
    let mut mapped = Ranges::new();
    mappings::lock().for_each_of(&context.file, 0, |entry| {
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
fn is_lost(context: &Context, page: Again) -> bool {
    match page {
        // The next sync would find nothing to write, and compare the page with itself.
        Again::Clean => context.traits.encodes,
        Again::Gone | Again::Dirty | Again::Unmapped => false,
    }
}

/// Every cached page that the filesystem does not hold as it is; returns how many are lost. Where it
/// cannot be asked past the page cache, every cached page.
fn unwritten_dirty_again(worker: &Worker, context: &mut Context) -> u64 {
    let query = Query::of(worker, &context.file, context.handle);
    let mut found = dirty::Found {
        dirty: &mut context.cached,
        absent: &mut context.absent,
        gone: &mut context.gone,
        assumed_dirty: &mut context.assumed_dirty,
    };
    (context.tracker, context.chosen) = dirty::learn(&query, false, true, &mut found);
    let Some(memory) = wipe::map(BUFFER + sys::page_size()) else {
        return 0;
    };
    // SAFETY: mapped just now, of that size.
    let memory = unsafe { slice::from_raw_parts_mut(memory.as_ptr(), BUFFER + sys::page_size()) };
    let mut lost = 0;
    for i in 0.. {
        let Some(&range) = context.cached.as_slice().get(i) else {
            break;
        };
        for offset in (range.offset..range.end()).step_by(BUFFER) {
            let length = (range.end() - offset).min(BUFFER as u64);
            lost += compare_again(worker, context, ByteRange { offset, length }, memory);
        }
    }
    // SAFETY: mapped above, and no longer used.
    let _ = unsafe { rustix::mm::munmap(memory.as_mut_ptr().cast(), memory.len()) };
    lost
}

/// The same for a range of at most [`BUFFER`] bytes; `memory` has room for a page more.
fn compare_again(
    worker: &Worker,
    context: &mut Context,
    range: ByteRange,
    memory: &mut [u8],
) -> u64 {
    let page = sys::page_size();
    let (buffer, now) = memory.split_at_mut(BUFFER);
    let handle = worker
        .borrow_handle(&context.handle)
        .filter(|_| context.handle.direct);
    let (mut have, mut size) = (0, 0);
    let mut opaque = Ranges::new();
    if let Some(handle) = handle {
        let buffer = &mut buffer[..range.length as usize];
        have = sys::fd::read_back(handle, buffer, range.offset).unwrap_or(0);
        size = sys::fd::size(handle).unwrap_or(0);
        let (start, end) = (range.offset, range.end());
        let each = |from, to| opaque.add(from, to);
        if context.traits.encodes && extents::encoded(handle, start, end, each).is_err() {
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
            && read_page(context, offset, now)
            && now[..valid] == held[..valid];
        if !written {
            let again = dirty_again(context, offset);
            lost += u64::from(opaque.has(offset) && is_lost(context, again));
            context.dirty.add(offset, offset + page as u64);
        }
    }
    lost
}

/// What a mapping has of the page at `offset` in the file. Not under the table lock: where the page
/// has left the page cache this waits for the filesystem.
fn read_page(context: &Context, offset: u64, into: &mut [u8]) -> bool {
    let mut found = None;
    mappings::lock().for_each_of(&context.file, 0, |entry| {
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
fn dirty_again(context: &Context, offset: u64) -> Again {
    let size = sys::page_size();
    let mut done = Again::Unmapped;
    let table = mappings::lock();
    table.for_each_of(&context.file, 0, |entry| {
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
    let size = sys::page_size();
    // SAFETY: unmapped below.
    let duplicate = unsafe { vm::duplicate(at, size)? };
    let done = make_page_dirty(duplicate as usize);
    // SAFETY: the duplicate made above.
    let _ = unsafe { rustix::mm::munmap(duplicate, size) };
    done
}
