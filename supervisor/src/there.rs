//! Another process, as the target of an enforcement. The supervisor has mapped the same file itself: what it sees there
//! are the very pages that the process has stored to, and a witness of its own serves as well as a second mapping there.

use crate::claim::Claim;
use crate::file::File;
use crate::image::{Image, lock, page_out};
use crate::maps::Area;
use crate::marks;
use crate::own;
use keepmydata_promise::{Debt, Mapping, Part, Target, cached_pages, readback};
use keepmydata_ranges::Ranges;
use keepmydata_sys::cachestat::{CacheStat, cachestat};
use keepmydata_sys::{self as sys, extents, vm};
use rustix::fd::AsFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use std::cell::RefCell;
use std::num::NonZeroU64;

/// A file, and an image that has it mapped.
pub struct There<'a> {
    pub image: &'a Image,
    pub file: &'a File,
    pub claim: &'a Claim,
    /// Its mappings of the file.
    pub areas: &'a [Area],
    /// How often the page cache had been dropped when the enforcement began.
    pub drops: u64,
    /// It was dropped between the last one and this.
    pub dropped: bool,
    /// The witnesses that there are.
    pub witnesses: RefCell<Vec<Mapping>>,
}

impl There<'_> {
    /// Drops `ranges` from the page tables, as far as the kernel lets us. What is dirty stays.
    fn drop_mappings(&self, ranges: &Ranges) {
        for area in self.areas {
            for range in ranges.within(area.offset, area.end_offset()) {
                let _ = page_out(self.image, area.at(range.offset), range.length as usize);
            }
        }
    }

    /// Drops the clean pages of `ranges` from the page tables and the page cache. posix_fadvise(2) writes dirty pages back
    /// before it drops what is clean: what was stored to since the msync began must not be dropped so, unproved.
    /// Such a page is kept by its entry in the program's page table, or, where that was lost in this moment, by one in the
    /// supervisor's.
    pub fn drop_clean(&self, ranges: &Ranges, stores_are_seen: bool) {
        let mut clean = Ranges::new();
        clean.add_all(ranges.iter());
        let mut held = Ranges::new();
        if stores_are_seen {
            let mut stored = Ranges::new();
            self.add_stored(&mut stored);
            clean.remove_all(&stored);
            self.drop_mappings(&clean);
            self.add_stored(&mut held);
            held.remove_all(&stored);
        } else {
            self.drop_mappings(&clean);
        }
        let Ok(handle) = self.file.handle() else {
            return;
        };
        let held: Vec<(usize, usize)> = held
            .iter()
            .filter_map(|range| {
                let len = range.length as usize;
                let at = own::map(handle, range.offset, len)?;
                let _ = vm::populate_read(at, len);
                Some((at, len))
            })
            .collect();
        // Where a page stays, the kernel has every processor let go of pages that it is about to put on a list, and waits for
        // that (mm/fadvise.c): longer than the rest of a small msync takes.
        if let Some(page) = self.file.probed() {
            clean.remove(page, page + sys::page_size() as u64);
        }
        for range in clean.iter() {
            let (start, end) = (range.offset, range.end());
            let is_clean = |stat: CacheStat| stat.dirty + stat.writeback == 0;
            if stores_are_seen || end != u64::MAX && self.count(start, end).is_none_or(is_clean) {
                let len = if end == u64::MAX {
                    None
                } else {
                    NonZeroU64::new(range.length)
                };
                let _ = fadvise(handle, start, len, Advice::DontNeed);
            }
        }
        held.into_iter().for_each(|(at, len)| own::unmap(at, len));
    }

    /// Adds what was stored to since the marks were taken.
    pub fn add_stored(&self, into: &mut Ranges) {
        let size = self.size().unwrap_or(u64::MAX);
        for area in self.areas {
            marks::look(self.image, &marks::inside(area, size), into);
        }
    }
}

impl Target for There<'_> {
    /// All of the file, which the supervisor can map wherever the process has it.
    fn each_mapping(&self, each: &mut dyn FnMut(Mapping)) {
        let size = self.file.size().map_or(0, sys::page_up);
        if size > 0 {
            each(Mapping {
                start: 0,
                offset: 0,
                len: size as usize,
            });
        }
    }

    fn duplicate(&self, part: Mapping) -> Option<usize> {
        let start = own::map(self.file.handle().ok()?, part.offset, part.len)?;
        self.witnesses.borrow_mut().push(Mapping { start, ..part });
        Some(start)
    }

    fn unmap(&self, witness: usize, len: usize) {
        self.witnesses
            .borrow_mut()
            .retain(|one| one.start != witness);
        own::unmap(witness, len);
    }

    fn are_cached(&self, witness: usize, states: &mut [u8]) -> Result<(), Errno> {
        // Where a sandbox denies that, the file is asked, or the program's page table.
        vm::are_cached(witness, states).or_else(|errno| {
            let witnesses = self.witnesses.borrow();
            let has = |one: &&Mapping| (one.start..one.start + one.len).contains(&witness);
            let one = witnesses.iter().find(has).ok_or(errno)?;
            let page = sys::page_size() as u64;
            let first = one.offset + (witness - one.start) as u64;
            let (mut all, mut present) = (Ranges::new(), Ranges::new());
            all.add(first, first + states.len() as u64 * page);
            let asked = marks::add_present(self.image, self.areas, &all, &mut present);
            for (offset, state) in (first..).step_by(page as usize).zip(states) {
                *state = u8::from(match self.file.count(offset, page) {
                    Some(stat) => stat.cached > 0,
                    None => asked.map(|()| present.has(offset))?,
                });
            }
            Ok(())
        })
    }

    fn read_witness(&self, witness: usize, into: &mut [u8]) -> Result<(), Errno> {
        // Where a sandbox denies the first call.
        let read = vm::read_own_memory(witness, into);
        match read.or_else(|_| vm::read_through_proc(witness, into))? {
            n if n == into.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    fn is_present(&self, witness: usize) -> bool {
        own::is_present(witness)
    }

    fn faults(&self) -> i64 {
        sys::thread::faults()
    }

    fn make_dirty(&self, witness: usize) -> Result<(), Errno> {
        vm::make_dirty(witness, sys::page_size())
    }

    fn msync(&self, witness: usize, len: usize) -> Result<(), Errno> {
        self.file
            .noted(vm::sync_mapped(witness, len, libc::MS_SYNC))
    }

    fn fsync(&self) -> Result<(), Errno> {
        self.file.noted(rustix::fs::fsync(self.file.handle()?))
    }

    fn fdatasync(&self) -> Result<(), Errno> {
        self.file.noted(rustix::fs::fdatasync(self.file.handle()?))
    }

    fn size(&self) -> Result<u64, Errno> {
        self.file.size()
    }

    fn reads_past_cache(&self) -> Result<bool, Errno> {
        self.file.is_direct()
    }

    fn read_through_cache(&mut self) -> Result<(), Errno> {
        self.file.without_direct()
    }

    fn is_encoded(&self, start: u64, end: u64) -> bool {
        let traits = self.file.traits;
        let Ok(handle) = self.file.handle() else {
            return true;
        };
        let mut found = false;
        (traits.encodes || traits.local_block)
            && extents::encoded(handle, start, end, |_, _| found = true).map_or(true, |()| found)
    }

    fn read_back(&self, parts: &mut [Part], buffer: &mut [u8], slow: &mut bool) {
        match self.file.reader() {
            Ok(reader) => readback::read(reader.as_fd(), parts, buffer, slow),
            Err(errno) => parts.iter_mut().for_each(|part| part.read = Err(errno)),
        }
    }

    fn count(&self, start: u64, end: u64) -> Option<CacheStat> {
        self.file.count(start, end - start)
    }

    fn add_unstable(&self, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno> {
        let cached = self.file.cached().ok_or(Errno::BADF)?;
        cached_pages::add_unstable(cached, start, end, into)
    }

    fn add_all_cached(&self, into: &mut Ranges) -> Result<(), Errno> {
        let cached = self.file.cached().ok_or(Errno::BADF)?;
        if self.dropped {
            return Err(Errno::STALE);
        }
        let stat = cachestat(cached, 0, 0)?;
        if stat.evicted + stat.recently_evicted > 0 {
            return Err(Errno::STALE);
        }
        cached_pages::add_cached(cached, into)
    }

    fn add_absent(&self, ranges: &Ranges, into: &mut Ranges) -> Result<(), Errno> {
        marks::add_absent(self.image, self.areas, ranges, into)
    }

    fn uncache(&self, ranges: &Ranges, stayed: &mut Ranges) {
        self.file.ask_probe(false);
        self.file.clear_probe();
        self.drop_mappings(ranges);
        let Ok(handle) = self.file.handle() else {
            return;
        };
        for range in ranges.iter() {
            let len = NonZeroU64::new(range.length);
            let _ = fadvise(handle, range.offset, len, Advice::DontNeed);
            let (start, end) = (range.offset, range.end());
            let asked = self
                .file
                .cached()
                .map(|cached| cached_pages::add_cached_in(cached, start, end, stayed));
            if asked != Some(Ok(())) {
                stayed.add(start, end);
            }
        }
    }

    fn recached(&self) {
        self.file.plant_probe();
    }

    fn was_dropped(&self) -> bool {
        self.file.ask_probe(false).drops != self.drops
    }

    fn with_debt(&self, f: &mut dyn FnMut(&mut Debt)) {
        f(&mut lock(&self.claim.debt));
    }

    fn now(&self) -> u64 {
        sys::monotonic_ns()
    }

    fn sleep(&self, ns: u64) {
        sys::sleep(ns);
    }
}
