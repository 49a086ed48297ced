//! What an enforcement reports while it runs.

use crate::comparison::Unsettled;
use crate::stages::{Request, Snapshot};
use keepmydata_records::Rung;
use rustix::io::Errno;

/// A step has ended.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// fdatasync(2), which is the flush.
    Flushed(Result<(), Errno>),
    /// fsync(2), while healing.
    Synced(Result<(), Errno>),
    /// The copies were compared with what the filesystem holds.
    Compared(Result<(), Errno>),
    /// One rung of the healing ladder.
    Healed {
        /// Which.
        rung: Rung,
        /// What was not right before it,
        before: Unsettled,
        /// and after it.
        after: Unsettled,
        /// Of its flush, and of reading back.
        result: Result<(), Errno>,
    },
}

/// Who is told. It changes nothing about an enforcement.
pub trait Observer<R: Request> {
    /// When something began, as far as anybody wants to know.
    type Began: Copy;

    /// Something begins.
    fn begin(&self) -> Self::Began;

    /// It has ended.
    fn tell(&self, at: &Snapshot<R>, began: Self::Began, event: Event);
}
