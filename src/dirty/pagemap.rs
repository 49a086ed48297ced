//! `pagemap`: what this process stored to through its mappings, page by page.
//!
//! Mappings are registered when they are made ([`register`]), write-protected asynchronously; a
//! scan finds the pages that were stored to since the last one. Unlike the page cache's own count,
//! that knows of a store after somebody else, another process or the kernel's flusher, has written
//! the page back: a daemon that lies about it is not found out otherwise. And it knows that a page
//! was stored to and then dropped: its entry is empty, where it should carry a mark.

use super::{Found, Query, Ranges, Tracker};
use crate::custodian::Worker;
use crate::mappings::{self, table::Entry};
use crate::sys::userfaultfd::{self, Find, Region};
use rustix::io::Errno;

/// Larger mappings are not registered, in bytes: each page costs 8 bytes of page table.
const LARGEST: usize = 16 << 30;
/// Runs of pages that one call brings.
const RUNS: usize = 128;

/// userfaultfd `WP_ASYNC` and `PAGEMAP_SCAN`, Linux 6.7. Exact to the page, for this process's
/// stores, and the kernel's on its behalf (a read into the mapping).
pub struct Pagemap;

impl Tracker for Pagemap {
    fn name(&self) -> &'static str {
        "pagemap"
    }

    fn dirty(&self, query: &Query<'_>, into: &mut Found<'_>) -> Result<(), Errno> {
        let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
        query.worker.userfaultfd().ok_or(Errno::OPNOTSUPP)?;
        let size = query.size()?;
        // Under the lock, so that the ranges stay what they are: a scan takes the marks away.
        let mut table = mappings::lock();
        let mut result = Ok(());
        table.update_each(query.file, |entry| {
            if !entry.writable || result.is_err() {
                return;
            }
            if entry.registered == query.generation() {
                result = scan(pagemap, entry, into);
                return;
            }
            // Made by a parent process or moved by mremap: unknown means dirty. From here on known.
            into.guess(query, entry, size);
            entry.registered = register(query.worker, entry.start, entry.len());
        });
        result
    }
}

/// Registers a new mapping; returns the generation to note in its entry, or 0 where the kernel has
/// no such thing or the mapping is too large.
pub fn register(worker: &Worker, start: usize, len: usize) -> u32 {
    let registered = len <= LARGEST
        && worker.pagemap().is_some()
        && worker
            .userfaultfd()
            .is_some_and(|fd| userfaultfd::register(fd, start, len).is_ok());
    match registered {
        true => worker.process().generation(),
        false => 0,
    }
}

/// Adds what was stored to since the last scan, and leaves the marks for the next one.
pub fn stored_since(query: &Query<'_>, into: &mut Ranges) -> Result<(), Errno> {
    let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let mut result = Ok(());
    mappings::lock().for_each_of(query.file, |entry| {
        if entry.writable && entry.registered == query.generation() {
            let (start, end) = (entry.start as u64, entry.end as u64);
            result = each_run(pagemap, start, end, Find::Written, |from, to| {
                into.add(entry.offset + from - start, entry.offset + to - start);
                Ok(())
            });
        }
        result.is_ok()
    });
    result
}

fn scan(
    pagemap: rustix::fd::BorrowedFd<'_>,
    entry: &Entry,
    into: &mut Found<'_>,
) -> Result<(), Errno> {
    let (start, end) = (entry.start as u64, entry.end as u64);
    let dirty = &mut *into.dirty;
    each_run(pagemap, start, end, Find::WrittenAndProtect, |from, to| {
        dirty.add(entry.offset + from - start, entry.offset + to - start);
        Ok(())
    })?;
    find_gone(pagemap, entry, into.dirty, into.gone)
}

/// Adds those of the `dirty` pages, which the last scan found, that have left the page cache since
/// they were stored to: there is no page behind their entries.
pub fn gone_since(query: &Query<'_>, dirty: &Ranges, gone: &mut Ranges) -> Result<(), Errno> {
    let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let mut result = Ok(());
    mappings::lock().for_each_of(query.file, |entry| {
        if entry.writable && entry.registered == query.generation() {
            result = find_gone(pagemap, &entry, dirty, gone);
        }
        result.is_ok()
    });
    result
}

fn find_gone(
    pagemap: rustix::fd::BorrowedFd<'_>,
    entry: &Entry,
    dirty: &Ranges,
    gone: &mut Ranges,
) -> Result<(), Errno> {
    let (start, end) = (entry.start as u64, entry.offset + entry.len() as u64);
    for range in dirty.within(entry.offset, end) {
        let from = start + (range.offset - entry.offset);
        each_run(
            pagemap,
            from,
            from + range.length,
            Find::Absent,
            |from, to| {
                gone.add(entry.offset + from - start, entry.offset + to - start);
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// The runs of `[start, end)`, addresses in the registered mapping `entry`, that were stored to since
/// the last scan. Nothing for a mapping that is not registered.
pub fn for_each_written(
    worker: &Worker,
    entry: &Entry,
    start: usize,
    end: usize,
    mut each: impl FnMut(usize, usize),
) {
    let registered = entry.registered == worker.process().generation();
    if let Some(pagemap) = worker.pagemap().filter(|_| registered) {
        let _ = each_run(
            pagemap,
            start as u64,
            end as u64,
            Find::Written,
            |from, to| {
                each(from as usize, to as usize);
                Ok(())
            },
        );
    }
}

fn each_run(
    pagemap: rustix::fd::BorrowedFd<'_>,
    start: u64,
    end: u64,
    find: Find,
    mut each: impl FnMut(u64, u64) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut at = start;
    while at < end {
        let mut runs = [Region::default(); RUNS];
        let (count, next) = userfaultfd::scan(pagemap, at, end, find, &mut runs)?;
        for run in &runs[..count] {
            each(run.start, run.end)?;
        }
        if next <= at {
            break;
        }
        at = next;
    }
    Ok(())
}
