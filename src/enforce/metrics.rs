//! What one msync adds to the statistics, and what it has to do with findings.

use super::context::Context;
use crate::findings::{self, Call, Reporter, Scanned};
use crate::helper::Worker;
use crate::log::Timed;
use crate::stats::{self, Number};
use crate::sys;
use keepmydata_records::event;

/// Before all steps. On a helper thread.
pub fn open(context: &mut Context) {
    context.slot = stats::slot(&context.file);
}

/// After the dirty ranges were learnt, before the real msync. On a helper thread.
pub fn begin(worker: &Worker, context: &Context) {
    let Some(slot) = context.slot else { return };
    if context.settles {
        if context.sees_stores() {
            findings::note_stored(slot, &context.dirty);
        }
        return;
    }
    slot.add(Number::Msyncs, 1);
    slot.add(
        Number::PagesFlushed,
        context.dirty.bytes() / sys::page_size() as u64,
    );
    if let Some(call) = call(worker, context) {
        let scanned = context.sees_stores().then_some(Scanned {
            stored: &context.dirty,
            assumed_dirty: &context.assumed_dirty,
        });
        findings::begin(&call, scanned);
    }
}

/// One step took so long.
pub fn step(context: &Context, what: &str, timed: Timed) {
    let number = match what {
        event::DIRTY => Number::DirtyNs,
        event::COPY => Number::CopyNs,
        event::FLUSH => Number::FlushNs,
        event::FDATASYNC => Number::FdatasyncNs,
        event::VERIFY => Number::VerifyNs,
        event::HEAL => Number::HealNs,
        event::DROP => Number::DropNs,
        // Within a rung of healing.
        _ => return,
    };
    if let Some(slot) = context.slot {
        slot.add(number, timed.ns());
    }
}

/// Pages that a rung of healing found right that were wrong.
pub fn healed(context: &Context, pages: usize) {
    if let Some(slot) = context.slot {
        slot.add(Number::PagesHealed, pages as u64);
    }
}

/// After all steps. On a helper thread.
pub fn done(worker: &Worker, context: &Context) {
    let Some(slot) = context.slot else { return };
    let verdicts = &context.verdicts;
    slot.add(Number::PagesVerified, verdicts.verified + verdicts.newer);
    if context.settles {
        return;
    }
    slot.add(Number::PagesDropped, context.dropped_pages.unwrap_or(0));
    slot.add(Number::MsyncNs, context.timer.elapsed());
    if let Some(call) = call(worker, context) {
        findings::done(&call, context.outcome());
    }
}

/// Another thread's flush served it. On a thread of the program's.
pub fn served(context: &Context) {
    if let Some(slot) = stats::slot(&context.file) {
        findings::served(slot, &context.file, context.addr, end(context));
    }
}

/// Who tells of a finding of this msync.
pub fn reporter<'a>(worker: &'a Worker, context: &'a Context) -> Option<Reporter<'a>> {
    Some(Reporter {
        worker,
        slot: context.slot?,
        file: &context.file,
        tid: context.tid,
        call: Some(context.call),
    })
}

fn call<'a>(worker: &'a Worker, context: &'a Context) -> Option<Call<'a>> {
    Some(Call {
        reporter: reporter(worker, context)?,
        handle: context.handle,
        addr: context.addr,
        end: end(context),
    })
}

fn end(context: &Context) -> usize {
    let len = sys::page_up(context.len as u64) as usize;
    context.addr.saturating_add(len)
}
