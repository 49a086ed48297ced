//! Around an msync.

use super::{Reporter, for_each_file, holes, unsynced};
use crate::dirty::{self, Query, Ranges};
use crate::mappings;
use crate::mappings::file::{File, Handle};
use crate::stats::{self, Number, Slot, Track};
use crate::sys;
use crate::sys::cachestat::{Cached, cachestat};
use keepmydata_records::Finding;
use libc::c_int;
use rustix::io::Errno;

/// An msync of `[addr, end)`, as far as it concerns one file.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub reporter: Reporter<'a>,
    pub handle: Handle,
    pub addr: usize,
    pub end: usize,
}

impl Call<'_> {
    /// The size of the file, bytes; nothing without a handle.
    fn size(&self) -> Option<u64> {
        let fd = self.reporter.worker.borrow_handle(&self.handle)?;
        sys::fd::size(fd).ok()
    }
}

/// What the enforcement knows of this process's stores, if it asked for them: the marks are
/// gone then.
#[derive(Clone, Copy)]
pub struct Scanned<'a> {
    pub stored: &'a Ranges,
    /// Those of them that are only assumed.
    pub assumed_dirty: &'a Ranges,
}

/// Before the real msync.
pub fn begin(call: &Call<'_>, scanned: Option<Scanned<'_>>) {
    let reporter = &call.reporter;
    let Some(mut track) = reporter.slot.track() else {
        return;
    };
    track.known = match scanned {
        Some(scanned) => take_over(&scanned, &mut track),
        None => scan(call, &mut track),
    };
    let mut covered = Ranges::new();
    let alone = cover(call, &mut covered);
    let size = call.size();
    if let Some(size) = size {
        beyond_eof(call, &covered, sys::page_up(size));
    }
    if let Some(file) = reporter.worker.borrow_cached(&call.handle) {
        outside(call, file, &track, &covered);
        let again = track.known && alone && !track.failed;
        if again && track.last == Some((reporter.tid, size.unwrap_or(0))) {
            redundant(call, file, &track, &covered);
        }
    }
    let track = &mut *track;
    holes::stored_into(call, track);
    track.syncing.clear();
    match track.known {
        true => track.syncing.add_all(track.owed.common(&covered)),
        false => count_dirty(call, track, &covered),
    }
    track.owed.remove_all(&covered);
    track.asynced.remove_all(&covered);
}

/// The enforcement has taken the marks of what was stored, for another call than msync.
pub fn note_stored(slot: &Slot, stored: &Ranges) {
    if let Some(mut track) = slot.track() {
        track.owed.add_all(stored.iter());
        track.unwritten.remove_all(stored);
    }
}

/// After it: `outcome` is what the program is told.
pub fn done(call: &Call<'_>, outcome: Result<(), Errno>) {
    let Some(mut track) = call.reporter.slot.track() else {
        return;
    };
    match outcome {
        Ok(()) if track.failed => {
            track.failed = false;
            if !track.unwritten.is_empty() {
                let message = "msync succeeds after one that failed, without a store to these pages \
                               in between: Linux without keepmydata takes them for clean after the \
                               failure, and does not write them again";
                call.reporter
                    .tell(Finding::SuccessAfterFailure, &track.unwritten, message);
            }
            track.unwritten.clear();
        }
        Err(errno) if sys::vm::is_failure(errno) => {
            track.failed = true;
            // The enforcement has made the pages dirty again, which leaves marks as stores do.
            scan(call, &mut track);
            let track = &mut *track;
            track.owed.add_all(track.syncing.iter());
            track.unwritten.add_all(track.syncing.iter());
        }
        _ => {}
    }
    let size = call.size();
    track.last = Some((call.reporter.tid, size.unwrap_or(0)));
}

/// Another thread's flush did it: whether it would have been redundant, nobody can say. With signals
/// blocked.
pub fn served(slot: &Slot, file: &File, addr: usize, end: usize) {
    slot.add(Number::Msyncs, 1);
    if let Some(mut track) = slot.track() {
        let table = mappings::lock();
        table.for_each(addr, end, |entry| {
            if entry.file == file {
                let (from, to) = (entry.offset, entry.offset + entry.len() as u64);
                track.owed.remove(from, to);
                track.asynced.remove(from, to);
            }
            true
        });
        track.last = None;
    }
}

/// Before an msync that is passed through (MS_ASYNC, or `KEEPMYDATA_ENFORCE=off`).
pub fn before_watched(addr: usize, len: usize, flags: c_int) {
    if !stats::on() {
        return;
    }
    each_watched(addr, len, |call| {
        call.reporter.slot.add(Number::Msyncs, 1);
        if flags & libc::MS_SYNC != 0 {
            // What the kernel refuses takes no marks away.
            let judged = sys::vm::judge_msync(addr, len, flags);
            if !sys::vm::is_refusal(judged) {
                begin(call, None);
            }
        } else if let Some(mut track) = call.reporter.slot.track() {
            let found = unsynced::find(&call.reporter, &track, call.addr, call.end);
            track.asynced.add_all(found.iter());
        }
    });
}

/// After it.
pub fn after_watched(addr: usize, len: usize, flags: c_int, result: c_int) {
    if !stats::on() || flags & libc::MS_SYNC == 0 {
        return;
    }
    let outcome = match result {
        0 => Ok(()),
        _ => Err(Errno::from_raw_os_error(crate::next_fn::errno())),
    };
    each_watched(addr, len, |call| done(call, outcome));
}

fn each_watched(addr: usize, len: usize, mut each: impl FnMut(&Call<'_>)) {
    let end = addr.saturating_add(sys::page_up(len as u64) as usize);
    for_each_file(addr, end, |reporter| {
        each(&Call {
            reporter: *reporter,
            handle: mappings::handle_of(reporter.file),
            addr,
            end,
        });
    });
}

/// Says whether all stores are known.
fn take_over(scanned: &Scanned<'_>, track: &mut Track) -> bool {
    if !scanned.assumed_dirty.is_empty() {
        return false;
    }
    track.owed.add_all(scanned.stored.iter());
    track.unwritten.remove_all(scanned.stored);
    true
}

/// The same by a scan, which takes the marks away, where the enforcement made none.
#[inline(never)]
fn scan(call: &Call<'_>, track: &mut Track) -> bool {
    let (mut stored, mut absent) = (Ranges::new(), Ranges::new());
    let (mut gone, mut assumed_dirty) = (Ranges::new(), Ranges::new());
    let query = Query::of(call.reporter.worker, call.reporter.file, call.handle);
    let mut found = dirty::Found {
        dirty: &mut stored,
        absent: &mut absent,
        gone: &mut gone,
        assumed_dirty: &mut assumed_dirty,
    };
    let scanned =
        dirty::wants_pagemap(call.reporter.file.traits) && dirty::scan(&query, &mut found).is_ok();
    scanned
        && take_over(
            &Scanned {
                stored: &stored,
                assumed_dirty: &assumed_dirty,
            },
            track,
        )
}

/// Where stores are not seen, by the page cache's own count: what is dirty is synced now, and was stored
/// to since an msync failed. Without that count nothing is known of it.
fn count_dirty(call: &Call<'_>, track: &mut Track, covered: &Ranges) {
    let file = call.reporter.worker.borrow_cached(&call.handle);
    let counted = file.is_some_and(|file| {
        covered.iter().all(|range| {
            dirty::unstable(file, range.offset, range.end(), &mut track.syncing).is_ok()
        })
    });
    match counted {
        true => track.unwritten.remove_all(&track.syncing),
        false => track.unwritten.clear(),
    }
}

/// Adds the parts of the file that the call covers; says whether it covers no other file.
fn cover(call: &Call<'_>, covered: &mut Ranges) -> bool {
    let mut alone = true;
    mappings::lock().for_each(call.addr, call.end, |entry| {
        if entry.file == call.reporter.file && entry.writable {
            covered.add(entry.offset, entry.offset + entry.len() as u64);
        }
        alone &= entry.file == call.reporter.file;
        true
    });
    alone
}

#[inline(never)]
fn beyond_eof(call: &Call<'_>, covered: &Ranges, eof: u64) {
    let mut beyond = Ranges::new();
    beyond.add_all(covered.within(eof, u64::MAX));
    if !beyond.is_empty() {
        let message = "the range reaches beyond the last page of the file: nothing can be stored or \
                       synced there";
        call.reporter.tell(Finding::BeyondEof, &beyond, message);
    }
}

/// What was stored to in the mappings that the call concerns, and is not in its range.
#[inline(never)]
fn outside(call: &Call<'_>, file: Cached<'_>, track: &Track, covered: &Ranges) {
    let mut outside = Ranges::new();
    mappings::lock().for_each_of(call.reporter.file, 0, |entry| {
        let concerned = entry.start < call.end && call.addr < entry.end && entry.writable;
        for range in track
            .owed
            .within(entry.offset, entry.offset + entry.len() as u64)
            .filter(|_| concerned)
        {
            let _ = dirty::unstable(file, range.offset, range.end(), &mut outside);
        }
        true
    });
    outside.remove_all(covered);
    if !outside.is_empty() {
        let message =
            "these pages of the same mapping are dirty and not in the range of this msync";
        call.reporter.tell(Finding::OutsideRange, &outside, message);
    }
}

/// Nothing was stored in the range since this thread's last msync, and nothing is dirty there.
fn redundant(call: &Call<'_>, file: Cached<'_>, track: &Track, covered: &Ranges) {
    let clean = covered.as_slice().iter().all(|range| {
        let mut owed = track.owed.within(range.offset, range.end());
        owed.next().is_none()
            && cachestat(file, range.offset, range.length)
                .is_ok_and(|stat| stat.dirty + stat.writeback == 0)
    });
    if clean && !covered.is_empty() {
        let message = "nothing was stored in this range since the last msync of the file by this \
                       thread";
        call.reporter
            .tell(Finding::Redundant, &Ranges::new(), message);
    }
}
