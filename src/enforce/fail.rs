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
use crate::handles;
use crate::mappings;
use crate::sys::extents;
use crate::sys::{
    self, vm,
    wipe::{Mapping, Region},
};
use core::cell::{Cell, OnceCell};
use keepmydata_promise::{BUFFER, State, Target};
use keepmydata_records::ByteRange;
use rustix::fd::{AsFd, OwnedFd};
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
        Some(_) => {
            let pages = Pages::of(here);
            // What was asked for the log's sake changes nothing.
            let mut lost = match refused.dirty_known {
                true => pages.ranges_dirty_again(&refused.dirty),
                false => 0,
            };
            // What was written back before the flush, and the filesystem had not made safe, is clean by now.
            if !refused.verify || traits.local_block {
                lost = lost.max(pages.unwritten_dirty_again());
            }
            let is_known = dirty::is_verified(traits.local_block);
            if refused.is_new_error && !is_known && errno != Errno::IO {
                lost = lost.max(u64::from(pages.may_be_taken()));
            }
            if refused.dirty_known && traits.loses_unwritten && !traits.dax {
                lost = lost.max(refused.dirty_pages());
            }
            lost
        }
    };
    let handle = here.worker.borrow_handle(&here.handle);
    let dropped = refused.facts.flush_error.is_some() && traits.may_have_dropped(handle, errno);
    let lost = lost.max(u64::from(dropped));
    let mut table = mappings::lock();
    let file = table.get_mut(&here.file);
    // EIO on a local filesystem may be the kernel's word for a collision with another's direct I/O, which
    // is told once, and after which nothing is missing (`dio_warn_stale_pagecache` in mm/filemap.c).
    file.suspect |= !(traits.local_block && errno == Errno::IO);
    if lost > 0 && file.lost == 0 {
        file.lost = errno.raw_os_error();
        file.debt.failed |= !refused.verify;
    }
    crate::reads::set_fresh(&here.file.key, false);
    lost
}

fn stale_dirty_again(here: &Here<'_>, refused: &Refused) {
    let pages = Pages::of(here);
    for (page, state) in refused.copies.states().enumerate() {
        if matches!(state, State::Stale | State::Racing) {
            let (offset, _) = refused.copies.place_of(page);
            let _ = pages.dirty_again(offset);
        }
    }
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

/// The pages of a file whose sync failed: through the program's mappings, and what these have not, on a local filesystem, through
/// one of the shim's own.
struct Pages<'a, 'b> {
    here: &'a Here<'b>,
    /// The file, once it is needed: open for writing, if it can be.
    opened: OnceCell<Option<OwnedFd>>,
    /// Whether a page was found that the filesystem does not hold.
    has_unwritten: Cell<bool>,
}

impl<'a, 'b> Pages<'a, 'b> {
    fn of(here: &'a Here<'b>) -> Pages<'a, 'b> {
        Pages {
            here,
            opened: OnceCell::new(),
            has_unwritten: Cell::new(false),
        }
    }

    /// Every page of the dirty ranges that is still in the page cache; returns how many are lost.
    fn ranges_dirty_again(&self, dirty: &Ranges) -> u64 {
        let size = sys::page_size();
        let mut lost = 0;
        for range in dirty.as_slice() {
            for offset in (range.offset..range.end()).step_by(size) {
                lost += u64::from(self.is_lost(self.dirty_again(offset)));
            }
        }
        lost
    }

    /// Whether nobody will write the page any more, or see that it was not written. What has left the page cache
    /// was clean: it is not lost by that.
    fn is_lost(&self, page: Again) -> bool {
        match page {
            // The next sync would find nothing to write, and compare the page with itself.
            Again::Clean => self.here.file.traits.encodes,
            Again::Unmapped => self.has_own(),
            Again::Gone | Again::Dirty => false,
        }
    }

    /// Whether something that was not written may have left the page cache since, and be read in again as the filesystem holds
    /// it: what is not mapped any more can be evicted by anybody once the kernel calls it clean. Nobody knows which pages of a
    /// file that is not verified were stored to; so all must be there, and what the error is about be among them.
    fn may_be_taken(&self) -> bool {
        if !self.has_own() {
            return false;
        }
        let mut cached = Ranges::new();
        let all = self.here.worker.borrow_cached(&self.here.handle);
        let size = self.here.size();
        let is_whole = all.is_some_and(|file| dirty::cached(file, &mut cached).is_ok())
            && size.is_ok_and(|size| cached.covers(0, sys::page_up(size)));
        !is_whole || !self.has_unwritten.get()
    }

    /// Every cached page that the filesystem does not hold as it is; returns how many are lost. Where it
    /// cannot be asked past the page cache, every cached page.
    fn unwritten_dirty_again(&self) -> u64 {
        let here = self.here;
        let [mut cached, mut absent, mut gone, mut assumed_dirty] = [const { Ranges::new() }; 4];
        let mut found = dirty::Found {
            dirty: &mut cached,
            absent: &mut absent,
            gone: &mut gone,
            assumed_dirty: &mut assumed_dirty,
        };
        dirty::learn(&here.query(), false, true, &mut found);
        let mut lost = 0;
        if self.has_own() {
            // What was stored may be mapped no more, or written by write(2).
            let all = here.worker.borrow_cached(&here.handle);
            if all.is_none_or(|file| dirty::cached(file, &mut cached).is_err()) {
                lost += u64::from(!self.is_mapped_whole());
            }
        }
        let Some(mut memory) = Region::new(BUFFER + sys::page_size()) else {
            return lost;
        };
        let memory = memory.numbers_mut(0, BUFFER + sys::page_size());
        for range in cached.iter() {
            for offset in (range.offset..range.end()).step_by(BUFFER) {
                let length = (range.end() - offset).min(BUFFER as u64);
                lost += self.compare_again(ByteRange { offset, length }, memory);
            }
        }
        lost
    }

    /// The same for a range of at most [`BUFFER`] bytes; `memory` has room for a page more.
    fn compare_again(&self, range: ByteRange, memory: &mut [u8]) -> u64 {
        let here = self.here;
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
                && self.read(offset, now)
                && now[..valid] == held[..valid];
            if !written {
                self.has_unwritten.set(true);
                let again = self.dirty_again(offset);
                let is_opaque = opaque.has(offset) || matches!(again, Again::Unmapped);
                lost += u64::from(is_opaque && self.is_lost(again));
            }
        }
        lost
    }

    /// What the page at `offset` in the file holds. Not under the table lock: where the page
    /// has left the page cache this waits for the filesystem.
    fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        let mut read = |at| vm::read_own_memory(at, into) == Ok(into.len());
        match self.mapped(offset) {
            Some(at) => read(at),
            None => self.own(offset).is_some_and(|page| read(page.start())),
        }
    }

    /// Where the program has the page at `offset` in the file, if it has.
    fn mapped(&self, offset: u64) -> Option<usize> {
        let mut found = None;
        mappings::lock().for_each_of(&self.here.file, 0, |entry| {
            found = entry.address_of(offset).filter(|_| entry.writable);
            found.is_none()
        });
        found
    }

    /// Makes the page at `offset` in the file dirty, if it is in the page cache. Under the table lock, so
    /// that the mapping stays: a page in the page cache is made dirty without a read.
    fn dirty_again(&self, offset: u64) -> Again {
        let size = sys::page_size();
        let mut done = Again::Unmapped;
        let table = mappings::lock();
        table.for_each_of(&self.here.file, 0, |entry| {
            let Some(at) = entry.address_of(offset).filter(|_| entry.writable) else {
                return true;
            };
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
        drop(table);
        match done {
            Again::Unmapped => self.own_dirty_again(offset),
            done => done,
        }
    }

    fn own_dirty_again(&self, offset: u64) -> Again {
        match self.own(offset) {
            Some(page) if !vm::is_cached(page.start()) => Again::Gone,
            Some(mut page) => match make_page_dirty(&mut page) {
                Ok(()) => Again::Dirty,
                Err(_) => Again::Unmapped,
            },
            None => Again::Unmapped,
        }
    }

    /// Unmapping a file of FUSE writes it back, which may fail once more, and where its error is told once, nobody knows.
    fn has_own(&self) -> bool {
        let traits = self.here.file.traits;
        traits.local_block && !traits.dax
    }

    /// A mapping of the shim's own of the page at `offset` in the file.
    fn own(&self, offset: u64) -> Option<Mapping> {
        if !self.has_own() {
            return None;
        }
        let open = || handles::open_for_writing(self.here.worker, &self.here.handle).ok();
        let opened = self.opened.get_or_init(open).as_ref()?;
        vm::map_readable(opened.as_fd(), offset, sys::page_size()).ok()
    }

    /// Whether the program maps all that the file has, so that no page of it was left out.
    fn is_mapped_whole(&self) -> bool {
        let mut mapped = Ranges::new();
        mappings::lock().for_each_of(&self.here.file, 0, |entry| {
            if entry.writable {
                mapped.add(entry.offset, entry.offset + entry.len() as u64);
            }
            true
        });
        let size = self.here.size();
        size.is_ok_and(|size| mapped.covers(0, sys::page_up(size)))
    }
}

fn duplicate_dirty(at: usize) -> Result<(), Errno> {
    make_page_dirty(&mut vm::duplicate(at, sys::page_size())?)
}
