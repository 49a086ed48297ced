//! The dirty pages of a file as they are before the flush: see [`crate::copies`].

use crate::copies::Copies;
use crate::stages::{Request, Snapshot};
use crate::target::{Mapping, Target};
use keepmydata_ranges::Ranges;
use keepmydata_records::ByteRange;
use keepmydata_sys as sys;
use rustix::io::Errno;

/// Witnesses and copies the dirty ranges of the writable mappings.
pub fn take<R: Request>(target: &impl Target, snapshot: &mut Snapshot<R>) -> Result<(), Errno> {
    let (dirty, copies) = (&snapshot.dirty, &mut snapshot.copies);
    witness(target, dirty, copies);
    if let Ok(size) = target.size() {
        copies.set_file_size(size);
    }
    copies.allocate(target, snapshot.terms.copy_budget)?;
    let reads_in = snapshot.terms.waits_elsewhere();
    copies.fill(target, &snapshot.gone, &snapshot.assumed_dirty, reads_in);
    // A page that was dropped while it was to be copied has been read in again: its copy is what the
    // filesystem holds.
    let mut since = Ranges::new();
    if target.add_absent(dirty, &mut since).is_ok() {
        since.remove_all(&snapshot.absent);
        snapshot.gone.add_all(since.iter());
        copies.mark_gone(&since, &snapshot.assumed_dirty);
    }
    snapshot.leave_out_what_is_copied();
    Ok(())
}

impl<R: Request> Snapshot<R> {
    /// What is copied is shown as it was copied, and not as what else there is to be shown.
    pub fn leave_out_what_is_copied(&mut self) {
        for piece in self.copies.all_pieces() {
            let end = piece.offset + piece.len as u64;
            self.unshown.remove(piece.offset, end);
        }
    }
}

fn witness(target: &impl Target, dirty: &Ranges, copies: &mut Copies) {
    let mut known = Ranges::new();
    target.each_mapping(&mut |mapping| {
        let before = copies.all_pieces().len();
        witness_mapping(target, copies, &known, &mapping, dirty);
        for piece in &copies.all_pieces()[before..] {
            known.add(piece.offset, piece.offset + piece.len as u64);
        }
    });
}

fn witness_mapping(
    target: &impl Target,
    copies: &mut Copies,
    known: &Ranges,
    mapping: &Mapping,
    dirty: &Ranges,
) {
    let mapped = mapping.offset..mapping.end_offset();
    // Other mappings may have brought them all.
    let is_new = |range: &ByteRange| !known.covers(range.offset, range.end());
    let ranges = || dirty.within(mapped.start, mapped.end).filter(is_new);
    let (Some(first), Some(last)) = (ranges().next(), ranges().last()) else {
        return;
    };
    // One witness from the first dirty page of this mapping to its last.
    let len = (last.end() - first.offset) as usize;
    if copies.has_room()
        && let Some(start) = target.duplicate(mapping.part(first.offset, len))
        && copies.add_witness(target, start, len)
    {
        for range in ranges() {
            let at = start + (range.offset - first.offset) as usize;
            copies.add_piece(known, range.offset, range.length as usize, at);
        }
        return;
    }
    // mprotect(2) has split the mapping: each range by itself, and failing that each page.
    for range in ranges() {
        witness_range(target, copies, known, mapping, range.offset, range.end());
    }
}

fn witness_range(
    target: &impl Target,
    copies: &mut Copies,
    known: &Ranges,
    mapping: &Mapping,
    from: u64,
    to: u64,
) {
    let len = (to - from) as usize;
    if !copies.has_room() {
        copies.miss(len / sys::page_size());
    } else if let Some(start) = target.duplicate(mapping.part(from, len)) {
        match copies.add_witness(target, start, len) {
            true => copies.add_piece(known, from, len, start),
            false => copies.miss(len / sys::page_size()),
        }
    } else if len > sys::page_size() {
        let middle = from + sys::page_up(len as u64 / 2);
        witness_range(target, copies, known, mapping, from, middle);
        witness_range(target, copies, known, mapping, middle, to);
    } else {
        copies.miss(1);
    }
}
