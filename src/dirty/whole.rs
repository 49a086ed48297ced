//! `whole`: every page of every mapping counts as dirty.

use super::{Ranges, Tracker};
use crate::mappings;
use crate::mappings::file::File;
use crate::sys;
use core::ptr::NonNull;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Works on any kernel, at the price of verifying and dropping everything.
pub struct Whole;

impl Tracker for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn dirty(
        &self,
        file: NonNull<File>,
        handle: Option<BorrowedFd<'_>>,
        into: &mut Ranges,
    ) -> Result<(), Errno> {
        let size = match handle {
            Some(fd) => sys::page_up(rustix::fs::fstat(fd)?.st_size as u64),
            None => u64::MAX,
        };
        let table = mappings::lock();
        // SAFETY: held by the caller, and under the lock.
        let (low, high) = unsafe { (file.as_ref().low, file.as_ref().high) };
        table.for_each(low, high, |entry| {
            if entry.file == file && entry.writable {
                let end = entry.offset + entry.len() as u64;
                into.add(entry.offset, end.min(size));
            }
            true
        });
        Ok(())
    }
}
