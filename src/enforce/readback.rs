//! Reading back several places of a file: one after the other, or, where a read takes long, at once.
//!
//! A read past the page cache waits for the filesystem each time. In a daemon's memory that is some 10 us,
//! and a thread more would cost more than it saves; across a network it is what a verified msync spends its
//! time with, and dirty pages that lie apart are a read each. Those that lie near to each other are one.

use crate::sys::{self, lock, thread};
use core::ffi::{c_int, c_void};
use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The buffer to read into, bytes.
pub const BUFFER: usize = 256 * 1024;
/// Places in a batch, at the most.
pub const MOST: usize = 64;
/// Threads for a batch, the caller among them.
const THREADS: usize = 8;
/// Reads that take longer than this, and so much for each page, are made at once, ns: what a few threads
/// cost to start.
const SLOW_NS: u64 = 300_000;
const SLOW_PAGE_NS: u64 = 20_000;
/// Pages between two places that are read with them, at the most: to copy them takes less time than to ask once more.
const NEAR: u64 = 4;

/// One place.
pub struct Part {
    /// Number of its first page, and how many there are.
    pub first: usize,
    pub count: usize,
    /// In the file, bytes.
    pub offset: u64,
    /// Where in the buffer.
    pub into: usize,
    /// Whether it is read along with the one before it.
    joins: bool,
    /// Bytes that were read, or an errno, negative.
    read: AtomicIsize,
}

impl Part {
    const fn none() -> Part {
        Part {
            first: 0,
            count: 0,
            offset: 0,
            into: 0,
            joins: false,
            read: AtomicIsize::new(0),
        }
    }

    fn bytes(&self) -> usize {
        self.count * sys::page_size()
    }

    /// Bytes that were read; short only at the end of the file.
    pub fn read(&self) -> Result<usize, Errno> {
        let read = self.read.load(Ordering::Relaxed);
        usize::try_from(read).map_err(|_| Errno::from_raw_os_error(-read as i32))
    }
}

/// Places to be read into one buffer.
pub struct Batch {
    parts: [Part; MOST],
    len: usize,
    pages: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            parts: [const { Part::none() }; MOST],
            len: 0,
            pages: 0,
        }
    }

    /// Pages that the buffer still has room for; none when there is no room for a part.
    pub fn room(&self) -> usize {
        match self.len {
            MOST => 0,
            _ => BUFFER / sys::page_size() - self.pages,
        }
    }

    /// Adds `count` pages, for which there is room.
    pub fn add(&mut self, first: usize, count: usize, offset: u64) {
        let gap = self.gap(offset).filter(|gap| gap + count <= self.room());
        self.pages += gap.unwrap_or(0);
        self.parts[self.len] = Part {
            first,
            count,
            offset,
            into: self.pages * sys::page_size(),
            joins: gap.is_some(),
            ..Part::none()
        };
        self.len += 1;
        self.pages += count;
    }

    /// Pages between the last part and what lies at `offset` in the file; nothing where those are too many.
    fn gap(&self, offset: u64) -> Option<usize> {
        let last = self.parts().last()?;
        let bytes = offset.checked_sub(last.offset + last.bytes() as u64)?;
        let pages = bytes / sys::page_size() as u64;
        (pages <= NEAR).then_some(pages as usize)
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.len]
    }

    /// Reads every part into `buffer`, of [`BUFFER`] bytes, on a helper thread. `slow` says how the last
    /// reads were, and is told how these are.
    pub fn read(&self, handle: BorrowedFd<'_>, buffer: &mut [u8], slow: &mut bool) {
        let work = Work {
            handle,
            buffer: buffer.as_mut_ptr(),
            parts: self.parts(),
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
    }
}

/// Parts that threads take one by one.
struct Work<'a> {
    handle: BorrowedFd<'a>,
    buffer: *mut u8,
    parts: &'a [Part],
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
        let end = group.last().map_or(0, |last| last.into + last.bytes());
        if let Ok(read) = self.read(first.into..end, first.offset) {
            for part in group {
                let read = read.saturating_sub(part.into - first.into);
                part.read
                    .store(read.min(part.bytes()) as isize, Ordering::Relaxed);
            }
            return true;
        }
        // What lies between them is nobody's concern.
        for part in group {
            let read = match self.read(part.into..part.into + part.bytes(), part.offset) {
                Ok(bytes) => bytes as isize,
                Err(errno) => -errno.raw_os_error() as isize,
            };
            part.read.store(read, Ordering::Relaxed);
        }
        true
    }

    /// Reads what lies at `offset` in the file into a part of the buffer.
    fn read(&self, into: Range<usize>, offset: u64) -> Result<usize, Errno> {
        // SAFETY: parts, and what lies between those that are read together, have places of their own in the buffer, and
        // each is taken once.
        let into = unsafe { slice::from_raw_parts_mut(self.buffer.add(into.start), into.len()) };
        sys::fd::read_back(self.handle, into, offset)
    }

    fn run(&self) {
        while self.one() {}
    }

    /// The same with as many threads as there is work for. They share the helper's descriptors, and are
    /// done before this returns.
    fn run_with_others(&self) {
        let left = self.parts.len() - self.next.load(Ordering::Relaxed).min(self.parts.len());
        for _ in 1..left.min(THREADS) {
            self.others.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the work lives until all of them are done.
            let made = unsafe { thread::spawn(other, (&raw const *self).cast_mut().cast()) };
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

extern "C" fn other(work: *mut c_void) -> c_int {
    // SAFETY: it lives until the last thread has counted itself off, with all it has written.
    unsafe {
        let work = work.cast::<Work<'_>>();
        (*work).run();
        let others = &raw const (*work).others;
        if (*others).fetch_sub(1, Ordering::Release) == 1 {
            // Of what may be gone by now the address only.
            lock::wake_one(&*others);
        }
    }
    0
}
