//! Copies of the dirty pages, and a witness that they were there.
//!
//! The *witness* is a second mapping of the same pages, the shim's own (mremap(2) with an old size
//! of 0). Copying through it maps each page there; a page that the kernel drops from the page cache
//! afterwards loses that mapping ([`Copies::look`]). So the shim knows whether the page still is the
//! one that held the data.

use crate::target::Target;
use core::ops::Range;
use keepmydata_ranges::Ranges;
use keepmydata_records::page_hash;
use keepmydata_sys::{self as sys, list::List, wipe::Region};
use rustix::io::Errno;

/// Witnesses that need no memory of their own.
const FEW_WITNESSES: usize = 32;
/// Mappings of one file that can be witnessed in one msync: a quarter of what a process may have (`vm.max_map_count`).
pub const WITNESSES: usize = 1 << 14;
/// Pieces that need no memory of their own.
const FEW: usize = 32;
/// Pages that are looked for and copied at a time: one of them that leaves the page cache in between is
/// read in again, and only then noticed ([`crate::take`]).
const AT_ONCE: usize = 16;
/// The buffer for reading back, bytes.
pub const BUFFER: usize = 256 * 1024;

/// What is known of a page; the order of a `Verdict`, and two states of no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not compared yet: what the zeroed memory of the states says.
    Unchecked,
    /// Past the end of the file, or unmapped meanwhile: there is no promise for it.
    Skipped,
    /// The filesystem holds the copy.
    Verified,
    /// It holds what was stored since the copy was made.
    Newer,
    /// Stored to again while it was compared: looked at once more.
    Racing,
    /// It holds something else, and the page is as it was copied.
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
    /// The filesystem holds the copy, or something newer, but its other client is not shown it yet.
    Unseen,
}

const STATES: [State; 11] = [
    State::Unchecked,
    State::Skipped,
    State::Verified,
    State::Newer,
    State::Racing,
    State::Stale,
    State::Uncertain,
    State::Gone,
    State::Unread,
    State::Refilled,
    State::Unseen,
];

impl State {
    fn of(number: u8) -> State {
        let known = STATES.get(usize::from(number));
        known.copied().unwrap_or(State::Unchecked)
    }

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
            State::Unchecked | State::Racing | State::Stale | State::Uncertain | State::Unseen
        )
    }
}

/// What the filesystem holds of a page that is stored to while it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Every byte as it was copied or newer.
    All,
    /// The same, but for bytes that are neither as copied nor as they are now, and were stored to in between: a version
    /// in between, or one from before the copy. It is one in between if the filesystem has taken the page since it was
    /// last read.
    Unknown,
    /// Bytes that nobody has stored to since are not there.
    Less,
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

/// The copies of one msync, in memory of their own. Its witnesses must be let go before it is dropped.
pub struct Copies {
    witnesses: List<Witness, FEW_WITNESSES, WITNESSES>,
    pieces: List<Piece, FEW>,
    /// One mapping: read-back buffer, scratch page, hashes, states, copied pages.
    region: Option<Region>,
    pages: usize,
    copied: usize,
    /// Copies that were given back.
    dropped: usize,
    /// The size of the file when they were copied, bytes.
    file_size: u64,
    /// Pages that could not be witnessed or copied.
    missed: usize,
    /// A witness was touched where its page was gone.
    disturbed: bool,
}

impl Default for Copies {
    fn default() -> Copies {
        Copies::new()
    }
}

impl Copies {
    /// None: 2 KiB.
    pub const fn new() -> Copies {
        Copies {
            witnesses: List::new(),
            pieces: List::new(),
            region: None,
            pages: 0,
            copied: 0,
            dropped: 0,
            file_size: u64::MAX,
            missed: 0,
            disturbed: false,
        }
    }

    /// Makes the value at `at` an empty one, without a copy of it on the stack.
    ///
    /// # Safety
    /// `at` is valid for writes.
    pub unsafe fn init(at: *mut Copies) {
        // SAFETY: by contract; every field is written.
        unsafe {
            List::init(&raw mut (*at).witnesses);
            List::init(&raw mut (*at).pieces);
            (&raw mut (*at).region).write(None);
            (&raw mut (*at).pages).write(0);
            (&raw mut (*at).copied).write(0);
            (&raw mut (*at).dropped).write(0);
            (&raw mut (*at).file_size).write(u64::MAX);
            (&raw mut (*at).missed).write(0);
            (&raw mut (*at).disturbed).write(false);
        }
    }

    /// How many pages there are, witnessed or not.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// How many pages could not be witnessed or copied.
    pub fn missed(&self) -> usize {
        self.missed
    }

    /// Whether there is room for one more witness.
    pub fn has_room(&self) -> bool {
        self.witnesses.as_slice().len() < WITNESSES
    }

    /// Notes that as many pages could not be witnessed.
    pub fn miss(&mut self, pages: usize) {
        self.missed += pages;
    }

    /// Notes how large the file is, bytes.
    pub fn set_file_size(&mut self, size: u64) {
        self.file_size = size;
    }

    /// Every piece, whether its witness is there or not.
    pub fn all_pieces(&self) -> &[Piece] {
        self.pieces.as_slice()
    }

    /// The `i`th piece, as long as the witnesses are there.
    pub fn witnessed_piece(&self, i: usize) -> Option<Piece> {
        let pieces = self.pieces.as_slice();
        pieces.get(i).filter(|_| self.is_witnessed()).copied()
    }

    /// Whether the witnesses are there.
    fn is_witnessed(&self) -> bool {
        !self.witnesses.as_slice().is_empty()
    }

    /// The piece that page number `page` lies in.
    pub fn piece_of(&self, page: usize) -> Piece {
        let pieces = self.pieces.as_slice();
        pieces[pieces.partition_point(|p| p.first_page <= page) - 1]
    }

    /// Offset in the file, and address in the witness, of page number `page`.
    #[inline(never)]
    pub fn place_of(&self, page: usize) -> (u64, usize) {
        let piece = self.piece_of(page);
        let into = (page - piece.first_page) * sys::page_size();
        (piece.offset + into as u64, piece.witness + into)
    }

    /// Notes a duplicate; where memory is out it is unmapped. Says whether it is there.
    pub fn add_witness(&mut self, target: &impl Target, start: usize, len: usize) -> bool {
        let added = self.witnesses.push(Witness { start, len });
        if !added {
            target.unmap(start, len);
        }
        added
    }

    /// Adds a piece; `known` are those that other mappings have brought.
    #[inline(never)]
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
    pub fn allocate(&mut self, target: &impl Target, budget: u64) -> Result<(), Errno> {
        let page = sys::page_size();
        let copied = self.pages.min((budget / page as u64) as usize);
        let len = BUFFER + page + self.head() + copied * page;
        self.region = Some(target.memory(len).ok_or(Errno::NOMEM)?);
        (self.copied, self.dropped) = (copied, 0);
        let (at, head) = (BUFFER + page, self.head());
        self.numbers_mut::<u64>(at, head / size_of::<u64>()).fill(0);
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
        if let Some(region) = &mut self.region {
            region.give_back(0..BUFFER + sys::page_size());
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
        for page in 0..self.pages {
            if !self.state(page).is_settled() {
                self.set_state(page, State::Skipped);
                self.missed += 1;
            }
        }
    }

    /// Skips pages, of which none was skipped before.
    fn skip(&mut self, pages: Range<usize>) {
        for page in pages.clone() {
            self.set_state(page, State::Skipped);
        }
        let copied = pages.start.min(self.copied)..pages.end.min(self.copied);
        if let Some(region) = self.region.as_mut().filter(|_| !copied.is_empty()) {
            let size = sys::page_size();
            let at = region.size() - (self.copied - copied.start) * size;
            region.give_back(at..at + copied.len() * size);
            self.dropped += copied.len();
        }
    }

    /// The buffer for reading back: page aligned, [`BUFFER`] bytes; none where there are no copies.
    pub fn buffer(&self) -> &[u8] {
        self.numbers(0, BUFFER)
    }

    /// The same, to read into.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.numbers_mut(0, BUFFER)
    }

    /// What the last [`Copies::look`] saw.
    pub fn seen(&self) -> &[u8] {
        self.numbers(BUFFER, sys::page_size())
    }

    fn numbers<T: keepmydata_sys::wipe::Number>(&self, at: usize, count: usize) -> &[T] {
        let region = self.region.as_ref();
        region.map_or(&[], |region| region.numbers(at, count))
    }

    fn numbers_mut<T: keepmydata_sys::wipe::Number>(
        &mut self,
        at: usize,
        count: usize,
    ) -> &mut [T] {
        let region = self.region.as_mut();
        region.map_or(&mut [], |region| region.numbers_mut(at, count))
    }

    /// Two for each page: of what was copied, or where the copy was kept, of what the filesystem held last, all of them
    /// first; and of what [`Copies::note`] was told.
    fn hashes(&self) -> &[u64] {
        self.numbers(BUFFER + sys::page_size(), 2 * self.pages)
    }

    fn hashes_mut(&mut self) -> &mut [u64] {
        self.numbers_mut(BUFFER + sys::page_size(), 2 * self.pages)
    }

    /// Where the states begin: after the hashes.
    fn states_start(&self) -> usize {
        BUFFER + sys::page_size() + 2 * self.pages * size_of::<u64>()
    }

    /// The state of each page; none as long as nothing was allocated.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        self.states_from(0)
    }

    /// The state of each page from number `first` on.
    pub fn states_from(&self, first: usize) -> impl Iterator<Item = State> + '_ {
        let numbers: &[u8] = self.numbers(self.states_start(), self.pages);
        let rest = numbers.get(first..).unwrap_or_default();
        rest.iter().map(|&number| State::of(number))
    }

    /// The state of page number `page`.
    #[inline(never)]
    pub fn state(&self, page: usize) -> State {
        let number = self.numbers(self.states_start() + page, 1).first();
        number.map_or(State::Unchecked, |&number| State::of(number))
    }

    /// Notes what is known of page number `page`.
    #[inline(never)]
    pub fn set_state(&mut self, page: usize, state: State) {
        let at = self.states_start() + page;
        self.numbers_mut(at, 1).fill(state as u8);
    }

    /// What the filesystem holds need not be shown to another client of it.
    pub fn settle_unseen(&mut self) {
        for page in 0..self.pages() {
            if self.state(page) == State::Unseen {
                self.set_state(page, State::Verified);
            }
        }
    }

    /// The copy of page number `page`; nothing past the budget.
    #[inline(never)]
    pub fn copy(&self, page: usize) -> Option<&[u8]> {
        let region = self.region.as_ref().filter(|_| page < self.copied)?;
        let at = region.size() - (self.copied - page) * sys::page_size();
        Some(region.numbers(at, sys::page_size()))
    }

    /// The hash that was kept of page number `page`, past the budget.
    fn hash(&self, page: usize) -> u64 {
        self.hashes().get(page).copied().unwrap_or(0)
    }

    /// The hash of page number `page` as it was copied, whether a copy was kept or not.
    #[inline(never)]
    pub fn hash_at_copy(&self, page: usize) -> u64 {
        self.copy(page).map_or_else(|| self.hash(page), page_hash)
    }

    /// Notes the hash of what page number `page` holds now; returns the one that was noted before, or
    /// that of the copy.
    pub fn note(&mut self, page: usize, now: u64) -> u64 {
        let at = self.pages + page;
        let noted = self.hashes_mut().get_mut(at);
        // 0, as the memory comes, is no hash.
        match noted.map_or(0, |noted| core::mem::replace(noted, now)) {
            0 => self.hash_at_copy(page),
            before => before,
        }
    }

    /// Whether what lies in the part `actual` of the buffer is what page number `page` held, as far as it goes.
    pub fn matches(&self, page: usize, actual: &Range<usize>) -> bool {
        let actual = &self.buffer()[actual.clone()];
        match self.copy(page) {
            Some(copy) => copy[..actual.len()] == *actual,
            None => page_hash(actual) == self.hash(page),
        }
    }

    /// Weighs what the filesystem holds of page number `page`, which is not what was copied and lies in the part `actual`
    /// of the buffer, against that and what the last [`Copies::look`] saw.
    pub fn weigh(&mut self, page: usize, actual: &Range<usize>) -> Held {
        let (held, now) = (&self.buffer()[actual.clone()], &self.seen()[..actual.len()]);
        let Some(copy) = self.copy(page) else {
            return if held == now { Held::All } else { Held::Less };
        };
        let mut all = Held::All;
        for ((&held, &now), &copy) in held.iter().zip(now).zip(copy) {
            match held == copy || held == now {
                true => {}
                false if copy != now => all = Held::Unknown,
                false => {
                    all = Held::Less;
                    break;
                }
            }
        }
        let moved = self.note_held(page, page_hash(&self.buffer()[actual.clone()]));
        match all {
            Held::Unknown if moved => Held::All,
            all => all,
        }
    }

    /// Whether every byte in the part `shown` of the buffer is as page number `page` was copied, or as the last
    /// [`Copies::look`] saw it.
    pub fn is_as_new(&self, page: usize, shown: &Range<usize>) -> bool {
        let (shown, now) = (&self.buffer()[shown.clone()], &self.seen()[..shown.len()]);
        match self.copy(page) {
            None => shown == now,
            Some(copy) => {
                let mut bytes = shown.iter().zip(now).zip(copy);
                bytes.all(|((shown, now), copy)| shown == now || shown == copy)
            }
        }
    }

    /// Notes the hash of what the filesystem holds of page number `page`, of which a copy was kept; says whether it held
    /// something else when this was last noted.
    fn note_held(&mut self, page: usize, hash: u64) -> bool {
        let noted = self.hashes_mut().get_mut(page);
        let before = noted.map_or(0, |noted| core::mem::replace(noted, hash));
        before != 0 && before != hash
    }

    /// Copies every page, but those that are `gone`. With `reads_in`, those `assumed_dirty` are read in again where they have left the
    /// page cache: they were proved, and another client has not seen them yet.
    pub fn fill(
        &mut self,
        target: &impl Target,
        gone: &Ranges,
        assumed_dirty: &Ranges,
        reads_in: bool,
    ) {
        for i in 0..self.pieces.as_slice().len() {
            let piece = self.pieces.as_slice()[i];
            self.fill_piece(target, &piece, gone, assumed_dirty, reads_in);
        }
    }

    /// The file ends at `size`, which was not known: what is not there was never there.
    pub fn forget_beyond(&mut self, size: u64) {
        for page in 0..self.pages {
            if self.state(page) == State::Gone && self.place_of(page).0 >= size {
                self.set_state(page, State::Skipped);
            }
        }
    }

    /// Those of `pages` that were not there to be copied, and are in the file, were there before.
    pub fn lack(&mut self, pages: &Ranges) {
        for page in 0..self.pages {
            let (offset, _) = self.place_of(page);
            if self.state(page) == State::Skipped && offset < self.file_size && pages.has(offset) {
                self.set_state(page, State::Gone);
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
                self.set_state(page, State::Gone);
            }
        }
    }

    /// Copies the pages of one piece. A page that is not in the page cache any more is not touched:
    /// the kernel would read in what the filesystem holds, and its neighbours with it.
    fn fill_piece(
        &mut self,
        target: &impl Target,
        piece: &Piece,
        gone: &Ranges,
        assumed_dirty: &Ranges,
        reads_in: bool,
    ) {
        let size = sys::page_size();
        let pages = piece.len / size;
        // No more than the buffer takes.
        let most = AT_ONCE.min(BUFFER / size);
        for first in (0..pages).step_by(most) {
            let mut there = [0; AT_ONCE];
            let there = &mut there[..most.min(pages - first)];
            let at = piece.witness + first * size;
            if target.are_cached(at, there).is_err() {
                there.fill(0);
            }
            let mut run = first..first;
            for (n, there) in (first..).zip(there) {
                let offset = piece.offset + (n * size) as u64;
                let is_gone = gone.has(offset);
                let is_assumed = !is_gone && assumed_dirty.has(offset);
                if !is_gone && *there & 1 != 0 || is_assumed && reads_in {
                    run.end = n + 1;
                    continue;
                }
                // A page that nobody saw stored to need never have been there.
                let state = match is_assumed {
                    true => State::Skipped,
                    false => State::Gone,
                };
                self.set_state(piece.first_page + n, state);
                self.copy_pages(target, piece, run);
                run = n + 1..n + 1;
            }
            self.copy_pages(target, piece, run);
        }
    }

    /// Copies a run of pages of a piece, numbered from its first.
    fn copy_pages(&mut self, target: &impl Target, piece: &Piece, run: Range<usize>) {
        let size = sys::page_size();
        let first = piece.first_page + run.start;
        let at = piece.witness + run.start * size;
        if self.copy_run(target, first, run.len(), at).is_ok() {
            return;
        }
        for (page, at) in (first..).zip((at..).step_by(size)).take(run.len()) {
            if let Err(errno) = self.copy_run(target, page, 1, at) {
                self.missed += usize::from(errno != Errno::FAULT);
                self.set_state(page, State::Skipped);
            }
        }
    }

    /// Copies `count` pages, numbered from `first`, that lie at `at` in a witness: all, or none and an
    /// error.
    fn copy_run(
        &mut self,
        target: &impl Target,
        first: usize,
        count: usize,
        at: usize,
    ) -> Result<(), Errno> {
        let size = sys::page_size();
        let copied = self.copied.saturating_sub(first).min(count);
        let kept = copied * size;
        if let Some(region) = self.region.as_mut().filter(|_| kept > 0) {
            let to = region.size() - (self.copied - first) * size;
            target.read_witness(at, region.numbers_mut(to, kept))?;
        }
        if copied < count {
            let rest = (count - copied) * size;
            target.read_witness(at + kept, &mut self.buffer_mut()[..rest])?;
            for n in 0..count - copied {
                let page = first + copied + n;
                // Beyond the end of the file there is nothing to compare with.
                let (offset, _) = self.place_of(page);
                let valid = self.file_size.saturating_sub(offset).min(size as u64) as usize;
                let hash = page_hash(&self.buffer()[n * size..n * size + valid]);
                if let Some(kept) = self.hashes_mut().get_mut(page) {
                    *kept = hash;
                }
            }
        }
        Ok(())
    }

    /// What page number `page` holds now, if it still is the page that was copied. Once it has left
    /// the page cache its entry in the witness is empty; touching it would read it in again, and its
    /// neighbours with it (fault-around), which then look as if they had never been away. So it is
    /// not touched, and where it was, because it left in that very moment, no page can be told from
    /// a newcomer any more.
    #[inline(never)]
    pub fn look(&mut self, target: &impl Target, page: usize) -> Option<&[u8]> {
        if !self.is_witnessed() || self.disturbed {
            return None;
        }
        let (_, at) = self.place_of(page);
        if !target.is_present(at) {
            return None;
        }
        let scratch = self.numbers_mut(BUFFER, sys::page_size());
        // The scratch page itself must not fault below.
        if let Some(first) = scratch.first_mut() {
            *first = 0;
        }
        let before = target.faults();
        let read = target.read_witness(at, scratch);
        self.disturbed = before != target.faults();
        (read.is_ok() && !self.disturbed).then(|| self.seen())
    }

    /// What was verified and has not been stored to since, for all that can be seen. Where stores are not seen, nothing
    /// else may leave the page cache: what another thread has stored since is on its way to the filesystem,
    /// and not proved.
    pub fn find_unchanged(&mut self, target: &impl Target, into: &mut Ranges) {
        for page in 0..self.pages {
            let same = self.state(page) == State::Verified
                && self
                    .look(target, page)
                    .map(page_hash)
                    .is_some_and(|now| now == self.hash_at_copy(page));
            if same {
                let (start, _) = self.place_of(page);
                into.add(start, start + sys::page_size() as u64);
            }
        }
    }

    /// Unmaps the witnesses: they would keep their pages in the page cache.
    #[inline(never)]
    pub fn let_go_witnesses(&mut self, target: &impl Target) {
        for witness in self.witnesses.as_slice() {
            target.unmap(witness.start, witness.len);
        }
        self.witnesses.clear();
    }

    /// Unmaps everything.
    #[inline(never)]
    pub fn let_go(&mut self, target: &impl Target) {
        self.let_go_witnesses(target);
        if let Some(region) = self.region.take() {
            target.take_back(region);
        }
        self.pages = 0;
        self.pieces.clear();
    }
}
