//! Step 1: whether this msync is verified, when its flush begins, what is dirty, and whether the page
//! cache was dropped since the last one.

use super::here::Here;
use super::observer::{self, Event};
use super::request::{Pooled, Request, Snapshot};
use super::{reverify, ticket};
use crate::config;
use crate::dirty::{self, Query, Tracker, eviction_probe};
use crate::handles;
use crate::helper::Worker;
use crate::log::Timer;
use crate::mappings::{
    self,
    untold::{self, By, Whose},
};
use crate::process;
use crate::stats;
use crate::sys;
use keepmydata_promise as promise;
use keepmydata_records::{Invalidate, Level, Track};
use keepmydata_sync::commit::Begun;
use rustix::io::Errno;

/// Step 1 where there is nothing to learn, on the calling thread; says whether that was all. Else
/// [`learn`] must follow.
pub fn begin(request: Pooled<Request>) -> (Pooled<Snapshot>, bool) {
    let terms = request.terms();
    let mut snapshot = Snapshot::begin(request, terms);
    snapshot.known.ticket = snapshot.ticket;
    look_up(&mut snapshot);
    decide(&mut snapshot);
    begin_early(&mut snapshot);
    let has_handle = snapshot.known.handle.generation == process::this().generation();
    let done = has_handle && !wants_ranges(&snapshot) && !observer::wants_ranges();
    (snapshot, done)
}

/// Whether the enforcement needs the dirty ranges while all goes well. What a failed flush has not
/// written can be found afterwards by reading back ([`super::fail`]), except on a filesystem that
/// drops such pages, or reads back what it has not written.
fn wants_ranges(snapshot: &Snapshot) -> bool {
    wants_all_stores(snapshot) || config::settings().invalidate == Invalidate::Dirty
}

/// Whether they must be those of all whom the flush serves.
fn wants_all_stores(snapshot: &Snapshot) -> bool {
    let settings = config::settings();
    snapshot.verify || settings.track != Track::Auto || settings.reverify_ms.0 > 0
}

/// Begins the flush here where those whom it serves need the dirty ranges and copies now. Else it
/// begins with fdatasync ([`begin_late`]).
fn begin_early(snapshot: &mut Snapshot) {
    if wants_all_stores(snapshot) && snapshot.known.ticket.is_none() {
        ticket::gather(&snapshot.file);
        snapshot.known.ticket = Some(ticket::begin(&snapshot.file).number);
    }
}

/// Begins the flush, if it has not: right before fdatasync hands everything over. What others have
/// stored by now is added to those that are known.
pub fn begin_late(worker: &Worker, snapshot: &mut Snapshot) {
    if snapshot.known.ticket.is_some() {
        return;
    }
    ticket::gather(&snapshot.file);
    let Begun { number, shared } = ticket::begin(&snapshot.file);
    snapshot.known.ticket = Some(number);
    let file = worker.borrow_cached(&snapshot.known.handle);
    if let Some(file) = file.filter(|_| shared && snapshot.dirty_known) {
        let size = sys::fd::size(file.fd()).map_or(0, sys::page_up);
        let _ = dirty::unstable(file, 0, size, &mut snapshot.dirty);
    }
}

/// Step 1, on a helper thread.
pub fn learn(worker: &Worker, snapshot: &mut Snapshot) {
    snapshot.known.slot = stats::slot(&snapshot.file);
    // A fork child must open the file anew, which drops its page cache on FUSE without KEEP_CACHE: what is
    // to be compared is copied before.
    let opens_late = !snapshot.terms.local_block
        && worker.has_descriptors()
        && snapshot.known.handle.generation != worker.process().generation();
    if !opens_late {
        find_handle(worker, snapshot);
    }
    decide(snapshot);
    if opens_late {
        snapshot.verify = wants_verification(snapshot);
        snapshot.known.reason = "";
    }
    begin_early(snapshot);
    snapshot.dirty_known = wants_ranges(snapshot);
    let here = Here::new(worker, &snapshot.file, snapshot.known.handle);
    // What is verified always is known from its debt.
    let suspect = snapshot.known.suspect && !dirty::is_verified(snapshot.terms.local_block);
    let dropped = learn_ranges(&here, snapshot, suspect);
    if snapshot.verify && snapshot.terms.waits_elsewhere() {
        add_others(&here, snapshot);
    }
    reverify::supersede(&here.file, &snapshot.dirty);
    if dropped && suspect {
        mark_unrecoverable(snapshot);
    }
    if snapshot.verify && dirty::is_too_much(&snapshot.assumed_dirty) {
        snapshot.verify = false;
        snapshot.known.reason = "not verified: too many pages that may be dirty";
    }
    if snapshot.verify && !snapshot.dirty.is_empty() {
        copy(&here, snapshot);
        let dropped_since = eviction_probe::ask(worker, &here.file, false).dropped;
        if dropped_since && !dropped {
            snapshot.doubt_what_is_assumed();
        }
        snapshot.refilled = dropped || dropped_since;
    }
    if opens_late {
        find_handle(worker, snapshot);
        let reason = snapshot.known.reason;
        decide(snapshot);
        if snapshot.known.reason.is_empty() {
            snapshot.known.reason = reason;
        }
        if let Some(Ok(size)) = worker
            .borrow_handle(&snapshot.known.handle)
            .map(sys::fd::size)
        {
            snapshot.copies.forget_beyond(size);
        }
        if !snapshot.verify {
            snapshot.copies.let_go(&here);
        }
    }
    if snapshot.verify && snapshot.terms.waits_elsewhere() {
        add_to_show(worker, snapshot);
    }
}

/// Learns the dirty ranges; says whether the page cache was dropped since the last time.
fn learn_ranges(here: &Here<'_>, snapshot: &mut Snapshot, suspect: bool) -> bool {
    let timer = Timer::at(Level::Info);
    let verify = snapshot.verify;
    let probed = match verify {
        true => {
            // While the marks are there.
            dirty::ensure_probe(here.worker, &here.file);
            eviction_probe::ask(here.worker, &here.file, true)
        }
        false => eviction_probe::Answer::default(),
    };
    let dropped = probed.dropped;
    let query = Query {
        may_be_gone: dropped || probed.unknown,
        ..here.query()
    };
    snapshot.is_part &=
        verify && !query.may_be_gone && !suspect && dirty::are_all_marked(here.worker, &here.file);
    let (tracker, chosen) = match snapshot.is_part {
        true => (Some(Tracker::Pagemap), "only what is owed by now"),
        false => dirty::learn(&query, verify, suspect, &mut found_in(snapshot)),
    };
    (snapshot.known.tracker, snapshot.known.chosen) = (tracker, chosen);
    snapshot.sees_stores = tracker.is_some_and(Tracker::sees_stores);
    if dropped && !snapshot.sees_stores {
        dirty::assume_all(&query, &mut found_in(snapshot));
    }
    if dropped || probed.unknown {
        let file = snapshot.file.hold();
        let mut table = mappings::lock_blocked();
        table.get_mut(&file).debt.doubt_what_is_assumed();
    }
    if verify && take_debt(snapshot, dropped) {
        find_absent(here, snapshot);
    }
    observer::tell(here.worker, snapshot, Event::DirtyKnown(timer));
    dropped
}

/// What others may have stored through mappings is copied and proved, too, where the other client must be shown it: what is in
/// the page cache, which is little, because the last msync has dropped it; where msync does not drop the file, what is dirty.
#[cold]
fn add_others(here: &Here<'_>, snapshot: &mut Snapshot) {
    let all = config::settings().invalidate == Invalidate::File;
    let others = dirty::assume_others(&here.query(), all, &mut found_in(snapshot));
    if snapshot.sees_stores {
        snapshot.of_others.add_all(others.iter());
    }
    find_absent(here, snapshot);
}

/// What else the other client must be shown: all of the file, whoever changed it; where that would take long, what may have
/// changed. Last: without the handle nobody knows how long the file is.
#[cold]
fn add_to_show(worker: &Worker, snapshot: &mut Snapshot) {
    let here = Here::new(worker, &snapshot.file, snapshot.known.handle);
    let all = config::settings().invalidate == Invalidate::File;
    let most = snapshot.terms.copy_budget;
    dirty::add_to_show(&here.query(), most, all, &mut snapshot.unshown);
    snapshot.leave_out_what_is_copied();
}

/// Where the trackers put what they find.
fn found_in(snapshot: &mut Snapshot) -> dirty::Found<'_> {
    let promise::Snapshot {
        dirty,
        absent,
        gone,
        assumed_dirty,
        ..
    } = snapshot;
    dirty::Found {
        dirty,
        absent,
        gone,
        assumed_dirty,
    }
}

/// There are more dirty ranges than the tracker has found: which of all have no page table entry.
fn find_absent(here: &Here<'_>, snapshot: &mut Snapshot) {
    snapshot.absent.clear();
    let _ = dirty::absent(&here.query(), &snapshot.dirty, &mut snapshot.absent);
}

/// What is owed from before is proved, too; says whether the dirty ranges are more by that.
fn take_debt(snapshot: &mut Snapshot, dropped: bool) -> bool {
    let birth = process::this().birth();
    let file = snapshot.file.hold();
    let mut table = mappings::lock_blocked();
    let more = table.get_mut(&file).debt.take(snapshot, dropped, birth);
    drop(table);
    more
}

fn copy(here: &Here<'_>, snapshot: &mut Snapshot) {
    let timer = Timer::at(Level::Info);
    let copied = promise::take(here, snapshot);
    if copied.is_err() {
        snapshot.copies.let_go(here);
        snapshot.verify = false;
        snapshot.known.reason = "not verified: out of memory for the copies";
    }
    observer::tell(here.worker, snapshot, Event::Copied(timer, copied));
    if snapshot.copies.missed() > 0 {
        snapshot.known.reason =
            "not verified in part: too many ranges to map twice, or memory that cannot be read";
    }
}

fn wants_verification(snapshot: &Snapshot) -> bool {
    let is_verified = dirty::is_verified(snapshot.terms.local_block);
    (snapshot.known.suspect || is_verified) && !snapshot.file.traits.dax
}

/// The last sync failed, and the pages that it left dirty were dropped since: they were written to a
/// filesystem that fails, and the next sync has nothing to write and nothing to compare.
fn mark_unrecoverable(snapshot: &mut Snapshot) {
    let mut table = mappings::lock_blocked();
    let file = table.get_mut(&snapshot.file);
    if file.lost == 0 {
        file.lost = Errno::IO.raw_os_error();
    }
    let lost = file.lost;
    drop(table);
    snapshot.lost = lost;
}

fn find_handle(worker: &Worker, snapshot: &mut Snapshot) {
    handles::reopen(worker, &snapshot.file);
    look_up(snapshot);
}

/// What is known of the file.
fn look_up(snapshot: &mut Snapshot) {
    let (handle, lost, suspect) = {
        let table = mappings::lock_blocked();
        let file = table.get(&snapshot.file);
        (file.handle, file.lost, file.suspect)
    };
    snapshot.known.handle = handle;
    snapshot.known.suspect = suspect;
    snapshot.lost = lost;
    if !snapshot.settles {
        snapshot.untold = untold::peek(Whose::of(&snapshot.file.key), By::Sync);
    }
}

/// Whether this msync is verified, and if not, why.
fn decide(snapshot: &mut Snapshot) {
    let has_handle = snapshot.known.handle.generation == process::this().generation();
    let wanted = wants_verification(snapshot);
    snapshot.terms.is_verified = wanted;
    snapshot.verify = wanted && has_handle;
    snapshot.known.reason = match wanted {
        _ if snapshot.file.traits.dax => {
            "not verified, nothing dropped: DAX, there is no page cache"
        }
        true if !has_handle => "not verified: the file cannot be opened again",
        _ => "",
    };
}
