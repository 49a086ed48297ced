//! `pagemap`: what this process stored to through its mappings, page by page.
//!
//! Mappings are registered when they are made ([`register`]), write-protected asynchronously; a scan finds the pages that were
//! stored to since the last one. Unlike the page cache's own count it still knows of a store after another process or the kernel's
//! flusher has written the page back, to a daemon that may have lied. It also shows a page that was stored to and then dropped:
//! its entry is empty, where it should carry a mark.

use super::reach::{end_ahead, has_untracked, is_short, tracked, untracked};
use super::{Found, LARGEST, Query, Ranges, eviction_probe, locking, mincore};
use crate::helper::Worker;
use crate::mappings::{
    self, Guard,
    file::File,
    table::{Entry, Marks},
};
use crate::sys::cachestat::cachestat;
use crate::sys::userfaultfd::{self, Find, Region, each_run, each_run_while};
use crate::sys::{self, vm};
use core::ops::Range;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Adds what this process stored to since the last scan, and takes the marks away.
///
/// Errors: `EOPNOTSUPP` where it cannot be told, or only by what is cached, and `else_counted`: somebody knows better.
pub fn dirty(query: &Query<'_>, into: &mut Found<'_>, else_counted: bool) -> Result<(), Errno> {
    let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let userfaultfd = query.worker.userfaultfd().ok_or(Errno::OPNOTSUPP)?;
    let size = query.size()?;
    let (mut unknown, mut grown) = (Ranges::new(), Ranges::new());
    let mut untrackable = false;
    {
        // Under the lock, so that the ranges stay what they are: a scan takes the marks away.
        let mut table = mappings::lock();
        if is_any_locked(&table, query.file) {
            unregister_locked(&mut table, query, userfaultfd);
            return Err(Errno::BUSY);
        }
        if let Err(errno) = scan_each(&table, query.worker, query.file, pagemap, into.dirty) {
            table.prove(query.file, into.dirty);
            return Err(errno);
        }
        table.mark_each(query.file, |entry, marks| {
            if !entry.writable {
                return;
            }
            if entry.marks.registered == query.generation() {
                if let Some(new) = track(userfaultfd, entry, marks, size, || query.size()) {
                    grown.add(new.start, new.end);
                    mincore::cached_from(entry, new.start, new.end, into.assumed_dirty);
                }
                return;
            }
            // Made by a parent process: unknown means dirty. Registered first, so that a store
            // to a page that is not cached yet leaves its mark.
            *marks = Marks {
                errseq_seen: marks.errseq_seen,
                ..register(query.worker, entry, size)
            };
            untrackable |= marks.registered == 0;
            unknown.add(entry.offset, entry.offset + entry.len() as u64);
        });
        if untrackable && else_counted {
            return Err(Errno::OPNOTSUPP);
        }
        into.assumed_dirty.remove_all(into.dirty);
        into.dirty.add_all(into.assumed_dirty.iter());
        if query.may_be_gone || may_be_gone(query.worker, &mut table, query.file, &grown) {
            into.dirty.add_all(grown.iter());
        }
        // Whoever unmaps what was found from here on waits until it is proved.
        table.prove(query.file, into.dirty);
    }
    absent(query, into.dirty, into.absent)?;
    only_uncached(query, into.absent, into.gone);
    let all = || unknown.within(0, size);
    if query.may_be_gone {
        into.dirty.add_all(all());
        if unknown.bytes() > LARGEST {
            into.assumed_dirty.add_all(all());
        }
    } else if !unknown.is_empty() {
        let cached = query.cached(size);
        for range in unknown.iter() {
            into.assume_range(range.offset, range.end(), &cached);
        }
        // Dropped before it was looked through.
        let probed = eviction_probe::ask(query.worker, query.file, false);
        if probed.dropped || probed.unknown {
            into.dirty.add_all(all());
        }
    }
    Ok(())
}

/// Whether a writable mapping of `file` is locked in memory, perhaps behind the C library's back.
fn is_any_locked(table: &Guard, file: &File) -> bool {
    let mut locked = false;
    let whole = |entry: &Entry<'_>| entry.start as u64..entry.end as u64;
    each_span(table, file, whole, |span| {
        locked = vm::is_locked(span.start as usize, (span.end - span.start) as usize);
        !locked
    });
    locked
}

/// Stores to a locked mapping are not tracked any more.
#[cold]
fn unregister_locked(table: &mut Guard, query: &Query<'_>, userfaultfd: BorrowedFd<'_>) {
    table.mark_each(query.file, |entry, marks| {
        let registered = entry.writable && marks.registered == query.generation();
        if registered && vm::is_locked(entry.start, entry.len()) {
            userfaultfd::unregister(userfaultfd, entry.start, entry.len());
            marks.registered = 0;
        }
    });
}

/// Adds what was stored to the registered mappings of `file` since the last scan, and takes the marks away.
fn scan_each(
    table: &Guard,
    worker: &Worker,
    file: &File,
    pagemap: BorrowedFd<'_>,
    into: &mut Ranges,
) -> Result<(), Errno> {
    each_registered_span(table, worker, file, |span| {
        each_run(pagemap, span, Find::WrittenAndProtect, |run| {
            add_of(table, file, into, run)
        })
    })
}

/// Registers a mapping of a file of `size` bytes; returns what to note in its entry, which is nothing where the
/// kernel has no such thing, too much of the file is mapped, or the mapping is locked in memory.
///
/// Stores are tracked up to the end of the file and [`end_ahead`] of it. What it grows by beyond that is taken in by
/// [`follow_growth`], or by the next scan.
///
/// What is locked must not be registered. Where a page of it that is write-protected has left the page
/// cache, a store does not return: the fault is handled and comes again for ever (measured on Linux
/// 6.18). mlock(2) itself hangs likewise where a page was never touched.
pub fn register(worker: &Worker, entry: &Entry<'_>, size: u64) -> Marks {
    let (start, len) = (entry.start, entry.len());
    let inside = end_ahead(entry, size) - start;
    let Some(fd) = worker.userfaultfd() else {
        return Marks::default();
    };
    let registered = inside as u64 <= LARGEST
        && !locking::is_under_way()
        && worker.pagemap().is_some()
        && !vm::is_locked(start, len)
        && userfaultfd::register(fd, start, len, inside).is_ok();
    if !registered {
        return Marks::default();
    }
    if vm::is_locked(start, len) {
        userfaultfd::unregister(fd, start, len);
        return Marks::default();
    }
    Marks {
        registered: worker.process().generation(),
        tracked: start + inside,
        errseq_seen: 0,
    }
}

/// Has stores to all of `entry` tracked that is inside of its file of `size` bytes, or not far beyond, if it is
/// [`is_short`]; returns what of the file was not tracked until then: what was stored there is not known. Where too much
/// would be tracked, nothing is. Under the table lock.
fn track(
    fd: BorrowedFd<'_>,
    entry: &Entry<'_>,
    marks: &mut Marks,
    size: u64,
    size_now: impl FnOnce() -> Result<u64, Errno>,
) -> Option<Range<u64>> {
    if !is_short(entry, size) {
        return None;
    }
    let end = end_ahead(entry, size);
    let from = marks.tracked.clamp(entry.start, entry.end);
    let done =
        (end - entry.start) as u64 <= LARGEST && userfaultfd::protect(fd, from, end - from).is_ok();
    if done {
        marks.tracked = end;
    } else {
        userfaultfd::unregister(fd, entry.start, entry.len());
        marks.registered = 0;
    }
    // It may have grown meanwhile, and another thread have stored there before that.
    untracked(entry, size_now().unwrap_or(u64::MAX).max(size))
}

/// Has stores tracked to what is not of `entry`, which is registered, and has not been stored to there. Under the
/// table lock.
pub fn track_rest(worker: &Worker, entry: &Entry<'_>, marks: &mut Marks, size: u64) {
    if let Some(fd) = worker.userfaultfd() {
        let _ = track(fd, entry, marks, size, || Ok(size));
    }
}

/// The file may have grown: from here on stores to what it has grown by are tracked. What
/// was stored there before, by another thread, is owed. On a helper thread.
pub fn follow_growth(worker: &Worker, file: &File) {
    let Some(fd) = worker.userfaultfd() else {
        return;
    };
    let generation = worker.process().generation();
    let query = Query::of(worker, file, mappings::handle_of(file));
    let Some(size) = query.size().ok().filter(|&size| size != u64::MAX) else {
        return;
    };
    let mut stored = Ranges::new();
    let mut table = mappings::lock();
    table.mark_each(file, |entry, marks| {
        // It cannot be locked: that ends the registration.
        if entry.writable
            && marks.registered == generation
            && let Some(new) = track(fd, entry, marks, size, || query.size())
        {
            mincore::cached_from(entry, new.start, new.end, &mut stored);
        }
    });
    if !stored.is_empty() {
        table.owe(file, &stored, true);
    }
}

/// Adds what is [`untracked`] of `entry`, the file of which the caller holds: what of it is in the page cache to
/// `cached`, and all of it to `gone` where pages of it may have left the page cache.
pub fn assume_untracked(
    worker: &Worker,
    table: &mut Guard,
    entry: &Entry<'_>,
    size: u64,
    cached: &mut Ranges,
    gone: &mut Ranges,
) {
    if let Some(range) = untracked(entry, size) {
        mincore::cached_from(entry, range.start, range.end, cached);
        let mut ranges = Ranges::new();
        ranges.add(range.start, range.end);
        if may_be_gone(worker, table, entry.file, &ranges) {
            gone.add(range.start, range.end);
        }
    }
}

/// Whether pages of `ranges`, stores to which are not tracked, may have left the page cache of `file`, which the
/// caller holds: dropped, which the probes tell, or evicted, which leaves a trace.
fn may_be_gone(worker: &Worker, table: &mut Guard, file: &File, ranges: &Ranges) -> bool {
    if ranges.is_empty() {
        return false;
    }
    let handle = table.get(file).handle;
    let Some(cached) = worker.borrow_cached(&handle) else {
        return true;
    };
    eviction_probe::may_be_dropped(worker, table, file)
        || ranges.iter().any(|range| {
            cachestat(cached, range.offset, range.length).is_ok_and(|stat| stat.evicted > 0)
        })
}

/// Forgets the mappings that overlap `[start, end)`: what was stored to them is unknown, and counts as
/// dirty.
pub fn forget(worker: &Worker, start: usize, end: usize) {
    let Some(fd) = worker.userfaultfd() else {
        return;
    };
    let generation = worker.process().generation();
    mappings::lock().mark(start, end, |entry, marks| {
        if marks.registered == generation {
            userfaultfd::unregister(fd, entry.start, entry.len());
            marks.registered = 0;
        }
    });
}

/// Adds what of `file` was stored to since the last scan, and takes the marks away.
///
/// Errors: `EOPNOTSUPP` where the stores to one of its mappings are not tracked: then all marks stay.
pub fn take_marks(worker: &Worker, file: &File, into: &mut Ranges) -> Result<(), Errno> {
    if !super::are_stores_seen(worker, file) {
        return Err(Errno::OPNOTSUPP);
    }
    let pagemap = worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let mut anew = Ranges::new();
    let mut table = mappings::lock();
    let _ = each_registered_span(&table, worker, file, |span| {
        each_run(pagemap, span, Find::WrittenPresent, |run| {
            add_of(&table, file, &mut anew, run)
        })
    });
    let result = scan_each(&table, worker, file, pagemap, into);
    table.stored_anew(file, &anew);
    result
}

/// Adds what of `file` was stored to since the last scan, and takes the marks away, in those parts of its mappings where some
/// of the `pages` are. Under the table lock.
pub fn take_marks_in(
    worker: &Worker,
    table: &Guard,
    file: &File,
    pages: &Ranges,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let pagemap = worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let mut result = Ok(());
    let part = |entry: &Entry<'_>| {
        let tracked = tracked(entry);
        let end = entry.offset + (tracked.end - tracked.start);
        let mut within = pages.within(entry.offset, end);
        let Some(first) = within.next() else {
            return 0..0;
        };
        let last = within.last().unwrap_or(first);
        let at = |offset: u64| tracked.start + (offset - entry.offset);
        at(first.offset)..at(last.end())
    };
    each_span(table, file, part, |span| {
        result = each_run(pagemap, span, Find::WrittenAndProtect, |run| {
            add_of(table, file, into, run)
        });
        result.is_ok()
    });
    result
}

/// Takes the marks away of pages in `range` of the file that have left the page cache.
pub fn unmark_absent(worker: &Worker, file: &File, range: &Range<u64>) {
    take_absent(worker, file, range, &mut Ranges::new());
}

/// The same; adds those pages.
pub fn take_absent(worker: &Worker, file: &File, range: &Range<u64>, into: &mut Ranges) {
    let generation = worker.process().generation();
    let Some(pagemap) = worker.pagemap() else {
        return;
    };
    let part = |entry: &Entry<'_>| {
        let from = range.start.max(entry.offset);
        let end = tracked(entry).end - entry.start as u64;
        let to = range.end.min(entry.offset + end);
        if entry.marks.registered != generation || from >= to {
            return 0..0;
        }
        let at = |offset: u64| entry.start as u64 + (offset - entry.offset);
        // A page that is only in part in the range stays: where it is absent, that was somebody else.
        sys::page_up(at(from))..sys::page_down(at(to))
    };
    let table = mappings::lock();
    each_span(&table, file, part, |span| {
        let _ = each_run(pagemap, span, Find::WrittenAbsentAndProtect, |run| {
            add_of(&table, file, into, run)
        });
        true
    });
}

/// Adds what was stored to since the last scan, and leaves the marks for the next one.
///
/// Errors: `EOPNOTSUPP` where no mapping can have been registered.
pub fn stored_since(query: &Query<'_>, into: &mut Ranges) -> Result<(), Errno> {
    stored_as(query, Find::Written, into)
}

/// Adds what was stored to since the last scan and has not been dropped since; the marks stay.
///
/// Errors: as [`stored_since`].
pub fn present_since(query: &Query<'_>, into: &mut Ranges) -> Result<(), Errno> {
    stored_as(query, Find::WrittenPresent, into)
}

fn stored_as(query: &Query<'_>, find: Find, into: &mut Ranges) -> Result<(), Errno> {
    query.worker.userfaultfd().ok_or(Errno::OPNOTSUPP)?;
    let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let table = mappings::lock();
    each_registered_span(&table, query.worker, query.file, |span| {
        each_run(pagemap, span, find, |run| {
            add_of(&table, query.file, into, run)
        })
    })
}

/// Adds those of the `dirty` pages that have no page behind their entries, in any mapping: they have left
/// the page cache since they were stored to, or somebody has emptied the entries.
pub fn absent(query: &Query<'_>, dirty: &Ranges, into: &mut Ranges) -> Result<(), Errno> {
    let mut found = Ranges::new();
    find_in(query, dirty, Find::Absent, |start, end| {
        found.add(start, end)
    })?;
    if found.is_empty() {
        return Ok(());
    }
    // One mapping has it and another, which nobody touched there, does not.
    find_in(query, dirty, Find::Present, |start, end| {
        found.remove(start, end);
    })?;
    into.add_all(found.iter());
    Ok(())
}

/// Pages that one call asks about.
const STATES: usize = 512;

/// Adds those of the `absent` pages that are not in the page cache either (mincore(2)).
pub fn only_uncached(query: &Query<'_>, absent: &Ranges, into: &mut Ranges) {
    if absent.is_empty() {
        return;
    }
    let page = sys::page_size();
    let mut found = Ranges::new();
    found.add_all(absent.iter());
    mappings::lock().for_each_of(query.file, 0, |entry| {
        for range in absent.within(entry.offset, entry.offset + entry.len() as u64) {
            for offset in (range.offset..range.end()).step_by(STATES * page) {
                let mut states = [0; STATES];
                let pages = ((range.end() - offset) as usize / page).min(STATES);
                let at = entry.start + (offset - entry.offset) as usize;
                if sys::vm::are_cached(at, &mut states[..pages]).is_err() {
                    continue;
                }
                for (n, _) in states[..pages]
                    .iter()
                    .enumerate()
                    .filter(|(_, s)| **s & 1 != 0)
                {
                    let start = offset + (n * page) as u64;
                    found.remove(start, start + page as u64);
                }
            }
        }
        true
    });
    into.add_all(found.iter());
}

/// What lies between two ranges is looked through with them where it is no more, bytes: to look at a page takes a
/// hundredth of what one more call takes.
const NEAR: u64 = 512 << 10;

/// Tells `each` of the ranges of the file, among `pages`, where a mapping's entries are as `find` says.
fn find_in(
    query: &Query<'_>,
    pages: &Ranges,
    find: Find,
    mut each: impl FnMut(u64, u64),
) -> Result<(), Errno> {
    each_registered(query, |pagemap, entry| {
        let mut find = |span: Range<u64>| {
            let from = entry.start as u64 + (span.start - entry.offset);
            each_run(pagemap, from..from + (span.end - span.start), find, |run| {
                let (start, end) = of_file(entry, run);
                for found in pages.within(start, end) {
                    each(found.offset, found.end());
                }
            })
        };
        let mut span = 0..0;
        for range in pages.within(entry.offset, entry.offset + entry.len() as u64) {
            if !span.is_empty() && range.offset - span.end > NEAR {
                find(core::mem::take(&mut span))?;
            }
            span.start = if span.is_empty() {
                range.offset
            } else {
                span.start
            };
            span.end = range.end();
        }
        // None in this mapping: the empty one lies before it.
        match span.is_empty() {
            true => Ok(()),
            false => find(span),
        }
    })
}

/// The runs of `[start, end)`, addresses in the mapping `entry`, that were stored to since the last
/// scan. Nothing for a mapping that is not registered.
pub fn for_each_written(
    worker: &Worker,
    entry: &Entry<'_>,
    start: usize,
    end: usize,
    mut each: impl FnMut(usize, usize),
) {
    let registered = entry.marks.registered == worker.process().generation();
    if let Some(pagemap) = worker.pagemap().filter(|_| registered) {
        let range = start as u64..tracked(entry).end.min(end as u64);
        let _ = each_run(pagemap, range, Find::Written, |run| {
            each(run.start as usize, run.end as usize);
        });
    }
}

/// Whether the stores to `entry` are tracked. If so, [`for_each_mapped`] tells of nothing that is not in a shared mapping
/// of its file, whatever the program has mapped there by a raw system call: the shim has registered nothing else.
pub fn is_tracked(worker: &Worker, entry: &Entry<'_>) -> bool {
    of_registered(worker, entry).is_some()
}

/// Tells `each` of the parts of `range`, addresses in `entry`, that have page table entries, and whether something in them
/// may have been stored to since the last scan, until it returns false; unless the stores are tracked, all of the range
/// where nobody can say. Says whether it never did. It looks no more than about `ahead` bytes ahead of what it tells of. Under
/// the table lock.
pub fn for_each_mapped(
    worker: &Worker,
    entry: &Entry<'_>,
    range: Range<usize>,
    ahead: usize,
    each: &mut dyn FnMut(Range<usize>, bool) -> bool,
) -> bool {
    let Some(pagemap) = worker.pagemap() else {
        return each(range, true);
    };
    // A shorter gap without entries is dropped along with what is around it: that costs less than another call.
    let gap = sys::page_table_reach();
    let tracked = is_tracked(worker, entry);
    let find = match tracked {
        true => Find::RegisteredAsTheyAre,
        false => Find::Present,
    };
    let (mut at, mut goes_on) = (range.start, true);
    while goes_on && at < range.end {
        let mut pending = at..at;
        // Of what is pending, and of that up to here.
        let (mut written, mut written_here) = (!tracked, !tracked);
        let addresses = at as u64..range.end as u64;
        let scanned = each_run_while(pagemap, addresses, find, ahead, |run| {
            written_here |= userfaultfd::is_written(run);
            if !userfaultfd::is_present(run) {
                return goes_on;
            }
            let run_is_written = !tracked || userfaultfd::is_written(run);
            let run = run.start as usize..run.end as usize;
            if run.start - pending.end > gap && !pending.is_empty() {
                goes_on = goes_on && each(pending.clone(), written);
                pending.start = run.start;
                written = run_is_written;
            } else if pending.is_empty() {
                pending.start = run.start;
                written = run_is_written;
            } else {
                written |= written_here;
            }
            written_here = run_is_written;
            pending.end = run.end;
            goes_on && pending.len() < ahead
        });
        let Ok(next) = scanned else {
            return goes_on && (tracked || each(pending.start..range.end, true));
        };
        goes_on = goes_on && (pending.is_empty() || each(pending, written));
        at = next as usize;
    }
    goes_on
}

/// Whether the mapping `entry` of a file of `size` bytes was stored to since the last scan, or that is not known.
pub fn is_written(worker: &Worker, entry: &Entry<'_>, size: u64) -> bool {
    let registered = entry.marks.registered == worker.process().generation();
    let Some(pagemap) = worker.pagemap().filter(|_| registered) else {
        return true;
    };
    if untracked(entry, size).is_some() {
        return true;
    }
    let mut written = false;
    let scanned = each_run(pagemap, tracked(entry), Find::Written, |_| written = true);
    written || scanned.is_err()
}

/// Tells `each` of what is tracked of the registered writable mappings of `file`, as [`each_span`] does, until it fails.
fn each_registered_span(
    table: &Guard,
    worker: &Worker,
    file: &File,
    mut each: impl FnMut(Range<u64>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let generation = worker.process().generation();
    let mut result = Ok(());
    let part = |entry: &Entry<'_>| match entry.marks.registered == generation {
        true => tracked(entry),
        false => 0..0,
    };
    each_span(table, file, part, |span| {
        result = each(span);
        result.is_ok()
    });
    result
}

/// Tells `each` of the addresses of the writable mappings of `file`, as far as `part` says of each, until it returns false:
/// of those that lie side by side at once. A file may have thousands of mappings, and a call for each of them takes longer
/// than all else.
fn each_span(
    table: &Guard,
    file: &File,
    part: impl Fn(&Entry<'_>) -> Range<u64>,
    mut each: impl FnMut(Range<u64>) -> bool,
) {
    let (mut span, mut goes_on) = (0..0, true);
    table.for_each_of(file, 0, |entry| {
        let part = match entry.writable {
            true => part(&entry),
            false => 0..0,
        };
        if part.is_empty() {
            return true;
        }
        if part.start == span.end {
            span.end = part.end;
        } else {
            let before = core::mem::replace(&mut span, part);
            goes_on = before.is_empty() || each(before);
        }
        goes_on
    });
    if goes_on && !span.is_empty() {
        each(span);
    }
}

/// Adds a run of addresses in mappings of `file` as what it is of the file.
fn add_of(table: &Guard, file: &File, into: &mut Ranges, run: &Region) {
    table.for_each(run.start as usize, run.end as usize, |entry| {
        if entry.file == file {
            into.add(entry.offset, entry.offset + entry.len() as u64);
        }
        true
    });
}

/// Whether the registered writable mappings of `file`, of `size` bytes, were stored to since the last scan, or that is
/// not known. Under the table lock.
pub fn is_any_written(worker: &Worker, table: &Guard, file: &File, size: u64) -> bool {
    let Some(pagemap) = worker.pagemap() else {
        return true;
    };
    let mut written = has_untracked(worker, table, file, size);
    let scanned = each_registered_span(table, worker, file, |span| {
        if !written {
            each_run(pagemap, span, Find::Written, |_| written = true)?;
        }
        Ok(())
    });
    written || scanned.is_err()
}

/// Every registered writable mapping of the file, under the table lock, until `each` fails.
fn each_registered(
    query: &Query<'_>,
    mut each: impl FnMut(BorrowedFd<'_>, &Entry<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let pagemap = query.worker.pagemap().ok_or(Errno::OPNOTSUPP)?;
    let mut result = Ok(());
    mappings::lock().for_each_of(query.file, 0, |entry| {
        if entry.writable && entry.marks.registered == query.generation() {
            result = each(pagemap, &entry);
        }
        result.is_ok()
    });
    result
}

/// Adds what of `entry` was stored to since the last scan, and takes the marks away. Under the table lock.
///
/// Errors: `EOPNOTSUPP` where it is not registered.
pub fn scan_part(worker: &Worker, entry: &Entry<'_>, into: &mut Ranges) -> Result<(), Errno> {
    let pagemap = of_registered(worker, entry).ok_or(Errno::OPNOTSUPP)?;
    scan(pagemap, entry, into)
}

/// Adds what of `entry` was stored to since the last scan and has not been dropped since. Nothing where it is not
/// registered. Under the table lock.
pub fn stored_anew(worker: &Worker, entry: &Entry<'_>, into: &mut Ranges) {
    if let Some(pagemap) = of_registered(worker, entry) {
        let _ = each_run(pagemap, tracked(entry), Find::WrittenPresent, |run| {
            add(into, entry, run)
        });
    }
}

fn of_registered<'a>(worker: &'a Worker, entry: &Entry<'_>) -> Option<BorrowedFd<'a>> {
    let registered = entry.marks.registered == worker.process().generation();
    worker.pagemap().filter(|_| registered)
}

fn scan(pagemap: BorrowedFd<'_>, entry: &Entry<'_>, into: &mut Ranges) -> Result<(), Errno> {
    each_run(pagemap, tracked(entry), Find::WrittenAndProtect, |run| {
        add(into, entry, run);
    })
}

/// Adds a run of addresses in `entry` as what it is of the file.
fn add(into: &mut Ranges, entry: &Entry<'_>, run: &Region) {
    let (start, end) = of_file(entry, run);
    into.add(start, end);
}

fn of_file(entry: &Entry<'_>, run: &Region) -> (u64, u64) {
    let start = entry.start as u64;
    (
        entry.offset + (run.start - start),
        entry.offset + (run.end - start),
    )
}
