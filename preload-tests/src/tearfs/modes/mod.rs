//! The ways in which the daemon fails to do what it acknowledges.
//!
//! A mode sees the page writeback, the READs, FSYNCs and FLUSHes of one file and decides
//! what becomes of them in the [`Backend`]. Everything else is the same for all modes.

mod dropping;
mod early_ack;
mod errors;
mod honest;
mod paced;
mod reorder;
mod stale_window;
mod volatile;

use std::ops::Range;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fuser::Errno;

use super::backend::{Backend, Durability, View};
use super::pages::pages_of;
use super::select::Selector;

pub use honest::Honest;

/// How the daemon misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Applies each WRITE before it is acknowledged.
    Honest,
    /// Holds all writes in a volatile cache until FSYNC. READ sees them; a power cut drops what was not fsynced.
    Volatile,
    /// The first FSYNC applies the lowest 4 KiB of what is held, the next FSYNC the rest.
    FirstPage,
    /// Each FSYNC applies the lowest 4 KiB of what is held (--pages-per-fsync).
    OnePage,
    /// READ serves windows (--window) cached by earlier READs, until --delay-ms after the first FSYNC that follows the write; with --delay-ms 0 until the second FSYNC.
    StaleWindow,
    /// FSYNC returns before applying; the data is applied --delay-ms later.
    EarlyAck,
    /// Of a WRITE of several pages only the first page is kept.
    DropTail,
    /// The first write of each page is dropped.
    LossyFirst,
    /// --delay-ms after an FSYNC the pages it covers get back the content from before.
    Reorder,
    /// The first FSYNC of a file that has something to write fails with EIO and drops it; from then on all is well. With --every, --first or --probability these say which FSYNCs fail.
    EioOnce,
    /// WRITE fails inside and is acknowledged all the same; the next FLUSH (close) returns EIO.
    SilentEio,
    /// Acknowledges page writeback and keeps nothing of it.
    BlackHole,
    /// Applies each WRITE, but gives a file that is open a second node id: the kernel keeps two page caches of one file.
    TwinInode,
}

impl Mode {
    /// The word that names it in options and logs.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Honest => "honest",
            Mode::Volatile => "volatile",
            Mode::FirstPage => "first-page",
            Mode::OnePage => "one-page",
            Mode::StaleWindow => "stale-window",
            Mode::EarlyAck => "early-ack",
            Mode::DropTail => "drop-tail",
            Mode::LossyFirst => "lossy-first",
            Mode::Reorder => "reorder",
            Mode::EioOnce => "eio-once",
            Mode::SilentEio => "silent-eio",
            Mode::BlackHole => "black-hole",
            Mode::TwinInode => "twin-inode",
        }
    }

    /// The mode's state for one file.
    pub fn of_file(self) -> Box<dyn FileMode> {
        match self {
            // Two node ids are the business of names, not of data.
            Mode::Honest | Mode::TwinInode => Box::new(Honest),
            Mode::Volatile => Box::new(volatile::Volatile),
            Mode::FirstPage => Box::new(paced::Paced::first_then_rest()),
            Mode::OnePage => Box::new(paced::Paced::always()),
            Mode::StaleWindow => Box::new(stale_window::StaleWindow::default()),
            Mode::EarlyAck => Box::new(early_ack::EarlyAck),
            Mode::DropTail => Box::new(dropping::DropTail),
            Mode::LossyFirst => Box::new(dropping::LossyFirst::default()),
            Mode::BlackHole => Box::new(dropping::BlackHole),
            Mode::Reorder => Box::new(reorder::Reorder::default()),
            Mode::EioOnce => Box::new(errors::EioOnce::default()),
            Mode::SilentEio => Box::new(errors::SilentEio::default()),
        }
    }
}

/// The numbers that modes go by.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub delay: Duration,
    /// Bytes, a multiple of the page size.
    pub window: u64,
    pub pages_per_fsync: usize,
    /// Whether the user said which occasions to take.
    pub selective: bool,
}

/// What a request writes.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub offset: u64,
    pub data: &'a [u8],
}

impl Write<'_> {
    /// Bytes of the file.
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len() as u64
    }

    /// How many pages it touches.
    fn pages(&self) -> usize {
        pages_of(self.offset, self.data.len()).count()
    }
}

/// What a mode is told with each request.
pub struct Context<'a> {
    pub now: Instant,
    pub parameters: &'a Parameters,
    pub selector: &'a Selector,
}

/// What the mode did, in a word for the log and the counts. Empty: nothing worth telling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub action: &'static str,
    /// How many pages (or windows) it touched.
    pub count: usize,
}

impl Effect {
    pub const NONE: Self = Self::new("", 0);

    pub const fn new(action: &'static str, count: usize) -> Self {
        Self { action, count }
    }
}

/// A mode's memory of one file, and its decisions. The defaults are those of an honest daemon.
pub trait FileMode: Send {
    /// Page writeback (FUSE_WRITE with FUSE_WRITE_CACHE). It is acknowledged in any case.
    fn page_write(&mut self, file: &mut Backend, write: Write<'_>, cx: &Context<'_>) -> Effect {
        let _ = cx;
        apply(file, write)
    }

    /// Any other write.
    fn other_write(&mut self, file: &mut Backend, write: Write<'_>) {
        file.write(write.offset, write.data, Durability::Stable);
    }

    /// Fills the buffer with what READ is answered, up to the end of the file; the number of
    /// bytes.
    fn read(
        &mut self,
        file: &Backend,
        offset: u64,
        buffer: &mut [u8],
        cx: &Context<'_>,
    ) -> (usize, Effect) {
        let _ = cx;
        (file.read(View::Visible, offset, buffer), Effect::NONE)
    }

    /// Fills the buffer with what READ would be answered with, and remembers nothing of it.
    fn served(&self, file: &Backend, offset: u64, buffer: &mut [u8], now: Instant) {
        let _ = now;
        file.read(View::Visible, offset, buffer);
    }

    /// FSYNC: its result, and what was done.
    fn fsync(&mut self, file: &mut Backend, cx: &Context<'_>) -> (Result<(), Errno>, Effect) {
        let _ = cx;
        (Ok(()), apply_all(file))
    }

    /// FLUSH, at each close of a descriptor.
    fn flush(&mut self) -> (Result<(), Errno>, Effect) {
        (Ok(()), Effect::NONE)
    }

    /// The range was truncated, punched or zeroed: forget what was remembered of it.
    fn discard(&mut self, range: Range<u64>) {
        let _ = range;
    }

    /// When the mode, of itself, next changes what a reader gets.
    fn next_due(&self) -> Option<Instant> {
        None
    }
}

/// What an honest daemon does with page writeback.
fn apply(file: &mut Backend, write: Write<'_>) -> Effect {
    file.write(write.offset, write.data, Durability::Stable);
    Effect::new("applied", write.pages())
}

/// What an FSYNC of an honest daemon does: nothing is left held or volatile, by an earlier
/// mode either.
fn apply_all(file: &mut Backend) -> Effect {
    match file.apply_all() + file.commit() {
        0 => Effect::NONE,
        pages => Effect::new("applied", pages),
    }
}

#[cfg(test)]
mod testing;
