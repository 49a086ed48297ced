//! What mmap, munmap and mremap do to the address table, and what follows from it: the slow paths of their hooks.
//!
//! What a call unmaps leaves the table *before* the real call and returns to it if that fails: see
//! [`crate::mappings`].

pub mod lock_in_memory;
mod proc_maps;
mod records;
#[cfg(test)]
mod tests;

use crate::dirty::eviction_probe;
use crate::dirty::removal::{self, Inode};
use crate::enforce::{before, sandbox};
use crate::mappings::classify::{self, Bypass, Candidate};
use crate::mappings::file::{Handle, Key, MayDrop};
use crate::mappings::leaving::Leaving;
use crate::mappings::table::{Entry, Marks};
use crate::mappings::{
    self, Guard, HeldEntry, Taken, close_if, first_in, let_go_if, lock, lock_if, overlaps,
};
use crate::sys::{self, signals::Quiet};
use crate::{
    config, dirty, enforce, findings, handles, helper, log, next_fn, prealloc, process, reads,
    stats,
};
use core::ffi::c_void;
use core::ops::Range;
use keepmydata_records::{Level, Munmap};
use libc::{c_int, off_t, size_t};

/// A call of mmap(2) that the program makes.
struct Mmap {
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
    next: NextMmap,
}

/// `mmap` of whichever name the program called.
pub type NextMmap = unsafe fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void;

impl Mmap {
    /// Makes it.
    fn call(&self) -> *mut c_void {
        let next = self.next;
        // SAFETY: by contract of [`mmap`], which alone makes such a call, and has it made once.
        unsafe {
            next(
                self.addr,
                self.len,
                self.prot,
                self.flags,
                self.fd,
                self.offset,
            )
        }
    }

    fn replaces(&self) -> bool {
        self.flags & libc::MAP_FIXED != 0 && self.flags & libc::MAP_FIXED_NOREPLACE == 0
    }
}

/// mmap(2) of a file, shared, or in a process that has tracked mappings, by the `next` in line.
///
/// # Safety
/// As mmap(2).
#[cold]
#[inline(never)]
pub unsafe fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
    next: NextMmap,
) -> *mut c_void {
    let call = Mmap {
        addr,
        len,
        prot,
        flags,
        fd,
        offset,
        next,
    };
    let state = next_fn::defer_cancel();
    let result = match process::is_open() {
        false => call.call(),
        true if classify::is_shared_file(flags) && !sandbox::allows() => call.call(),
        true if classify::is_shared_file(flags) => {
            let state = next_fn::enter();
            let result = mmap_file(&call, &state.quiet);
            next_fn::leave(state);
            result
        }
        true => mmap_other(&call),
    };
    next_fn::allow_cancel(state);
    result
}

/// A mapping that is not tracked itself, in a process that has tracked ones: it may replace those.
#[inline(never)]
fn mmap_other(call: &Mmap) -> *mut c_void {
    let _leaving = before_replacing(call);
    if before::is_needed() && call.flags & libc::MAP_ANONYMOUS == 0 {
        let state = next_fn::enter();
        let kind = maps(sys::fd::flags(call.fd));
        let inode = removal::tracked_fd(call.fd).filter(|&inode| may_drop(inode, kind));
        let result = inode.map(|inode| replace_dropping(call, inode, kind));
        next_fn::leave(state);
        if let Some(result) = result {
            return result;
        }
    }
    replace(call)
}

fn before_replacing(call: &Mmap) -> Option<Leaving> {
    if !call.replaces() {
        return None;
    }
    findings::before_unmap(call.addr as usize, call.len);
    unmapping(call.addr as usize, call.len)
}

/// The same call after [`before_replacing`], what is of which lives until this is done.
fn replace(call: &Mmap) -> *mut c_void {
    let replaced = call
        .replaces()
        .then(|| take(call.addr as usize, call.len, None))
        .flatten();
    let result = call.call();
    settle(replaced, result != libc::MAP_FAILED, None);
    if result != libc::MAP_FAILED && overlaps(result as usize, call.len) {
        // The program unmapped a tracked mapping behind the C library's back.
        settle(take(result as usize, call.len, None), true, None);
    }
    result
}

/// The same of a file that is tracked: on FUSE with FOPEN_DIRECT_IO each mmap drops the page cache. Not inlined, for
/// the sake of small stacks.
#[cold]
#[inline(never)]
fn replace_dropping(call: &Mmap, inode: Inode, kind: MayDrop) -> *mut c_void {
    let dropping = before::Dropping::begin(inode, kind);
    let result = replace(call);
    dropping.end((result != libc::MAP_FAILED).then_some(0..0));
    result
}

/// A shared mapping of a file.
#[inline(never)]
fn mmap_file(call: &Mmap, quiet: &Quiet) -> *mut c_void {
    let started = log::Timer::at(Level::Trace);
    let candidate = classify::candidate(call.fd, call.prot);
    let leaving = before_replacing(call);
    let may_drop = |candidate: &&Candidate| {
        let Candidate { key, writable, .. } = candidate;
        before::is_needed() && may_drop((key.dev, key.ino), maps_to(*writable))
    };
    let dropping = candidate.as_ref().ok().filter(may_drop).map(|candidate| {
        let Candidate { key, writable, .. } = candidate;
        before::Dropping::begin((key.dev, key.ino), maps_to(*writable))
    });
    let result = replace(call);
    drop(leaving);
    let mapped = (result != libc::MAP_FAILED).then_some(result as usize);
    let tracked = mapped.map(|start| {
        candidate.and_then(|candidate| track(call, start, candidate, dropping.as_ref(), quiet))
    });
    // Not before the mapping is in the table: the kernel may take marks away that nobody has made, where a page is
    // dropped in the moment of a fault, and who has it dropped mends that in the mappings that are known.
    if let Some(dropping) = dropping {
        dropping.end(mapped.map(|_| 0..0));
    }
    if let Some(tracked) = tracked {
        if let Ok(key) = &tracked {
            before::wait_for_dropping(key);
        }
        records::mmap(call, result as usize, tracked, started);
    }
    result
}

/// Whether the kernel may drop the page cache of a tracked file because it is mapped once more, by a descriptor of that
/// `kind`: on local filesystems it does not, and where it did not the last time it is not expected to. Then the file's
/// mappings, of which there may be thousands, need not be looked through for what is owed. Where that turns out wrong,
/// what was stored there is in doubt, and the next call is taken for one that drops ([`Guard::doubt_mapping`]). In a process of
/// several threads it keeps their enforcements of the file out all the same.
fn may_drop((dev, ino): Inode, kind: MayDrop) -> bool {
    if !mappings::may_know(dev, ino) {
        return false;
    }
    let (table, single) = (lock(), sys::thread::is_single());
    table.of_inode(dev, ino).any(|file| match single {
        true => table.drops(file, kind),
        false => !file.traits.local_block,
    })
}

/// What mmap of a descriptor may do: a FUSE daemon may have answered its open otherwise if it was for reading alone.
fn maps_to(writable: bool) -> MayDrop {
    match writable {
        true => MayDrop::Map,
        false => MayDrop::MapToRead,
    }
}

/// The same by the `flags` of its open file, where they are known.
fn maps(flags: Option<c_int>) -> MayDrop {
    maps_to(flags.is_some_and(|flags| flags & libc::O_ACCMODE == libc::O_RDWR))
}

/// Adds a mapping that overlaps none; says whether the table could take it.
fn insert(table: &mut Guard, entry: Entry<'_>) -> bool {
    let inserted = table.insert(entry);
    if inserted {
        reads::watch(before::is_needed());
    }
    inserted
}

/// Puts one more mapping of a known file into the table, if nothing else is to be done: the file
/// has its handle, and stores through this mapping are not tracked. The lock is taken once.
fn track_known(
    call: &Mmap,
    start: usize,
    candidate: &Candidate,
    quiet: &Quiet,
) -> Option<Result<Key, Bypass>> {
    let &Candidate { key, writable, .. } = candidate;
    if !mappings::may_know(key.dev, key.ino) || stats::on() {
        return None;
    }
    let generation = process::this().generation();
    let mut table = lock_if(Some(quiet));
    let file = table.find(&key)?;
    let state = table.get(file);
    let excluded = state.excluded;
    let handled = state.handle.generation == generation
        && !dirty::wants_pagemap(file.traits)
        && !config::preallocates();
    if state.path().is_empty() || handles::wanted(writable, excluded) && !handled {
        return None;
    }
    let file = file.hold();
    let inserted = insert(
        &mut table,
        Entry {
            start,
            end: start + sys::page_up(call.len as u64) as usize,
            offset: call.offset as u64,
            file: &file,
            writable,
            marks: Marks::default(),
        },
    );
    table.note_prot(&file, call.prot);
    // The entry has a hold of its own, if there is one.
    let handle = table.release(file);
    drop(table);
    if handle.is_some() {
        close_if(&[handle], Some(quiet));
    }
    Some(outcome(inserted, excluded, key))
}

fn outcome(inserted: bool, excluded: bool, key: Key) -> Result<Key, Bypass> {
    match (inserted, excluded) {
        (false, _) => Err(Bypass::OutOfMemory),
        (true, true) => Err(Bypass::Excluded),
        (true, false) => Ok(key),
    }
}

/// Puts a new mapping into the table and sees to the file's handle.
#[inline(never)]
fn track(
    call: &Mmap,
    start: usize,
    candidate: Candidate,
    dropping: Option<&before::Dropping>,
    quiet: &Quiet,
) -> Result<Key, Bypass> {
    if let Some(done) = track_known(call, start, &candidate, quiet) {
        return done;
    }
    let Candidate {
        key,
        mount,
        writable,
    } = candidate;
    let known = match mappings::may_know(key.dev, key.ino) {
        true => lock_if(Some(quiet)).find(&key).map(|file| file.traits),
        false => None,
    };
    let traits = match known {
        Some(traits) => traits,
        None => classify::traits(call.fd, mount)?,
    };
    let len = sys::page_up(call.len as u64) as usize;
    enforce::keep_memory();
    let added = lock_if(Some(quiet)).find_or_add(key, traits);
    let file = added.ok_or(Bypass::OutOfMemory)?;
    let mut entry = Entry {
        start,
        end: start + len,
        offset: call.offset as u64,
        file: &file,
        writable,
        marks: Marks::default(),
    };
    let locks = lock_in_memory::times();
    // Two threads that map a file for the first time do not both open it: on FUSE each open may drop the page
    // cache, and what the other is about to find in it.
    let is_quiet = dropping.is_some_and(|dropping| dropping.has(&file));
    // A vfork child opens nothing, and what it maps is its parent's: the next msync opens it.
    let opens = !is_quiet && !process::this().is_borrowed();
    let first = writable && opens && !handles::is_open(&file, quiet);
    let quiesced = first.then(|| enforce::before::quiesce(&file));
    entry.marks = handles::open(call.fd, &entry, quiet);
    if let Some(quiesced) = quiesced {
        quiesced.end();
    }
    let (inserted, excluded) = {
        let mut table = lock_if(Some(quiet));
        table.note_prot(&file, call.prot);
        (insert(&mut table, entry), table.get(&file).excluded)
    };
    if !inserted {
        let mut close = Closing::default();
        eviction_probe::take(&mut lock_if(Some(quiet)), &entry, |addr| close.unmap(addr));
        close.all(Some(quiet));
    }
    stats::mapped(&file);
    let_go_if(file, Some(quiet));
    if inserted {
        lock_in_memory::since(locks, start, start + len);
        new_part(start, start + len);
    }
    outcome(inserted, excluded, key)
}

/// What a call has mapped anew, now in the table if it is tracked: its holes are looked at before the
/// program learns that it is there.
fn new_part(start: usize, end: usize) {
    if overlaps(start, end - start) {
        prealloc::range(start, end);
        findings::mapped(start, end);
    }
}

/// munmap(2) in a process that has tracked mappings.
#[inline(never)]
pub fn munmap(addr: usize, len: size_t, real: impl FnOnce() -> c_int) -> c_int {
    if !overlaps(addr, len) {
        return real();
    }
    let state = next_fn::enter();
    let result = munmap_tracked(addr, len, real, &state.quiet);
    next_fn::leave(state);
    result
}

#[cold]
#[inline(never)]
fn munmap_tracked(addr: usize, len: size_t, real: impl FnOnce() -> c_int, quiet: &Quiet) -> c_int {
    let started = log::Timer::at(Level::Trace);
    if config::settings().munmap == Munmap::Sync {
        enforce::before_unmap(quiet, addr, len);
    }
    findings::before_unmap(addr, len);
    let _leaving = unmapping(addr, len);
    let taken = take(addr, len, Some(quiet));
    let result = real();
    records::munmap(addr, len, result, taken.as_ref(), started);
    settle(taken, result == 0, Some(quiet));
    result
}

/// What is owed in a range that a call is about to unmap is noted, or proved, while it can be.
fn unmapping(addr: usize, len: usize) -> Option<Leaving> {
    if !(before::is_needed() && addr & (sys::page_size() - 1) == 0 && overlaps(addr, len)) {
        return None;
    }
    let end = addr.saturating_add(sys::page_up(len as u64) as usize);
    before::unmapping(addr, end)
}

/// The arguments of mremap(2), lengths in whole pages.
struct Mremap {
    old: usize,
    old_size: usize,
    new_size: usize,
    flags: c_int,
    new: usize,
}

impl Mremap {
    fn is(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }

    /// Moves what may be several mappings, or leaves them where they are as well.
    fn moves_untracked(&self) -> bool {
        self.is(libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP) && self.old_size > 0
    }

    /// Whether the kernel refuses it whatever is mapped.
    fn is_invalid(&self) -> bool {
        let odd = |addr| addr & (sys::page_size() - 1) != 0;
        odd(self.old) || self.new_size == 0 || self.is(libc::MREMAP_FIXED) && odd(self.new)
    }

    /// Makes a mapping shorter where it is, or longer if there is room.
    fn is_in_place(&self) -> bool {
        let moves = libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;
        self.old_size > 0
            && !self.is(moves)
            && (self.new_size <= self.old_size || !self.is(libc::MREMAP_MAYMOVE))
    }
}

/// mremap(2) in a process that has tracked mappings.
#[cold]
#[inline(never)]
pub fn mremap(
    old: usize,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: usize,
    real: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    let started = log::Timer::at(Level::Trace);
    let call = Mremap {
        old,
        old_size: sys::page_up(old_len as u64) as usize,
        new_size: sys::page_up(new_len as u64) as usize,
        flags,
        new,
    };
    let real = || real() as usize;
    let first = entry_at(call.old);
    let result = match &first {
        _ if call.is_invalid() => real(),
        _ if call.is_in_place() => resize(&call, real),
        Some(entry) => moved(&call, &entry.with(&entry.file), real),
        None if call.is(libc::MREMAP_FIXED) => moved_over(&call, real),
        None => real(),
    };
    let done = result != libc::MAP_FAILED as usize;
    let file = first.as_ref().map(|entry| &*entry.file);
    records::mremap(call.old, old_len, new_len, flags, result, file, started);
    drop(first);
    if done && overlaps(result, call.new_size) {
        // Where the mapping stays, only what it has grown by is new.
        let known = if result == call.old { call.old_size } else { 0 };
        enforce::before::track(result + known.min(call.new_size), result + call.new_size);
    }
    if call.moves_untracked() && !call.is_invalid() {
        track_again(&call, done.then_some(result));
    }
    if done && call.new_size > call.old_size {
        new_part(result + call.old_size, result + call.new_size);
    }
    result as *mut c_void
}

/// After a call that [`Mremap::moves_untracked`], which has moved it to `to`, or failed, perhaps half-way.
fn track_again(call: &Mremap, to: Option<usize>) {
    let stays = to.is_none() || call.is(libc::MREMAP_DONTUNMAP);
    let to = to.unwrap_or(call.new);
    for (start, len, may_be) in [(call.old, call.old_size, stays), (to, call.new_size, true)] {
        if may_be && overlaps(start, len) {
            let end = start.saturating_add(len);
            enforce::before::track(start, end);
            if call.is(libc::MREMAP_DONTUNMAP) {
                enforce::before::assume_stored(start, end);
            }
        }
    }
}

/// Only the end of the mapping changes: what stays is in the table all the time, and other threads' msyncs
/// find it.
fn resize(call: &Mremap, real: impl FnOnce() -> usize) -> usize {
    let old_end = call.old + call.old_size;
    let shrinks = call.new_size < call.old_size;
    let tail = shrinks.then(|| {
        let (start, len) = (call.old + call.new_size, call.old_size - call.new_size);
        let leaving = unmapping(start, len);
        (leaving, take(start, len, None))
    });
    let result = real();
    let done = result != libc::MAP_FAILED as usize;
    settle(tail.and_then(|(_, tail)| tail), done, None);
    if done && call.new_size > call.old_size {
        lengthen(old_end, call.new_size - call.old_size);
    }
    result
}

/// The mapping that ends at `end` is longer now.
fn lengthen(end: usize, by: usize) {
    settle(take(end, by, None), true, None);
    lock().lengthen(end, by);
}

/// The mapping moves, perhaps, or its pages are mapped a second time. `entry` is what is at its beginning. No
/// enforcement of the file runs meanwhile, so none looks where nothing is any more; but the entries stay in
/// the table, so that an msync of another thread waits and does not pass them by.
fn moved(call: &Mremap, entry: &Entry<'_>, real: impl FnOnce() -> usize) -> usize {
    if call.is(libc::MREMAP_FIXED) {
        return moved_over(call, real);
    }
    if call.old_size == 0 {
        let result = real();
        if result != libc::MAP_FAILED as usize {
            insert_over(Entry {
                start: result,
                end: result + call.new_size,
                marks: Marks::default(),
                ..*entry
            });
        }
        return result;
    }
    let quiet = sys::signals::Blocked::all();
    let quiesced = enforce::before::quiesce(entry.file);
    before_moving(call);
    let result = real();
    if result == call.old {
        lengthen(call.old + call.old_size, call.new_size - call.old_size);
    } else if result != libc::MAP_FAILED as usize {
        settle(take(result, call.new_size, None), true, None);
        if let Some(taken) = take(call.old, call.old_size, None) {
            relocate(taken, call, result);
        }
    }
    quiesced.end();
    drop(quiet);
    result
}

/// The marks of what moves are noted with its file.
fn before_moving(call: &Mremap) {
    let end = call.old.saturating_add(call.old_size);
    match call.moves_untracked() {
        true => enforce::before::moving_untracked(call.old, end),
        false => enforce::before::moving(call.old, end),
    }
}

/// Files of mappings that are moved at once, no enforcement of which runs meanwhile. An enforcement of another
/// one may miss the mapping, and then has doubts.
const FILES: usize = 16;

/// With `MREMAP_FIXED`: the target is unmapped, and several mappings may move at once.
fn moved_over(call: &Mremap, real: impl FnOnce() -> usize) -> usize {
    let _target = unmapping(call.new, call.new_size);
    let tail = call.old_size.saturating_sub(call.new_size);
    let _tail = (tail > 0).then(|| unmapping(call.old + call.new_size, tail));
    let quiet = sys::signals::Blocked::all();
    let mut quiesced = [const { None }; FILES];
    let mut free = quiesced.iter_mut();
    mappings::each_file(
        call.old,
        call.old.saturating_add(call.old_size.max(1)),
        |file| {
            if let Some(free) = free.next() {
                *free = Some(enforce::before::quiesce(file));
            }
        },
    );
    before_moving(call);
    let result = move_over(call, real);
    quiesced
        .into_iter()
        .flatten()
        .for_each(enforce::before::Quiesced::end);
    drop(quiet);
    result
}

fn move_over(call: &Mremap, real: impl FnOnce() -> usize) -> usize {
    let replaced = take(call.new, call.new_size, None);
    // An old size of 0 maps the pages of a shared mapping a second time.
    let copied = (call.old_size == 0).then(|| entry_at(call.old)).flatten();
    let moved = take(call.old, call.old_size, None);
    let result = real();
    let done = result != libc::MAP_FAILED as usize;
    if !(done && covers(&moved, call.old_size)) {
        let source = call.old..call.old + call.old_size;
        let target = call.new..call.new + call.new_size;
        match source.start < target.end && target.start < source.end {
            true => {
                let both = source.start.min(target.start)..source.end.max(target.end);
                reconcile(replaced, moved, &[both]);
            }
            false => reconcile(replaced, moved, &[source, target]),
        }
    } else {
        settle(replaced, true, None);
        settle(take(result, call.new_size, None), true, None);
        if let Some(moved) = moved {
            relocate(moved, call, result);
        }
    }
    if let Some(entry) = copied.filter(|_| done) {
        insert_over(Entry {
            start: result,
            end: result + call.new_size,
            marks: Marks::default(),
            ..entry.with(&entry.file)
        });
    }
    result
}

/// remap_file_pages(2) in a process that has tracked mappings: since Linux 4.0 the kernel maps another part of the
/// same file in the place of what was there (`do_mmap` with `MAP_FIXED`).
#[cold]
#[inline(never)]
pub fn remap_file_pages(
    addr: usize,
    len: size_t,
    page: size_t,
    real: impl FnOnce() -> c_int,
) -> c_int {
    // As the kernel takes them.
    let start = sys::page_down(addr as u64) as usize;
    let len = sys::page_down(len as u64) as usize;
    let Some(entry) = entry_at(start) else {
        return real();
    };
    let _leaving = unmapping(start, len);
    let quiet = sys::signals::Blocked::all();
    let inode = (entry.file.key.dev, entry.file.key.ino);
    let dropping = (before::is_needed() && may_drop(inode, MayDrop::Map))
        .then(|| before::Dropping::begin(inode, MayDrop::Map));
    let is_quiet = dropping.as_ref().is_some_and(|it| it.has(&entry.file));
    let quiesced = (!is_quiet).then(|| before::quiesce(&entry.file));
    let replaced = take(start, len, None);
    let result = real();
    settle(replaced, result == 0, None);
    if result == 0 {
        insert_over(Entry {
            start,
            end: start + len,
            offset: (page * sys::page_size()) as u64,
            marks: Marks::default(),
            ..entry.with(&entry.file)
        });
    }
    if let Some(quiesced) = quiesced {
        quiesced.end();
    }
    if let Some(dropping) = dropping {
        dropping.end((result == 0).then_some(0..0));
    }
    drop(quiet);
    if result == 0 {
        enforce::before::track(start, start + len);
        new_part(start, start + len);
    }
    result
}

/// Adds a mapping where the kernel has just made it: what the table has there is gone.
fn insert_over(entry: Entry<'_>) {
    settle(take(entry.start, entry.len(), None), true, None);
    insert(&mut lock(), entry);
}

/// Whether the entries are the whole of the range, so that the kernel found no gap in it.
fn covers(taken: &Option<Taken>, len: usize) -> bool {
    let mut bytes = 0;
    if let Some(taken) = taken {
        taken.for_each(|entry| bytes += entry.len());
    }
    bytes == len
}

/// Enters what the kernel says is mapped in `ranges` now, of the files that were taken from there.
fn reconcile(replaced: Option<Taken>, moved: Option<Taken>, ranges: &[Range<usize>]) {
    if replaced.is_none() && moved.is_none() {
        return;
    }
    let known = |each: &mut dyn FnMut(&Entry<'_>)| {
        replaced
            .iter()
            .chain(&moved)
            .for_each(|taken| taken.for_each(&mut *each));
    };
    let quiet = sys::signals::Blocked::all();
    let asked = helper::run(process::this(), |worker| {
        proc_maps::for_each_vma(worker, ranges, |vma| {
            for range in ranges {
                let mut found = false;
                known(&mut |entry| {
                    let entry = vma.entry(entry, range).filter(|_| !found);
                    if let Some(entry) = entry {
                        found = true;
                        let mut table = lock();
                        if !table.overlaps(entry.start, entry.end) {
                            insert(&mut table, entry);
                        }
                    }
                });
            }
        })
    });
    drop(quiet);
    // Without /proc: what is mapped there is taken for what was.
    let gone = matches!(asked, Ok(Ok(())));
    settle(replaced, gone, None);
    settle(moved, gone, None);
}

/// The entry at `addr`, running on from there, with a hold on its file.
fn entry_at(addr: usize) -> Option<HeldEntry> {
    first_in(addr, addr + 1)
}

/// Enters what mremap moved to `to`.
fn relocate(moved: Taken, call: &Mremap, to: usize) {
    let (from, old_size, new_size) = (call.old, call.old_size, call.new_size);
    let stays = call.is(libc::MREMAP_DONTUNMAP);
    in_batches(moved, None, |table, entry, close| {
        let at = entry.start - from;
        // The mapping that reaches to the old end is the one that grows.
        let grows = entry.end - from == old_size && new_size > old_size;
        let end = if grows {
            new_size
        } else {
            (entry.end - from).min(new_size)
        };
        if at < end {
            insert(
                table,
                Entry {
                    start: to + at,
                    end: to + end,
                    marks: Marks::default(),
                    ..*entry
                },
            );
        }
        match stays {
            true => drop(insert(table, *entry)),
            // They go where the mapping has gone.
            false => eviction_probe::take(table, entry, |addr| close.unmap(addr)),
        }
    });
}

/// Takes what a call is about to unmap; nothing where the kernel will refuse the range anyway.
fn take(addr: usize, len: size_t, quiet: Option<&Quiet>) -> Option<Taken> {
    // Two system calls are spared; where signals are blocked already, there are none.
    let is_nothing = || quiet.is_none() && !overlaps(addr, len);
    if addr & (sys::page_size() - 1) != 0 || len == 0 || is_nothing() {
        return None;
    }
    let end = addr.checked_add(sys::page_up(len as u64) as usize)?;
    let taken = lock_if(quiet).take(addr, end);
    (!taken.is_empty()).then_some(taken)
}

/// Ends with what was taken: it is gone, or the call failed and what is still mapped returns.
fn settle(taken: Option<Taken>, gone: bool, quiet: Option<&Quiet>) {
    let Some(taken) = taken else { return };
    in_batches(taken, quiet, |table, entry, close| match gone {
        true => eviction_probe::take(table, entry, |addr| close.unmap(addr)),
        false => restore(table, entry),
    });
}

/// Lets `each` see to every taken entry, which then lets its file go. What that leaves to be closed is
/// closed whenever there is no room for more of it, without the lock: there may be any number of files.
fn in_batches(
    mut taken: Taken,
    quiet: Option<&Quiet>,
    mut each: impl FnMut(&mut Guard, &Entry<'_>, &mut Closing),
) {
    while !taken.is_empty() {
        let mut close = Closing::default();
        let mut table = lock_if(quiet);
        table.consume(&mut taken, |table, entry| {
            each(table, &entry.with(&entry.file), &mut close);
            close.add(table.release(entry.file));
            close.has_room()
        });
        drop(table);
        close.all(quiet);
    }
}

/// Returns to the table what of `entry` is still mapped: MAP_FIXED and MREMAP_FIXED can fail after
/// they have unmapped some of what was there.
fn restore(table: &mut Guard, entry: &Entry<'_>) {
    if sys::vm::is_mapped(entry.start, entry.len()) {
        insert(table, *entry);
    } else if entry.len() > sys::page_size() {
        let middle = entry.start + sys::page_up(entry.len() as u64 / 2) as usize;
        for half in [entry.clip(0, middle), entry.clip(middle, usize::MAX)] {
            half.into_iter().for_each(|half| restore(table, &half));
        }
    }
}

/// Handles to be closed, and probes to be unmapped, when the table lock is free again.
#[derive(Default)]
struct Closing {
    handles: [Option<Handle>; Closing::HANDLES],
    handle_count: usize,
    probes: [usize; Closing::PROBES],
    probe_count: usize,
}

impl Closing {
    /// Few: it is on the program's stack.
    const HANDLES: usize = 6;
    const PROBES: usize = 16;

    /// Whether what one more entry can bring fits: a handle, and the probes of its file.
    fn has_room(&self) -> bool {
        self.handle_count < Closing::HANDLES
            && self.probe_count + eviction_probe::MOST <= Closing::PROBES
    }

    fn add(&mut self, handle: Option<Handle>) {
        if let (Some(handle), Some(slot)) = (handle, self.handles.get_mut(self.handle_count)) {
            *slot = Some(handle);
            self.handle_count += 1;
        }
    }

    fn unmap(&mut self, probe: usize) {
        if let Some(slot) = self.probes.get_mut(self.probe_count) {
            *slot = probe;
            self.probe_count += 1;
        }
    }

    fn all(&self, quiet: Option<&Quiet>) {
        let probes = &self.probes[..self.probe_count];
        probes.iter().copied().for_each(eviction_probe::unmap);
        close_if(&self.handles[..self.handle_count], quiet);
    }
}
