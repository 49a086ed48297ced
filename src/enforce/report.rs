//! What the log says of an msync: records of it, of its steps, and the page table of what is not safe.

use super::elsewhere;
use super::request::{Ended, Request, Snapshot};
use crate::dirty::{Ranges, Tracker};
use crate::helper::Worker;
use crate::log::{self, FileName, Timed, Timer};
use crate::mappings;
use crate::{process, sys};
use keepmydata_promise::words::{describe, why};
use keepmydata_promise::{Evidence, Unsettled};
use keepmydata_records::{
    Errno as Name, Finding, HexU64, Level, LineBuf, Record, Rung, Verdicts, event, flags,
};
use rustix::io::Errno;

/// What a second look has found.
pub struct Second<'a> {
    pub result: Result<(), Errno>,
    pub verdicts: Verdicts,
    pub evidence: &'a Evidence,
}

impl Second<'_> {
    /// At which level it is told.
    fn level(&self) -> Level {
        second_level(&self.verdicts)
    }
}

/// At which level a second look is told that found `verdicts`.
fn second_level(verdicts: &Verdicts) -> Level {
    match verdicts.stale {
        0 => Level::Debug,
        _ => Level::Error,
    }
}

/// Adds to a record what there is to say of a step.
pub type Fill<'a> = &'a dyn for<'r> Fn(&mut Record<'r>, &'r Snapshot);

/// One step of an msync, at debug. Not inlined, as others here, because what tells nothing takes little of a stack.
#[inline(never)]
pub fn step(
    worker: &Worker,
    at: &Snapshot,
    what: &'static str,
    timed: Timed,
    result: Result<(), Errno>,
    fill: Fill<'_>,
) {
    let name = FileName::of(&at.file);
    let mut record = of_request(worker, at, &name, Level::Debug, what);
    timed.stamp(&mut record);
    answer(&mut record, result);
    fill(&mut record, at);
    log::emit(worker, &record);
}

/// Stores that raced with this msync, at info: it promises nothing for them.
#[inline(never)]
pub fn raced(worker: &Worker, at: &Snapshot, timed: Timed, ranges: &Ranges, is_counted: bool) {
    let name = FileName::of(&at.file);
    let mut record = of_request(worker, at, &name, Level::Info, event::RACE);
    timed.stamp(&mut record);
    record.tracker = at.known.tracker.map_or("", Tracker::name).into();
    record.dirty = ranges.as_slice().into();
    record.dirty_pages = Some(ranges.pages());
    if is_counted {
        record.code = Finding::Race.code().into();
    }
    record.message = "stored to while msync ran: dirty again, and not covered by it".into();
    log::emit(worker, &record);
}

/// The second look at what was verified: at error where it is wrong now, else at debug.
pub fn reverified(worker: &Worker, request: &Request, timed: Timed, found: &Second<'_>) {
    if !log::enabled(found.level()) {
        return;
    }
    let name = FileName::of(&request.file);
    let mut record = of_request(worker, request, &name, found.level(), event::REVERIFY);
    timed.stamp(&mut record);
    answer(&mut record, found.result);
    record.verdicts = Some(found.verdicts);
    record.dirty = found.evidence.pages.as_slice().into();
    record.pages = found.evidence.rows.as_slice().into();
    if found.verdicts.stale > 0 {
        record.message = "verified when msync returned 0, and something else now, without a store \
                          of this process since: an older write applied late, or another process"
            .into();
    }
    log::emit(worker, &record);
}

/// What was verified is not looked at a second time, at warn.
pub fn not_reverified(worker: &Worker, request: &Request) {
    if !log::enabled(Level::Warn) {
        return;
    }
    let name = FileName::of(&request.file);
    let mut record = of_request(worker, request, &name, Level::Warn, event::REVERIFY);
    record.reason =
        "left out: more copies wait for their second look than KEEPMYDATA_COPY_BUDGET allows, or \
                     more msyncs than 256"
            .into();
    log::emit(worker, &record);
}

/// One rung of the healing ladder, at debug.
#[inline(never)]
pub fn healed(
    worker: &Worker,
    at: &Snapshot,
    rung: Rung,
    timed: Timed,
    result: Result<(), Errno>,
    before: Unsettled,
    after: Unsettled,
) {
    if !log::enabled(Level::Debug) {
        return;
    }
    let mut message = LineBuf::<128>::new();
    log::text(
        &mut message,
        format_args!(
            "{} of {} wrong pages cured; {} stale, {} uncertain, {} stored to meanwhile",
            before.total().saturating_sub(after.total()),
            before.total(),
            after.stale,
            after.uncertain,
            after.racing
        ),
    );
    let name = FileName::of(&at.file);
    let mut record = of_request(worker, at, &name, Level::Debug, event::HEAL);
    timed.stamp(&mut record);
    answer(&mut record, result);
    record.rung = Some(rung);
    record.message = message.as_str().into();
    log::emit(worker, &record);
}

/// The msync as a whole: at info; where data is not safe, the report at error.
pub fn msync(worker: &Worker, ended: &Ended) {
    let outcome = ended.result();
    let is_safe = outcome.is_ok() && ended.verdicts.uncertain == 0 && ended.verdicts.stale == 0;
    if !is_safe && !ended.is_reported {
        report(worker, ended, outcome);
    }
    if !log::enabled(Level::Info) {
        return;
    }
    // What the kernel said of a hole in the range is what the program is told.
    let said = match ended.real {
        Err(errno) if !sys::vm::is_failure(errno) => Err(errno),
        _ => outcome,
    };
    let healed = ended.facts.healed.filter(|_| outcome.is_ok());
    answered(worker, ended, said, &|record| {
        record.dropped_pages = ended.dropped_pages;
        record.cached_pages = ended.cached_pages;
        record.reason = why(&ended.facts, ended.known.reason).into();
        if ended.verify {
            record.verdicts = Some(ended.verdicts);
        }
        record.rung = healed;
    });
}

/// What msync returns to the program, at info.
#[inline(never)]
pub fn answered(
    worker: &Worker,
    at: &Snapshot,
    result: Result<(), Errno>,
    fill: &dyn Fn(&mut Record<'_>),
) {
    if !log::enabled(Level::Info) || at.settles {
        return;
    }
    let name = FileName::of(&at.file);
    let mut by_name = LineBuf::<{ flags::LONGEST }>::new();
    log::text(&mut by_name, format_args!("{}", flags::msync(at.flags)));
    let mut record = of_request(worker, at, &name, Level::Info, event::MSYNC);
    at.timer.stamp(&mut record);
    arguments(&mut record, at, &by_name);
    answer(&mut record, result);
    fill_dirty(&mut record, at);
    fill(&mut record);
    log::emit(worker, &record);
}

/// An msync that another thread's flush served.
pub fn shared(request: &Request, outcome: Result<(), Errno>) {
    if !log::enabled(Level::Info) {
        return;
    }
    let name = FileName::of(&request.file);
    let mut by_name = LineBuf::<{ flags::LONGEST }>::new();
    log::text(
        &mut by_name,
        format_args!("{}", flags::msync(request.flags)),
    );
    let process = process::this();
    let mut record = log::record(process, Level::Info, request.caller.tid, event::MSYNC);
    name.fill(&mut record);
    record.call = Some(request.caller.call);
    request.timer.stamp(&mut record);
    arguments(&mut record, request, &by_name);
    answer(&mut record, outcome);
    record.reason = "served by another thread's flush, begun after this call".into();
    log::emit_from_program(&record);
}

/// An msync that is passed through: MS_ASYNC, `KEEPMYDATA_ENFORCE=off`, a vfork child.
pub fn watched(addr: usize, len: usize, bits: i32, result: i32, timer: Timer) {
    if !log::enabled(Level::Info) {
        return;
    }
    let errno = (result != 0).then(log::errno_now);
    let mut by_name = LineBuf::<{ flags::LONGEST }>::new();
    log::text(&mut by_name, format_args!("{}", flags::msync(bits)));
    let found = mappings::first_in(addr, addr.saturating_add(len.max(1)));
    let name = found.as_ref().map(|entry| FileName::of(&entry.file));
    let process = process::this();
    let mut record = log::record(process, Level::Info, sys::gettid(), event::MSYNC);
    timer.stamp(&mut record);
    if let Some(name) = &name {
        name.fill(&mut record);
    }
    record.offset = found.as_ref().map(|entry| entry.offset);
    record.addr = Some(HexU64(addr as u64));
    record.length = Some(len as u64);
    record.flags = by_name.as_str().into();
    record.result = Some(i64::from(result));
    record.errno = errno;
    record.reason = "passed through".into();
    log::emit_from_program(&record);
}

fn of_request<'a>(
    worker: &Worker,
    request: &Request,
    name: &'a FileName,
    level: Level,
    what: &'a str,
) -> Record<'a> {
    let mut record = log::record(worker.process(), level, request.caller.tid, what);
    name.fill(&mut record);
    record.call = Some(request.caller.call);
    record
}

fn arguments<'a, const N: usize>(
    record: &mut Record<'a>,
    request: &Request,
    by_name: &'a LineBuf<N>,
) {
    fill_range(record, request);
    record.offset = Some(request.offset);
    record.flags = by_name.as_str().into();
}

fn answer(record: &mut Record<'_>, result: Result<(), Errno>) {
    record.result = Some(if result.is_ok() { 0 } else { -1 });
    record.errno = result.err().map(|errno| Name(errno.raw_os_error()));
}

/// Puts the dirty ranges into `record`, and where they come from.
pub fn fill_dirty<'a>(record: &mut Record<'a>, at: &'a Snapshot) {
    record.tracker = at.known.tracker.map_or("", Tracker::name).into();
    record.dirty = at.dirty.as_slice().into();
    record.dirty_pages = Some(at.dirty_pages());
    record.reason = at.known.reason.into();
}

/// Puts the range of the call into `record`.
pub fn fill_range(record: &mut Record<'_>, request: &Request) {
    record.addr = Some(HexU64(request.addr as u64));
    record.length = Some(request.len as u64);
}

/// The page table of what is stale or uncertain: at error where msync fails, else at warn.
#[inline(never)]
fn report(worker: &Worker, ended: &Ended, outcome: Result<(), Errno>) {
    let level = report_level(outcome);
    if !log::enabled(level) {
        return;
    }
    let name = FileName::of(&ended.file);
    let mut message = LineBuf::<256>::new();
    let mut unseen = LineBuf::<160>::new();
    elsewhere::describe(&mut unseen, ended.facts.unseen_errno);
    describe(&mut message, ended, "dirty again", unseen.as_str());
    let mut record = of_request(worker, ended, &name, level, event::REPORT);
    ended.timer.stamp(&mut record);
    fill_range(&mut record, ended);
    record.offset = Some(ended.offset);
    answer(&mut record, outcome);
    record.verdicts = ended.verify.then_some(ended.verdicts);
    record.reason = why(&ended.facts, ended.known.reason).into();
    record.message = message.as_str().into();
    // Every page that is not safe, where the table shows the first ones.
    record.dirty = ended.evidence.pages.as_slice().into();
    record.dirty_pages = Some(ended.evidence.pages.pages());
    record.pages = ended.evidence.rows.as_slice().into();
    log::emit(worker, &record);
}

/// At which level is reported what is not safe.
fn report_level(outcome: Result<(), Errno>) -> Level {
    match outcome {
        Err(_) => Level::Error,
        Ok(()) => Level::Warn,
    }
}
