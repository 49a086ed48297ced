//! Copies of the dirty pages, and a witness that they were there.
//!
//! The *witness* is a second mapping of the same pages, the shim's own (mremap(2) with an old size
//! of 0). Copying through it maps each page there; a page that the kernel drops from the page cache
//! afterwards loses that mapping ([`Copies::look`]). So the shim knows whether the page still is the
//! one that held the data.

use super::context::Context;
use crate::config;
use crate::custodian::Worker;
use crate::dirty::{self, Ranges};
use crate::mappings::{self, table::Entry};
use crate::sys::{self, vm, wipe};
use core::ptr::null_mut;
use core::slice;
use keepmydata_records::ByteRange;
use rustix::io::Errno;
use rustix::mm::munmap;

/// Mappings of one file that can be witnessed in one msync.
const WITNESSES: usize = 128;
const PIECES: usize = 1024;
/// The buffer for reading back, bytes.
pub const BUFFER: usize = 256 * 1024;

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
    /// The filesystem holds the copy, but the page cache was dropped since the last sync: the copy may
    /// lack what was stored before that.
    Refilled,
}

impl State {
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
    witness_count: usize,
    pieces: [Piece; PIECES],
    piece_count: usize,
    /// One mapping: read-back buffer, scratch page, states, hashes, copied pages.
    region: *mut u8,
    region_len: usize,
    pages: usize,
    copied: usize,
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
        // SAFETY: by contract; the arrays are numbers, read only as far as they are counted.
        unsafe {
            (&raw mut (*at).witness_count).write(0);
            (&raw mut (*at).piece_count).write(0);
            (&raw mut (*at).region).write(null_mut());
            (&raw mut (*at).region_len).write(0);
            (&raw mut (*at).pages).write(0);
            (&raw mut (*at).copied).write(0);
            (&raw mut (*at).missed).write(0);
            (&raw mut (*at).disturbed).write(false);
        }
    }

    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The `i`th piece, as long as the witnesses are there.
    pub fn witnessed_piece(&self, i: usize) -> Option<Piece> {
        let pieces = &self.pieces[..self.piece_count];
        pieces.get(i).filter(|_| self.witness_count > 0).copied()
    }

    /// The piece that page number `page` lies in.
    pub fn piece_of(&self, page: usize) -> Piece {
        let pieces = &self.pieces[..self.piece_count];
        pieces[pieces.partition_point(|p| p.first_page <= page) - 1]
    }

    /// Offset in the file, and address in the witness, of page number `page`.
    pub fn place_of(&self, page: usize) -> (u64, usize) {
        let piece = self.piece_of(page);
        let into = (page - piece.first_page) * sys::page_size();
        (piece.offset + into as u64, piece.witness + into)
    }

    fn add_piece(&mut self, offset: u64, len: usize, witness: usize) {
        let pages = len / sys::page_size();
        let end = offset + len as u64;
        let known = self.pieces[..self.piece_count]
            .iter()
            .any(|p| p.offset <= offset && end <= p.offset + p.len as u64);
        if known {
            return;
        }
        if self.piece_count == PIECES {
            self.missed += pages;
            return;
        }
        self.pieces[self.piece_count] = Piece {
            offset,
            len,
            witness,
            first_page: self.pages,
        };
        self.piece_count += 1;
        self.pages += pages;
    }

    /// Maps memory for the copies; past `budget` bytes a page gets a hash only.
    fn allocate(&mut self, budget: u64) -> Result<(), Errno> {
        let page = sys::page_size();
        let copied = self.pages.min((budget / page as u64) as usize);
        let head = sys::page_up((self.pages * (1 + 2 * size_of::<u64>())) as u64) as usize + 8;
        let head = sys::page_up(head as u64) as usize;
        let len = BUFFER + page + head + copied * page;
        self.region = wipe::map(len).ok_or(Errno::NOMEM)?.as_ptr();
        self.region_len = len;
        self.copied = copied;
        Ok(())
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
        self.copy(page).map_or_else(|| self.hash(page), hash)
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
            None => actual.len() < sys::page_size() || hash(actual) == self.hash(page),
        }
    }

    fn fill(&mut self, gone: &Ranges, guessed: &Ranges) {
        for i in 0..self.piece_count {
            let piece = self.pieces[i];
            self.fill_piece(&piece, gone, guessed);
        }
    }

    /// Forgets what was copied of pages that are `gone`.
    fn mark_gone(&mut self, gone: &Ranges, guessed: &Ranges) {
        if gone.is_empty() {
            return;
        }
        for page in 0..self.pages {
            let (offset, _) = self.place_of(page);
            if gone.has(offset) && !guessed.has(offset) {
                self.states()[page] = State::Gone;
            }
        }
    }

    /// Copies the pages of one piece. A page that is not in the page cache any more is not touched:
    /// the kernel would read in what the filesystem holds, and its neighbours with it.
    fn fill_piece(&mut self, piece: &Piece, gone: &Ranges, guessed: &Ranges) {
        let size = sys::page_size();
        for n in 0..piece.len / size {
            let page = piece.first_page + n;
            let at = piece.witness + n * size;
            let offset = piece.offset + (n * size) as u64;
            if gone.has(offset) || !vm::is_cached(at) {
                // A page that nobody saw stored to need never have been there.
                self.states()[page] = match guessed.has(offset) && !gone.has(offset) {
                    true => State::Skipped,
                    false => State::Gone,
                };
            } else if let Err(errno) = self.copy_page(page, at) {
                self.missed += usize::from(errno != Errno::FAULT);
                self.states()[page] = State::Skipped;
            }
        }
    }

    fn copy_page(&mut self, page: usize, at: usize) -> Result<(), Errno> {
        let size = sys::page_size();
        if page < self.copied {
            let to = self.region_len - (self.copied - page) * size;
            // SAFETY: the page's place among the copies.
            let to = unsafe { slice::from_raw_parts_mut(self.region.add(to), size) };
            return read_witness(at, to);
        }
        let scratch = self.scratch();
        let result = read_witness(at, scratch);
        // SAFETY: inside the region.
        unsafe { self.hashes().add(page).write(hash(scratch)) };
        result
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
            // SAFETY: the region is this value's own.
            let _ = unsafe { munmap(self.region.cast(), self.region_len) };
            self.region = null_mut();
        }
        self.pages = 0;
        self.piece_count = 0;
    }
}

/// Reads a page through the witness. `EFAULT` past the end of the file.
fn read_witness(at: usize, into: &mut [u8]) -> Result<(), Errno> {
    let read = match vm::read_own_memory(at, into) {
        // Only what has a handle is copied, so this is a custodian thread.
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

/// A 64-bit hash that is quick on whole pages; it detects, it does not protect.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15u64 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

/// Witnesses and copies the dirty ranges of the writable mappings.
pub fn copy(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    witness(context);
    let budget = config::settings().copy_budget.0;
    context.copies.allocate(budget)?;
    context.copies.fill(&context.gone, &context.guessed);
    // A page that was dropped while it was to be copied has been read in again: its copy is what the
    // filesystem holds.
    let query = context.query(worker);
    if dirty::gone_since(&query, &context.dirty, &mut context.gone).is_ok() {
        context.copies.mark_gone(&context.gone, &context.guessed);
    }
    Ok(())
}

fn witness(context: &mut Context) {
    let (file, dirty, copies) = (context.file, &context.dirty, &mut context.copies);
    // The lock keeps the entries where they are while they are duplicated.
    let table = mappings::lock();
    table.for_each_of(file, 0, |entry| {
        if entry.writable {
            witness_entry(copies, &entry, dirty.as_slice());
        }
        true
    });
}

fn witness_entry(copies: &mut Copies, entry: &Entry, dirty: &[ByteRange]) {
    let mapped = entry.offset..entry.offset + entry.len() as u64;
    let mut covered = dirty.iter().filter_map(|range| {
        let from = range.offset.max(mapped.start);
        let to = range.end().min(mapped.end);
        (from < to).then_some((from, to))
    });
    let Some(first) = covered.next() else { return };
    let last = dirty
        .iter()
        .rev()
        .find(|range| range.offset < mapped.end)
        .map_or(first.1, |range| range.end().min(mapped.end));
    // One witness from the first dirty page of this mapping to its last.
    let addr = entry.start + (first.0 - mapped.start) as usize;
    let len = (last - first.0) as usize;
    let ranges = core::iter::once(first).chain(covered);
    if copies.witness_count < WITNESSES
        // SAFETY: the duplicate is noted, and unmapped by `let_go_witnesses`.
        && let Ok(start) = unsafe { vm::duplicate(addr, len) }
    {
        let start = start as usize;
        copies.witnesses[copies.witness_count] = Witness { start, len };
        copies.witness_count += 1;
        for (from, to) in ranges {
            copies.add_piece(
                from,
                (to - from) as usize,
                start + (from - first.0) as usize,
            );
        }
        return;
    }
    // mprotect(2) has split the mapping: each range by itself, and failing that each page.
    for (from, to) in ranges {
        witness_range(copies, entry, from, to);
    }
}

fn witness_range(copies: &mut Copies, entry: &Entry, from: u64, to: u64) {
    let len = (to - from) as usize;
    let addr = entry.start + (from - entry.offset) as usize;
    let room = copies.witness_count < WITNESSES;
    // SAFETY: as in `witness_entry`.
    if room && let Ok(start) = unsafe { vm::duplicate(addr, len) } {
        let start = start as usize;
        copies.witnesses[copies.witness_count] = Witness { start, len };
        copies.witness_count += 1;
        copies.add_piece(from, len, start);
    } else if room && len > sys::page_size() {
        let middle = from + sys::page_up(len as u64 / 2);
        witness_range(copies, entry, from, middle);
        witness_range(copies, entry, middle, to);
    } else {
        copies.missed += len / sys::page_size();
    }
}
