//! Copies of the dirty pages, and a witness that they were there.
//!
//! The *witness* is a second mapping of the same pages, the shim's own (mremap(2) with an old size
//! of 0). Copying through it maps each page there; a page that the kernel drops from the page cache
//! afterwards loses that mapping ([`Copies::look`]). So the shim knows whether the page still is the
//! one that held the data.

use super::readback::BUFFER;
use super::spare;
use crate::dirty::Ranges;
use crate::helper::Worker;
use crate::sys::list::List;
use crate::sys::{self, vm};
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::null_mut;
use core::slice;
use keepmydata_records::page_hash;
use rustix::io::Errno;
use rustix::mm::{MprotectFlags, mprotect, munmap};

/// Mappings of one file that can be witnessed in one msync.
pub const WITNESSES: usize = 128;
/// Pieces that need no memory of their own.
const FEW: usize = 32;
/// Pages that are looked for and copied at a time: one of them that leaves the page cache in between is
/// read in again, and only then noticed ([`super::snapshot`]).
const AT_ONCE: usize = 16;

/// What is known of a page; the order of a `Verdict`, and two states of no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not compared yet: what the zeroed memory of the states says.
    #[allow(dead_code, reason = "comes from zeroed memory")]
    Unchecked,
    /// Past the end of the file, or unmapped meanwhile: there is no promise for it.
    Skipped,
    Verified,
    Newer,
    /// Stored to again while it was compared: looked at once more.
    Racing,
    Stale,
    /// As stale or racing, but the page left the page cache: for good.
    Uncertain,
    /// The page left the page cache before it could be copied: nothing to compare with.
    Gone,
    /// The filesystem gave the copy, but from the page cache, which could not be dropped: that says nothing.
    Unread,
    /// The filesystem holds the copy, but the page cache was dropped since the last sync: the copy may
    /// lack what was stored before that.
    Refilled,
}

impl State {
    /// Whether nobody can tell what the filesystem holds.
    pub fn is_doubtful(self) -> bool {
        matches!(
            self,
            State::Uncertain | State::Gone | State::Unread | State::Refilled
        )
    }

    /// Whether nothing remains to be done for the page.
    pub fn is_settled(self) -> bool {
        !matches!(
            self,
            State::Unchecked | State::Racing | State::Stale | State::Uncertain
        )
    }
}

/// A dirty range as one mapping has it.
#[derive(Clone, Copy)]
pub struct Piece {
    /// In the file, bytes.
    pub offset: u64,
    /// Bytes, whole pages.
    pub len: usize,
    /// Where the witness has it.
    pub witness: usize,
    /// Number of its first page among all pages copied.
    pub first_page: usize,
}

#[derive(Clone, Copy)]
struct Witness {
    start: usize,
    len: usize,
}

/// The copies of one msync, in memory of their own.
pub struct Copies {
    witnesses: [Witness; WITNESSES],
    pub witness_count: usize,
    pub pieces: List<Piece, FEW>,
    /// One mapping: read-back buffer, scratch page, states, hashes, copied pages.
    region: *mut u8,
    region_len: usize,
    pages: usize,
    copied: usize,
    /// Copies that were given back.
    dropped: usize,
    /// The size of the file when they were copied, bytes.
    pub file_size: u64,
    /// Pages that could not be witnessed or copied.
    pub missed: usize,
    /// A witness was touched where its page was gone.
    disturbed: bool,
}

impl Copies {
    /// Makes the value at `at` an empty one, without a copy of it on the stack.
    ///
    /// # Safety
    /// `at` is valid for writes, and its memory holds any initialised bytes.
    pub unsafe fn init(at: *mut Copies) {
        // SAFETY: by contract; the array is of numbers, read only as far as they are counted.
        unsafe {
            (&raw mut (*at).witness_count).write(0);
            List::init(&raw mut (*at).pieces);
            (&raw mut (*at).region).write(null_mut());
            (&raw mut (*at).region_len).write(0);
            (&raw mut (*at).pages).write(0);
            (&raw mut (*at).copied).write(0);
            (&raw mut (*at).dropped).write(0);
            (&raw mut (*at).file_size).write(u64::MAX);
            (&raw mut (*at).missed).write(0);
            (&raw mut (*at).disturbed).write(false);
        }
    }

    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Every piece, whether its witness is there or not.
    pub fn all_pieces(&self) -> &[Piece] {
        self.pieces.as_slice()
    }

    /// The `i`th piece, as long as the witnesses are there.
    pub fn witnessed_piece(&self, i: usize) -> Option<Piece> {
        let pieces = self.pieces.as_slice();
        pieces.get(i).filter(|_| self.witness_count > 0).copied()
    }

    /// The piece that page number `page` lies in.
    pub fn piece_of(&self, page: usize) -> Piece {
        let pieces = self.pieces.as_slice();
        pieces[pieces.partition_point(|p| p.first_page <= page) - 1]
    }

    /// Offset in the file, and address in the witness, of page number `page`.
    pub fn place_of(&self, page: usize) -> (u64, usize) {
        let piece = self.piece_of(page);
        let into = (page - piece.first_page) * sys::page_size();
        (piece.offset + into as u64, piece.witness + into)
    }

    /// Notes a duplicate of the shim's. What the program's mapping may not do (`PROT_NONE`, `PROT_WRITE`
    /// alone), it may: the file is open for reading and writing.
    pub fn add_witness(&mut self, start: usize, len: usize) {
        let both = MprotectFlags::READ | MprotectFlags::WRITE;
        if defect!(WitnessKeepsItsProtection => false; true) {
            // SAFETY: the shim's own mapping.
            let _ = unsafe { mprotect(start as *mut c_void, len, both) };
        }
        self.witnesses[self.witness_count] = Witness { start, len };
        self.witness_count += 1;
    }

    /// Adds a piece; `known` are those that other mappings have brought.
    pub fn add_piece(&mut self, known: &Ranges, offset: u64, len: usize, witness: usize) {
        let pages = len / sys::page_size();
        if known.covers(offset, offset + len as u64) {
            return;
        }
        let piece = Piece {
            offset,
            len,
            witness,
            first_page: self.pages,
        };
        match self.pieces.push(piece) {
            true => self.pages += pages,
            false => self.missed += pages,
        }
    }

    /// Maps memory for the copies; past `budget` bytes a page gets a hash only.
    pub fn allocate(&mut self, budget: u64) -> Result<(), Errno> {
        let page = sys::page_size();
        let copied = self.pages.min((budget / page as u64) as usize);
        let len = BUFFER + page + self.head() + copied * page;
        (self.region, self.region_len) = spare::take(len).ok_or(Errno::NOMEM)?;
        (self.copied, self.dropped) = (copied, 0);
        // SAFETY: inside the region.
        unsafe { self.hashes().write_bytes(0, self.head() / size_of::<u64>()) };
        Ok(())
    }

    /// Bytes of the states and hashes, in whole pages.
    fn head(&self) -> usize {
        sys::page_up((self.pages * (1 + 2 * size_of::<u64>()) + 8) as u64) as usize
    }

    /// Bytes of memory that the copies take, after [`Copies::shrink`].
    pub fn bytes(&self) -> usize {
        self.head() + (self.copied - self.dropped) * sys::page_size()
    }

    /// Gives back what only a comparison needs; it comes back when it is touched.
    pub fn shrink(&mut self) {
        if !self.region.is_null() {
            give_back(self.region, BUFFER + sys::page_size());
        }
    }

    /// Skips the pages that lie in `ranges`, and gives their copies back. Says whether any page is left that
    /// was verified.
    pub fn leave_out(&mut self, ranges: &Ranges) -> bool {
        let mut left = false;
        let mut page = 0;
        while page < self.pages {
            let first = page;
            while page < self.pages && self.is_newly_out(page, ranges) {
                page += 1;
            }
            if page > first {
                self.skip(first..page);
                continue;
            }
            left |= self.state(page) == State::Verified;
            page += 1;
        }
        left
    }

    fn is_newly_out(&self, page: usize, ranges: &Ranges) -> bool {
        self.state(page) != State::Skipped && ranges.has(self.place_of(page).0)
    }

    /// What is not settled yet cannot be compared any more.
    pub fn miss_unsettled(&mut self) {
        let mut missed = 0;
        for state in self.states().iter_mut().filter(|state| !state.is_settled()) {
            *state = State::Skipped;
            missed += 1;
        }
        self.missed += missed;
    }

    /// Skips pages, of which none was skipped before.
    fn skip(&mut self, pages: Range<usize>) {
        self.states()[pages.clone()].fill(State::Skipped);
        let copied = pages.start.min(self.copied)..pages.end.min(self.copied);
        if !copied.is_empty() {
            let size = sys::page_size();
            let at = self.region_len - (self.copied - copied.start) * size;
            // SAFETY: the places of these pages among the copies.
            give_back(unsafe { self.region.add(at) }, copied.len() * size);
            self.dropped += copied.len();
        }
    }

    /// The buffer for reading back: page aligned, [`BUFFER`] bytes.
    #[allow(
        clippy::mut_from_ref,
        reason = "one step uses it at a time, on one thread"
    )]
    pub fn buffer(&self) -> &mut [u8] {
        // SAFETY: the first part of the region, which only this msync's current step uses.
        unsafe { slice::from_raw_parts_mut(self.region, BUFFER) }
    }

    /// What the last [`Copies::look`] saw.
    pub fn seen(&self) -> &[u8] {
        self.scratch()
    }

    /// One page of scratch.
    #[allow(
        clippy::mut_from_ref,
        reason = "one step uses it at a time, on one thread"
    )]
    fn scratch(&self) -> &mut [u8] {
        // SAFETY: the page after the buffer.
        unsafe { slice::from_raw_parts_mut(self.region.add(BUFFER), sys::page_size()) }
    }

    /// Two for each page: of the copy, all of them first, and of what [`Copies::note`] was told.
    fn hashes(&self) -> *mut u64 {
        // SAFETY: inside the region; page aligned.
        unsafe { self.region.add(BUFFER + sys::page_size()) }.cast()
    }

    fn states_start(&self) -> *mut State {
        // SAFETY: inside the region.
        unsafe { self.hashes().add(2 * self.pages) }.cast()
    }

    /// The state of each page.
    pub fn states(&mut self) -> &mut [State] {
        if self.region.is_null() {
            return &mut [];
        }
        // SAFETY: after the hashes; zeroed memory is `Unchecked`.
        unsafe { slice::from_raw_parts_mut(self.states_start(), self.pages) }
    }

    /// The state of page number `page`.
    pub fn state(&self, page: usize) -> State {
        // SAFETY: as in `states`.
        unsafe { self.states_start().add(page).read() }
    }

    /// The copy of page number `page`; nothing past the budget.
    pub fn copy(&self, page: usize) -> Option<&[u8]> {
        (page < self.copied).then(|| {
            let at = self.region_len - (self.copied - page) * sys::page_size();
            // SAFETY: the copies are the last part of the region.
            unsafe { slice::from_raw_parts(self.region.add(at), sys::page_size()) }
        })
    }

    /// The hash that was kept of page number `page`, past the budget.
    fn hash(&self, page: usize) -> u64 {
        // SAFETY: inside the region.
        unsafe { self.hashes().add(page).read() }
    }

    /// The hash of page number `page` as it was copied, whether a copy was kept or not.
    pub fn hash_at_copy(&self, page: usize) -> u64 {
        self.copy(page).map_or_else(|| self.hash(page), page_hash)
    }

    /// Notes the hash of what page number `page` holds now; returns the one that was noted before, or
    /// that of the copy.
    pub fn note(&mut self, page: usize, now: u64) -> u64 {
        // SAFETY: the second of the two numbers of each page, inside the region.
        let noted = unsafe { self.hashes().add(self.pages + page) };
        // SAFETY: as above; 0, as the memory comes, is no hash.
        match unsafe { noted.replace(now) } {
            0 => self.hash_at_copy(page),
            before => before,
        }
    }

    /// Whether `actual` is what page number `page` held, as far as `actual` goes.
    pub fn matches(&self, page: usize, actual: &[u8]) -> bool {
        match self.copy(page) {
            Some(copy) => copy[..actual.len()] == *actual,
            None => page_hash(actual) == self.hash(page),
        }
    }

    /// Whether what the filesystem holds, `actual` in the buffer, is right in every byte of page number `page`
    /// that is now as it was copied; some byte must have changed, and the copy been kept.
    pub fn holds_what_is_as_copied(
        &self,
        page: usize,
        valid: usize,
        actual: &Range<usize>,
    ) -> bool {
        let Some(copy) = self.copy(page) else {
            return false;
        };
        let (copy, now) = (&copy[..valid], &self.seen()[..valid]);
        let held = &self.buffer()[actual.clone()];
        copy != now && (0..valid).all(|i| copy[i] != now[i] || held[i] == copy[i])
    }

    pub fn fill(&mut self, gone: &Ranges, assumed_dirty: &Ranges) {
        for i in 0..self.pieces.as_slice().len() {
            let piece = self.pieces.as_slice()[i];
            self.fill_piece(&piece, gone, assumed_dirty);
        }
    }

    /// The file ends at `size`, which was not known: what is not there was never there.
    pub fn forget_beyond(&mut self, size: u64) {
        for page in 0..self.pages {
            if self.state(page) == State::Gone && self.place_of(page).0 >= size {
                self.states()[page] = State::Skipped;
            }
        }
    }

    /// Forgets what was copied of pages that are `gone`.
    pub fn mark_gone(&mut self, gone: &Ranges, assumed_dirty: &Ranges) {
        if gone.is_empty() {
            return;
        }
        for page in 0..self.pages {
            let (offset, _) = self.place_of(page);
            if gone.has(offset) && !assumed_dirty.has(offset) {
                self.states()[page] = State::Gone;
            }
        }
    }

    /// Copies the pages of one piece. A page that is not in the page cache any more is not touched:
    /// the kernel would read in what the filesystem holds, and its neighbours with it.
    fn fill_piece(&mut self, piece: &Piece, gone: &Ranges, assumed_dirty: &Ranges) {
        let size = sys::page_size();
        let pages = piece.len / size;
        // No more than the buffer takes.
        let most = AT_ONCE.min(BUFFER / size);
        for first in (0..pages).step_by(most) {
            let mut there = [0; AT_ONCE];
            let there = &mut there[..most.min(pages - first)];
            if vm::are_cached(piece.witness + first * size, there).is_err() {
                there.fill(0);
            }
            let mut run = first..first;
            for (n, there) in (first..).zip(there) {
                let offset = piece.offset + (n * size) as u64;
                if *there & 1 != 0 && !gone.has(offset) {
                    run.end = n + 1;
                    continue;
                }
                // A page that nobody saw stored to need never have been there.
                self.states()[piece.first_page + n] =
                    match assumed_dirty.has(offset) && !gone.has(offset) {
                        true => State::Skipped,
                        false => State::Gone,
                    };
                self.copy_pages(piece, run);
                run = n + 1..n + 1;
            }
            self.copy_pages(piece, run);
        }
    }

    /// Copies a run of pages of a piece, numbered from its first.
    fn copy_pages(&mut self, piece: &Piece, run: Range<usize>) {
        let size = sys::page_size();
        let first = piece.first_page + run.start;
        let at = piece.witness + run.start * size;
        if self.copy_run(first, run.len(), at).is_ok() {
            return;
        }
        for (page, at) in (first..).zip((at..).step_by(size)).take(run.len()) {
            if let Err(errno) = self.copy_run(page, 1, at) {
                self.missed += usize::from(errno != Errno::FAULT);
                self.states()[page] = State::Skipped;
            }
        }
    }

    /// Copies `count` pages, numbered from `first`, that lie at `at` in a witness: all, or none and an
    /// error.
    fn copy_run(&mut self, first: usize, count: usize, at: usize) -> Result<(), Errno> {
        let size = sys::page_size();
        let copied = self.copied.saturating_sub(first).min(count);
        let kept = copied * size;
        if kept > 0 {
            let to = self.region_len - (self.copied - first) * size;
            // SAFETY: the places of these pages among the copies, one after the other.
            let to = unsafe { slice::from_raw_parts_mut(self.region.add(to), kept) };
            read_witness(at, to)?;
        }
        if copied < count {
            let rest = &mut self.buffer()[..(count - copied) * size];
            read_witness(at + kept, rest)?;
            for (page, bytes) in (first + copied..).zip(rest.chunks(size)) {
                // Beyond the end of the file there is nothing to compare with.
                let (offset, _) = self.place_of(page);
                let valid = self.file_size.saturating_sub(offset).min(size as u64) as usize;
                // SAFETY: inside the region.
                unsafe { self.hashes().add(page).write(page_hash(&bytes[..valid])) };
            }
        }
        Ok(())
    }

    /// What page number `page` holds now, if it still is the page that was copied. Once it has left
    /// the page cache its entry in the witness is empty; touching it would read it in again, and its
    /// neighbours with it (fault-around), which then look as if they had never been away. So it is
    /// not touched, and where it was, because it left in that very moment, no page can be told from
    /// a newcomer any more.
    pub fn look(&mut self, worker: &Worker, page: usize) -> Option<&[u8]> {
        if self.witness_count == 0 || self.disturbed {
            return None;
        }
        let (_, at) = self.place_of(page);
        if worker.pagemap().is_some_and(|fd| !vm::is_present(fd, at)) {
            return None;
        }
        let scratch = self.scratch();
        // The scratch page itself must not fault below.
        scratch[0] = 0;
        let before = sys::thread::faults();
        let read = read_witness(at, scratch);
        self.disturbed = before != sys::thread::faults();
        (read.is_ok() && !self.disturbed).then(|| &*self.scratch())
    }

    /// What was verified and has not been stored to since, for all that can be seen. Where stores are not seen, nothing
    /// else may leave the page cache: what another thread has stored since is on its way to the filesystem,
    /// and not proved.
    pub fn find_unchanged(&mut self, worker: &Worker, into: &mut Ranges) {
        into.clear();
        for page in 0..self.pages {
            let same = self.state(page) == State::Verified
                && self
                    .look(worker, page)
                    .map(page_hash)
                    .is_some_and(|now| now == self.hash_at_copy(page));
            if same {
                let (start, _) = self.place_of(page);
                into.add(start, start + sys::page_size() as u64);
            }
        }
    }

    /// Unmaps the witnesses: they would keep their pages in the page cache.
    pub fn let_go_witnesses(&mut self) {
        for witness in &self.witnesses[..self.witness_count] {
            // SAFETY: the shim's own duplicate.
            let _ = unsafe { munmap(witness.start as *mut _, witness.len) };
        }
        self.witness_count = 0;
    }

    /// Unmaps everything.
    pub fn let_go(&mut self) {
        self.let_go_witnesses();
        if !self.region.is_null() {
            spare::give(self.region, self.region_len);
            self.region = null_mut();
        }
        self.pages = 0;
        self.pieces.clear();
    }
}

/// Gives memory of the shim's own mapping back (madvise(2)); it reads as zeros then.
fn give_back(start: *mut u8, len: usize) {
    // SAFETY: private anonymous memory, whose content nobody wants any more.
    let _ = unsafe { rustix::mm::madvise(start.cast(), len, rustix::mm::Advice::LinuxDontNeed) };
}

/// Reads pages through the witness, all or none. `EFAULT` past the end of the file.
fn read_witness(at: usize, into: &mut [u8]) -> Result<(), Errno> {
    let read = match vm::read_own_memory(at, into) {
        // Only what has a handle is copied, so this is a helper thread.
        Err(Errno::PERM | Errno::NOSYS) => match vm::read_through_proc(at, into) {
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
