//! Trackers: where the dirty ranges of a file come from.

pub mod attributes;
mod cachestat;
pub mod eviction_probe;
pub mod locking;
mod mincore;
mod pagemap;
pub mod pin;
mod reach;
pub mod removal;
mod whole;

pub use crate::config::is_verified;
pub use keepmydata_promise::cached_pages::{
    add_cached as cached, add_cached_in as cached_in, add_unstable as unstable,
};
pub use keepmydata_ranges::Ranges;
pub use pagemap::{absent, for_each_mapped, for_each_written, is_tracked};

use crate::config;
use crate::helper::{self, Worker};
use crate::mappings::file::{File, Handle, Traits};
use crate::mappings::{
    self,
    table::{Entry, Marks},
};
use crate::sys::cachestat::Cached;
use crate::{process, stats, sys};
use core::fmt;
use keepmydata_promise::{LARGEST, cached_pages};
use keepmydata_records::{Enforce, Invalidate, Track};
use rustix::io::Errno;

/// Where more pages of a file are cached, they are looked at in whole mappings.
const LOOKED_AT: u64 = 64;

/// What a tracker is asked about: a file that the caller holds.
pub struct Query<'a> {
    pub worker: &'a Worker,
    pub file: &'a File,
    pub handle: Handle,
    /// What was stored, and not seen to be, may have left the page cache.
    pub may_be_gone: bool,
}

impl<'a> Query<'a> {
    /// The question of what is in the page cache now.
    pub fn of(worker: &'a Worker, file: &'a File, handle: Handle) -> Query<'a> {
        Query {
            worker,
            file,
            handle,
            may_be_gone: false,
        }
    }

    /// The file, where it has a page cache and a handle.
    fn cache(&self) -> Option<Cached<'a>> {
        self.worker.borrow_cached(&self.handle)
    }

    fn generation(&self) -> u32 {
        self.worker.process().generation()
    }

    /// The size of the file in whole pages, bytes; without a handle it is unknown, and unlimited.
    fn size(&self) -> Result<u64, Errno> {
        match self.worker.borrow_handle(&self.handle) {
            Some(fd) => Ok(sys::page_up(sys::fd::size(fd)?)),
            None => Ok(u64::MAX),
        }
    }

    /// What of the file, as far as it is mapped, is in the page cache; where that takes too long to find
    /// out, all of it.
    fn cached(&self, size: u64) -> Ranges {
        let mut cached = Ranges::new();
        let known = self
            .cache()
            .is_some_and(|file| self::cached(file, &mut cached).is_ok());
        if !known {
            cached.clear();
            mincore::cached(self.file, size, &mut cached);
        }
        cached
    }
}

/// What a tracker answers.
pub struct Found<'a> {
    /// May be dirty, in whole pages: too many is allowed, too few never.
    pub dirty: &'a mut Ranges,
    /// Those without a page table entry.
    pub absent: &'a mut Ranges,
    /// Those that were stored to and have left the page cache since: what was stored may be gone.
    pub gone: &'a mut Ranges,
    /// Those that are dirty for all that is known, not because they were seen to be.
    pub assumed_dirty: &'a mut Ranges,
}

impl Found<'_> {
    /// Adds what of a mapping, of which nothing is known, is among the `cached` pages of the file
    /// ([`Query::cached`]): the rest cannot be dirty.
    fn assume(&mut self, entry: &Entry<'_>, cached: &Ranges) {
        self.assume_range(entry.offset, entry.offset + entry.len() as u64, cached);
    }

    /// The same of `[start, end)` of the file.
    fn assume_range(&mut self, start: u64, end: u64, cached: &Ranges) {
        let known = || cached.within(start, end);
        defect!(AssumesNothing => return);
        self.dirty.add_all(known());
        self.assumed_dirty.add_all(known());
    }
}

/// A source of dirty ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracker {
    /// userfaultfd `WP_ASYNC` and `PAGEMAP_SCAN`, Linux 6.7. Exact to the page, for this process's
    /// stores, and the kernel's on its behalf (a read into the mapping).
    Pagemap,
    /// cachestat(2), Linux 6.5. Counts pages under writeback as dirty: they are not stable yet.
    /// Granular as the filesystem's folios: 4 KiB on FUSE, up to 1 MiB on ext4 and xfs.
    Cachestat,
    /// Every cached page of every mapping: works on any kernel, at the price of verifying and dropping
    /// everything.
    Whole,
}

impl Tracker {
    /// Its name in settings and logs.
    pub fn name(self) -> &'static str {
        match self {
            Tracker::Pagemap => "pagemap",
            Tracker::Cachestat => "cachestat",
            Tracker::Whole => "whole",
        }
    }

    /// Adds the ranges of the file that may be dirty. On an error the caller asks the next tracker; `EBUSY`
    /// is that of memory that is locked.
    fn dirty(
        self,
        query: &Query<'_>,
        into: &mut Found<'_>,
        else_counted: bool,
    ) -> Result<(), Errno> {
        match self {
            Tracker::Pagemap => pagemap::dirty(query, into, else_counted),
            Tracker::Cachestat => cachestat::all_unstable(query, into.dirty),
            Tracker::Whole => whole::dirty(query, into),
        }
    }

    /// Whether it knows which pages this process has stored to, also after they were written back or
    /// dropped.
    pub fn sees_stores(self) -> bool {
        self == Tracker::Pagemap
    }
}

/// Trackers, the best first, and why in that order.
type Choice = (&'static [Tracker], &'static str);

/// Where the dirty ranges of a file come from. Where they are to be verified, the page cache's own count
/// is not good enough (see [`pagemap`]).
///
/// After a sync that failed (`suspect`), the marks of what it was to write are taken away already.
fn choose(traits: Traits, verify: bool, suspect: bool) -> Choice {
    use Tracker::{Cachestat, Pagemap, Whole};
    const WHOLE: &[Tracker] = &[Whole];
    const COUNT: &[Tracker] = &[Cachestat, Whole];
    const MARKS: &[Tracker] = &[Pagemap, Cachestat, Whole];
    const MARKS_ONLY: &[Tracker] = &[Pagemap, Whole];
    match config::settings().track {
        _ if suspect => (WHOLE, "the last sync failed"),
        _ if traits.dax => (WHOLE, "DAX"),
        Track::Whole => (WHOLE, "as set"),
        // It forgets what somebody else has written back.
        Track::Cachestat if verify => (
            WHOLE,
            "what is verified must be known, and cachestat forgets",
        ),
        Track::Cachestat => (COUNT, "as set"),
        Track::Pagemap => (MARKS, "as set"),
        Track::Auto if verify => (
            defect!(CountsWhatIsDirty => COUNT; MARKS_ONLY),
            "auto: what is verified must be known exactly",
        ),
        Track::Auto if drops_marked(traits) => (
            MARKS,
            "auto: the page cache is slow to count in single pages",
        ),
        Track::Auto => (COUNT, "auto: nothing is verified"),
    }
}

/// Learns the dirty ranges from the best tracker that works here, and says which, and why.
pub fn learn(
    query: &Query<'_>,
    verify: bool,
    suspect: bool,
    into: &mut Found<'_>,
) -> (Option<Tracker>, &'static str) {
    let (choices, mut why) = choose(query.file.traits, verify, suspect);
    for &tracker in choices {
        into.dirty.clear();
        into.absent.clear();
        into.gone.clear();
        into.assumed_dirty.clear();
        match tracker.dirty(query, into, choices.contains(&Tracker::Cachestat)) {
            Ok(()) => return (Some(tracker), why),
            Err(Errno::BUSY) => why = "a mapping of the file is locked in memory",
            Err(_) => why = "the first choice is not available here",
        }
    }
    (None, why)
}

/// Whether dirty ranges are dropped one by one (`KEEPMYDATA_INVALIDATE=dirty`) from a page cache of single
/// pages, as that of FUSE is: cachestat(2) looks at each of them, many times longer than a scan of the page
/// tables takes. The marks cost no store anything there, because the first store to a page after each
/// sync takes a fault anyway. Local filesystems have few, large folios.
fn drops_marked(traits: Traits) -> bool {
    config::settings().invalidate == Invalidate::Dirty && !traits.local_block
}

/// Adds what was stored to since `tracker` was last asked: with [`Tracker::Pagemap`] by this process, else
/// what is dirty in the page cache.
pub fn stored_since(
    query: &Query<'_>,
    tracker: Option<Tracker>,
    into: &mut Ranges,
) -> Result<(), Errno> {
    match tracker {
        Some(Tracker::Pagemap) => pagemap::stored_since(query, into),
        _ => cached_pages::add_dirty(query.cache().ok_or(Errno::BADF)?, into),
    }
}

/// Moves the marks of `entry`, a mapping or a part of one, to what is owed of its file, which the caller
/// holds. Of a mapping whose stores are not tracked, all that is cached. On a helper thread.
pub fn harvest(worker: &Worker, entry: &Entry<'_>) {
    let (mut stored, mut assumed_dirty) = (Ranges::new(), Ranges::new());
    let size = size(worker, entry.file);
    let mut table = mappings::lock();
    let mut anew = Ranges::new();
    pagemap::stored_anew(worker, entry, &mut anew);
    table.stored_anew(entry.file, &anew);
    match pagemap::scan_part(worker, entry, &mut stored) {
        Ok(()) => pagemap::assume_untracked(
            worker,
            &mut table,
            entry,
            size,
            &mut assumed_dirty,
            &mut stored,
        ),
        Err(_) => {
            stored.clear();
            mincore::cached_in(entry, size, &mut assumed_dirty);
            // Asked last: what was dropped before is not found in the page cache.
            if eviction_probe::is_dropped(worker, &mut table, entry.file) {
                stored.add(entry.offset, size.min(entry.offset + entry.len() as u64));
            }
        }
    }
    table.owe(entry.file, &stored, false);
    table.owe(entry.file, &assumed_dirty, true);
    drop(table);
    eviction_probe::note(worker, entry);
}

/// Whether [`harvest`] may find anything in `entry`. On a helper thread.
pub fn may_have_marks(worker: &Worker, entry: &Entry<'_>) -> bool {
    pagemap::is_written(worker, entry, size(worker, entry.file))
}

/// A call of the program's that drops the page cache of `file`, and nothing else, is about to be made: the marks of what it can
/// take away move to what is owed. That is what is cached; marks of what has left the page cache before stay, and the next
/// msync finds them. So of thousands of mappings those are looked at that have cached pages. Says whether anything is owed;
/// nothing where all must be looked through. In a program of one thread; on a helper thread.
pub fn harvest_cached(worker: &Worker, file: &File, may_step_aside: bool) -> Option<bool> {
    let handle = mappings::handle_of(file);
    let cached_file = worker.borrow_cached(&handle)?;
    let mut cached = Ranges::new();
    if sys::cachestat::cachestat(cached_file, 0, 0).ok()?.cached > LOOKED_AT {
        return None;
    }
    self::cached(cached_file, &mut cached).ok()?;
    if !are_all_marked(worker, file) {
        return None;
    }
    let mut table = mappings::lock();
    if !table.get(file).debt.is_clear() || !eviction_probe::are_well(worker, &mut table, file) {
        return None;
    }
    let mut stored = Ranges::new();
    let scanned = pagemap::take_marks_in(worker, &table, file, &cached, &mut stored);
    table.owe(file, &stored, false);
    scanned.ok()?;
    if stored.is_empty() && may_step_aside {
        eviction_probe::step_aside(&mut table, file);
    }
    Some(!stored.is_empty())
}

/// All that is cached of `entry`, the file of which the caller holds, is owed: it may have been stored to. On a helper
/// thread.
pub fn assume_cached(worker: &Worker, entry: &Entry<'_>) {
    let mut cached = Ranges::new();
    mincore::cached_in(entry, size(worker, entry.file), &mut cached);
    mappings::lock().owe(entry.file, &cached, true);
}

/// Takes from `owed` what `to` maps, too, once all of that which `entry` has in the page cache is in the page table of
/// `to`; what cannot be read there stays. Under the table lock.
pub fn hand_over(entry: &Entry<'_>, to: &Entry<'_>, owed: &mut Ranges) {
    let mut shared = Ranges::new();
    shared.add_all(owed.within(to.offset, to.offset + to.len() as u64));
    for range in shared.iter() {
        let mut cached = Ranges::new();
        mincore::cached_from(entry, range.offset, range.end(), &mut cached);
        let is_mapped = cached.iter().all(|cached| {
            let at = to.start + (cached.offset - to.offset) as usize;
            sys::vm::populate_read(at, cached.length as usize).is_ok()
        });
        if is_mapped {
            owed.remove(range.offset, range.end());
        }
    }
}

/// Whether anything may be owed of `file`. On a helper thread.
pub fn is_owed(worker: &Worker, file: &File) -> bool {
    let size = size(worker, file);
    may_be_owed(worker, &mut mappings::lock(), file, size)
}

fn may_be_owed(worker: &Worker, table: &mut mappings::Guard, file: &File, size: u64) -> bool {
    let (mut owed, mut unknown) = (false, false);
    table.for_each_of(file, 0, |entry| {
        if entry.writable && entry.marks.registered != worker.process().generation() {
            unknown = true;
            owed = may_be_stored(&entry, size);
        }
        !owed
    });
    owed = owed || pagemap::is_any_written(worker, table, file, size);
    // Asked last: what was dropped before is not found in the page cache.
    owed |= unknown && eviction_probe::is_dropped(worker, table, file);
    owed || !table.get(file).debt.owed.is_empty()
}

/// Adds what may be owed of `file`, page by page. On a helper thread.
///
/// Errors: `EOPNOTSUPP` where the stores to one of its mappings are not tracked.
pub fn add_owed(worker: &Worker, file: &File, into: &mut Ranges) -> Result<(), Errno> {
    let query = Query::of(worker, file, mappings::handle_of(file));
    let size = query.size()?;
    if !are_stores_seen(worker, file) {
        return Err(Errno::OPNOTSUPP);
    }
    pagemap::stored_since(&query, into)?;
    let table = mappings::lock();
    table.for_each_of(file, 0, |entry| {
        if let Some(range) = reach::untracked(&entry, size).filter(|_| entry.writable) {
            into.add(range.start, range.end);
        }
        true
    });
    into.add_all(table.get(file).debt.owed.iter());
    Ok(())
}

/// All that an msync has found stored to in `file` is proved. Where the page cache was dropped after it was copied, by
/// the shim's own open, say, that has taken nothing unless something was stored since: the next msync need not know of
/// it. No call of the program's drops it meanwhile: that would wait for the enforcement. On a helper thread.
///
/// What was found otherwise than by its marks is `unseen`: those of mappings that have some are still there.
#[inline(never)]
pub fn forget_drop(worker: &Worker, file: &File, unseen: Option<&Ranges>) {
    if !eviction_probe::is_dropped(worker, &mut mappings::lock(), file) {
        return;
    }
    if sys::thread::is_single() {
        for range in unseen.into_iter().flat_map(Ranges::iter) {
            pagemap::unmark_absent(worker, file, &(range.offset..range.end()));
        }
    }
    // The drop stays noted while the probes come back to life, and is forgotten only then: the next one is seen.
    let _ = eviction_probe::ask(worker, file, false);
    let _ = eviction_probe::revive(worker, file, &(0..u64::MAX));
    let size = size(worker, file);
    let mut table = mappings::lock();
    // With one thread nobody has stored anything meanwhile, and nobody need have seen that.
    let is_owed = !sys::thread::is_single() && may_be_owed(worker, &mut table, file, size);
    if !is_owed && !table.get(file).debt.is_pending() {
        eviction_probe::forget(&mut table, file);
    }
}

/// Whether the stores to all writable mappings of `file` are tracked.
pub fn are_stores_seen(worker: &Worker, file: &File) -> bool {
    let generation = worker.process().generation();
    let mut seen = true;
    mappings::lock().for_each_of(file, 0, |entry| {
        seen &= !entry.writable || entry.marks.registered == generation;
        seen
    });
    seen
}

/// The same, as far as each of these mappings reaches inside of the file.
pub fn are_all_marked(worker: &Worker, file: &File) -> bool {
    let size = size(worker, file);
    are_stores_seen(worker, file) && !reach::has_untracked(worker, &mappings::lock(), file, size)
}

/// Whether a mapping whose stores are not tracked, because it is locked in memory or a parent process made it, may
/// have been stored to.
fn may_be_stored(entry: &Entry<'_>, size: u64) -> bool {
    let mut cached = Ranges::new();
    mincore::cached_in(entry, size, &mut cached);
    !cached.is_empty()
}

/// Whether the mapping `entry` has pages that may be dirty. What is not
/// known counts as dirty.
pub fn may_be_dirty(worker: &Worker, entry: &Entry<'_>) -> bool {
    let (handle, suspect) = {
        let table = mappings::lock();
        let state = table.get(entry.file);
        (state.handle, state.suspect)
    };
    if suspect {
        return true;
    }
    let verified = is_verified(entry.file.traits.local_block);
    match config::settings().track {
        Track::Pagemap => pagemap::is_written(worker, entry, size(worker, entry.file)),
        Track::Auto if verified => pagemap::is_written(worker, entry, size(worker, entry.file)),
        Track::Auto | Track::Cachestat => worker
            .borrow_cached(&handle)
            .is_none_or(|file| cached_pages::is_unstable(file, entry.offset, entry.len() as u64)),
        Track::Whole => true,
    }
}

/// Has the stores to a new mapping, of a file, tracked page by page; returns what
/// to note in its entry. On a helper thread.
pub fn register(worker: &Worker, entry: &Entry<'_>) -> Marks {
    let traits = entry.file.traits;
    let marks = match wants_pagemap(traits) {
        true => pagemap::register(worker, entry, size(worker, entry.file)),
        false => Marks::default(),
    };
    let enforced = config::settings().enforce == Enforce::Full;
    if enforced && (marks.registered != 0 || is_verified(traits.local_block)) {
        plant_probe(worker, entry.file, || eviction_probe::plant(worker, entry));
    }
    marks
}

/// Has `file` have an eviction probe. On a helper thread, while the marks of what was stored are there.
pub fn ensure_probe(worker: &Worker, file: &File) {
    plant_probe(worker, file, || eviction_probe::ensure(worker, file));
}

/// A file that was empty when it was mapped, and has grown unseen, had none when it was stored to: a page that was dropped
/// then, and stored to again, has the mark of a first store.
fn plant_probe(worker: &Worker, file: &File, plant: impl FnOnce()) {
    let is_stored_to = || {
        let size = size(worker, file);
        let table = mappings::lock();
        !table.get(file).debt.owed.is_empty() || pagemap::is_any_written(worker, &table, file, size)
    };
    let is_late = eviction_probe::is_missing(file) && is_stored_to();
    plant();
    if is_late {
        eviction_probe::note_drop(file);
    }
}

/// Adds to the dirty ranges what else of the mappings is in the page cache, or, unless it is `all`, dirty there: other
/// processes, other calls and mappings that are gone may have stored it. Returns that.
pub fn assume_others(query: &Query<'_>, all: bool, into: &mut Found<'_>) -> Ranges {
    let mut others = Ranges::new();
    let Ok(size) = query.size() else {
        return others;
    };
    let cached = match all {
        true => query.cached(size),
        false => Ranges::new(),
    };
    mappings::lock().for_each_of(query.file, 0, |entry| {
        let (from, to) = (entry.offset, size.min(entry.offset + entry.len() as u64));
        if !entry.writable || from >= to {
            return true;
        }
        match (all, query.cache()) {
            (true, _) => others.add_all(cached.within(from, to)),
            (false, Some(file)) => drop(unstable(file, from, to, &mut others)),
            // What cannot be counted is not known.
            (false, None) => {}
        }
        true
    });
    others.remove_all(into.dirty);
    into.dirty.add_all(others.iter());
    into.assumed_dirty.add_all(others.iter());
    others
}

/// Adds what others may have changed in the file, mapped or not: all of it, if that is no more than `most` bytes. Else what is
/// mapped, if that is no more; and of the rest what is in the page cache, or, unless it is `all`, dirty there.
pub fn add_to_show(query: &Query<'_>, most: u64, all: bool, into: &mut Ranges) {
    let Ok(size) = query.size() else { return };
    if size <= most {
        into.add(0, size);
        return;
    }
    let mut mapped = Ranges::new();
    mappings::lock().for_each_of(query.file, 0, |entry| {
        mapped.add(entry.offset, size.min(entry.offset + entry.len() as u64));
        true
    });
    if mapped.bytes() <= most {
        into.add_all(mapped.iter());
    }
    if let Some(file) = query.cache() {
        // What cannot be counted is not known.
        let _ = match all {
            true => cached(file, into),
            false => unstable(file, 0, size, into),
        };
    }
}

/// The size of the file in whole pages, bytes; where it is unknown, unlimited. On a
/// helper thread, not under the table lock.
pub fn size(worker: &Worker, file: &File) -> u64 {
    match worker
        .borrow_handle(&mappings::handle_of(file))
        .map(sys::fd::size)
    {
        Some(Ok(size)) => sys::page_up(size),
        _ => u64::MAX,
    }
}

/// Has the stores to `entry`, a mapping in the table whose file the caller holds, tracked if they are not. On a
/// helper thread.
pub fn register_late(worker: &Worker, entry: &Entry<'_>) {
    if !wants_pagemap(entry.file.traits) {
        return;
    }
    let generation = worker.process().generation();
    let size = size(worker, entry.file);
    mappings::lock().mark(entry.start, entry.end, |found, marks| {
        if found.file != entry.file {
            return;
        }
        if marks.registered == generation {
            // What it has grown by, if all before that is tracked. Otherwise the next msync does it.
            if marks.tracked >= entry.start {
                pagemap::track_rest(worker, found, marks, size);
            }
        } else if found.start == entry.start {
            *marks = Marks {
                errseq_seen: marks.errseq_seen,
                ..pagemap::register(worker, found, size)
            };
        }
    });
    plant_probe(worker, entry.file, || eviction_probe::plant(worker, entry));
}

/// The program is about to register memory with a userfaultfd of its own, as the two numbers at `argument`
/// say (`struct uffdio_range`): the kernel grants one for each mapping, which is the program's. All signals
/// of the calling thread must be blocked.
#[cold]
pub fn give_way(argument: usize) {
    let mut bytes = [0; 16];
    if sys::vm::read_own_memory(argument, &mut bytes) != Ok(bytes.len()) {
        return;
    }
    let [start, len] = [0, 8].map(|at| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(number) as usize
    });
    if mappings::overlaps(start, len) {
        forget(start, start.saturating_add(len));
    }
}

/// No mapping in `[start, end)` is tracked page by page any more: until its next msync, what was stored to
/// it is unknown, and counts as dirty. All signals of the calling thread must be blocked.
pub fn forget(start: usize, end: usize) {
    let forget = |worker: &mut Worker| pagemap::forget(worker, start, end);
    let _ = helper::run_if_there(process::this(), forget);
}

/// Whether [`register`] has anything to do for a new mapping of a file on such a filesystem.
pub fn wants_registration(traits: Traits) -> bool {
    wants_pagemap(traits)
        || config::settings().enforce == Enforce::Full && is_verified(traits.local_block)
}

/// Whether more pages are only assumed to be dirty than can be gone through.
pub fn is_too_much(assumed_dirty: &Ranges) -> bool {
    assumed_dirty.bytes() > LARGEST
}

/// Adds every page of the file that this process may have stored to, cached or not, for a tracker that
/// does not see stores.
pub fn assume_all(query: &Query<'_>, into: &mut Found<'_>) {
    let mut all = Ranges::new();
    all.add(0, query.size().unwrap_or(0));
    mappings::lock().for_each_of(query.file, 0, |entry| {
        if entry.writable {
            into.assume(&entry, &all);
        }
        true
    });
}

/// Whether a new mapping of a file on such a filesystem is to be registered with [`pagemap`]: where
/// it is verified, where [`drops_marked`], and where the log tells of stores that were not synced: that is the one thing that the
/// log's level changes, and no promise comes of it (docs/findings.md). Never on DAX: the kernel
/// cannot replace the mark of a page that was not touched yet (`insert_pfn` in mm/memory.c), so that the
/// first store to it faults for ever.
pub fn wants_pagemap(traits: Traits) -> bool {
    let settings = config::settings();
    !traits.dax
        && (settings.enforce == Enforce::Full || stats::on())
        && match settings.track {
            Track::Pagemap => true,
            Track::Auto => is_verified(traits.local_block) || drops_marked(traits) || stats::on(),
            Track::Cachestat | Track::Whole => false,
        }
}

/// Adds what this process stored to since the last scan, whatever tracker the file has otherwise,
/// and takes the marks away.
pub fn scan(query: &Query<'_>, into: &mut Found<'_>) -> Result<(), Errno> {
    pagemap::dirty(query, into, false)
}

/// The tracker that was asked for, and the one that is used, where that is another.
pub fn replaced() -> Option<(Tracker, Tracker)> {
    match config::settings().track {
        Track::Pagemap if sys::userfaultfd::open().is_err() => {
            let instead = match cachestat::works() {
                true => Tracker::Cachestat,
                false => Tracker::Whole,
            };
            Some((Tracker::Pagemap, instead))
        }
        Track::Cachestat if !cachestat::works() => Some((Tracker::Cachestat, Tracker::Whole)),
        _ => None,
    }
}

/// The trackers that this kernel offers, for the log's first line.
pub fn available() -> impl fmt::Display {
    match (sys::userfaultfd::open().is_ok(), cachestat::works()) {
        (true, true) => "pagemap cachestat whole",
        (true, false) => "pagemap whole",
        (false, true) => "cachestat whole",
        (false, false) => "whole",
    }
}
