//! This process, as the target of an enforcement: its memory, and a file that it has mapped.

use super::elsewhere;
use super::entries;
use super::spare;
use crate::dirty::{self, Query, Ranges, eviction_probe};
use crate::handles;
use crate::helper::Worker;
use crate::mappings::{
    self,
    file::{Debt, File, Handle, Held},
};
use crate::sys::fd::fadvise;
use crate::sys::{
    self,
    cachestat::{CacheStat, cachestat},
    extents, userfaultfd, vm,
    wipe::{Mapping, Region},
};
use core::num::NonZeroU64;
use core::ptr::NonNull;
use keepmydata_promise::{self as promise, Part, Target, readback};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Advice, AtFlags};
use rustix::io::Errno;

/// A tracked file, and its handle.
pub struct Here<'a> {
    pub worker: &'a Worker,
    pub file: Held,
    pub handle: Handle,
    /// The file as another client of the filesystem shows it ([`Target::open_elsewhere`]).
    there: Option<OwnedFd>,
}

impl<'a> Here<'a> {
    /// `file`, which the caller holds, with its `handle`.
    #[inline(never)]
    pub fn new(worker: &'a Worker, file: &File, handle: Handle) -> Here<'a> {
        Here {
            worker,
            file: file.hold(),
            handle,
            there: None,
        }
    }

    /// Whether the filesystem may tell an error once, to whoever asks first. A local one, and what is stacked on it, tells
    /// every open file, and gives the number of a deleted file to the next.
    pub fn tells_once(&self) -> bool {
        mappings::tells_once(&self.file, &self.handle)
    }

    /// To ask the trackers.
    pub fn query(&self) -> Query<'_> {
        Query::of(self.worker, &self.file, self.handle)
    }

    /// By the handle, if there is one: another thread's exec may have ended the helper, and closed it.
    fn sync(
        &self,
        by_handle: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match self.worker.borrow_handle(&self.handle).map(by_handle) {
            None if self.handle.has_whole() => {
                vm::sync_mapped(self.handle.whole, self.handle.whole_len, libc::MS_SYNC)
            }
            None | Some(Err(Errno::BADF)) => self.msync_mappings(),
            Some(done) => done,
        }
    }

    fn msync_mappings(&self) -> Result<(), Errno> {
        let mut result = Ok(());
        let mut from = 0;
        loop {
            let mut next = None;
            mappings::lock().for_each_of(&self.file, from, |entry| {
                next = entry.writable.then_some((entry.start, entry.len()));
                next.is_none()
            });
            let Some((start, len)) = next else {
                return result;
            };
            from = start + len;
            // Where the mapping is gone by now, it syncs another's.
            let synced = vm::sync_mapped(start, len, libc::MS_SYNC);
            // Unmapped by another thread meanwhile.
            result =
                result.and(synced.or_else(|e| if e == Errno::NOMEM { Ok(()) } else { Err(e) }));
        }
    }
}

/// Makes the page of a duplicate dirty again.
pub fn make_page_dirty(page: &mut Mapping) -> Result<(), Errno> {
    match vm::make_dirty(page.start(), page.len()) {
        // The program's mapping, and so its duplicate, is read-only now.
        Err(Errno::INVAL) => {
            page.make_writable()?;
            vm::make_dirty(page.start(), page.len())
        }
        done => done,
    }
}

/// A part of what [`Target::duplicate`] has left at `start`.
fn left(start: usize, len: usize) -> Option<Mapping> {
    let start = NonNull::new(core::ptr::with_exposed_provenance_mut(start))?;
    // SAFETY: of a witness only the judge knows, who passes what it was given.
    Some(unsafe { Mapping::adopt(start, len) })
}

impl Target for Here<'_> {
    #[inline(never)]
    fn each_mapping(&self, each: &mut dyn FnMut(promise::Mapping)) {
        // The lock keeps the entries where they are.
        mappings::lock().for_each_of(&self.file, 0, |entry| {
            if entry.writable {
                each(promise::Mapping {
                    start: entry.start,
                    offset: entry.offset,
                    len: entry.len(),
                });
            }
            true
        });
    }

    fn duplicate(&self, part: promise::Mapping) -> Option<usize> {
        let promise::Mapping { start, offset, len } = part;
        let mut witness = match vm::duplicate(start, len) {
            // Sealed (mseal(2)); or locked in memory, where a duplicate is locked too, and RLIMIT_MEMLOCK used up: by the
            // file itself, then, of which the same pages are mapped.
            Err(Errno::PERM | Errno::AGAIN) => {
                let handle = self.worker.borrow_handle(&self.handle);
                vm::map_readable(handle?, offset, len).ok()?
            }
            duplicate => duplicate.ok()?,
        };
        // What the program's mapping may not do (`PROT_NONE`, `PROT_WRITE` alone), a duplicate may: the file is open for
        // reading and writing.
        if defect!(WitnessKeepsItsProtection => false; true) {
            let _ = witness.make_writable();
        }
        // The kernel stops reading ahead in a file of which most that is touched is not cached. The pages of a witness
        // are: they are not to be counted, neither one by one nor, as is prevented by a userfaultfd, with their neighbours.
        if let Some(fd) = self.worker.userfaultfd() {
            witness.expect_random();
            let _ = userfaultfd::register(fd, witness.start(), witness.len(), 0);
        }
        // Noted by the caller, and taken away by `unmap`.
        Some(witness.leave().as_ptr().expose_provenance())
    }

    #[inline(never)]
    fn unmap(&self, witness: usize, len: usize) {
        drop(left(witness, len));
    }

    #[inline(never)]
    fn are_cached(&self, witness: usize, states: &mut [u8]) -> Result<(), Errno> {
        vm::are_cached(witness, states)
    }

    #[inline(never)]
    fn read_witness(&self, witness: usize, into: &mut [u8]) -> Result<(), Errno> {
        let read = match vm::read_own_memory(witness, into) {
            // Only what has a handle is copied, so this is a helper thread.
            Err(Errno::PERM | Errno::NOSYS) => match vm::read_through_proc(witness, into) {
                Err(Errno::IO) => Err(Errno::FAULT),
                read => read,
            },
            read => read,
        };
        match read {
            Ok(n) if n == into.len() => Ok(()),
            Ok(_) => Err(Errno::FAULT),
            Err(errno) => Err(errno),
        }
    }

    #[inline(never)]
    fn is_present(&self, witness: usize) -> bool {
        let pagemap = self.worker.pagemap();
        pagemap.is_none_or(|fd| vm::is_present(fd, witness))
    }

    fn faults(&self) -> i64 {
        sys::thread::faults()
    }

    #[inline(never)]
    fn make_dirty(&self, witness: usize) -> Result<(), Errno> {
        let mut page = left(witness, sys::page_size()).ok_or(Errno::FAULT)?;
        let done = make_page_dirty(&mut page);
        page.leave();
        done
    }

    fn msync(&self, witness: usize, len: usize) -> Result<(), Errno> {
        vm::sync_mapped(witness, len, libc::MS_SYNC)
    }

    /// fdatasync(2) through the handle; without one, msync of every mapping, which is the same for the
    /// range that it maps.
    fn fdatasync(&self) -> Result<(), Errno> {
        self.sync(sys::fd::fdatasync)
    }

    #[inline(never)]
    fn fsync(&self) -> Result<(), Errno> {
        self.sync(sys::fd::fsync)
    }

    #[inline(never)]
    fn size(&self) -> Result<u64, Errno> {
        let handle = self.worker.borrow_handle(&self.handle);
        sys::fd::size(handle.ok_or(Errno::BADF)?)
    }

    fn reads_past_cache(&self) -> Result<bool, Errno> {
        let handle = self.worker.borrow_handle(&self.handle);
        handle.map(|_| self.handle.direct).ok_or(Errno::BADF)
    }

    fn read_through_cache(&mut self) -> Result<(), Errno> {
        handles::without_direct(self.worker, &self.file)?;
        self.handle.direct = false;
        Ok(())
    }

    fn is_encoded(&self, start: u64, end: u64) -> bool {
        let traits = self.file.traits;
        let Some(handle) = self.worker.borrow_handle(&self.handle) else {
            return true;
        };
        let mut found = false;
        (traits.encodes || traits.local_block)
            && extents::encoded(handle, start, end, |_, _| found = true).map_or(true, |()| found)
    }

    fn read_back(&self, parts: &mut [Part], buffer: &mut [u8], slow: &mut bool) {
        match self.worker.borrow_handle(&self.handle) {
            Some(handle) => readback::read(handle, parts, buffer, slow),
            None => parts
                .iter_mut()
                .for_each(|part| part.read = Err(Errno::BADF)),
        }
    }

    #[inline(never)]
    fn open_elsewhere(&mut self) -> Result<bool, Errno> {
        let handle = self.worker.borrow_handle(&self.handle);
        let handle = handle.filter(|_| self.worker.has_descriptors());
        self.there = None;
        self.there = elsewhere::open(handle.ok_or(Errno::BADF)?)?;
        Ok(self.there.is_some())
    }

    #[inline(never)]
    fn read_elsewhere(&self, parts: &mut [Part], buffer: &mut [u8]) {
        elsewhere::read(self.there.as_ref(), parts, buffer);
    }

    #[inline(never)]
    fn size_elsewhere(&self, expected: u64) -> Result<u64, Errno> {
        elsewhere::size(self.there.as_ref().ok_or(Errno::BADF)?, expected)
    }

    fn size_asked_anew(&self) -> Result<u64, Errno> {
        let handle = self.worker.borrow_handle(&self.handle);
        let handle = handle.ok_or(Errno::BADF)?;
        sys::fd::size_at(handle, c"", AtFlags::STATX_FORCE_SYNC)
    }

    #[inline(never)]
    fn count(&self, start: u64, end: u64) -> Option<CacheStat> {
        let file = self.worker.borrow_cached(&self.handle)?;
        cachestat(file, start, end - start).ok()
    }

    #[inline(never)]
    fn add_unstable(&self, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno> {
        let file = self.worker.borrow_cached(&self.handle);
        dirty::unstable(file.ok_or(Errno::BADF)?, start, end, into)
    }

    fn add_all_cached(&self, into: &mut Ranges) -> Result<(), Errno> {
        let file = self.worker.borrow_cached(&self.handle);
        let file = file.ok_or(Errno::BADF)?;
        if mappings::lock().get(&self.file).dropped {
            return Err(Errno::STALE);
        }
        let stat = cachestat(file, 0, 0)?;
        if stat.evicted + stat.recently_evicted > 0 {
            return Err(Errno::STALE);
        }
        dirty::cached(file, into)
    }

    fn add_absent(&self, ranges: &Ranges, into: &mut Ranges) -> Result<(), Errno> {
        dirty::absent(&self.query(), ranges, into)
    }

    fn uncache(&self, ranges: &Ranges, stayed: &mut Ranges) {
        eviction_probe::clear(self.worker, &self.file);
        entries::drop_mappings(self.worker, &self.file, ranges);
        let Some(handle) = self.worker.borrow_handle(&self.handle) else {
            return;
        };
        let file = self.worker.borrow_cached(&self.handle);
        for range in ranges.as_slice() {
            let len = NonZeroU64::new(range.length);
            let _ = fadvise(handle, range.offset, len, Advice::DontNeed);
            let asked = file.map(|file| dirty::cached_in(file, range.offset, range.end(), stayed));
            if asked != Some(Ok(())) {
                stayed.add(range.offset, range.end());
            }
        }
    }

    fn recached(&self) {
        eviction_probe::ensure(self.worker, &self.file);
    }

    fn was_dropped(&self) -> bool {
        eviction_probe::ask(self.worker, &self.file, false).dropped
    }

    #[inline(never)]
    fn with_debt(&self, f: &mut dyn FnMut(&mut Debt)) {
        f(&mut mappings::lock_blocked().get_mut(&self.file).debt);
    }

    fn memory(&self, len: usize) -> Option<Region> {
        spare::take(len)
    }

    fn take_back(&self, memory: Region) {
        spare::give(memory);
    }

    fn now(&self) -> u64 {
        sys::monotonic_ns()
    }

    fn sleep(&self, ns: u64) {
        sys::sleep(ns);
    }
}
