//! One line of the log.

use crate::choice::choice;
use crate::{Dev, Errno, FindingCounts, HexBytes, HexU64, PathText, Stats};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

choice! {
    /// How grave a record is.
    pub enum Level {
        /// Data is at risk.
        Error = "error",
        /// Something could not be known or done.
        Warn = "warn",
        /// One line for each msync.
        Info = "info",
        /// Each step of it.
        Debug = "debug",
        /// mmap, munmap and reads of tracked files.
        Trace = "trace",
    }
}

choice! {
    /// What the read-back of a page says; ordered from good to bad (docs/promise.md, "Copy and
    /// witness").
    pub enum Verdict {
        /// The filesystem holds what was synced.
        Verified = "verified",
        /// The filesystem holds something else, and so does the page cache, which never lost the
        /// page: somebody stored after msync began.
        Newer = "newer",
        /// The filesystem holds something else, and the page cache, which never lost the page,
        /// does not: the store has not arrived.
        Stale = "stale",
        /// The filesystem holds something else, and the page cache lost the page meanwhile.
        Uncertain = "uncertain",
    }
}

choice! {
    /// What the filesystem gives back for a page.
    pub enum Content {
        /// What was synced.
        New = "new",
        /// Most of the bytes between the first and the last wrong one are wrong, as where the page is the one from before.
        Old = "old",
        /// Fewer are.
        Mixed = "mixed",
    }
}

choice! {
    /// A rung of the healing ladder.
    pub enum Rung {
        /// msync and fsync again.
        Resync = "resync",
        /// The page was made dirty again and synced alone.
        Redirty = "redirty",
        /// Only time was given.
        Wait = "wait",
    }
}

/// A range of a file, in bytes. Serialized as `[offset, length]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct ByteRange {
    /// Where it begins, from the start of the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl ByteRange {
    /// Where it ends: the offset of the first byte after it.
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }
}

impl From<(u64, u64)> for ByteRange {
    fn from((offset, length): (u64, u64)) -> Self {
        ByteRange { offset, length }
    }
}

impl From<ByteRange> for (u64, u64) {
    fn from(range: ByteRange) -> Self {
        (range.offset, range.length)
    }
}

/// How many pages got which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Verdicts {
    pub verified: u64,
    pub newer: u64,
    pub stale: u64,
    pub uncertain: u64,
}

impl Verdicts {
    /// Counts one page.
    pub fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Verified => self.verified += 1,
            Verdict::Newer => self.newer += 1,
            Verdict::Stale => self.stale += 1,
            Verdict::Uncertain => self.uncertain += 1,
        }
    }
}

/// One page of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRow {
    /// The index of the page in the file.
    pub page: u64,
    /// Where in the file the page begins, in bytes.
    pub start: u64,
    /// Where the page ends (exclusive), in bytes; less than a whole page at the end of the file.
    pub end: u64,
    /// How many bytes of the page are not what was synced, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_bytes: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// What the filesystem gave back, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The first byte of the file (not of the page) that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_diff: Option<u64>,
    /// What was synced, from `first_diff` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_hex: Option<HexBytes>,
    /// What the filesystem gave back, from `first_diff` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_hex: Option<HexBytes>,
    /// A hash of the page as it was synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_hash: Option<HexU64>,
    /// A hash of the page as the filesystem gave it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_hash: Option<HexU64>,
    /// What cured the page, where it was cured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
}

/// One event. Fields that do not apply are empty, and then left out of what is written.
///
/// Everything can be borrowed, so that a record is built without allocating:
///
/// ```
/// use keepmydata_records::{Level, Record, event};
/// let record = Record {
///     time_ns: 1_795_210_801_123_456_789,
///     event: event::MSYNC.into(),
///     path: b"/mnt/f".as_slice().into(),
///     result: Some(0),
///     ..Record::new(Level::Info, 12, 13)
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// When the call or step began, in ns since the epoch (CLOCK_REALTIME).
    pub time_ns: u64,
    /// How grave it is.
    pub level: Level,
    /// The process.
    pub pid: u32,
    /// The thread that made the call, also for steps that another thread did for it.
    pub tid: u32,
    /// One of [`crate::event`].
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// The code of a finding, [`crate::Finding::code`].
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub code: Cow<'a, str>,
    /// The number of the msync, within its process, that this step belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// The file, as the kernel named it when it was mapped.
    #[serde(borrow, default, skip_serializing_if = "PathText::is_empty")]
    pub path: PathText<'a>,
    /// The device of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<Dev>,
    /// The inode of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ino: Option<u64>,
    /// The program's descriptor, where the call has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd: Option<i32>,
    /// The offset in the file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The length, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// The address of the mapping or range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addr: Option<HexU64>,
    /// mremap: the address after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_addr: Option<HexU64>,
    /// mremap: the length after it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_length: Option<u64>,
    /// mmap: the protection by name.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub prot: Cow<'a, str>,
    /// The flags by name, see [`crate::flags`].
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub flags: Cow<'a, str>,
    /// What the call answered; for mmap and mremap see `addr` and `new_addr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
    /// The error, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno>,
    /// How long it took, in ns (CLOCK_MONOTONIC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// Where dirty ranges came from.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub tracker: Cow<'a, str>,
    /// The dirty ranges of the file.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub dirty: Cow<'a, [ByteRange]>,
    /// How many pages they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty_pages: Option<u64>,
    /// How many pages left the page cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_pages: Option<u64>,
    /// How many pages of the file are still in the page cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_pages: Option<u64>,
    /// The worst verdict on any page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How many pages got which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Verdicts>,
    /// The healing rung.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// The numbers of a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
    /// How often what was found, in a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingCounts>,
    /// Why something was left alone or not done.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'a, str>,
    /// A sentence for people.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub message: Cow<'a, str>,
    /// The page table of a report.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub pages: Cow<'a, [PageRow]>,
    /// Whether the supervisor has done it, from outside of the process.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub supervised: bool,
    /// Whether ranges, pages or text were left out because the line was too long.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub truncated: bool,
}

impl<'a> Record<'a> {
    /// A record with nothing in it but these.
    pub fn new(level: Level, pid: u32, tid: u32) -> Self {
        Record {
            level,
            pid,
            tid,
            ..Record::default()
        }
    }

    /// The same record with at most `items` dirty ranges and as many page rows, and texts of at
    /// most `text` bytes, all borrowed from this one; marked as truncated where that left
    /// anything out. Does not allocate.
    pub fn shortened(&self, items: usize, text: usize) -> Record<'_> {
        let mut cut = self.truncated;
        let mut short = |s: &'_ str| -> usize {
            cut |= s.len() > text;
            s.floor_char_boundary(text)
        };
        let event = &self.event[..short(&self.event)];
        let code = &self.code[..short(&self.code)];
        let prot = &self.prot[..short(&self.prot)];
        let flags = &self.flags[..short(&self.flags)];
        let tracker = &self.tracker[..short(&self.tracker)];
        let reason = &self.reason[..short(&self.reason)];
        let message = &self.message[..short(&self.message)];
        let path = &self.path.0[..self.path.0.len().min(text)];
        let dirty = &self.dirty[..self.dirty.len().min(items)];
        let pages = &self.pages[..self.pages.len().min(items)];
        cut |= path.len() < self.path.0.len()
            || dirty.len() < self.dirty.len()
            || pages.len() < self.pages.len();
        Record {
            event: event.into(),
            code: code.into(),
            prot: prot.into(),
            flags: flags.into(),
            tracker: tracker.into(),
            reason: reason.into(),
            message: message.into(),
            path: path.into(),
            dirty: dirty.into(),
            pages: pages.into(),
            truncated: cut,
            ..*self
        }
    }
}
