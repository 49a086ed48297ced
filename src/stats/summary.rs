//! The summary at the end of the process, and the samples that it is made of.

use super::{FILES, Number, Sample, Slot, Track, for_each, known, smaps, store};
use crate::helper::Worker;
use crate::log;
use crate::mappings::{self, file::Key};
use crate::sys::{self, cachestat::cachestat};
use keepmydata_records::{FINDINGS, FindingCounts, Level, LineBuf, Record, Stats, event};

/// Writes the summaries of all files and of the process, which took so many minor and major faults. On a
/// helper thread.
pub fn write(worker: &Worker, tid: i32, (minor, major): (u64, u64)) {
    let Some(store) = store() else { return };
    sample(worker, |_| true);
    let mut all = FindingCounts::default();
    for_each(|slot, key| {
        add(&mut all, slot);
        of_file(worker, tid, slot, &key);
    });
    let files = store.others.get(Number::Files);
    let others = store.others.get(Number::Msyncs) > 0 || files > 0;
    if others {
        add(&mut all, &store.others);
        let mut message = LineBuf::<64>::new();
        log::text(&mut message, format_args!("other files: {files} or more"));
        let mut record = record(worker, tid, store.others.stats(), store.others.findings());
        record.message = message.as_str().into();
        log::emit(worker, &record);
    }
    let stats = Stats {
        minor_faults: Some(minor),
        major_faults: Some(major),
        ..Stats::default()
    };
    let mut record = record(worker, tid, stats, all);
    record.message = "the process".into();
    log::emit(worker, &record);
}

fn record<'a>(worker: &Worker, tid: i32, stats: Stats, findings: FindingCounts) -> Record<'a> {
    let mut record = log::record(worker.process(), Level::Info, tid, event::SUMMARY);
    record.stats = Some(stats);
    record.findings = Some(findings);
    record
}

fn add(all: &mut FindingCounts, slot: &Slot) {
    let findings = slot.findings();
    for i in 0..FINDINGS {
        all.0[i] += findings.0[i];
    }
}

fn of_file(worker: &Worker, tid: i32, slot: &Slot, key: &Key) {
    let Some(track) = slot.track() else { return };
    let sample = track.sample;
    let stats = Stats {
        mapped_bytes: Some(sample.mapped_bytes),
        resident_pages: Some(sample.resident_pages),
        dirty_pages: Some(sample.dirty_pages),
        cached_pages: sample.cached_pages,
        ..slot.stats()
    };
    let mut record = record(worker, tid, stats, slot.findings());
    record.path = track.path[..track.path_len].into();
    record.dev = Some(log::device(key.dev));
    record.ino = Some(key.ino);
    log::emit(worker, &record);
}

/// Before `[start, end)` is unmapped, on a helper thread: where that takes the last mapping of a
/// file, what is known of its mappings is kept for the summary.
pub fn before_unmap(worker: &Worker, start: usize, end: usize) {
    // No more are kept apart.
    let mut last: [Option<Key>; FILES] = [None; FILES];
    {
        let table = mappings::lock();
        table.for_each(start, end, |entry| {
            let key = Some(entry.file.key);
            let mut stays = last.contains(&key) || key.and_then(|key| known(&key)).is_none();
            table.for_each_of(entry.file, 0, |other| {
                stays |= other.start < start || end < other.end;
                !stays
            });
            if !stays && let Some(free) = last.iter_mut().find(|last| last.is_none()) {
                *free = key;
            }
            true
        });
    }
    if last[0].is_some() {
        sample(worker, |key| last.contains(&Some(*key)));
    }
}

/// Samples the files that are `wanted` and mapped now.
fn sample(worker: &Worker, wanted: impl Fn(&Key) -> bool) {
    for_each(|slot, key| {
        if wanted(&key)
            && let Some(cached_pages) = cached(worker, &key)
        {
            with(slot, |track| {
                track.sample = Sample {
                    cached_pages,
                    ..Sample::default()
                }
            });
        }
    });
    let page = sys::page_size() as u64;
    let _ = smaps::for_each(worker, |counts| {
        let mut found = None;
        mappings::lock().for_each(counts.start, counts.end, |entry| {
            found = Some(entry.file.key);
            false
        });
        let slot = found.filter(&wanted).and_then(|key| known(&key));
        if let Some(slot) = slot {
            with(slot, |track| {
                track.sample.mapped_bytes += (counts.end - counts.start) as u64;
                track.sample.resident_pages += counts.resident / page;
                track.sample.dirty_pages += counts.dirty / page;
            });
        }
    });
}

/// Pages of the file of `key` in the page cache, where that can be told; nothing for a file that is
/// not mapped.
fn cached(worker: &Worker, key: &Key) -> Option<Option<u64>> {
    let (_file, handle) = {
        let table = mappings::lock();
        let file = table.find(key)?;
        (file.hold(), table.get(file).handle)
    };
    let stat = worker
        .borrow_cached(&handle)
        .and_then(|file| cachestat(file, 0, 0).ok());
    Some(stat.map(|stat| stat.cached))
}

fn with(slot: &Slot, f: impl FnOnce(&mut Track)) {
    if let Some(mut track) = slot.track() {
        f(&mut track);
    }
}
