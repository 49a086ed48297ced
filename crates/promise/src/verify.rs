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

use crate::comparison::{Batch, Comparison, Unsettled};
use crate::copies::{Copies, Held, State};
use crate::shown;
use crate::target::{Part, Target};
use core::ops::Range;
use keepmydata_ranges::Ranges;
use keepmydata_records::page_hash;
use keepmydata_sys as sys;
use rustix::io::Errno;

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
    let mut unsettled = Unsettled::default();
    let size = c.target.size()?;
    if c.copies.pages() > 0 && !check_copies(c, size)? {
        unsettled.racing = c.copies.pages();
        return Ok(unsettled);
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
    // Not before all is settled here that the page cache is needed for.
    if c.seen_elsewhere && unsettled.stale + unsettled.racing == 0 {
        shown::look(c, size, &mut unsettled)?;
    }
    Ok(unsettled)
}

/// Reads back what was copied, and judges it. False where that would take away what is nowhere else.
fn check_copies<T: Target>(c: &mut Comparison<'_, T>, size: u64) -> Result<bool, Errno> {
    let through_cache = !c.target.reads_past_cache()? || is_encoded(c);
    let mut stayed = Ranges::new();
    if through_cache {
        if c.unwritten {
            // What was not written is not dropped to see what there is instead.
            return Ok(false);
        }
        // A read reaches the filesystem only after the pages were dropped, and the witnesses with them: a difference
        // is then uncertain at best.
        c.copies.let_go_witnesses(c.target);
        c.target.uncache(c.dirty, &mut stayed);
    }
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
    Ok(true)
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
        return match c.seen_elsewhere && c.of_others.has(start) {
            // Somebody else has changed it past the page cache, who owes it: what the filesystem holds is to be shown.
            true => State::Newer,
            false => State::Uncertain,
        };
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
