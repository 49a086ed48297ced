//! What another client of the filesystem sees (`KEEPMYDATA_SEEN_BY`): the file is opened below the other mount, that client's
//! cached pages of it are dropped, and it is read as any reader there would.

mod links;
mod mounts;

use self::mounts::PATH_MAX;
use crate::sys;
use crate::sys::fd::fadvise;
use crate::{config, log};
use core::ffi::CStr;
use core::num::NonZeroU64;
use keepmydata_promise::{self as promise, Part};
use keepmydata_records::{LineBuf, NAMELESS, SeenBy};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Reads the parts by a descriptor of the other client's, on a helper thread.
pub fn read(there: Option<&OwnedFd>, parts: &mut [Part], buffer: &mut [u8]) {
    for part in parts {
        part.read = match there {
            Some(fd) => read_part(fd, part, buffer),
            None => Err(Errno::BADF),
        };
    }
}

/// The size of the file as the other client shows it; if that is not `expected`, once it has asked for it anew.
pub fn size(there: &OwnedFd, expected: u64) -> Result<u64, Errno> {
    let size = |flags| sys::fd::size_at(there, c"", flags);
    match size(AtFlags::STATX_DONT_SYNC)? {
        size if size == expected => Ok(size),
        _ => size(AtFlags::STATX_FORCE_SYNC),
    }
}

/// The same file at the other mount; nothing where it does not lie below the first.
///
/// Errors: those of [`place`] and of open(2).
pub fn open(handle: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut path = [0u8; 2 * PATH_MAX];
    let Some(path) = place(handle, &config::settings().seen_by, &mut path)? else {
        return Ok(None);
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
        opened => opened,
    }
    .map(Some)
}

/// Where the file is at the other mount, by what it is called now: it may have been renamed since it was mapped, or been
/// opened through another mount of the filesystem than the first.
///
/// Errors: [`promise::NAMELESS`]; [`promise::OTHERWISE_NAMED`].
fn place<'b>(
    handle: BorrowedFd<'_>,
    mounts: &SeenBy<'_>,
    into: &'b mut [u8],
) -> Result<Option<&'b CStr>, Errno> {
    let mut name = [0u8; PATH_MAX];
    let name = sys::fd::path(handle.as_raw_fd(), &mut name).ok_or(Errno::NOENT)?;
    if name.len() == PATH_MAX {
        // It may be cut short.
        return Err(Errno::NAMETOOLONG);
    }
    let mut other = [0u8; PATH_MAX];
    let name = match name.strip_suffix(b" (deleted)") {
        Some(gone) if !leads_to(name, handle) => {
            links::beside(handle, gone, &mut other).ok_or(links::why_none(handle))?
        }
        _ => name,
    };
    if mounts.concerns(name) {
        let found = mounts.elsewhere(name, into);
        return found.map(Some).ok_or(Errno::NAMETOOLONG);
    }
    mounts::place(handle, name, mounts, into)
}

/// Whether the path is one of what `handle` is open on.
fn leads_to(path: &[u8], handle: BorrowedFd<'_>) -> bool {
    let mut text = [0u8; PATH_MAX];
    let Some(path) = mounts::terminated(path, &mut text) else {
        return false;
    };
    let there = sys::fd::inode_of(CWD, path, AtFlags::empty());
    there.is_some() && there == sys::fd::inode_of(handle, c"", AtFlags::EMPTY_PATH)
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

/// Why pages are not proved that only the other client did not see; it could not be asked because of `errno`.
pub fn describe(into: &mut LineBuf<160>, errno: Option<Errno>) {
    let other = config::settings().seen_by.other().unwrap_or_default();
    let other = core::str::from_utf8(other).unwrap_or("the other mount");
    let mut say = |args| log::text(into, args);
    match errno {
        None => say(format_args!(
            "the filesystem holds them, but its client at {other:.64} did not see them in time"
        )),
        Some(Errno::NOENT) => say(format_args!(
            "the filesystem holds them, but its client at {other:.64} has no such file (ENOENT)"
        )),
        Some(promise::NAMELESS) => say(format_args!(
            "the filesystem holds them, but its client at {other:.64} could not be asked: {NAMELESS}"
        )),
        Some(promise::OTHERWISE_NAMED) => say(format_args!(
            "the filesystem holds them, but its client at {other:.64} could not be asked: its other name is not known"
        )),
        Some(errno) => say(format_args!(
            "the filesystem holds them, but its client at {other:.64} could not be asked ({})",
            keepmydata_records::Errno(errno.raw_os_error())
        )),
    }
}
