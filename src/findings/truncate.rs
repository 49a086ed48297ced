//! ftruncate(2) and truncate(2) below pages that were stored to and never synced.

use super::{Reporter, for_each_wanted, unsynced};
use crate::mappings::{self, file::Key};
use crate::stats::Track;
use crate::sys;
use keepmydata_records::Finding;
use libc::{c_char, c_int, off_t};

/// `real` truncates what `fd` is open on to `size` bytes.
#[cold]
pub fn truncate_fd(fd: c_int, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let known = |fd| sys::fd::of_program(fd, sys::fd::space)?.ok();
    let file = sys::fd::inode(fd).and_then(|inode| Some((inode, known(fd)?.size)));
    watch(file, size, real)
}

/// `real` truncates the file at `path`, which may be any pointer, to `size` bytes.
#[cold]
pub fn truncate_path(path: *const c_char, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let file = sys::fd::found_at(libc::AT_FDCWD, path).map(|found| (found.inode, found.size));
    watch(file, size, real)
}

/// `file` is its device and inode, and its size now.
fn watch(file: Option<((u64, u64), u64)>, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let shrinks = |now: u64| u64::try_from(size).is_ok_and(|size| size < now);
    let file = file
        .filter(|((dev, ino), now)| shrinks(*now) && mappings::may_know(*dev, *ino))
        .map(|(inode, _)| inode);
    let (Some(file), Ok(size)) = (file, u64::try_from(size)) else {
        return real();
    };
    let size = sys::page_up(size);
    let each = |work: &mut dyn FnMut(&Reporter<'_>, &mut Track)| {
        let wanted = |key: &Key| (key.dev, key.ino) == file;
        for_each_wanted(0, usize::MAX, wanted, |reporter| {
            if let Some(mut track) = reporter.slot.track() {
                work(reporter, &mut track);
            }
        });
    };
    each(&mut |reporter, track| {
        let found = unsynced::find(reporter, track, 0, usize::MAX);
        track.truncated.clear();
        track.truncated.add_all(found.within(size, u64::MAX));
    });
    let result = real();
    if result == 0 {
        each(&mut |reporter, track| {
            if !track.truncated.is_empty() {
                let message = "the file was truncated below these pages: what was stored there and \
                               never synced is gone";
                reporter.tell(Finding::TruncatedDirty, &track.truncated, message);
            }
            track.owed.remove(size, u64::MAX);
            track.asynced.remove(size, u64::MAX);
        });
    }
    result
}
