//! Reading back several places of a file: one after the other, or at once where a read takes long.
//!
//! A read past the page cache waits for the filesystem each time. In a daemon's memory that is some 10 us, and another thread
//! would cost more than it saves; across a network it is most of a verified msync. Dirty pages that lie near each other are
//! one read.

use crate::target::{PARTS, Part};
use core::ffi::c_int;
use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use keepmydata_sys::{self as sys, lock, thread};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Threads for a batch, the caller among them.
const THREADS: usize = 8;
/// Reads that take longer than this, and so much for each page, are made at once, ns: what a few threads
/// cost to start.
const SLOW_NS: u64 = 300_000;
const SLOW_PAGE_NS: u64 = 20_000;

/// Reads every part into its place in `buffer`, for [`Target::read_back`](crate::Target::read_back). `slow` says how the last reads were, and is told
/// how these are.
pub fn read(handle: BorrowedFd<'_>, parts: &mut [Part], buffer: &mut [u8], slow: &mut bool) {
    let work = Work {
        handle,
        buffer: buffer.as_mut_ptr(),
        room: buffer.len(),
        parts,
        read: [const { AtomicIsize::new(0) }; PARTS],
        next: AtomicUsize::new(0),
        others: lock::Word::new(0),
    };
    if !*slow {
        let begin = sys::monotonic_ns();
        work.one();
        let pages = work.group(0).iter().map(|part| part.count as u64);
        let patience = SLOW_NS + pages.sum::<u64>() * SLOW_PAGE_NS;
        *slow = sys::monotonic_ns() - begin > patience;
    }
    match *slow {
        true => work.run_with_others(),
        false => work.run(),
    }
    let read = work.read;
    for (part, read) in parts.iter_mut().zip(&read) {
        let read = read.load(Ordering::Relaxed);
        part.read = usize::try_from(read).map_err(|_| Errno::from_raw_os_error(-read as i32));
    }
}

/// Parts that threads take one by one.
struct Work<'a> {
    handle: BorrowedFd<'a>,
    buffer: *mut u8,
    /// Bytes.
    room: usize,
    parts: &'a [Part],
    /// Of each part: bytes that were read, or an errno, negative.
    read: [AtomicIsize; PARTS],
    next: AtomicUsize,
    /// Threads, other than the caller, that have not ended.
    others: lock::Word,
}

impl Work<'_> {
    /// The part number `at`, with those that join it.
    fn group(&self, at: usize) -> &[Part] {
        let rest = self.parts.get(at + 1..).unwrap_or_default();
        let joining = rest.iter().take_while(|part| part.joins).count();
        self.parts.get(at..=at + joining).unwrap_or_default()
    }

    /// Takes the next part, with those that join it; false where there is none.
    fn one(&self) -> bool {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(first) = self.parts.get(at) else {
            return false;
        };
        if first.joins {
            return true;
        }
        let group = self.group(at);
        let results = self.read.get(at..).unwrap_or_default();
        let end = group.last().map_or(0, |last| last.into + last.bytes());
        if let Ok(read) = self.read(first.into..end, first.offset) {
            for (part, result) in group.iter().zip(results) {
                let read = read.saturating_sub(part.into - first.into);
                result.store(read.min(part.bytes()) as isize, Ordering::Relaxed);
            }
            return true;
        }
        // What lies between them is nobody's concern.
        for (part, result) in group.iter().zip(results) {
            let read = match self.read(part.into..part.into + part.bytes(), part.offset) {
                Ok(bytes) => bytes as isize,
                Err(errno) => -errno.raw_os_error() as isize,
            };
            result.store(read, Ordering::Relaxed);
        }
        true
    }

    /// Reads what lies at `offset` in the file into a part of the buffer.
    fn read(&self, into: Range<usize>, offset: u64) -> Result<usize, Errno> {
        debug_assert!(into.end <= self.room);
        // SAFETY: parts, and what lies between those that are read together, have places of their own in the buffer, and
        // each is taken once.
        let into = unsafe { slice::from_raw_parts_mut(self.buffer.add(into.start), into.len()) };
        sys::fd::read_back(self.handle, into, offset)
    }

    fn run(&self) {
        while self.one() {}
    }

    /// The same with as many threads as there is work for. They share the caller's descriptors, and are
    /// done before this returns.
    fn run_with_others(&self) {
        let left = self.parts.len() - self.next.load(Ordering::Relaxed).min(self.parts.len());
        for _ in 1..left.min(THREADS) {
            self.others.fetch_add(1, Ordering::Relaxed);
            let work = (&raw const *self).expose_provenance();
            // SAFETY: reading back uses neither errno nor thread-local storage.
            let made = unsafe { thread::spawn(other, work) };
            if made.is_err() {
                self.others.fetch_sub(1, Ordering::Relaxed);
                break;
            }
        }
        self.run();
        loop {
            let left = self.others.load(Ordering::Acquire);
            if left == 0 {
                return;
            }
            lock::wait(&self.others, left);
        }
    }
}

extern "C" fn other(work: usize) -> c_int {
    let work = core::ptr::with_exposed_provenance::<Work<'_>>(work);
    // SAFETY: it lives until the last thread has counted itself off, with all it has written.
    unsafe {
        (*work).run();
        let others = &raw const (*work).others;
        if (*others).fetch_sub(1, Ordering::Release) == 1 {
            // Of what may be gone by now the address only.
            lock::wake_one(others);
        }
    }
    0
}
