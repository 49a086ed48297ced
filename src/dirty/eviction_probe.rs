//! Eviction probes: whether the kernel has dropped the page cache of a file since the last look.
//!
//! A page that was stored to, dropped, and stored to again looks whole to msync, although the first store may be lost:
//! the drop wrote it back, and a filesystem that lied about that answered the second fault with old data. The witness of
//! an msync comes too late for that. FUSE drops all pages of a file together (`invalidate_inode_pages2` in fs/fuse, when
//! another process opens it without KEEP_CACHE, or when its attributes change under AUTO_INVAL_DATA), so one page tells: a
//! mapping of the shim's own, of one page that it has faulted in and locked against eviction. If its entry is empty, the page
//! cache was dropped. It is emptied before any other page of the file goes (`unmap_mapping_pages` takes the rest of the file in
//! one go).
//!
//! The cost is a mapping, a page that stays in the page cache, and one read of it.

use crate::helper::{self, Worker};
pub use crate::mappings::probes::{MOST, are_missing};
use crate::mappings::probes::{PLANTED, Probe, Probes};
use crate::mappings::{self, file::File, handle_of, table::Entry};
use crate::process;
use crate::sys::{self, cachestat::cachestat, signals::Blocked, vm, wipe::Mapping};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether there ever was one.
static ANY: AtomicBool = AtomicBool::new(false);

/// The probes of a file. Under the table lock.
fn of<'a>(table: &'a mut mappings::Guard, file: &'a File) -> &'a mut Probes {
    let probes = &mut table.get_mut(file).probes;
    adopt(probes, false);
    probes
}

/// A fork child has its parent's mappings, and nothing in them. Unless `in_time` it may have stored meanwhile.
fn adopt(probes: &mut Probes, in_time: bool) {
    let birth = process::this().birth();
    if probes.birth != birth {
        probes.birth = birth;
        for probe in &mut probes.all {
            probe.lives = false;
            probes.dropped |= !in_time && probe.addr != 0;
        }
    }
}

/// In a fork child, before it can store to what it has inherited: brings the probes to life. On the child's only
/// thread, without a helper and without a descriptor. Nothing is read in: a probe whose page is not in the page cache
/// stays dead.
#[cold]
pub fn forked() {
    if !ANY.load(Ordering::Relaxed) {
        return;
    }
    let size = sys::page_size();
    mappings::lock().for_each_state(|state| {
        adopt(&mut state.probes, true);
        for probe in &mut state.probes.all {
            if probe.addr != 0 && vm::is_cached(probe.addr) {
                probe.lives = vm::populate_locked(probe.addr, size).is_ok();
            }
        }
    });
}

/// The program wants to lock as much as it may (RLIMIT_MEMLOCK): what the probes have locked is let go of. Says whether that
/// was anything.
#[cold]
pub fn unlock() -> bool {
    let mut any = false;
    mappings::lock().for_each_state(|state| {
        for probe in state.probes.all.iter().filter(|probe| probe.addr != 0) {
            vm::unlock(probe.addr, sys::page_size());
            any = true;
        }
    });
    any
}

/// Plants a probe in `entry`, a mapping of a file, if the file has not got
/// enough: on the last page that is inside the file. On a helper thread.
pub fn plant(worker: &Worker, entry: &Entry<'_>) {
    let file = entry.file;
    // The page cache of a local filesystem is dropped by nobody but its user.
    if file.traits.local_block {
        return;
    }
    let size = size(worker, file);
    {
        let mut table = mappings::lock();
        let probes = of(&mut table, file);
        let enough = probes.all.iter().filter(|c| c.addr != 0).count() >= PLANTED;
        let is_first = probes.is_empty();
        // Until now a drop was seen by nobody but the marks of what is tracked.
        if is_first && super::reach::has_untracked(worker, &table, file, size.unwrap_or(0)) {
            of(&mut table, file).dropped = true;
        }
        if enough {
            return;
        }
    }
    let page = sys::page_size() as u64;
    let end = entry.offset + entry.len() as u64;
    // Without a handle yet: a page that is inside the file if any is.
    let end = size.map_or(entry.offset + page, |size| size.min(end));
    if end > entry.offset {
        plant_at(worker, file, entry, end - page, false);
    }
    note_missing(file);
}

/// Where a file has no probe because there is no page for one, who makes it longer plants one.
fn note_missing(file: &File) {
    let mut table = mappings::lock();
    let probes = of(&mut table, file);
    probes.note_missing(probes.is_empty());
}

/// The size of the file in whole pages, bytes, where it is known.
fn size(worker: &Worker, file: &File) -> Option<u64> {
    let size = sys::fd::size(worker.borrow_handle(&handle_of(file))?);
    size.ok().map(sys::page_up)
}

/// Plants one on the page of `entry` at `offset` in the file, if `entry` is still there where it `must_be_known`: another thread
/// may have unmapped it.
fn plant_at(worker: &Worker, file: &File, entry: &Entry<'_>, offset: u64, must_be_known: bool) {
    let source = entry.start + (offset - entry.offset) as usize;
    let Some(addr) = duplicate(file, source, offset, must_be_known) else {
        return;
    };
    // Faults it in, and no neighbour: the mapping is marked as read at random.
    let _ = vm::populate_locked(addr, sys::page_size());
    let Some(pagemap) = worker.pagemap() else {
        return;
    };
    let mut table = mappings::lock();
    let mut all = of(&mut table, file).all.iter_mut();
    let Some(probe) = all.find(|probe| probe.addr == addr) else {
        return;
    };
    let present = vm::is_present(pagemap, addr);
    match present {
        true => probe.lives = true,
        // Beyond the end of the file.
        false => *probe = Probe::default(),
    }
    drop(table);
    match present {
        true => look_for_stacking(worker, file, offset),
        false => unmap(addr),
    }
}

/// The page at `offset` of the file is mapped. If the handle's inode has not got it, another inode has the pages,
/// and the count of this one says nothing.
fn look_for_stacking(worker: &Worker, file: &File, offset: u64) {
    let counted = worker
        .borrow_cached(&handle_of(file))
        .map(|cached| cachestat(cached, offset, sys::page_size() as u64));
    if let Some(Ok(stat)) = counted
        && stat.cached == 0
    {
        mappings::lock().get_mut(file).handle.uncounted = true;
    }
}

/// Maps the page a second time and notes it, under the lock, so that the program's mapping stays
/// meanwhile and whoever takes that away finds the note.
fn duplicate(file: &File, source: usize, offset: u64, must_be_known: bool) -> Option<usize> {
    let size = sys::page_size();
    let mut table = mappings::lock();
    let mut is_known = !must_be_known;
    table.for_each(source, source + size, |entry| {
        is_known |= entry.file == file && entry.offset == offset;
        !is_known
    });
    if !is_known {
        return None;
    }
    let free = of(&mut table, file).all.iter_mut().find(|c| c.addr == 0)?;
    // Noted here, and unmapped by whoever takes the note away.
    let mut page = vm::duplicate(source, size).ok()?;
    // The program's may be `PROT_NONE`.
    let _ = page.make_readable();
    page.expect_random();
    let addr = page.leave().as_ptr().expose_provenance();
    *free = Probe {
        addr,
        source,
        offset,
        lives: false,
        is_new: true,
    };
    ANY.store(true, Ordering::Relaxed);
    Some(addr)
}

/// What the probes of a file tell of the time since they were last asked.
#[derive(Clone, Copy, Default)]
pub struct Answer {
    /// The page cache was dropped.
    pub dropped: bool,
    /// None was alive that could have told.
    pub unknown: bool,
}

/// Whether the page cache of `file` was dropped since the last time;
/// `again` brings the dead ones to life, so that the next answer is about the time from here on. On
/// a helper thread.
pub fn ask(worker: &Worker, file: &File, again: bool) -> Answer {
    let Some(pagemap) = worker.pagemap() else {
        return Answer::default();
    };
    let is_well =
        |probe: &Probe| probe.addr == 0 || probe.lives && vm::is_present(pagemap, probe.addr);
    {
        let mut table = mappings::lock();
        let probes = of(&mut table, file);
        if probes.all.iter().all(is_well) {
            let unknown = tells_nothing(probes, file);
            return note_answer(&mut table, file, again, false, unknown);
        }
    }
    let size = size(worker, file);
    // Each dead one, whether it is for good (a file that became shorter lost its page so), and whether it has lived.
    let mut dead = [None; MOST];
    let answer = {
        let mut table = mappings::lock();
        let probes = of(&mut table, file);
        let mut dropped = false;
        let unknown = tells_nothing(probes, file);
        for (probe, dead) in probes.all.iter_mut().zip(&mut dead) {
            if is_well(probe) {
                continue;
            }
            let cut_off = size.is_some_and(|size| probe.offset >= size);
            *dead = Some((probe.addr, cut_off, probe.lives));
            dropped |= probe.lives && !cut_off;
            if cut_off {
                *probe = Probe::default();
            } else if again {
                // Whoever looks at it until it has come back is not told of the same drop.
                probe.lives = false;
            }
        }
        let cut_off = dead.iter().flatten().any(|&(_, cut_off, _)| cut_off);
        probes.note_missing(cut_off && probes.is_empty() || probes.missing);
        note_answer(&mut table, file, again, dropped, unknown)
    };
    for (addr, cut_off, lived) in dead.into_iter().flatten() {
        if cut_off {
            unmap(addr);
        } else if again && (vm::populate_read(addr, sys::page_size()).is_ok() || lived) {
            set_alive(file, addr);
        }
    }
    answer
}

/// The probe at `addr` tells again of what happens to its page; if it is still there.
fn set_alive(file: &File, addr: usize) {
    let mut table = mappings::lock();
    let mut all = of(&mut table, file).all.iter_mut();
    if let Some(probe) = all.find(|probe| probe.addr == addr) {
        probe.lives = true;
    }
}

/// Whether none of the `probes` of `file` can tell.
fn tells_nothing(probes: &Probes, file: &File) -> bool {
    !file.traits.local_block && probes.all.iter().all(|probe| !probe.lives)
}

/// What [`ask`] has found.
fn note_answer(
    table: &mut mappings::Guard,
    file: &File,
    again: bool,
    dropped: bool,
    unknown: bool,
) -> Answer {
    let probes = of(table, file);
    let dropped = dropped || probes.dropped;
    probes.dropped = dropped && !again;
    let state = table.get_mut(file);
    state.dropped |= dropped;
    state.dropped_unseen |= dropped;
    if dropped {
        table.doubt_mapping(file);
    }
    Answer { dropped, unknown }
}

/// Whether the page cache of `file` was dropped since its probes were last asked, which are not told that they were.
/// On a helper thread.
pub fn is_dropped(worker: &Worker, table: &mut mappings::Guard, file: &File) -> bool {
    let Some(pagemap) = worker.pagemap() else {
        return false;
    };
    let probes = of(table, file);
    let mut living = probes.all.iter().filter(|probe| probe.lives);
    probes.dropped || living.any(|probe| !vm::is_present(pagemap, probe.addr))
}

/// Whether a probe of `file` lives, and none tells of a drop. On a helper thread.
pub fn are_well(worker: &Worker, table: &mut mappings::Guard, file: &File) -> bool {
    let lives = of(table, file).all.iter().any(|probe| probe.lives);
    lives && worker.pagemap().is_some() && !is_dropped(worker, table, file)
}

/// The page cache of `file` is about to be dropped, and nothing but the pages of its probes is in page tables: where none is, the
/// kernel need not look through all mappings of the file. [`revive`] must follow.
pub fn step_aside(table: &mut mappings::Guard, file: &File) {
    let all = of(table, file).all.iter();
    for probe in all.filter(|probe| probe.lives) {
        vm::forget_locked(probe.addr, sys::page_size());
    }
}

/// The page cache of `file` may have been dropped, and nothing was lost by that.
pub fn forget(table: &mut mappings::Guard, file: &File) {
    of(table, file).dropped = false;
    let state = table.get_mut(file);
    (state.dropped, state.dropped_unseen) = (false, false);
}

/// Whether the page cache of `file` may have been dropped since the last sync that
/// succeeded, for all that its probes tell. On a helper thread. What calls of the program's own have dropped
/// counts where other threads may have stored meanwhile.
pub fn may_be_dropped(worker: &Worker, table: &mut mappings::Guard, file: &File) -> bool {
    let dropped = table.get(file).dropped_unseen && !sys::thread::is_single();
    let probes = of(table, file);
    let Some(pagemap) = worker.pagemap() else {
        return true;
    };
    let mut alive = probes.all.iter().filter(|c| c.lives).peekable();
    dropped
        || probes.dropped
        || alive.peek().is_none() && !file.traits.local_block
        || alive.any(|probe| !vm::is_present(pagemap, probe.addr))
}

/// Plants one in some mapping of `file` if it has none: the mappings that had
/// are gone, or were made by a parent process, or the file was empty. On a helper thread.
pub fn ensure(worker: &Worker, file: &File) {
    if has_any(file) {
        return;
    }
    let end = size(worker, file).unwrap_or(u64::MAX);
    let mut from = 0;
    loop {
        let mut found = None;
        // Beyond the end of the file there is no page for one.
        mappings::lock().for_each_of(file, from, |entry| {
            found = (entry.writable && entry.offset < end).then(|| entry.with(file));
            found.is_none()
        });
        let Some(entry) = found else { return };
        plant(worker, &entry);
        if has_any(file) {
            return;
        }
        from = entry.end;
    }
}

fn has_any(file: &File) -> bool {
    !of(&mut mappings::lock(), file).is_empty()
}

/// Whether `file` has none because it was empty.
pub fn is_missing(file: &File) -> bool {
    of(&mut mappings::lock(), file).missing
}

/// The page cache of `file` counts as dropped since it was asked about, if it has a probe to ask.
pub fn note_drop(file: &File) {
    let mut table = mappings::lock();
    let probes = of(&mut table, file);
    probes.dropped |= !probes.is_empty();
}

/// Notes whether a probe of `entry`, whose file the caller holds and which is about to go, is dead. On a helper
/// thread.
pub fn note(worker: &Worker, entry: &Entry<'_>) {
    let Some(pagemap) = worker.pagemap().filter(|_| ANY.load(Ordering::Relaxed)) else {
        return;
    };
    let mut table = mappings::lock();
    let probes = of(&mut table, entry.file);
    let dead = probes.all.iter().any(|probe| {
        let is_inside = (entry.start..entry.end).contains(&probe.source);
        is_inside && probe.lives && !vm::is_present(pagemap, probe.addr)
    });
    probes.dropped |= dead;
}

/// Tells `each` of the parts of the bytes `range` of `file` that none of its probes keeps in the page cache.
pub fn for_each_between(file: &File, range: Range<u64>, mut each: impl FnMut(Range<u64>)) {
    let page = sys::page_size() as u64;
    let mut kept = of(&mut mappings::lock(), file).all;
    kept.sort_unstable_by_key(|probe| probe.offset);
    let mut at = range.start;
    for probe in kept.iter().filter(|probe| probe.lives) {
        if (at..range.end).contains(&probe.offset) {
            each(at..probe.offset);
            at = probe.offset + page;
        }
    }
    each(at..range.end);
}

/// Takes all probes of `file` away: they keep their pages in the page cache. Later
/// [`ensure`]. On a helper thread.
pub fn clear(worker: &Worker, file: &File) {
    let _ = ask(worker, file, false);
    let mut gone = [0; MOST];
    for (probe, gone) in of(&mut mappings::lock(), file)
        .all
        .iter_mut()
        .zip(&mut gone)
    {
        *gone = core::mem::take(probe).addr;
    }
    gone.into_iter().filter(|&addr| addr != 0).for_each(unmap);
}

/// The program's mapping `entry` is gone. Its probes pass to another one of the file; where there is none they are
/// taken away, and `unmap` is told the address of each page that must be unmapped, when the lock is free again.
pub fn take(table: &mut mappings::Guard, entry: &Entry<'_>, mut unmap: impl FnMut(usize)) {
    if !ANY.load(Ordering::Relaxed) {
        return;
    }
    let is_of_entry =
        |probe: &Probe| probe.addr != 0 && (entry.start..entry.end).contains(&probe.source);
    if !of(table, entry.file).all.iter().any(is_of_entry) {
        return;
    }
    let mut other = None;
    table.for_each_of(entry.file, 0, |found| {
        other = found.writable.then_some(found.start);
        other.is_none()
    });
    let all = of(table, entry.file).all.iter_mut();
    for probe in all.filter(|probe| is_of_entry(probe)) {
        match other {
            Some(start) => probe.source = start,
            None => unmap(core::mem::take(probe).addr),
        }
    }
    if other.is_none() {
        of(table, entry.file).note_missing(false);
    }
}

/// Unmaps a page that was taken. Not under the table lock: for FUSE the kernel writes the file back.
pub fn unmap(addr: usize) {
    if let Some(start) = NonNull::new(core::ptr::with_exposed_provenance_mut(addr)) {
        // SAFETY: left by `duplicate`, and nobody else knows of it any more.
        drop(unsafe { Mapping::adopt(start, sys::page_size()) });
    }
}

/// A call of the program's begins that may drop the page cache of `file`.
pub fn age(file: &File) {
    for probe in &mut of(&mut mappings::lock(), file).all {
        probe.is_new = false;
    }
}

/// Whether one of the probes of `file` is dead, of those not in the bytes `except`, or, where the program's call was
/// announced ([`age`]), only `of_before` that; nothing where there is none. On a helper thread.
pub fn are_any_dead(
    worker: &Worker,
    file: &File,
    except: &Range<u64>,
    of_before: bool,
) -> Option<bool> {
    let pagemap = worker.pagemap()?;
    let mut table = mappings::lock();
    let all = of(&mut table, file).all.iter();
    let living = all.filter(|probe| {
        probe.lives && !except.contains(&probe.offset) && !(of_before && probe.is_new)
    });
    living
        .map(|probe| !vm::is_present(pagemap, probe.addr))
        .reduce(|any, dead| any || dead)
}

/// Whether one of them was found dead, and the next [`ask`] will say so.
pub fn has_told(file: &File) -> bool {
    of(&mut mappings::lock(), file).dropped
}

/// The same; that is seen to now.
pub fn take_told(file: &File) -> bool {
    core::mem::take(&mut of(&mut mappings::lock(), file).dropped)
}

/// Brings probes in `range`, bytes, of the file back to life: what they stood on
/// has gone because the program said so. Says whether one was dead. On a helper thread.
pub fn revive(worker: &Worker, file: &File, range: &Range<u64>) -> bool {
    let Some(pagemap) = worker.pagemap() else {
        return false;
    };
    let mut dead = [0; MOST];
    for (probe, dead) in of(&mut mappings::lock(), file)
        .all
        .iter_mut()
        .zip(&mut dead)
    {
        let is_dead = probe.lives && !vm::is_present(pagemap, probe.addr);
        if is_dead && range.contains(&probe.offset) {
            *dead = probe.addr;
            // As in `ask`.
            probe.lives = false;
        }
    }
    let any = dead.iter().any(|&addr| addr != 0);
    if any {
        let size = size(worker, file).unwrap_or(u64::MAX);
        let mut table = mappings::lock();
        let unseen = super::reach::has_untracked(worker, &table, file, size);
        let state = table.get_mut(file);
        state.dropped = true;
        state.dropped_unseen |= unseen;
    }
    for addr in dead.into_iter().filter(|&addr| addr != 0) {
        if vm::populate_read(addr, sys::page_size()).is_err() {
            // Beyond the end of the file now.
            let mut table = mappings::lock();
            let mut all = of(&mut table, file).all.iter_mut();
            if let Some(probe) = all.find(|probe| probe.addr == addr) {
                *probe = Probe::default();
                drop(table);
                unmap(addr);
                note_missing(file);
            }
        } else {
            set_alive(file, addr);
        }
    }
    any
}

/// Moves probes out of a range, bytes, of the inode: what is to be read afresh must not be kept in
/// the page cache by them. Any context that read(2) may be called from.
pub fn make_way(dev: u64, ino: u64, range: Range<u64>) {
    if !ANY.load(Ordering::Relaxed) {
        return;
    }
    let _quiet = Blocked::all();
    mappings::each_of_inode(dev, ino, |file| {
        let move_one = |worker: &mut Worker| move_one(worker, file, &range);
        while is_in_the_way(file, &range) && helper::run(process::this(), move_one) == Ok(true) {}
    });
}

/// Whether `file` has a probe in the range.
fn is_in_the_way(file: &File, range: &Range<u64>) -> bool {
    let mut table = mappings::lock();
    let mut all = of(&mut table, file).all.iter();
    all.any(|c| c.lives && range.contains(&c.offset))
}

/// Moves one probe out of the range: to the page before it, which a program that reads on has read
/// already, or after it. Where it can go nowhere, the last one stays. Says whether one has gone.
fn move_one(worker: &Worker, file: &File, range: &Range<u64>) -> bool {
    let page = sys::page_size() as u64;
    let before = sys::page_down(range.start).checked_sub(page);
    move_to(
        worker,
        file,
        range,
        [before, Some(sys::page_up(range.end))],
        false,
    )
    .is_some()
}

/// The range was dropped from the page cache, but for the page of a probe that has stayed there: it goes to another
/// page, which is read afresh. Says where it was, bytes of the file, which can be dropped now.
pub fn leave_last(dev: u64, ino: u64, range: &Range<u64>, mut drop: impl FnMut(Range<u64>)) {
    if !ANY.load(Ordering::Relaxed) {
        return;
    }
    let _quiet = Blocked::all();
    let page = sys::page_size() as u64;
    mappings::each_of_inode(dev, ino, |file| {
        if !is_in_the_way(file, range) {
            return;
        }
        let mut left = None;
        let _ = helper::run(process::this(), |worker| {
            let at = {
                let mut table = mappings::lock();
                let mut all = of(&mut table, file).all.iter();
                all.find(|probe| probe.lives).map(|probe| probe.offset)
            };
            let places = at.map_or([None; 2], |at| [at.checked_sub(page), Some(at + page)]);
            left = move_to(worker, file, range, places, true);
        });
        if let Some(offset) = left {
            drop(offset..offset + page);
            // There may be no other page.
            let _ = helper::run(process::this(), |worker| ensure(worker, file));
        }
    });
}

/// Moves one probe in the range to the first of `places`, offsets in the file, that its mapping has; where it has
/// none of them it is taken away, the last one only if it `must` go. Returns where it was.
fn move_to(
    worker: &Worker,
    file: &File,
    range: &Range<u64>,
    places: [Option<u64>; 2],
    must: bool,
) -> Option<u64> {
    let end = size(worker, file).unwrap_or(u64::MAX);
    let mut place = None;
    let old = {
        let mut table = mappings::lock();
        let probes = of(&mut table, file);
        let living = probes.all.iter().filter(|probe| probe.lives).count();
        let is_it = |probe: &&mut Probe| probe.lives && range.contains(&probe.offset);
        let source = probes.all.iter_mut().find(is_it)?.source;
        // Its own mapping, or else any: that may have other parts of the file.
        table.for_each_of(file, 0, |entry| {
            let end = end.min(entry.offset + entry.len() as u64);
            let is_own = (entry.start..entry.end).contains(&source);
            if is_own || entry.writable && place.is_none() {
                let mut places = places.into_iter().flatten();
                let found = places.find(|offset| (entry.offset..end).contains(offset));
                place = found.map(|offset| (entry.with(file), offset)).or(place);
            }
            !(is_own && place.is_some())
        });
        if place.is_none() && living == 1 && !must {
            return None;
        }
        *of(&mut table, file).all.iter_mut().find(is_it)?
    };
    if let Some((entry, offset)) = place {
        plant_at(worker, file, &entry, offset, true);
    }
    // Asked only now, when the new one lives: no moment is without. Until then who drops the page cache and knows of it finds
    // the old one, and brings it back to life.
    let mut table = mappings::lock();
    let mut all = of(&mut table, file).all.iter_mut();
    let found = all.find(|probe| probe.addr == old.addr);
    // Else somebody has taken it away meanwhile.
    if let Some(probe) = found.map(core::mem::take) {
        let is_dead = |fd| !vm::is_present(fd, probe.addr);
        of(&mut table, file).dropped |= probe.lives && worker.pagemap().is_some_and(is_dead);
        drop(table);
        unmap(probe.addr);
    }
    Some(old.offset)
}
