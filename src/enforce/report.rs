//! Step 7: records of an msync, of its steps, and the page table of what is not safe.

use super::context::{Context, ROWS};
use super::copy::State;
use super::metrics;
use super::verify::Unsettled;
use crate::dirty::{self, Query, Tracker};
use crate::helper::Worker;
use crate::log::{self, Count, FileName, Timer};
use crate::mappings;
use crate::{process, sys};
use keepmydata_records::{
    Content, Errno as Name, Finding, HexBytes, HexU64, Level, LineBuf, PageRow, Record, Rung,
    Verdict, event, flags, page_hash,
};
use rustix::io::Errno;

/// One step of an msync, at debug.
pub fn step(
    worker: &Worker,
    context: &Context,
    what: &'static str,
    timer: Timer,
    result: Result<(), Errno>,
) {
    let timed = timer.stop();
    metrics::step(context, what, timed);
    if !log::enabled(Level::Debug) {
        return;
    }
    let name = FileName::of(&context.file);
    let mut record = of_context(worker, context, &name, Level::Debug, what);
    timed.stamp(&mut record);
    answer(&mut record, result);
    match what {
        event::DIRTY => {
            fill_dirty(&mut record, context);
            record.message = context.chosen.into();
        }
        event::DROP => {
            record.dropped_pages = context.dropped_pages;
            record.cached_pages = context.cached_pages;
        }
        event::COPY => record.dirty_pages = Some(context.copies.pages() as u64),
        _ => {}
    }
    log::emit(worker, &record);
}

/// The real msync, at debug.
pub fn flush(worker: &Worker, context: &Context) {
    let Some((timed, result)) = context.real else {
        return;
    };
    metrics::step(context, event::FLUSH, timed);
    if !log::enabled(Level::Debug) {
        return;
    }
    let name = FileName::of(&context.file);
    let mut record = of_context(worker, context, &name, Level::Debug, event::FLUSH);
    timed.stamp(&mut record);
    record.addr = Some(HexU64(context.addr as u64));
    record.length = Some(context.len as u64);
    answer(&mut record, result);
    log::emit(worker, &record);
}

/// Stores that raced with this msync, at info: it promises nothing for them.
pub fn race(worker: &Worker, context: &mut Context) {
    if !log::enabled(Level::Info) {
        return;
    }
    let timer = Timer::start();
    let query = Query::of(worker, &context.file, context.handle);
    context.cached.clear();
    // Where the marks are there for the findings, they say it exactly.
    let marked = dirty::wants_pagemap(context.traits);
    let tracker = match marked {
        true => Some(Tracker::Pagemap),
        false => context.tracker,
    };
    let asked = dirty::stored_since(&query, tracker, &mut context.cached)
        .or_else(|_| dirty::stored_since(&query, context.tracker, &mut context.cached));
    if asked.is_err() || context.cached.is_empty() {
        return;
    }
    let name = FileName::of(&context.file);
    let mut record = of_context(worker, context, &name, Level::Info, event::RACE);
    timer.stamp(&mut record);
    record.tracker = context.tracker.map_or("", Tracker::name).into();
    record.dirty = context.cached.as_slice().into();
    record.dirty_pages = Some(context.cached.bytes() / sys::page_size() as u64);
    if let Some(reporter) = metrics::reporter(worker, context) {
        reporter.slot.count(Finding::Race);
        record.code = Finding::Race.code().into();
    }
    record.message = "stored to while msync ran: dirty again, and not covered by it".into();
    log::emit(worker, &record);
}

/// The second look at what was verified: at error where it is wrong now, else at debug.
pub fn reverified(worker: &Worker, context: &mut Context, timer: Timer, result: Result<(), Errno>) {
    context.verdicts = Default::default();
    for page in 0..context.copies.pages() {
        match context.copies.state(page) {
            State::Verified => context.verdicts.count(Verdict::Verified),
            State::Stale => context.verdicts.count(Verdict::Stale),
            _ => {}
        }
    }
    let wrong = context.verdicts.stale > 0;
    let level = if wrong { Level::Error } else { Level::Debug };
    if !log::enabled(level) {
        return;
    }
    fill_rows(worker, context);
    let name = FileName::of(&context.file);
    let mut record = of_context(worker, context, &name, level, event::REVERIFY);
    timer.stamp(&mut record);
    answer(&mut record, result);
    record.verdicts = Some(context.verdicts);
    record.dirty = context.cached.as_slice().into();
    record.pages = context.rows[..context.row_count].into();
    if wrong {
        record.message = "verified when msync returned 0, and something else now, without a store \
                          of this process since: an older write applied late, or another process"
            .into();
    }
    log::emit(worker, &record);
}

/// What was verified is not looked at a second time, at warn.
pub fn not_reverified(worker: &Worker, context: &Context) {
    if !log::enabled(Level::Warn) {
        return;
    }
    let name = FileName::of(&context.file);
    let mut record = of_context(worker, context, &name, Level::Warn, event::REVERIFY);
    record.reason =
        "left out: more copies wait for their second look than KEEPMYDATA_COPY_BUDGET allows, or \
                     more msyncs than 256"
            .into();
    log::emit(worker, &record);
}

/// One rung of the healing ladder, at debug.
pub fn healed(
    worker: &Worker,
    context: &Context,
    rung: Rung,
    timer: Timer,
    result: Result<(), Errno>,
    before: Unsettled,
    after: Unsettled,
) {
    let timed = timer.stop();
    metrics::step(context, event::HEAL, timed);
    metrics::healed(context, before.stale.saturating_sub(after.stale));
    if !log::enabled(Level::Debug) {
        return;
    }
    let name = FileName::of(&context.file);
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
    let mut record = of_context(worker, context, &name, Level::Debug, event::HEAL);
    timed.stamp(&mut record);
    answer(&mut record, result);
    record.rung = Some(rung);
    record.message = message.as_str().into();
    log::emit(worker, &record);
}

/// The msync as a whole: at info; where data is not safe, the report at error, and what
/// `KEEPMYDATA_ON_FAILURE` asks for.
pub fn msync(worker: &Worker, context: &mut Context) {
    let outcome = context.outcome();
    if outcome.is_err() || context.verdicts.uncertain > 0 || context.verdicts.stale > 0 {
        report(worker, context, outcome);
    }
    let healed_error = outcome.is_ok() && context.healed.is_some();
    if log::enabled(Level::Info) && !context.settles {
        let name = FileName::of(&context.file);
        let mut by_name = LineBuf::<{ flags::LONGEST }>::new();
        log::text(
            &mut by_name,
            format_args!("{}", flags::msync(context.flags)),
        );
        let mut record = of_context(worker, context, &name, Level::Info, event::MSYNC);
        context.timer.stamp(&mut record);
        arguments(&mut record, context, &by_name);
        // What the kernel said of the arguments is what the program is told.
        let refused = context.real.and_then(|(_, real)| real.err());
        let refused = refused.filter(|errno| !sys::vm::is_failure(*errno));
        answer(&mut record, refused.map_or(outcome, Err));
        fill_dirty(&mut record, context);
        record.dropped_pages = context.dropped_pages;
        record.cached_pages = context.cached_pages;
        if context.verify {
            record.verdicts = Some(context.verdicts);
        }
        if healed_error {
            record.rung = context.healed;
        }
        log::emit(worker, &record);
    }
}

/// An msync that another thread's flush served.
pub fn shared(context: &Context, outcome: Result<(), Errno>) {
    if !log::enabled(Level::Info) {
        return;
    }
    let name = FileName::of(&context.file);
    let mut by_name = LineBuf::<{ flags::LONGEST }>::new();
    log::text(
        &mut by_name,
        format_args!("{}", flags::msync(context.flags)),
    );
    let process = process::this();
    let mut record = log::record(process, Level::Info, context.tid, event::MSYNC);
    name.fill(&mut record);
    record.call = Some(context.call);
    context.timer.stamp(&mut record);
    arguments(&mut record, context, &by_name);
    answer(&mut record, outcome);
    record.reason = "served by another thread's flush, begun after this call".into();
    log::emit_from_program(&record);
}

/// An msync that is passed through: MS_ASYNC, `KEEPMYDATA_ENFORCE=off`, a vfork child.
pub fn watched(addr: usize, len: usize, bits: i32, result: i32, timer: Timer) {
    if !log::enabled(Level::Info) {
        return;
    }
    // SAFETY: errno of this thread, which made the call.
    let errno = (result != 0).then(|| Name(unsafe { *libc::__errno_location() }));
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

fn of_context<'a>(
    worker: &Worker,
    context: &Context,
    name: &'a FileName,
    level: Level,
    what: &'a str,
) -> Record<'a> {
    let mut record = log::record(worker.process(), level, context.tid, what);
    name.fill(&mut record);
    record.call = Some(context.call);
    record
}

fn arguments<'a, const N: usize>(
    record: &mut Record<'a>,
    context: &Context,
    by_name: &'a LineBuf<N>,
) {
    record.addr = Some(HexU64(context.addr as u64));
    record.length = Some(context.len as u64);
    record.offset = Some(context.offset);
    record.flags = by_name.as_str().into();
}

fn answer(record: &mut Record<'_>, result: Result<(), Errno>) {
    record.result = Some(if result.is_ok() { 0 } else { -1 });
    record.errno = result.err().map(|errno| Name(errno.raw_os_error()));
}

fn fill_dirty<'a>(record: &mut Record<'a>, context: &'a Context) {
    record.tracker = context.tracker.map_or("", Tracker::name).into();
    record.dirty = context.dirty.as_slice().into();
    record.dirty_pages = Some(context.dirty.bytes() / sys::page_size() as u64);
    record.reason = context.reason.into();
}

/// The page table of what is stale or uncertain: at error where msync fails, else at warn.
fn report(worker: &Worker, context: &mut Context, outcome: Result<(), Errno>) {
    let level = if outcome.is_err() {
        Level::Error
    } else {
        Level::Warn
    };
    if !log::enabled(level) {
        return;
    }
    if outcome.is_ok() {
        fill_rows(worker, context);
    }
    let name = FileName::of(&context.file);
    let mut message = LineBuf::<256>::new();
    describe(&mut message, context, outcome);
    let mut record = of_context(worker, context, &name, level, event::REPORT);
    context.timer.stamp(&mut record);
    record.addr = Some(HexU64(context.addr as u64));
    record.length = Some(context.len as u64);
    record.offset = Some(context.offset);
    answer(&mut record, outcome);
    record.verdicts = context.verify.then_some(context.verdicts);
    record.reason = context.reason.into();
    record.message = message.as_str().into();
    // Every page that is not safe, where the table shows the first ones.
    record.dirty = context.cached.as_slice().into();
    record.dirty_pages = Some(context.cached.bytes() / sys::page_size() as u64);
    record.pages = context.rows[..context.row_count].into();
    log::emit(worker, &record);
}

fn describe(message: &mut LineBuf<256>, context: &Context, outcome: Result<(), Errno>) {
    let lost = context.lost_pages;
    let (stale, uncertain) = (context.verdicts.stale, context.verdicts.uncertain);
    match outcome {
        Err(_) if lost > 0 => log::text(
            message,
            format_args!(
                "the kernel dropped {} that it had not written; msync fails until the file is unmapped",
                Count(lost, "page")
            ),
        ),
        Err(_) if context.lost != 0 => log::text(
            message,
            format_args!("an earlier sync lost pages; msync fails until the file is unmapped"),
        ),
        Err(_) if context.flush_error.is_some() => log::text(
            message,
            format_args!("writeback failed; the data is still in memory, and dirty again"),
        ),
        Err(_) if stale == 0 && context.refused != 0 => log::text(
            message,
            format_args!(
                "of this file {} for which a sync has failed before {} neither proved nor stored anew",
                Count(context.refused_pages, "page"),
                if context.refused_pages == 1 {
                    "is"
                } else {
                    "are"
                },
            ),
        ),
        Err(_) if stale == 0 && context.cause.is_none() => log::text(
            message,
            format_args!(
                "{} left the page cache before they could be compared, or could not be read \
                 back: nobody can tell whether the filesystem holds them, and KEEPMYDATA_UNCERTAIN=error",
                Count(uncertain, "page")
            ),
        ),
        Err(_) if context.cause.is_some() => log::text(
            message,
            format_args!(
                "the filesystem failed to write and does not hold the data: {stale} stale, \
                 {uncertain} uncertain pages; they are dirty again, nothing was dropped"
            ),
        ),
        Err(_) => log::text(
            message,
            format_args!(
                "the filesystem acknowledged the sync and does not hold the data: {stale} stale, \
                 {uncertain} uncertain pages; they are dirty again, nothing was dropped"
            ),
        ),
        Ok(()) if uncertain == context.refilled_pages => log::text(
            message,
            format_args!(
                "synced, but the page cache was dropped since the last sync (another process \
                 opened or changed the file): what was stored before that may be missing from {}",
                Count(uncertain, "page")
            ),
        ),
        Ok(()) => log::text(
            message,
            format_args!(
                "{} left the page cache before they could be compared: the \
                 filesystem holds newer data of another process, or has lost data",
                Count(uncertain, "page")
            ),
        ),
    }
}

/// Fills the page table, which reads back what is not safe, and `cached` with the ranges of every page
/// that belongs in it. On the way of an msync that fails: before the pages are made dirty again.
pub fn fill_rows(worker: &Worker, context: &mut Context) {
    context.cached.clear();
    for page in 0..context.copies.pages() {
        let verdict = match context.copies.state(page) {
            State::Stale => Verdict::Stale,
            State::Racing if context.copies.copy(page).is_some() => Verdict::Stale,
            State::Racing | State::Uncertain | State::Gone | State::Unread | State::Refilled => {
                Verdict::Uncertain
            }
            _ => continue,
        };
        let (start, _) = context.copies.place_of(page);
        context.cached.add(start, start + sys::page_size() as u64);
        if context.row_count < ROWS
            && let Some(row) = row(worker, context, page, verdict)
        {
            context.rows[context.row_count] = row;
            context.row_count += 1;
        }
    }
}

fn row(worker: &Worker, context: &Context, page: usize, verdict: Verdict) -> Option<PageRow> {
    let handle = worker.borrow_handle(&context.handle)?;
    let size = sys::fd::size(handle).unwrap_or(0);
    let (start, _) = context.copies.place_of(page);
    let end = (start + sys::page_size() as u64).min(size.max(start));
    let mut row = PageRow {
        page: start / sys::page_size() as u64,
        start,
        end,
        verdict,
        ..PageRow::default()
    };
    if context.copies.state(page) == State::Gone {
        return Some(row);
    }
    let buffer = &mut context.copies.buffer()[..sys::page_size()];
    let read = sys::fd::read_back(handle, buffer, start).unwrap_or(0);
    let actual = &context.copies.buffer()[..read.min((end - start) as usize)];
    row.expected_hash = Some(HexU64(context.copies.hash_at_copy(page)));
    row.actual_hash = Some(HexU64(page_hash(actual)));
    if let Some(expected) = context.copies.copy(page) {
        compare(&mut row, &expected[..(end - start) as usize], actual);
    }
    Some(row)
}

/// Where and how `actual` differs from `expected`.
fn compare(row: &mut PageRow, expected: &[u8], actual: &[u8]) {
    let differs = |i: &usize| actual.get(*i) != expected.get(*i);
    let Some(first) = (0..expected.len()).find(differs) else {
        // Right by now: a daemon that applies late.
        row.content = Some(Content::New);
        return;
    };
    let last = (first..expected.len()).rev().find(differs).unwrap_or(first);
    let wrong = (first..=last).filter(differs).count();
    row.first_diff = Some(row.start + first as u64);
    row.store_bytes = Some(wrong as u64);
    row.content = Some(match wrong * 2 > last - first {
        true => Content::Old,
        false => Content::Mixed,
    });
    row.expected_hex = Some(hex(&expected[first..]));
    row.actual_hex = Some(hex(actual.get(first..).unwrap_or_default()));
}

fn hex(bytes: &[u8]) -> HexBytes {
    HexBytes::new(&bytes[..bytes.len().min(32)])
}
