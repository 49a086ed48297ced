//! Trackers: where the dirty ranges of a file come from.

mod cachestat;
mod ranges;
mod whole;

pub use cachestat::cached;
pub use ranges::Ranges;

use crate::config;
use crate::mappings::file::File;
use core::fmt;
use core::ptr::NonNull;
use keepmydata_records::Track;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// A source of dirty ranges.
pub trait Tracker {
    /// Its name in settings and logs.
    fn name(&self) -> &'static str;

    /// Adds the ranges of `file` that may be dirty, in whole pages: too many is allowed, too few
    /// never. On an error the caller asks the next tracker.
    fn dirty(
        &self,
        file: NonNull<File>,
        handle: Option<BorrowedFd<'_>>,
        into: &mut Ranges,
    ) -> Result<(), Errno>;
}

/// Learns the dirty ranges of `file` from the best tracker that works here, and says which.
pub fn learn(
    file: NonNull<File>,
    handle: Option<BorrowedFd<'_>>,
    into: &mut Ranges,
) -> &'static str {
    let choices: &[&dyn Tracker] = match config::settings().track {
        Track::Whole => &[&whole::Whole],
        _ => &[&cachestat::Cachestat, &whole::Whole],
    };
    for tracker in choices {
        into.clear();
        if tracker.dirty(file, handle, into).is_ok() {
            return tracker.name();
        }
    }
    ""
}

/// The trackers that this kernel offers, for the log's first line.
pub fn available() -> impl fmt::Display {
    match cachestat::works() {
        true => "cachestat whole",
        false => "whole",
    }
}
