//! Findings (docs/findings.md), as far as they can be known from outside: where stores are tracked page by page.

use crate::call::{Call, Snapshot, dev, record};
use crate::file::File;
use crate::image::{Image, lock};
use crate::log::Log;
use crate::maps::Area;
use crate::marks;
use crate::report::name_of;
use keepmydata_promise::cached_pages;
use keepmydata_ranges::Ranges;
use keepmydata_records::{Finding, Level, event};
use keepmydata_sys as sys;
use std::sync::Arc;

/// What an msync leaves out, or asks for in vain. `areas` are the mappings of its file; what was stored to is not yet flushed.
pub fn before_flush(log: &Log, at: &Snapshot, areas: &[Area]) {
    if !log.has(Level::Info) || at.settles {
        return;
    }
    let end = at.addr.saturating_add(sys::page_up(at.len)) as usize;
    let start = at.addr as usize;
    let concerned = areas
        .iter()
        .filter(|area| area.writable && area.overlaps(start, end));
    let (mut covered, mut mapped) = (Ranges::new(), Ranges::new());
    for area in concerned {
        let (from, to) = (area.start.max(start), area.end.min(end));
        let offset = area.offset + (from - area.start) as u64;
        covered.add(offset, offset + (to - from) as u64);
        mapped.add(area.offset, area.end_offset());
    }
    if let Ok(size) = at.file.size() {
        let mut beyond = Ranges::new();
        beyond.add_all(covered.within(sys::page_up(size), u64::MAX));
        if !beyond.is_empty() {
            let message = "the range reaches beyond the last page of the file: nothing can be stored or synced there";
            tell(log, at, Finding::BeyondEof, &beyond, message);
        }
    }
    if !at.sees_stores {
        return;
    }
    let mut stored = Ranges::new();
    stored.add_all(at.dirty.common(&mapped));
    stored.remove_all(&at.assumed_dirty);
    stored.remove_all(&covered);
    let outside = unstable(&at.file, &stored);
    if !outside.is_empty() {
        let message =
            "these pages of the same mapping are dirty and not in the range of this msync";
        tell(log, at, Finding::OutsideRange, &outside, message);
    }
}

/// The image is about to end: what it has stored to `file` and never synced.
pub fn at_exit(log: &Log, image: &Arc<Image>, file: &Arc<File>, tid: i32) {
    if !log.has(Level::Info) || !marks::are_had(image) {
        return;
    }
    let claim = file.claim(image);
    let mut stored = Ranges::new();
    {
        let state = lock(&claim.state);
        let size = file.size().unwrap_or(0);
        for area in image.maps.of_file(file.inode) {
            let end = state.tracked.get(&area.start).copied().unwrap_or(0);
            let part = marks::inside(&area, size);
            let part = Area {
                end: part.end.min(end).max(part.start),
                ..part
            };
            marks::look(image, &part, &mut stored);
        }
    }
    let pages = unstable(file, &stored);
    if !pages.is_empty() {
        let message = "the process exits, and these pages were stored to and never synced";
        let at = (&**image, &**file, tid, None);
        say(log, at, Finding::ExitUnsynced, &pages, message);
    }
}

fn tell(log: &Log, call: &Call, finding: Finding, pages: &Ranges, message: &str) {
    let at = (&*call.image, &*call.file, call.tid, Some(call.number));
    say(log, at, finding, pages, message);
}

/// Counts a finding and writes its record: of the image and file, by the thread, at the msync of this number.
fn say(
    log: &Log,
    (image, file, tid, call): (&Image, &File, i32, Option<u64>),
    finding: Finding,
    pages: &Ranges,
    message: &str,
) {
    image.numbers.found(name_of(file), finding);
    let mut record = record(image, tid, Level::Info, event::FINDING);
    record.path = file.path.as_slice().into();
    record.dev = Some(dev(file.dev));
    record.ino = Some(file.ino);
    record.call = call;
    record.code = finding.code().into();
    record.dirty = pages.as_slice().into();
    record.dirty_pages = Some(pages.pages());
    record.message = message.into();
    log.emit(image, &record);
}

/// What of `ranges` is dirty in the page cache; nothing where that cannot be told.
fn unstable(file: &File, ranges: &Ranges) -> Ranges {
    let mut found = Ranges::new();
    if let Some(cached) = file.cached() {
        for range in ranges.iter() {
            let _ = cached_pages::add_unstable(cached, range.offset, range.end(), &mut found);
        }
    }
    let mut inside = Ranges::new();
    inside.add_all(found.common(ranges));
    inside
}
