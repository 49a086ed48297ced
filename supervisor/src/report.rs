//! The records of an msync: the same as the library's.

use crate::call::{Began, Call, Ended, Snapshot, dev, record};
use crate::file::File;
use crate::image::{Image, lock};
use crate::log::Log;
use crate::stats::{Done, Name};
use keepmydata_promise::{self as promise, Event, Told, words};
use keepmydata_records::{
    Errno as ErrnoName, FindingCounts, HexU64, Level, LineBuf, Record, Stats, event, flags,
};
use rustix::io::Errno;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Adds what there is to say of a step.
type Fill<'a> = &'a dyn for<'r> Fn(&mut Record<'r>, &'r Snapshot);

/// One step of an msync, at debug.
pub fn step(
    log: &Log,
    at: &Snapshot,
    what: &'static str,
    began: Began,
    result: Result<(), Errno>,
    fill: Fill<'_>,
) {
    if log.has(Level::Info) {
        at.image.numbers.step(name(at), what, began.elapsed());
    }
    if !log.has(Level::Debug) {
        return;
    }
    let mut record = at.record(Level::Debug, what);
    began.stamp(&mut record);
    answer(&mut record, result);
    fill(&mut record, at);
    log.emit(&at.image, &record);
}

/// The dirty ranges were asked for.
pub fn learnt(log: &Log, at: &Snapshot, began: Began) {
    step(log, at, event::DIRTY, began, Ok(()), &|record, at| {
        fill_dirty(record, at);
        record.message = at.known.chosen.into();
    });
}

/// Of whose file the numbers are.
fn name(call: &Call) -> Name {
    name_of(&call.file)
}

pub fn name_of(file: &File) -> Name {
    Name {
        dev: file.dev,
        ino: file.ino,
        path: file.path.clone(),
    }
}

/// Another thread's flush served the call.
pub fn served(log: &Log, call: &Call, outcome: Result<(), Errno>) {
    if !log.has(Level::Info) {
        return;
    }
    call.image.numbers.called(name(call));
    let by_name = by_name(call.flags);
    let mut record = call.record(Level::Info, event::MSYNC);
    arguments(&mut record, call, &by_name);
    answer(&mut record, outcome);
    record.reason = "served by another thread's flush, begun after this call".into();
    log.emit(&call.image, &record);
}

/// An msync that the kernel is let do alone.
pub fn passed(log: &Log, image: &Image, tid: i32, (addr, len, bits): (u64, u64, i32)) {
    if !log.has(Level::Info) {
        return;
    }
    let by_name = by_name(bits);
    let mut record = record(image, tid, Level::Info, event::MSYNC);
    record.addr = Some(HexU64(addr));
    record.length = Some(len);
    record.flags = by_name.as_str().into();
    record.reason = "passed through".into();
    log.emit(image, &record);
}

/// All steps are done.
pub fn ended(log: &Log, ended: &Ended, told: Told) {
    doubt(log, ended, told);
    let outcome = ended.result();
    if outcome.is_err() || ended.verdicts.uncertain > 0 || ended.verdicts.stale > 0 {
        report(log, ended, outcome);
    }
    if !log.has(Level::Info) || ended.settles {
        return;
    }
    let done = Done {
        flushed: ended.dirty_pages(),
        verified: ended.verdicts.verified + ended.verdicts.newer,
        dropped: ended.dropped_pages.unwrap_or(0),
        ns: ended.began.elapsed(),
    };
    ended.image.numbers.ended(name(ended), &done);
    let by_name = by_name(ended.flags);
    let mut record = ended.record(Level::Info, event::MSYNC);
    arguments(&mut record, ended, &by_name);
    answer(&mut record, outcome);
    fill_dirty(&mut record, ended);
    record.dropped_pages = ended.dropped_pages;
    record.cached_pages = ended.cached_pages;
    record.reason = words::why(&ended.facts, ended.known.reason).into();
    record.verdicts = ended.verify.then_some(ended.verdicts);
    record.rung = ended.facts.healed.filter(|_| outcome.is_ok());
    log.emit(&ended.image, &record);
}

/// The page table of what is stale or uncertain.
fn report(log: &Log, ended: &Ended, outcome: Result<(), Errno>) {
    let level = match outcome {
        Err(_) => Level::Error,
        Ok(()) => Level::Warn,
    };
    if !log.has(level) {
        return;
    }
    let mut message = String::new();
    words::describe(&mut message, ended, "still cached", "");
    let mut record = ended.record(level, event::REPORT);
    ended.began.stamp(&mut record);
    record.addr = Some(HexU64(ended.addr));
    record.length = Some(ended.len);
    record.offset = Some(ended.offset);
    answer(&mut record, outcome);
    record.verdicts = ended.verify.then_some(ended.verdicts);
    record.reason = words::why(&ended.facts, ended.known.reason).into();
    record.message = message.into();
    record.dirty = ended.evidence.pages.as_slice().into();
    record.dirty_pages = Some(ended.evidence.pages.pages());
    record.pages = ended.evidence.rows.as_slice().into();
    log.emit(&ended.image, &record);
}

/// What must not be silent: an msync that returned 0 without a proof.
fn doubt(log: &Log, ended: &Ended, told: Told) {
    if ended.result().is_err() || ended.settles {
        return;
    }
    if told.pages > 0 {
        let mut message = String::new();
        words::told(&mut message, told.pages);
        warn(log, ended, message);
    }
    if told.failed {
        let mut message = String::new();
        words::failed(&mut message);
        warn(log, ended, message);
    }
    let pages = ended.unknown_pages();
    if pages == 0 {
        return;
    }
    count_doubt(&ended.image, pages);
    if ended.file.doubted.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut message = String::new();
    words::doubt(&mut message, ended, ended.known.reason, "");
    warn(log, ended, message);
}

fn count_doubt(image: &Image, pages: u64) {
    let mut doubts = lock(&image.doubts);
    doubts.msyncs += 1;
    doubts.pages += pages;
}

fn warn(log: &Log, ended: &Ended, message: String) {
    let mut record = ended.record(Level::Warn, event::DOUBT);
    record.verdicts = ended.verify.then_some(ended.verdicts);
    record.message = message.into();
    log.notice(&ended.image, &record);
}

/// An msync that the kernel does alone, because nothing can be known of what it is about: `why`.
pub fn unreachable(log: &Log, image: &Image, tid: i32, pages: u64, path: &[u8], why: &str) {
    let first = lock(&image.doubts).msyncs == 0;
    count_doubt(image, pages);
    if !first {
        return;
    }
    let mut record = record(image, tid, Level::Warn, event::DOUBT);
    record.path = path.into();
    let mut message = String::new();
    let _ = write!(
        message,
        "msync was left to the kernel, and its result is not proved: {why}. KEEPMYDATA_UNCERTAIN=error makes msync fail then"
    );
    record.message = message.into();
    log.notice(image, &record);
}

/// The image is gone: its summary, and how many doubts there were.
pub fn at_end(log: &Log, image: &Image) {
    if log.has(Level::Info) && !image.summarised.swap(true, Ordering::Relaxed) {
        summary(log, image);
    }
    let doubts = std::mem::take(&mut *lock(&image.doubts));
    if doubts.msyncs == 0 {
        return;
    }
    let mut message = String::new();
    words::doubts(&mut message, doubts.msyncs, doubts.pages);
    let mut record = record(image, image.pid, Level::Warn, event::DOUBT);
    record.message = message.into();
    log.notice(image, &record);
}

/// A line for each file, and one for the process, as the library's are.
fn summary(log: &Log, image: &Image) {
    let emit = |name: Option<&Name>, stats: Stats, findings: FindingCounts, message: &str| {
        let mut record = record(image, image.pid, Level::Info, event::SUMMARY);
        if let Some(name) = name {
            record.path = name.path.as_slice().into();
            record.dev = Some(dev(name.dev));
            record.ino = Some(name.ino);
        }
        record.stats = Some(stats);
        record.findings = Some(findings).filter(|counts| !counts.is_empty());
        record.message = message.into();
        log.emit(image, &record);
    };
    let mut found = FindingCounts::default();
    let numbers = image.numbers.take();
    let (others, mut files): (Vec<_>, Vec<_>) =
        numbers.into_iter().partition(|(name, _)| name.is_none());
    files.sort_by(|(one, _), (other, _)| {
        let path = |name: &Option<Name>| name.as_ref().map(|name| name.path.clone());
        path(one).cmp(&path(other))
    });
    files
        .iter()
        .for_each(|(name, kept)| emit(name.as_ref(), kept.stats, kept.findings, ""));
    others
        .iter()
        .for_each(|(_, kept)| emit(None, kept.stats, kept.findings, "other files"));
    for (_, kept) in files.iter().chain(&others) {
        for (sum, count) in found.0.iter_mut().zip(kept.findings.0) {
            *sum += count;
        }
    }
    let (minor, major) = image.faults();
    let stats = Stats {
        minor_faults: minor,
        major_faults: major,
        ..Stats::default()
    };
    emit(None, stats, found, "the process");
}

/// A line of the log about the image, at `level`.
pub fn say(log: &Log, image: &Image, tid: i32, level: Level, event: &str, message: &str) {
    let mut record = record(image, tid, level, event);
    record.message = message.into();
    log.emit(image, &record);
}

fn by_name(bits: i32) -> LineBuf<{ flags::LONGEST }> {
    let mut text = LineBuf::new();
    let _ = write!(text, "{}", flags::msync(bits));
    text
}

fn arguments<'a>(record: &mut Record<'a>, call: &Call, by_name: &'a LineBuf<{ flags::LONGEST }>) {
    call.began.stamp(record);
    record.addr = Some(HexU64(call.addr));
    record.length = Some(call.len);
    record.offset = Some(call.offset);
    record.flags = by_name.as_str().into();
}

fn answer(record: &mut Record<'_>, result: Result<(), Errno>) {
    record.result = Some(if result.is_ok() { 0 } else { -1 });
    record.errno = result.err().map(|errno| ErrnoName(errno.raw_os_error()));
}

fn fill_dirty<'a>(record: &mut Record<'a>, at: &'a Snapshot) {
    record.tracker = at.known.tracker.into();
    record.dirty = at.dirty.as_slice().into();
    record.dirty_pages = Some(at.dirty_pages());
    record.reason = at.known.reason.into();
}

/// For what judges.
pub struct Watcher<'a>(pub &'a Log);

impl promise::Observer<Call> for Watcher<'_> {
    type Began = Began;

    fn begin(&self) -> Began {
        Began::now()
    }

    fn tell(&self, at: &Snapshot, began: Began, what: Event) {
        let log = self.0;
        match what {
            Event::Flushed(result) => step(log, at, event::FDATASYNC, began, result, &|_, _| {}),
            Event::Synced(result) => step(log, at, event::FSYNC, began, result, &|_, _| {}),
            Event::Compared(result) => step(log, at, event::VERIFY, began, result, &|_, _| {}),
            Event::Healed {
                rung,
                before,
                after,
                result,
            } => {
                if log.has(Level::Info) {
                    let pages = before.stale.saturating_sub(after.stale);
                    at.image.numbers.healed(name(at), pages as u64);
                }
                step(log, at, event::HEAL, began, result, &|record, _| {
                    record.rung = Some(rung);
                    let cured = before.total().saturating_sub(after.total());
                    let message = format!(
                        "{cured} of {} wrong pages cured; {} stale, {} uncertain, {} stored to meanwhile",
                        before.total(),
                        after.stale,
                        after.uncertain,
                        after.racing
                    );
                    record.message = message.into();
                })
            }
        }
    }
}
