//! Which parts of a file have blocks, and what these hold: FIEMAP, and lseek(2) where a filesystem lacks it.
//!
//! Measured on ext4, xfs and btrfs (Linux 6.18): lseek calls blocks that fallocate(2) gave and nobody
//! has written yet a hole, and a hole that was stored to through a mapping data, although its blocks
//! are only promised until it is written back. FIEMAP tells all of these apart.

use super::raw;
use crate::kernel::{Extent, Fiemap};
use rustix::fd::BorrowedFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The last extent of the file.
const LAST: u32 = 0x1;
/// No blocks yet: they are allocated at writeback.
const DELALLOC: u32 = 0x4;

/// Not what the file holds, byte for byte: compressed or otherwise encoded, encrypted, or packed into
/// the metadata.
const ENCODED: u32 = 0x8 | 0x80 | 0x200 | 0x400;

impl Extent {
    fn end(&self) -> u64 {
        self.logical.saturating_add(self.length)
    }
}

/// What counts as a hole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// What has neither blocks nor the promise of some.
    Unpromised,
    /// What has no blocks: a hole that was stored to is one until it is written back.
    Unallocated,
}

/// Tells `each` of every hole in `[start, end)` of the file, also beyond its end, from first to last,
/// until it returns false. `each` may allocate what it gets. Writes nothing back.
///
/// Errors: `EOPNOTSUPP` where the filesystem does not tell, as FUSE and tmpfs.
pub fn holes(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    what: Hole,
    mut each: impl FnMut(u64, u64) -> bool,
) -> Result<(), Errno> {
    let mut at = start;
    let mut goes_on = true;
    each_extent(fd, start, end, |extent| {
        if what == Hole::Unpromised || extent.flags & DELALLOC == 0 {
            goes_on = extent.logical <= at || each(at, extent.logical.min(end));
            at = at.max(extent.end());
        }
        goes_on
    })?;
    if goes_on && at < end {
        each(at, end);
    }
    Ok(())
}

/// Whether there is a hole before the end of the file that nothing was promised for.
///
/// Errors: as [`holes`], and those of fstat(2).
pub fn has_hole(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut has_hole = false;
    holes(fd, 0, super::fd::size(fd)?, Hole::Unpromised, |_, _| {
        has_hole = true;
        false
    })?;
    Ok(has_hole)
}

/// Tells `each` of what in `[start, end)` of the file is not stored as it is read, so that a read past the
/// page cache cannot be had: compressed, encrypted, or packed into the metadata. Writes nothing back.
///
/// Errors: as [`holes`].
pub fn encoded(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    mut each: impl FnMut(u64, u64),
) -> Result<(), Errno> {
    each_extent(fd, start, end, |extent| {
        if extent.flags & ENCODED != 0 {
            each(extent.logical.max(start), extent.end().min(end));
        }
        true
    })
}

/// Tells `each` of every extent that overlaps `[start, end)`, from first to last, until it returns false.
fn each_extent(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    mut each: impl FnMut(&Extent) -> bool,
) -> Result<(), Errno> {
    let mut from = start;
    while from < end {
        let mut map = Fiemap::new(from, end - from);
        raw::sys_fiemap(fd, &mut map)?;
        let found = &map.extents[..(map.mapped_extents as usize).min(Fiemap::BATCH)];
        let asked = from;
        for extent in found {
            from = from.max(extent.end());
            if !each(extent) {
                return Ok(());
            }
        }
        if from == asked || found.last().is_none_or(|extent| extent.flags & LAST != 0) {
            break;
        }
    }
    Ok(())
}

/// The same by lseek(2), up to the end of the file, for a descriptor whose offset nobody uses. On FUSE
/// the daemon is asked; a filesystem that has no answer is one extent of data.
pub fn holes_by_seek(
    fd: BorrowedFd<'_>,
    start: u64,
    end: u64,
    mut each: impl FnMut(u64, u64) -> bool,
) -> Result<(), Errno> {
    let mut at = start;
    while at < end {
        let hole = match seek(fd, SeekFrom::Hole(at)) {
            Ok(hole) => hole,
            // At or beyond the end.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let data = match seek(fd, SeekFrom::Data(hole)) {
            Ok(data) => data,
            Err(Errno::NXIO) => end,
            Err(errno) => return Err(errno),
        };
        if hole < end && data > hole && !each(hole, data.min(end)) {
            return Ok(());
        }
        at = data.max(hole + 1);
    }
    Ok(())
}
