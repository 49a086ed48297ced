//! Step 4: the dirty ranges read back past the page cache, and what a difference means.
//!
//! | backend = copy | page | backend = page now | verdict |
//! |---|---|---|---|
//! | yes | - | - | verified |
//! | no | still cached | yes | newer: somebody stored, and it is there too |
//! | no | still cached | in every byte that is as copied | newer: the rest was stored to meanwhile |
//! | no | still cached, dirty again | no | racing: looked at again; at the deadline stale |
//! | no | still cached, clean | no | stale |
//! | no | gone | - | uncertain |
//!
//! What another thread stores all the time is never equal, and is not promised. The bytes around it, which
//! nobody has touched since they were copied, are.

use super::context::Context;
use super::copy::State;
use super::readback::{Batch, Part};
use crate::dirty::{self, Ranges, eviction_probe};
use crate::handles;
use crate::helper::Worker;
use crate::sys::{self, cachestat::cachestat, extents};
use core::ops::Range;
use keepmydata_records::{ByteRange, page_hash};
use rustix::fd::BorrowedFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

/// Pages not settled yet, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    pub stale: usize,
    pub racing: usize,
    pub uncertain: usize,
}

impl Unsettled {
    pub fn total(&self) -> usize {
        self.stale + self.racing + self.uncertain
    }
}

/// Reads back every page that is not settled and judges it.
pub fn check(worker: &Worker, context: &mut Context) -> Result<Unsettled, Errno> {
    match check_all(worker, context) {
        Err(Errno::INVAL) if context.handle.direct => {
            handles::without_direct(worker, &context.file)?;
            context.handle.direct = false;
            check_all(worker, context)
        }
        done => done,
    }
}

fn check_all(worker: &Worker, context: &mut Context) -> Result<Unsettled, Errno> {
    let handle = worker.borrow_handle(&context.handle).ok_or(Errno::BADF)?;
    let through_cache = !context.handle.direct || is_encoded(context, handle);
    let mut stayed = Ranges::new();
    if through_cache {
        if context.flush_error.is_some() && !context.rewritten {
            // What was not written is nowhere else: it is not dropped to see what there is instead.
            return Ok(Unsettled {
                racing: context.copies.pages(),
                ..Unsettled::default()
            });
        }
        uncache(worker, context, handle, &mut stayed);
    }
    let size = sys::fd::size(handle)?;
    let (mut at, mut slow) = (0, false);
    loop {
        let mut batch = Batch::new();
        while let Some((first, count)) = next_run(context, at, batch.room()) {
            let (offset, _) = context.copies.place_of(first);
            batch.add(first, count, offset);
            at = first + count;
        }
        if batch.parts().is_empty() {
            break;
        }
        batch.read(handle, context.copies.buffer(), &mut slow);
        for part in batch.parts() {
            check_run(worker, context, size, part)?;
        }
    }
    if through_cache {
        doubt_what_stayed(worker, context, &mut stayed);
        eviction_probe::ensure(worker, &context.file);
    }
    let mut unsettled = Unsettled::default();
    let local_block = context.traits.local_block;
    for state in context.copies.states() {
        match state {
            State::Stale => unsettled.stale += 1,
            State::Racing | State::Unchecked => unsettled.racing += 1,
            // On a local disk nothing arrives late.
            State::Uncertain if local_block => {}
            State::Uncertain => unsettled.uncertain += 1,
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

/// Whether something that is dirty would be read through the page cache whatever the flags.
fn is_encoded(context: &Context, handle: BorrowedFd<'_>) -> bool {
    let mut found = false;
    let mut ask = |range: &ByteRange| {
        extents::encoded(handle, range.offset, range.end(), |_, _| found = true).is_err()
    };
    (context.traits.encodes || context.traits.local_block)
        && context.dirty.as_slice().iter().any(&mut ask)
        || found
}

/// Where a read goes through the page cache whatever is asked for, a read reaches it only after the pages were dropped,
/// and the witness with them: a difference is then uncertain at best. Adds what could not be dropped to `stayed`: mapped
/// by another process, locked, or held by a journal.
fn uncache(worker: &Worker, context: &mut Context, handle: BorrowedFd<'_>, stayed: &mut Ranges) {
    context.copies.let_go_witnesses();
    eviction_probe::clear(worker, &context.file);
    super::entries::drop_mappings(worker, context, &context.dirty);
    let file = worker.borrow_cached(&context.handle);
    for range in context.dirty.as_slice() {
        let len = core::num::NonZeroU64::new(range.length);
        let _ = fadvise(handle, range.offset, len, Advice::DontNeed);
        let asked = file.map(|file| dirty::cached_in(file, range.offset, range.end(), stayed));
        if asked != Some(Ok(())) {
            stayed.add(range.offset, range.end());
        }
    }
}

/// What could not be dropped before it was read has been compared with itself, and so has what another thread has
/// stored to since.
fn doubt_what_stayed(worker: &Worker, context: &mut Context, stayed: &mut Ranges) {
    if let Some(file) = worker.borrow_cached(&context.handle) {
        for range in context.dirty.as_slice() {
            if dirty::unstable(file, range.offset, range.end(), stayed).is_err() {
                stayed.add(range.offset, range.end());
            }
        }
    }
    for page in 0..context.copies.pages() {
        let (offset, _) = context.copies.place_of(page);
        if context.copies.state(page) == State::Verified && stayed.has(offset) {
            context.copies.states()[page] = State::Unread;
        }
    }
}

/// The next pages, from number `at` on, that one read can bring: adjacent in the file, unsettled,
/// and `most` at the most.
fn next_run(context: &mut Context, at: usize, most: usize) -> Option<(usize, usize)> {
    if most == 0 {
        return None;
    }
    let states = context.copies.states();
    let first = at + states.get(at..)?.iter().position(|s| !s.is_settled())?;
    let count = states[first..]
        .iter()
        .take(most)
        .take_while(|s| !s.is_settled())
        .count();
    let piece = context.copies.piece_of(first);
    let left = piece.first_page + piece.len / sys::page_size() - first;
    Some((first, count.min(left)))
}

fn check_run(worker: &Worker, context: &mut Context, size: u64, part: &Part) -> Result<(), Errno> {
    let page_size = sys::page_size();
    let read = part.read()?;
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
        } else if have == valid
            && context
                .copies
                .matches(page, &context.copies.buffer()[actual.clone()])
        {
            State::Verified
        } else {
            judge(worker, context, page, start, actual, valid)
        };
        context.copies.states()[page] = state;
    }
    Ok(())
}

/// What it means that the filesystem holds for page number `page`, at `start`, what lies in the
/// part `actual` of the buffer.
fn judge(
    worker: &Worker,
    context: &mut Context,
    page: usize,
    start: u64,
    actual: Range<usize>,
    valid: usize,
) -> State {
    // Once gone, it is gone: what is there now was read in.
    if context.copies.state(page) == State::Uncertain {
        return State::Uncertain;
    }
    let Some(now) = context.copies.look(worker, page).map(page_hash) else {
        return State::Uncertain;
    };
    let whole = actual.len() == valid;
    let actual_again = actual.clone();
    if whole && context.copies.seen()[..valid] == context.copies.buffer()[actual] {
        return State::Newer;
    }
    if whole
        && context
            .copies
            .holds_what_is_as_copied(page, valid, &actual_again)
    {
        return State::Newer;
    }
    // Only while the page is clean must the filesystem hold what it holds.
    let file = worker.borrow_cached(&context.handle);
    let stat = file.map(|file| cachestat(file, start, sys::page_size() as u64));
    if let Some(Ok(stat)) = stat {
        return match stat.dirty + stat.writeback {
            0 => State::Stale,
            _ => State::Racing,
        };
    }
    // Without cachestat: what has changed since it was last looked at, before the last flush, was
    // stored to.
    match context.copies.note(page, now) == now {
        true => State::Stale,
        false => State::Racing,
    }
}
