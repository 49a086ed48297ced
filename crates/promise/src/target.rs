//! The process whose memory an enforcement is about.

use crate::debt::Debt;
use keepmydata_ranges::Ranges;
use keepmydata_sys::{self as sys, kernel::CacheStat, wipe::Region};
use rustix::io::Errno;

/// A part of a file as it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its address.
    pub start: usize,
    /// In the file, bytes.
    pub offset: u64,
    /// Bytes, whole pages.
    pub len: usize,
}

impl Mapping {
    /// `len` bytes of it from `offset` in the file on.
    pub fn part(&self, offset: u64, len: usize) -> Mapping {
        let start = self.start + (offset - self.offset) as usize;
        Mapping { start, offset, len }
    }

    /// Where it ends in the file, bytes.
    pub fn end_offset(&self) -> u64 {
        self.offset + self.len as u64
    }
}

/// Bytes of a file that one read brings.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Number of its first page among those copied,
    pub first: usize,
    /// and how many pages there are.
    pub count: usize,
    /// In the file, bytes.
    pub offset: u64,
    /// Where in the buffer.
    pub into: usize,
    /// Whether it may be read along with the one before it: what lies between them in the file has a place between them
    /// in the buffer.
    pub joins: bool,
    /// Bytes that were read, short only at the end of the file.
    pub read: Result<usize, Errno>,
}

impl Part {
    /// One that was not read yet.
    pub const fn new(first: usize, count: usize, offset: u64, into: usize) -> Part {
        Part {
            first,
            count,
            offset,
            into,
            joins: false,
            read: Ok(0),
        }
    }

    /// Bytes, whole pages.
    pub fn bytes(&self) -> usize {
        self.count * sys::page_size()
    }
}

/// Parts that are read at once, at the most.
pub const PARTS: usize = 64;

/// A file, and a process that has it mapped: what a judge must be able to ask and do. Addresses are that process's,
/// but those of witnesses, which are whoever's judges. No method is called while another of the same target runs.
///
/// Errors are errnos of the system calls that the methods name; without a handle of the file `EBADF`.
pub trait Target {
    /// Calls `each` with every writable mapping of the file, by address, which stay as they are meanwhile.
    fn each_mapping(&self, each: &mut dyn FnMut(Mapping));

    /// Maps a part of a mapping a second time, for a witness that may be read and, where that can be, written; nothing
    /// where it is not one mapping. Called by [`Target::each_mapping`].
    fn duplicate(&self, part: Mapping) -> Option<usize>;

    /// Takes such a duplicate away.
    fn unmap(&self, witness: usize, len: usize);

    /// Which pages from `witness` on are in the page cache, as many as `states` has room for: bit 0 of each (mincore(2)).
    fn are_cached(&self, witness: usize, states: &mut [u8]) -> Result<(), Errno>;

    /// Reads what the pages of a witness hold: all, or an error. `EFAULT` past the end of the file.
    fn read_witness(&self, witness: usize, into: &mut [u8]) -> Result<(), Errno>;

    /// Whether the page at `witness` has a page table entry; yes where that cannot be told (proc_pid_pagemap(5)).
    fn is_present(&self, witness: usize) -> bool;

    /// Page faults that reading witnesses has caused so far, or others by the way.
    fn faults(&self) -> i64;

    /// Makes the page at `witness` dirty again, without a change of what it holds.
    fn make_dirty(&self, witness: usize) -> Result<(), Errno>;

    /// msync(2) of a part of a witness.
    fn msync(&self, witness: usize, len: usize) -> Result<(), Errno>;

    /// fsync(2) of the file.
    fn fsync(&self) -> Result<(), Errno>;

    /// The size of the file, bytes.
    fn size(&self) -> Result<u64, Errno>;

    /// Whether [`Target::read_back`] goes past the page cache.
    fn reads_past_cache(&self) -> Result<bool, Errno>;

    /// Has it go through the page cache from here on.
    fn read_through_cache(&mut self) -> Result<(), Errno>;

    /// Whether something in `[start, end)` of the file is stored otherwise than it is read, so that it is read through
    /// the page cache whatever was asked for; an error counts as yes.
    fn is_encoded(&self, start: u64, end: u64) -> bool;

    /// Reads what the filesystem holds, into each part's place in `buffer`. `slow` says whether the last reads of this
    /// comparison took long, and is told whether these did.
    fn read_back(&self, parts: &mut [Part], buffer: &mut [u8], slow: &mut bool);

    /// Opens the file anew through another client of the filesystem ([`Terms::seen_elsewhere`](crate::Terms)), which is asked
    /// by that from here on; false where it need not be shown to another.
    ///
    /// Clients that are coherent may have to take something away from this one to answer (ceph-fuse its cache), for each open,
    /// and give it back when that is closed: it stays open until this client is done with the file.
    fn open_elsewhere(&mut self) -> Result<bool, Errno> {
        Err(Errno::BADF)
    }

    /// Reads what that client is shown, into each part's place in `buffer`. Pages that it caches are dropped first, as far as
    /// that is possible.
    fn read_elsewhere(&self, parts: &mut [Part], buffer: &mut [u8]) {
        let _ = buffer;
        parts
            .iter_mut()
            .for_each(|part| part.read = Err(Errno::BADF));
    }

    /// The size of the file as that client is shown it, which is had to ask for it anew if that is not `expected`.
    fn size_elsewhere(&self, expected: u64) -> Result<u64, Errno> {
        let _ = expected;
        Err(Errno::BADF)
    }

    /// [`Target::size`], asked of the filesystem, which may have the kernel drop the page cache.
    fn size_asked_anew(&self) -> Result<u64, Errno> {
        self.size()
    }

    /// Counts the pages of `[start, end)` (cachestat(2)); nothing where that cannot be had.
    fn count(&self, start: u64, end: u64) -> Option<CacheStat>;

    /// Adds what of `[start, end)` is dirty or being written, in whole pages.
    fn add_unstable(&self, start: u64, end: u64, into: &mut Ranges) -> Result<(), Errno>;

    /// Adds what of the file is in the page cache, if all of it is there that ever was: an error where pages were
    /// evicted, or nobody can tell.
    fn add_all_cached(&self, into: &mut Ranges) -> Result<(), Errno>;

    /// Adds those of the pages in `ranges` that no mapping of this process has a page table entry of.
    fn add_absent(&self, ranges: &Ranges, into: &mut Ranges) -> Result<(), Errno>;

    /// Drops `ranges` from the page tables and the page cache, as far as that is possible. Adds what could not be
    /// dropped, for all that can be told, to `stayed`: mapped by another process, locked, or held by a journal (ext4 with
    /// data=journal).
    fn uncache(&self, ranges: &Ranges, stayed: &mut Ranges);

    /// The pages of the file that [`Target::uncache`] has dropped may stay in the page cache again.
    fn recached(&self);

    /// Whether the page cache of the file was dropped since this enforcement began.
    fn was_dropped(&self) -> bool;

    /// Lends what the file is owed.
    fn with_debt(&self, f: &mut dyn FnMut(&mut Debt));

    /// fdatasync(2) of the file; without a handle msync(2) of all its mappings.
    fn fdatasync(&self) -> Result<(), Errno>;

    /// `len` bytes of memory for copies, or more, with any content; nothing where memory is out.
    fn memory(&self, len: usize) -> Option<Region> {
        Region::new(len)
    }

    /// Takes it back.
    fn take_back(&self, memory: Region) {
        drop(memory);
    }

    /// Time that only goes forward, ns.
    fn now(&self) -> u64;

    /// Waits.
    fn sleep(&self, ns: u64);
}
