//! What the program itself takes out of a file: madvise(2) with `MADV_REMOVE`, fallocate(2), and truncation.
//!
//! The pages that go so were stored to and leave the page cache, as those do that the kernel drops with
//! what was stored in them. These are no loss: their marks go too.

use super::{canary, pagemap};
use crate::custodian;
use crate::mappings::{self, file::File};
use crate::process;
use crate::sys;
use core::ops::Range;
use core::ptr::NonNull;
use libc::{c_char, c_int, off_t};

/// A device and inode that may be those of a tracked file.
pub type Inode = (u64, u64);

/// The file that `fd` is open on, if it may be tracked.
pub fn tracked_fd(fd: c_int) -> Option<Inode> {
    tracked(sys::fd::inode(fd)?)
}

/// The file at `path`, which may be any pointer, if it may be tracked.
pub fn tracked_path(path: *const c_char) -> Option<Inode> {
    let mut text = [0u8; libc::PATH_MAX as usize];
    tracked(sys::fd::inode_at(sys::vm::read_path(path, &mut text)?)?)
}

fn tracked((dev, ino): Inode) -> Option<Inode> {
    mappings::may_know(dev, ino).then_some((dev, ino))
}

/// Whether fallocate(2) with `mode` takes pages out of the page cache.
pub fn takes_pages(mode: c_int) -> bool {
    mode & !(libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_UNSHARE_RANGE) != 0
}

/// What fallocate(2) took out: to the end where the rest of the file has moved.
pub fn allocated(inode: Inode, mode: c_int, offset: off_t, len: off_t) {
    let start = u64::try_from(offset).unwrap_or(0);
    let moves = mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0;
    let end = match moves {
        true => u64::MAX,
        false => start.saturating_add(u64::try_from(len).unwrap_or(0)),
    };
    removed(inode, start..end);
}

/// What is beyond the end of a file that was truncated to `size` bytes.
pub fn truncated(inode: Inode, size: off_t) {
    removed(inode, u64::try_from(size).unwrap_or(0)..u64::MAX);
}

/// What `MADV_REMOVE` of `[start, end)` took out.
pub fn advised(start: usize, end: usize) {
    let mut from = start;
    loop {
        let mut found = None;
        let mut table = mappings::lock();
        table.for_each(from, end, |entry| {
            found = Some(entry);
            false
        });
        let Some(entry) = found else { return };
        table.hold(entry.file);
        drop(table);
        of_file(entry.file, entry.offset..entry.offset + entry.len() as u64);
        from = entry.end;
    }
}

/// The bytes `range` of the inode were taken out.
fn removed((dev, ino): Inode, range: Range<u64>) {
    let mut last = None;
    // One file after the other, where the kernel has several inodes of it.
    loop {
        let mut found = None;
        let mut table = mappings::lock();
        table.for_each_of_inode(dev, ino, |file| {
            if last < Some(file) && found.is_none_or(|other| file < other) {
                found = Some(file);
            }
        });
        let Some(file) = found else { return };
        table.hold(file);
        drop(table);
        last = Some(file);
        of_file(file, range.clone());
    }
}

/// Takes the marks of what has gone in `range` of `file`, which is held until then.
fn of_file(file: NonNull<File>, range: Range<u64>) {
    let _ = custodian::run_if_there(process::this(), |worker| {
        pagemap::unmark_absent(worker, file, &range);
        canary::revive(worker, file, &range);
    });
    mappings::ops::release(file);
}
