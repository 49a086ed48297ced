//! What another client of the filesystem sees (`KEEPMYDATA_SEEN_BY`): the file is opened below the other mount, that client's
//! cached pages of it are dropped, and it is read as any reader there would.

use crate::mappings::{
    self,
    file::{File, PATH},
};
use crate::sys;
use crate::sys::fd::fadvise;
use crate::{config, log};
use core::num::NonZeroU64;
use keepmydata_promise::Part;
use keepmydata_records::LineBuf;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Whether `file` must be shown to the other client. One whose path is too long to be kept is not found there, which is told.
pub fn is_wanted(file: &File) -> bool {
    let mounts = config::settings().seen_by;
    if mounts.other().is_none() {
        return false;
    }
    let table = mappings::lock();
    let state = table.get(file);
    let is_cut = !state.path_is_whole() && !state.path().is_empty();
    is_cut || mounts.concerns(state.path())
}

/// Reads the parts through the other mount, on a helper thread. `handle` is open on the file here.
pub fn read(file: &File, handle: Option<BorrowedFd<'_>>, parts: &mut [Part], buffer: &mut [u8]) {
    let opened = open(file, handle);
    for part in parts {
        part.read = match &opened {
            Ok(fd) => read_part(fd, part, buffer),
            Err(errno) => Err(*errno),
        };
    }
}

fn open(file: &File, handle: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    let mounts = config::settings().seen_by;
    let mut path = [0u8; PATH + libc::PATH_MAX as usize];
    let mut now = [0u8; PATH];
    let renamed = handle.and_then(|handle| name(handle, &mut now));
    let path = match renamed {
        Some(now) if mounts.concerns(now) => mounts.elsewhere(now, &mut path),
        _ => {
            let table = mappings::lock();
            let state = table.get(file);
            match state.path_is_whole() {
                true => mounts.elsewhere(state.path(), &mut path),
                false => None,
            }
        }
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = path.ok_or(Errno::NAMETOOLONG)?;
    match openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// What the file is called now: it may have been renamed since it was mapped, and its old name be another file's.
fn name<'b>(handle: BorrowedFd<'_>, into: &'b mut [u8; PATH]) -> Option<&'b [u8]> {
    let path = sys::fd::path(handle.as_raw_fd(), into)?;
    // What fills the room may be cut short.
    (path.len() < PATH && !path.ends_with(b" (deleted)")).then_some(path)
}

fn read_part(fd: &OwnedFd, part: &Part, buffer: &mut [u8]) -> Result<usize, Errno> {
    // Where they are not dropped, the read says so.
    let _ = fadvise(
        fd,
        part.offset,
        NonZeroU64::new(part.bytes() as u64),
        Advice::DontNeed,
    );
    let into = buffer.get_mut(part.into..part.into + part.bytes());
    sys::fd::read_back(fd.as_fd(), into.ok_or(Errno::INVAL)?, part.offset)
}

/// Why pages are not proved that only the other client did not see.
pub fn describe(into: &mut LineBuf<128>) {
    let other = config::settings().seen_by.other().unwrap_or_default();
    let other = core::str::from_utf8(other).unwrap_or("the other mount");
    log::text(
        into,
        format_args!(
            "the filesystem holds them, but its client at {other:.64} did not see them in time"
        ),
    );
}
