//! The dirty pages of a file as they are before the flush: see [`super::copy`].

use super::context::Context;
use super::copy::{Copies, WITNESSES};
use crate::config;
use crate::dirty::{self, Query, Ranges};
use crate::helper::Worker;
use crate::mappings::{self, table::Entry};
use crate::sys::{self, vm};
use keepmydata_records::ByteRange;
use rustix::io::Errno;

/// Witnesses and copies the dirty ranges of the writable mappings.
pub fn take(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    witness(context);
    if let Some(Ok(size)) = worker.borrow_handle(&context.handle).map(sys::fd::size) {
        context.copies.file_size = size;
    }
    let budget = config::settings().copy_budget.0;
    context.copies.allocate(budget)?;
    context.copies.fill(&context.gone, &context.assumed_dirty);
    // A page that was dropped while it was to be copied has been read in again: its copy is what the
    // filesystem holds.
    let query = Query::of(worker, &context.file, context.handle);
    let mut since = Ranges::new();
    if dirty::absent(&query, &context.dirty, &mut since).is_ok() {
        since.remove_all(&context.absent);
        context.gone.add_all(since.iter());
        context.copies.mark_gone(&since, &context.assumed_dirty);
    }
    Ok(())
}

fn witness(context: &mut Context) {
    let (file, dirty, copies) = (&context.file, &context.dirty, &mut context.copies);
    let mut known = Ranges::new();
    // The lock keeps the entries where they are while they are duplicated.
    let table = mappings::lock();
    table.for_each_of(file, 0, |entry| {
        if entry.writable {
            let before = copies.pieces.as_slice().len();
            witness_entry(copies, &known, &entry, dirty);
            for piece in &copies.pieces.as_slice()[before..] {
                known.add(piece.offset, piece.offset + piece.len as u64);
            }
        }
        true
    });
}

fn witness_entry(copies: &mut Copies, known: &Ranges, entry: &Entry<'_>, dirty: &Ranges) {
    let mapped = entry.offset..entry.offset + entry.len() as u64;
    // Other mappings may have brought them all.
    let is_new = |range: &ByteRange| !known.covers(range.offset, range.end());
    let ranges = || dirty.within(mapped.start, mapped.end).filter(is_new);
    let (Some(first), Some(last)) = (ranges().next(), ranges().last()) else {
        return;
    };
    // One witness from the first dirty page of this mapping to its last.
    let addr = entry.start + (first.offset - mapped.start) as usize;
    let len = (last.end() - first.offset) as usize;
    if copies.witness_count < WITNESSES
        // SAFETY: the duplicate is noted, and unmapped by `let_go_witnesses`.
        && let Ok(start) = unsafe { vm::duplicate(addr, len) }
    {
        let start = start as usize;
        copies.add_witness(start, len);
        for range in ranges() {
            let at = start + (range.offset - first.offset) as usize;
            copies.add_piece(known, range.offset, range.length as usize, at);
        }
        return;
    }
    // mprotect(2) has split the mapping: each range by itself, and failing that each page.
    for range in ranges() {
        witness_range(copies, known, entry, range.offset, range.end());
    }
}

fn witness_range(copies: &mut Copies, known: &Ranges, entry: &Entry<'_>, from: u64, to: u64) {
    let len = (to - from) as usize;
    let addr = entry.start + (from - entry.offset) as usize;
    let room = copies.witness_count < WITNESSES;
    // SAFETY: as in `witness_entry`.
    if room && let Ok(start) = unsafe { vm::duplicate(addr, len) } {
        let start = start as usize;
        copies.add_witness(start, len);
        copies.add_piece(known, from, len, start);
    } else if room && len > sys::page_size() {
        let middle = from + sys::page_up(len as u64 / 2);
        witness_range(copies, known, entry, from, middle);
        witness_range(copies, known, entry, middle, to);
    } else {
        copies.missed += len / sys::page_size();
    }
}
