//! Step 1: whether this msync is verified, when its flush begins, what is dirty, and whether the page
//! cache was dropped since the last one.

use super::context::Context;
use super::{debt, report, reverify, snapshot, ticket};
use crate::config;
use crate::dirty::{self, Query, Tracker, eviction_probe};
use crate::handles;
use crate::helper::Worker;
use crate::log::{self, Timer};
use crate::mappings;
use crate::process;
use crate::sys;
use keepmydata_records::{Invalidate, Level, Track, event};
use keepmydata_sync::commit::Begun;
use rustix::io::Errno;

/// Step 1 where there is nothing to learn, on the calling thread; says whether that was all. Else
/// [`prepare`] must follow.
pub fn prepare_here(context: &mut Context) -> bool {
    look_up(context);
    decide(context);
    begin_early(context);
    context.handle.generation == process::this().generation() && !wants_ranges(context)
}

/// Whether anybody wants to know the dirty ranges while all goes well. What a failed flush has not
/// written can be found afterwards by reading back ([`super::fail`]), except on a filesystem that
/// drops such pages, or reads back what it has not written.
fn wants_ranges(context: &Context) -> bool {
    let settings = config::settings();
    context.verify
        || settings.track != Track::Auto
        || settings.invalidate == Invalidate::Dirty
        || settings.reverify_ms.0 > 0
        || log::enabled(Level::Info)
}

/// Begins the flush here where those whom it serves need what is learnt and copied now. Else it
/// begins with fdatasync ([`begin_late`]).
fn begin_early(context: &mut Context) {
    let settings = config::settings();
    let early = context.verify
        || settings.track != Track::Auto
        || settings.reverify_ms.0 > 0
        || log::enabled(Level::Info);
    if early && context.ticket.is_none() {
        ticket::gather(&context.file);
        context.ticket = Some(ticket::begin(&context.file).number);
    }
}

/// Begins the flush, if it has not: right before fdatasync hands everything over. What others have
/// stored by now is added to what was learnt.
pub fn begin_late(worker: &Worker, context: &mut Context) {
    if context.ticket.is_some() {
        return;
    }
    ticket::gather(&context.file);
    let Begun { number, shared } = ticket::begin(&context.file);
    context.ticket = Some(number);
    let file = worker.borrow_cached(&context.handle);
    if let Some(file) = file.filter(|_| shared && context.dirty_known) {
        let size = sys::fd::size(file.fd()).map_or(0, sys::page_up);
        let _ = dirty::unstable(file, 0, size, &mut context.dirty);
    }
}

/// Step 1, on a helper thread.
pub fn prepare(worker: &Worker, context: &mut Context) {
    // A fork child must open the file anew, which drops its page cache on FUSE without KEEP_CACHE: what is
    // to be compared is copied before.
    let opens_late = !context.traits.local_block
        && worker.has_descriptors()
        && context.handle.generation != worker.process().generation();
    if !opens_late {
        find_handle(worker, context);
    }
    decide(context);
    if opens_late {
        context.verify = wants_verification(context);
        context.reason = "";
    }
    begin_early(context);
    context.dirty_known = true;
    let timer = Timer::at(Level::Info);
    let probed = match context.verify {
        true => eviction_probe::ask(worker, &context.file, true),
        false => eviction_probe::Answer::default(),
    };
    let dropped = probed.dropped;
    let query = Query {
        may_be_gone: dropped || probed.unknown,
        ..Query::of(worker, &context.file, context.handle)
    };
    let mut found = dirty::Found {
        dirty: &mut context.dirty,
        absent: &mut context.absent,
        gone: &mut context.gone,
        assumed_dirty: &mut context.assumed_dirty,
    };
    // What is verified always is known from its debt.
    let suspect = context.suspect && !dirty::is_verified(context.traits.local_block);
    (context.tracker, context.chosen) = dirty::learn(&query, context.verify, suspect, &mut found);
    if dropped && !context.tracker.is_some_and(Tracker::sees_stores) {
        dirty::assume_all(&query, &mut found);
    }
    if dropped || probed.unknown {
        // It was in the page cache when it was noted, and may be gone from there since.
        let mut table = mappings::lock_blocked();
        table.get_mut(&context.file).debt.assumed_dirty.clear();
    }
    if context.verify && debt::take(context, dropped) {
        let query = Query::of(worker, &context.file, context.handle);
        context.absent.clear();
        let _ = dirty::absent(&query, &context.dirty, &mut context.absent);
    }
    report::step(worker, context, event::DIRTY, timer, Ok(()));
    reverify::supersede(&context.file, &context.dirty);
    if dropped && suspect {
        mark_unrecoverable(context);
    }
    if context.verify && dirty::is_too_much(&context.assumed_dirty) {
        context.verify = false;
        context.reason = "not verified: too many pages that may be dirty";
    }
    if context.verify && !context.dirty.is_empty() {
        eviction_probe::ensure(worker, &context.file);
        let timer = Timer::at(Level::Info);
        let copied = snapshot::take(worker, context);
        if copied.is_err() {
            context.copies.let_go();
            context.verify = false;
            context.reason = "not verified: out of memory for the copies";
        }
        report::step(worker, context, event::COPY, timer, copied);
        if context.copies.missed > 0 {
            context.reason =
                "not verified in part: too many ranges to witness, or memory that cannot be read";
        }
        context.refilled = dropped || eviction_probe::ask(worker, &context.file, false).dropped;
    }
    if opens_late {
        find_handle(worker, context);
        let reason = context.reason;
        decide(context);
        if context.reason.is_empty() {
            context.reason = reason;
        }
        if let Some(Ok(size)) = worker.borrow_handle(&context.handle).map(sys::fd::size) {
            context.copies.forget_beyond(size);
        }
        if !context.verify {
            context.copies.let_go();
        }
    }
}

fn wants_verification(context: &Context) -> bool {
    (context.suspect || dirty::is_verified(context.traits.local_block)) && !context.traits.dax
}

/// The last sync failed, and the pages that it left dirty were dropped since: they were written to a
/// filesystem that fails, and the next sync has nothing to write and nothing to compare.
fn mark_unrecoverable(context: &mut Context) {
    let mut table = mappings::lock_blocked();
    let file = table.get_mut(&context.file);
    if file.lost == 0 {
        file.lost = Errno::IO.raw_os_error();
    }
    context.lost = file.lost;
}

fn find_handle(worker: &Worker, context: &mut Context) {
    handles::reopen(worker, &context.file);
    look_up(context);
}

/// What is known of the file.
fn look_up(context: &mut Context) {
    let table = mappings::lock_blocked();
    let file = table.get(&context.file);
    context.handle = file.handle;
    context.lost = file.lost;
    context.suspect = file.suspect;
}

/// Whether this msync is verified, and if not, why.
fn decide(context: &mut Context) {
    let has_handle = context.handle.generation == process::this().generation();
    context.verify = wants_verification(context) && has_handle;
    context.reason = match wants_verification(context) {
        _ if context.traits.dax => "not verified, nothing dropped: DAX, there is no page cache",
        true if !has_handle => "not verified: no handle of the file",
        _ => "",
    };
}
