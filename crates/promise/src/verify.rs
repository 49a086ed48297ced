//! Step 4: the dirty ranges are read back past the page cache, and differences judged.
//!
//! | backend = copy | page | backend = page now | verdict |
//! |---|---|---|---|
//! | yes | - | - | verified |
//! | no | still cached | yes | newer: somebody stored, and it is there too |
//! | no | still cached | but for bytes that are as copied | newer: somebody stored to the others, and they are there |
//! | no | still cached | but for bytes that were stored to since | newer if the filesystem has taken the page since it was last read: else as below |
//! | no | still cached, dirty again | no | racing: looked at again; at the deadline stale |
//! | no | still cached, clean | no | stale |
//! | no | gone | - | uncertain |
//!
//! A page that another thread stores to all the time is never equal. What must be there is a version of its bytes that is newer
//! than the copy, and the other bytes as copied.

use crate::copies::{BUFFER, Copies, Held, State};
use crate::target::{PARTS, Part, Target};
use core::ops::Range;
use keepmydata_ranges::Ranges;
use keepmydata_records::page_hash;
use keepmydata_sys as sys;
use rustix::io::Errno;

/// What is compared with what.
pub struct Comparison<'a, T> {
    /// Whose memory it is.
    pub target: &'a mut T,
    /// What was dirty, bytes of the file.
    pub dirty: &'a Ranges,
    /// Copies of that.
    pub copies: &'a mut Copies,
    /// On a block device of this machine.
    pub local_block: bool,
    /// What was flushed may not have been written: it is nowhere else than in the page cache.
    pub unwritten: bool,
    /// What the filesystem holds must be shown to another client of it, too.
    pub seen_elsewhere: bool,
}

/// Pages not settled yet, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// As [`State::Stale`].
    pub stale: usize,
    /// As [`State::Racing`].
    pub racing: usize,
    /// As [`State::Uncertain`].
    pub uncertain: usize,
    /// As [`State::Unseen`].
    pub unseen: usize,
    /// Why the other client could not be asked about one of these.
    pub unseen_errno: Option<Errno>,
}

impl Unsettled {
    /// All of them.
    pub fn total(&self) -> usize {
        self.stale + self.racing + self.uncertain + self.unseen
    }

    /// Whether the filesystem holds everything, and only its other client is not shown some of it.
    pub fn is_unseen_only(&self) -> bool {
        self.unseen > 0 && self.unseen == self.total()
    }

    /// Whether it is no use to wait until the other client is shown something: the file has no name by which it could be
    /// asked.
    pub fn is_unseen_for_good(&self) -> bool {
        self.is_unseen_only() && self.unseen_errno == Some(Errno::STALE)
    }
}

/// Reads back every page that is not settled and judges it.
pub fn check<T: Target>(c: &mut Comparison<'_, T>) -> Result<Unsettled, Errno> {
    match check_all(c) {
        Err(Errno::INVAL) if c.target.reads_past_cache() == Ok(true) => {
            c.target.read_through_cache()?;
            check_all(c)
        }
        done => done,
    }
}

fn check_all<T: Target>(c: &mut Comparison<'_, T>) -> Result<Unsettled, Errno> {
    let through_cache = !c.target.reads_past_cache()? || is_encoded(c);
    let mut stayed = Ranges::new();
    if through_cache {
        if c.unwritten {
            // What was not written is nowhere else: it is not dropped to see what there is instead.
            return Ok(Unsettled {
                racing: c.copies.pages(),
                ..Unsettled::default()
            });
        }
        // A read reaches the filesystem only after the pages were dropped, and the witnesses with them: a difference
        // is then uncertain at best.
        c.copies.let_go_witnesses(c.target);
        c.target.uncache(c.dirty, &mut stayed);
    }
    let size = c.target.size()?;
    let (mut at, mut slow) = (0, false);
    loop {
        let mut batch = Batch::new();
        while let Some((first, count)) = next_run(c.copies, at, batch.room()) {
            let (offset, _) = c.copies.place_of(first);
            batch.add(first, count, offset);
            at = first + count;
        }
        if batch.parts().is_empty() {
            break;
        }
        let buffer = c.copies.buffer_mut();
        c.target.read_back(batch.parts_mut(), buffer, &mut slow);
        for part in batch.parts() {
            check_run(c, size, part)?;
        }
    }
    if through_cache {
        doubt_what_stayed(c, &mut stayed);
        c.target.recached();
    }
    let mut unsettled = Unsettled::default();
    if c.seen_elsewhere {
        unsettled.unseen_errno = look_elsewhere(c, size);
    }
    for state in c.copies.states() {
        match state {
            State::Stale => unsettled.stale += 1,
            State::Racing | State::Unchecked => unsettled.racing += 1,
            // On a local disk nothing arrives late.
            State::Uncertain if c.local_block => {}
            State::Uncertain => unsettled.uncertain += 1,
            State::Unseen => unsettled.unseen += 1,
            State::Skipped
            | State::Verified
            | State::Newer
            | State::Gone
            | State::Unread
            | State::Refilled => {}
        }
    }
    Ok(unsettled)
}

/// What the filesystem holds is looked for once more, as its other client is shown it. Returns why that could not be asked.
fn look_elsewhere<T: Target>(c: &mut Comparison<'_, T>, size: u64) -> Option<Errno> {
    let (mut page, mut failed) = (0, None);
    while page < c.copies.pages() {
        let mut batch = Batch::new();
        while page < c.copies.pages() && batch.room() > 0 {
            if c.copies.state(page) == State::Unseen {
                let (offset, _) = c.copies.place_of(page);
                batch.add(page, 1, offset);
            }
            page += 1;
        }
        if batch.parts().is_empty() {
            break;
        }
        c.target
            .read_elsewhere(batch.parts_mut(), c.copies.buffer_mut());
        for part in batch.parts() {
            failed = failed.or(part.read.err());
            let valid = size.saturating_sub(part.offset).min(part.bytes() as u64) as usize;
            // What is larger there was read for that much only.
            let shown = part.into..part.into + valid;
            if part.read.is_ok_and(|read| read >= valid) {
                settle_elsewhere(c, part.first, &shown);
            }
        }
    }
    failed
}

/// The other client is shown what lies in the part `shown` of the buffer for page number `page`.
fn settle_elsewhere<T: Target>(c: &mut Comparison<'_, T>, page: usize, shown: &Range<usize>) {
    if c.copies.matches(page, shown) {
        c.copies.set_state(page, State::Verified);
    } else if c.copies.look(c.target, page).is_some() && c.copies.is_as_new(page, shown) {
        c.copies.set_state(page, State::Newer);
    }
}

/// Whether something that is dirty would be read through the page cache whatever the flags.
fn is_encoded<T: Target>(c: &Comparison<'_, T>) -> bool {
    c.dirty
        .iter()
        .any(|range| c.target.is_encoded(range.offset, range.end()))
}

/// What could not be dropped before it was read has been compared with itself, and so has what another thread has
/// stored to since.
fn doubt_what_stayed<T: Target>(c: &mut Comparison<'_, T>, stayed: &mut Ranges) {
    for range in c.dirty.iter() {
        let (start, end) = (range.offset, range.end());
        if c.target.add_unstable(start, end, stayed).is_err() {
            stayed.add(start, end);
        }
    }
    for page in 0..c.copies.pages() {
        let (offset, _) = c.copies.place_of(page);
        if c.copies.state(page) == State::Verified && stayed.has(offset) {
            c.copies.set_state(page, State::Unread);
        }
    }
}

/// Pages between two places that are read with them, at the most: to copy them takes less time than to ask once more.
const NEAR: u64 = 4;

/// Places to be read into the buffer at once.
struct Batch {
    parts: [Part; PARTS],
    len: usize,
    pages: usize,
}

impl Batch {
    fn new() -> Batch {
        Batch {
            parts: [Part::new(0, 0, 0, 0); PARTS],
            len: 0,
            pages: 0,
        }
    }

    /// Pages that the buffer still has room for; none when there is no room for a part.
    fn room(&self) -> usize {
        match self.len {
            PARTS => 0,
            _ => BUFFER / sys::page_size() - self.pages,
        }
    }

    /// Adds `count` pages, for which there is room.
    fn add(&mut self, first: usize, count: usize, offset: u64) {
        let gap = self.gap(offset).filter(|gap| gap + count <= self.room());
        self.pages += gap.unwrap_or(0);
        self.parts[self.len] = Part {
            joins: gap.is_some(),
            ..Part::new(first, count, offset, self.pages * sys::page_size())
        };
        self.len += 1;
        self.pages += count;
    }

    /// Pages between the last part and what lies at `offset` in the file; nothing where those are too many.
    fn gap(&self, offset: u64) -> Option<usize> {
        let last = self.parts().last()?;
        let bytes = offset.checked_sub(last.offset + last.bytes() as u64)?;
        let pages = bytes / sys::page_size() as u64;
        (pages <= NEAR).then_some(pages as usize)
    }

    fn parts(&self) -> &[Part] {
        &self.parts[..self.len]
    }

    fn parts_mut(&mut self) -> &mut [Part] {
        &mut self.parts[..self.len]
    }
}

/// The next pages, from number `at` on, that one read can bring: adjacent in the file, unsettled,
/// and `most` at the most.
fn next_run(copies: &Copies, at: usize, most: usize) -> Option<(usize, usize)> {
    if most == 0 {
        return None;
    }
    let first = at + copies.states_from(at).position(|s| !s.is_settled())?;
    let unsettled = copies.states_from(first).take_while(|s| !s.is_settled());
    let count = unsettled.take(most).count();
    let piece = copies.piece_of(first);
    let left = piece.first_page + piece.len / sys::page_size() - first;
    Some((first, count.min(left)))
}

fn check_run<T: Target>(c: &mut Comparison<'_, T>, size: u64, part: &Part) -> Result<(), Errno> {
    let page_size = sys::page_size();
    let read = part.read?;
    for n in 0..part.count {
        let page = part.first + n;
        let start = part.offset + (n * page_size) as u64;
        let valid = size.saturating_sub(start).min(page_size as u64) as usize;
        let have = read.saturating_sub(n * page_size).min(valid);
        let from = part.into + n * page_size;
        let actual = from..from + have;
        let state = if valid == 0 {
            // Truncated meanwhile.
            State::Skipped
        } else if have == valid && c.copies.matches(page, &actual) {
            State::Verified
        } else {
            judge(c, page, start, &actual, valid)
        };
        let state = match state {
            State::Verified | State::Newer if c.seen_elsewhere => State::Unseen,
            state => state,
        };
        c.copies.set_state(page, state);
    }
    Ok(())
}

/// What it means that the filesystem holds for page number `page`, at `start`, what lies in the
/// part `actual` of the buffer.
fn judge<T: Target>(
    c: &mut Comparison<'_, T>,
    page: usize,
    start: u64,
    actual: &Range<usize>,
    valid: usize,
) -> State {
    // Once gone, it is gone: what is there now was read in.
    if c.copies.state(page) == State::Uncertain {
        return State::Uncertain;
    }
    let Some(now) = c.copies.look(c.target, page).map(page_hash) else {
        return State::Uncertain;
    };
    let whole = actual.len() == valid;
    if whole && c.copies.weigh(page, actual) == Held::All {
        return State::Newer;
    }
    // Only while the page is clean must the filesystem hold what it holds.
    match c.target.count(start, start + sys::page_size() as u64) {
        Some(stat) if stat.dirty + stat.writeback == 0 => State::Stale,
        Some(_) => State::Racing,
        // Without a count: what has changed since it was last looked at, before the last flush, was
        // stored to.
        None if c.copies.note(page, now) == now => State::Stale,
        None => State::Racing,
    }
}
