//! What one msync asks for one file, and the boxes in which all that is known of it lies.

use crate::file::File;
use crate::image::Image;
use crate::maps::Area;
use keepmydata_promise::{self as promise, Home};
use keepmydata_records::{Dev, Level, Record};
use keepmydata_sys as sys;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

pub type Pooled<T> = promise::Pooled<T, Boxes>;
pub type Snapshot = promise::Snapshot<Call>;
pub type Proved = promise::Proved<Call, Boxes>;
pub type Refused = promise::Refused<Call, Boxes>;
pub type Ended = promise::Ended<Call>;

/// The call, as far as it concerns a file.
pub struct Call {
    pub image: Arc<Image>,
    pub file: Arc<File>,
    pub tid: i32,
    /// Number of the msync in its image.
    pub number: u64,
    pub began: Began,
    pub addr: u64,
    pub len: u64,
    pub flags: i32,
    /// It answers no msync: what is owed is proved before the program drops it.
    pub settles: bool,
    /// Offset in the file of the first byte of the range.
    pub offset: u64,
}

impl Call {
    /// A record of it.
    pub fn record<'a>(&'a self, level: Level, event: &'a str) -> Record<'a> {
        let mut record = record(&self.image, self.tid, level, event);
        record.path = self.file.path.as_slice().into();
        record.dev = Some(dev(self.file.dev));
        record.ino = Some(self.file.ino);
        record.call = Some(self.number);
        record
    }
}

pub fn dev(number: u64) -> Dev {
    Dev {
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
    }
}

/// A record of a thread of the image's.
pub fn record<'a>(image: &Image, tid: i32, level: Level, event: &'a str) -> Record<'a> {
    Record {
        event: event.into(),
        time_ns: sys::wall_ns(),
        supervised: true,
        ..Record::new(level, image.pid as u32, tid as u32)
    }
}

/// When something began, by both clocks, ns.
#[derive(Clone, Copy)]
pub struct Began {
    wall: u64,
    monotonic: u64,
}

impl Began {
    pub fn now() -> Began {
        Began {
            wall: sys::wall_ns(),
            monotonic: sys::monotonic_ns(),
        }
    }

    /// The time since then, ns.
    pub fn elapsed(&self) -> u64 {
        sys::monotonic_ns().saturating_sub(self.monotonic)
    }

    /// Puts the start and the time since then into `record`.
    pub fn stamp(&self, record: &mut Record<'_>) {
        record.time_ns = self.wall;
        record.duration_ns = Some(self.elapsed());
    }
}

/// How the snapshot was taken.
#[derive(Default)]
pub struct Known {
    pub tracker: &'static str,
    /// Why that one.
    pub chosen: &'static str,
    /// Why it is not compared.
    pub reason: &'static str,
    /// Nothing was dirty in the file, whoever stored it: there is nothing to drop.
    pub was_clean: bool,
    /// The page cache was dropped since the last enforcement.
    pub dropped: bool,
    /// How often it had been by then.
    pub drops: u64,
    /// What the process had made dirty by then.
    pub dirtied: Option<u64>,
    /// The mappings of the file when the marks had been taken, and how often it had been mapped by then; nothing where one
    /// was being made.
    pub mapped: Option<(u64, Vec<Area>)>,
}

impl promise::Request for Call {
    type Known = Known;
}

/// The allocator's.
pub struct Boxes;

// SAFETY: each block is a new one of that layout.
unsafe impl Home for Boxes {
    type Block = Ended;

    fn take() -> Option<NonNull<Ended>> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc(Layout::new::<Ended>()) }.cast())
    }

    unsafe fn give(block: NonNull<Ended>) {
        // SAFETY: it came from there, and by contract nobody uses it.
        unsafe { dealloc(block.as_ptr().cast(), Layout::new::<Ended>()) };
    }
}
