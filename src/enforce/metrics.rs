//! What one msync adds to the statistics and to the findings.

use super::request::{Ended, Request, Snapshot};
use crate::findings::{self, Call, Reporter, Scanned};
use crate::helper::Worker;
use crate::log::Timed;
use crate::stats::{self, Number};
use crate::sys;
use keepmydata_records::event;

/// After the dirty ranges were asked for, before the real msync. On a helper thread.
pub fn begin(worker: &Worker, at: &Snapshot) {
    let Some(slot) = at.known.slot else { return };
    if at.settles {
        if at.sees_stores {
            findings::note_stored(slot, &at.dirty);
        }
        return;
    }
    slot.add(Number::Msyncs, 1);
    slot.add(Number::PagesFlushed, at.dirty_pages());
    if let Some(call) = call(worker, at) {
        let scanned = at.sees_stores.then_some(Scanned {
            stored: &at.dirty,
            assumed_dirty: &at.assumed_dirty,
        });
        findings::begin(&call, scanned);
    }
}

/// One step took so long.
pub fn step(at: &Snapshot, what: &str, timed: Timed) {
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
    if let Some(slot) = at.known.slot {
        slot.add(number, timed.ns());
    }
}

/// Pages that a rung of healing found right that were wrong.
pub fn healed(at: &Snapshot, pages: usize) {
    if let Some(slot) = at.known.slot {
        slot.add(Number::PagesHealed, pages as u64);
    }
}

/// After all steps. On a helper thread.
pub fn done(worker: &Worker, ended: &Ended) {
    let Some(slot) = ended.known.slot else { return };
    let verdicts = &ended.verdicts;
    slot.add(Number::PagesVerified, verdicts.verified + verdicts.newer);
    if ended.settles {
        return;
    }
    slot.add(Number::PagesDropped, ended.dropped_pages.unwrap_or(0));
    slot.add(Number::MsyncNs, ended.timer.elapsed());
    if let Some(call) = call(worker, ended) {
        findings::done(&call, ended.result());
    }
}

/// Another thread's flush served it. On a thread of the program's.
pub fn served(request: &Request) {
    if let Some(slot) = stats::slot(&request.file) {
        findings::served(slot, &request.file, request.addr, end(request));
    }
}

/// Who tells of a finding of this msync.
pub fn reporter<'a>(worker: &'a Worker, at: &'a Snapshot) -> Option<Reporter<'a>> {
    Some(Reporter {
        worker,
        slot: at.known.slot?,
        file: &at.file,
        tid: at.caller.tid,
        call: Some(at.caller.call),
    })
}

fn call<'a>(worker: &'a Worker, at: &'a Snapshot) -> Option<Call<'a>> {
    Some(Call {
        reporter: reporter(worker, at)?,
        handle: at.known.handle,
        addr: at.addr,
        end: end(at),
    })
}

fn end(request: &Request) -> usize {
    let len = sys::page_up(request.len as u64) as usize;
    request.addr.saturating_add(len)
}
