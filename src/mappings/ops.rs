//! What mmap, munmap and mremap do to the table: the slow paths of their hooks.

use super::classify::{self, Bypass, Candidate};
use super::file::{Handle, Key};
use super::table::{Entry, Marks};
use super::{Guard, Taken, lock, lock_if, lock_in_memory, overlaps, truth};
use crate::dirty::canary;
use crate::sys::{self, signals::Quiet};
use crate::{
    config, custodian, dirty, enforce, findings, handles, log, prealloc, process, real, stats,
};
use core::ffi::c_void;
use core::ops::Range;
use core::ptr::NonNull;
use keepmydata_records::{Level, Munmap};
use libc::{c_int, off_t, size_t};

/// The arguments of mmap(2).
#[derive(Clone, Copy)]
pub struct Mmap {
    pub addr: *mut c_void,
    pub len: size_t,
    pub prot: c_int,
    pub flags: c_int,
    pub fd: c_int,
    pub offset: off_t,
}

/// The next `mmap` in line, of whichever name the program called.
pub type RealMmap = unsafe fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void;

impl Mmap {
    /// # Safety
    /// As mmap(2).
    pub unsafe fn call(&self, real: RealMmap) -> *mut c_void {
        // SAFETY: the caller's contract.
        unsafe {
            real(
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

/// A mapping that is not tracked itself, in a process that has tracked ones: it may replace those.
///
/// # Safety
/// As mmap(2).
#[cold]
#[inline(never)]
pub unsafe fn mmap_other(call: &Mmap, real: RealMmap) -> *mut c_void {
    let replaced = call
        .replaces()
        .then(|| {
            findings::before_unmap(call.addr as usize, call.len);
            take(call.addr as usize, call.len, None)
        })
        .flatten();
    // SAFETY: the caller's contract.
    let result = unsafe { call.call(real) };
    settle(replaced, result != libc::MAP_FAILED, None);
    if result != libc::MAP_FAILED && overlaps(result as usize, call.len) {
        // The program unmapped a tracked mapping behind the C library's back.
        settle(take(result as usize, call.len, None), true, None);
    }
    result
}

/// A shared mapping of a file.
///
/// # Safety
/// As mmap(2).
#[cold]
#[inline(never)]
pub unsafe fn mmap_file(call: &Mmap, real: RealMmap, quiet: &Quiet) -> *mut c_void {
    let started = log::Timer::at(Level::Trace);
    let candidate = if process::this().is_borrowed() {
        Err(Bypass::VforkChild)
    } else {
        classify::candidate(call.fd)
    };
    // SAFETY: the caller's contract.
    let result = unsafe { mmap_other(call, real) };
    if result == libc::MAP_FAILED {
        return result;
    }
    let tracked = candidate.and_then(|candidate| track(call, result as usize, candidate, quiet));
    log::mmap(call, result as usize, tracked, started);
    result
}

/// Puts one more mapping of a known file into the table, if nothing else is to be done: the file
/// has its handle, and stores through this mapping are not tracked. The lock is taken once.
fn track_known(
    call: &Mmap,
    start: usize,
    candidate: &Candidate,
    quiet: &Quiet,
) -> Option<Result<Key, Bypass>> {
    let &Candidate { key, writable } = candidate;
    if !super::may_know(key.dev, key.ino) || stats::on() {
        return None;
    }
    let generation = process::this().generation();
    let mut table = lock_if(Some(quiet));
    let file = table.find(&key)?;
    // SAFETY: a found file is live, and the lock is held.
    let (handle, traits, excluded) = unsafe {
        let file = file.as_ref();
        (file.handle, file.traits, file.excluded)
    };
    // SAFETY: as above.
    let unnamed = unsafe { file.as_ref() }.path().is_empty();
    let handled =
        handle.generation == generation && !dirty::wants_pagemap(traits) && !prealloc::on();
    if unnamed || handles::wanted(writable, excluded) && !handled {
        return None;
    }
    let inserted = table.insert(Entry {
        start,
        end: start + sys::page_up(call.len as u64) as usize,
        offset: call.offset as u64,
        file,
        writable,
        marks: Marks::default(),
    });
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
fn track(call: &Mmap, start: usize, candidate: Candidate, quiet: &Quiet) -> Result<Key, Bypass> {
    if let Some(done) = track_known(call, start, &candidate, quiet) {
        return done;
    }
    let Candidate { key, writable } = candidate;
    let known = match super::may_know(key.dev, key.ino) {
        true => lock().find(&key),
        false => None,
    };
    let traits = match known {
        // SAFETY: a found file is live; its traits never change.
        Some(file) => unsafe { (*file.as_ptr()).traits },
        None => classify::traits(call.fd)?,
    };
    let len = sys::page_up(call.len as u64) as usize;
    let file = {
        let mut table = lock();
        let file = table.find_or_add(key, traits).ok_or(Bypass::OutOfMemory)?;
        table.hold(file);
        file
    };
    let mut entry = Entry {
        start,
        end: start + len,
        offset: call.offset as u64,
        file,
        writable,
        marks: Marks::default(),
    };
    let locks = lock_in_memory::times();
    entry.marks.registered = handles::open(call.fd, &entry);
    let (inserted, excluded) = {
        let mut table = lock();
        // SAFETY: held above.
        (table.insert(entry), unsafe { file.as_ref() }.excluded)
    };
    if !inserted {
        let mut close = Closing::default();
        canary::take(&mut lock(), &entry, |addr| close.unmap(addr));
        close.all();
    }
    stats::mapped(file);
    if inserted {
        lock_in_memory::since(locks, start, start + len);
        new_part(start, start + len);
    }
    release(file);
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

/// Lets a held file go, and closes its handle if that was the last hold.
pub fn release(file: NonNull<super::file::File>) {
    let handle = lock().release(file);
    if handle.is_some() {
        close(&[handle]);
    }
}

/// munmap(2) in a process that has tracked mappings.
///
/// # Safety
/// As munmap(2).
#[inline(never)]
pub unsafe fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    if !overlaps(addr as usize, len) {
        // SAFETY: the caller's contract.
        return unsafe { real::munmap(addr, len) };
    }
    let state = real::enter();
    // SAFETY: the caller's contract.
    let result = unsafe { munmap_tracked(addr, len, &state.quiet) };
    real::leave(state);
    result
}

/// # Safety
/// As munmap(2).
#[cold]
#[inline(never)]
unsafe fn munmap_tracked(addr: *mut c_void, len: size_t, quiet: &Quiet) -> c_int {
    let started = log::Timer::at(Level::Trace);
    if config::settings().munmap == Munmap::Sync {
        enforce::before_unmap(addr as usize, len);
    }
    findings::before_unmap(addr as usize, len);
    let taken = take(addr as usize, len, Some(quiet));
    // SAFETY: the caller's contract.
    let result = unsafe { real::munmap(addr, len) };
    log::munmap(addr as usize, len, result, taken.as_ref(), started);
    settle(taken, result == 0, Some(quiet));
    result
}

/// mremap(2) in a process that has tracked mappings.
///
/// # Safety
/// As mremap(2).
#[cold]
#[inline(never)]
pub unsafe fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    let started = log::Timer::at(Level::Trace);
    let (from, old_size) = (old as usize, sys::page_up(old_len as u64) as usize);
    let new_size = sys::page_up(new_len as u64) as usize;
    let fixed = flags & libc::MREMAP_FIXED != 0;
    let replaced = fixed.then(|| take(new as usize, new_len, None)).flatten();
    // An old size of 0 maps the pages of a shared mapping a second time.
    let copied = (old_len == 0).then(|| entry_at(from)).flatten();
    let moved = take(from, old_len, None);
    // SAFETY: the caller's contract.
    let result = unsafe { real::mremap(old, old_len, new_len, flags, new) };
    let done = result != libc::MAP_FAILED;
    log::mremap(
        from,
        old_len,
        new_len,
        flags,
        result as usize,
        moved.as_ref(),
        started,
    );
    if fixed && !(done && covers(&moved, old_size)) {
        let (source, target) = (from..from + old_size, new as usize..new as usize + new_size);
        match source.start < target.end && target.start < source.end {
            true => {
                let both = source.start.min(target.start)..source.end.max(target.end);
                reconcile(replaced, moved, &[both]);
            }
            false => reconcile(replaced, moved, &[source, target]),
        }
    } else {
        settle(replaced, done, None);
        if done && overlaps(result as usize, new_len) {
            settle(take(result as usize, new_len, None), true, None);
        }
        match moved {
            Some(moved) if done => {
                let stays = flags & libc::MREMAP_DONTUNMAP != 0;
                relocate(moved, from, old_size, result as usize, new_size, stays);
            }
            moved => settle(moved, false, None),
        }
    }
    if let Some(entry) = copied {
        if done {
            lock().insert(Entry {
                start: result as usize,
                end: result as usize + new_size,
                marks: Marks::default(),
                ..entry
            });
        }
        release(entry.file);
    }
    if done && new_size > old_size {
        new_part(result as usize + old_size, result as usize + new_size);
    }
    result
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
    let known = |each: &mut dyn FnMut(&Entry)| {
        replaced
            .iter()
            .chain(&moved)
            .for_each(|taken| taken.for_each(&mut *each));
    };
    let quiet = sys::signals::Blocked::all();
    let asked = custodian::run(process::this(), |worker| {
        truth::for_each_vma(worker, ranges, |vma| {
            for range in ranges {
                let mut found = None;
                known(&mut |entry| found = found.or_else(|| vma.entry(entry, range)));
                if let Some(entry) = found {
                    let mut table = lock();
                    if !super::TRACKED.table.overlaps(entry.start, entry.end) {
                        table.insert(entry);
                    }
                }
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
fn entry_at(addr: usize) -> Option<Entry> {
    let mut table = lock();
    let mut found = None;
    table.for_each(addr, addr + 1, |entry| {
        found = Some(entry);
        false
    });
    if let Some(entry) = found {
        table.hold(entry.file);
    }
    found
}

/// Enters what mremap moved from `from` to `to`.
fn relocate(moved: Taken, from: usize, old_size: usize, to: usize, new_size: usize, stays: bool) {
    in_batches(moved, None, |table, entry, close| {
        if !stays {
            canary::take(table, &entry, |addr| close.unmap(addr));
        }
        let at = entry.start - from;
        // The mapping that reaches to the old end is the one that grows.
        let grows = entry.end - from == old_size && new_size > old_size;
        let end = if grows {
            new_size
        } else {
            (entry.end - from).min(new_size)
        };
        if at < end {
            table.insert(Entry {
                start: to + at,
                end: to + end,
                marks: Marks::default(),
                ..entry
            });
        }
        if stays {
            table.insert(entry);
        }
    });
}

/// Takes what a call is about to unmap; nothing where the kernel will refuse the range anyway.
fn take(addr: usize, len: size_t, quiet: Option<&Quiet>) -> Option<Taken> {
    if addr & (sys::page_size() - 1) != 0 || len == 0 || !overlaps(addr, len) {
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
        true => canary::take(table, &entry, |addr| close.unmap(addr)),
        false => restore(table, entry),
    });
}

/// Lets `each` see to every taken entry, which then lets its file go. What that leaves to be closed is
/// closed whenever there is no room for more of it, without the lock: there may be any number of files.
fn in_batches(
    mut taken: Taken,
    quiet: Option<&Quiet>,
    mut each: impl FnMut(&mut Guard, Entry, &mut Closing),
) {
    while !taken.is_empty() {
        let mut close = Closing::default();
        let mut table = lock_if(quiet);
        table.consume(&mut taken, |table, entry| {
            each(table, entry, &mut close);
            close.add(table.release(entry.file));
            close.has_room()
        });
        drop(table);
        close.all();
    }
}

/// Returns to the table what of `entry` is still mapped: MAP_FIXED and MREMAP_FIXED can fail after
/// they have unmapped some of what was there.
fn restore(table: &mut Guard, entry: Entry) {
    if sys::vm::is_mapped(entry.start, entry.len()) {
        table.insert(entry);
    } else if entry.len() > sys::page_size() {
        let middle = entry.start + sys::page_up(entry.len() as u64 / 2) as usize;
        for half in [entry.clip(0, middle), entry.clip(middle, usize::MAX)] {
            half.into_iter().for_each(|half| restore(table, half));
        }
    }
}

/// Handles to be closed, and canaries to be unmapped, when the table lock is free again.
#[derive(Default)]
struct Closing {
    handles: [Option<Handle>; Closing::ROOM],
    handle_count: usize,
    canaries: [usize; Closing::ROOM],
    canary_count: usize,
}

impl Closing {
    const ROOM: usize = 32;

    /// Whether what one more entry can bring fits: a handle, and the canaries of its file.
    fn has_room(&self) -> bool {
        self.handle_count < Closing::ROOM && self.canary_count + canary::MOST <= Closing::ROOM
    }

    fn add(&mut self, handle: Option<Handle>) {
        if let (Some(handle), Some(slot)) = (handle, self.handles.get_mut(self.handle_count)) {
            *slot = Some(handle);
            self.handle_count += 1;
        }
    }

    fn unmap(&mut self, canary: usize) {
        if let Some(slot) = self.canaries.get_mut(self.canary_count) {
            *slot = canary;
            self.canary_count += 1;
        }
    }

    fn all(self) {
        let canaries = self.canaries.into_iter().take(self.canary_count);
        canaries.for_each(canary::unmap);
        close(&self.handles[..self.handle_count]);
    }
}

/// Closes handles before the call returns: umount(8) right after munmap must find nothing open.
fn close(handles: &[Option<Handle>]) {
    if handles.is_empty() {
        return;
    }
    let _quiet = sys::signals::Blocked::all();
    let process = process::this();
    let _ = custodian::run(process, |worker| {
        for handle in handles.iter().flatten() {
            if handle.generation == process.generation() {
                worker.close(handle.fd);
            }
        }
    });
}
