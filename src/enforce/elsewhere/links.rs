//! Another name of a file (hard link) whose own was taken away: programs make a file so, under a name for the time being.

use super::mounts::{PATH_MAX, terminated};
use crate::sys;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use keepmydata_promise::{NAMELESS, OTHERWISE_NAMED};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags, openat};
use rustix::io::Errno;

/// Entries that are looked at: a longer directory takes too long to ask again and again.
const MOST: usize = 4096;
/// Of filesystems that do not say which inode an entry leads to, so many are asked for it.
const ASKED: usize = 64;

/// A name of what `handle` is open on in the directory of `gone`, which was one.
pub fn beside<'b>(
    handle: BorrowedFd<'_>,
    gone: &[u8],
    into: &'b mut [u8; PATH_MAX],
) -> Option<&'b [u8]> {
    let inode = sys::fd::inode_of(handle, c"", AtFlags::EMPTY_PATH)?;
    let start = gone.iter().rposition(|&byte| byte == b'/')? + 1;
    let mut text = [0u8; PATH_MAX];
    let directory = terminated(&gone[..start], &mut text)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags, Mode::empty()).ok()?;
    if sys::fd::lists_nothing() {
        return None;
    }
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 2048];
    let mut entries = RawDir::new(directory.as_fd(), &mut buffer);
    let (mut seen, mut asked) = (0, 0);
    while let Some(Ok(entry)) = entries.next() {
        let is_told = entry.ino() == inode.1;
        asked += usize::from(!is_told);
        seen += 1;
        if seen > MOST {
            break;
        }
        if !is_told && asked > ASKED {
            continue;
        }
        let name: &CStr = entry.file_name();
        if sys::fd::inode_of(&directory, name, AtFlags::SYMLINK_NOFOLLOW) == Some(inode) {
            let (name, len) = (name.to_bytes(), start + name.to_bytes().len());
            into.get_mut(..start)?.copy_from_slice(&gone[..start]);
            into.get_mut(start..len)?.copy_from_slice(name);
            return into.get(..len);
        }
    }
    None
}

/// Why it has none that is known.
pub fn why_none(handle: BorrowedFd<'_>) -> Errno {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    match sys::fd::statx(handle, c"", flags, StatxFlags::NLINK) {
        Ok(found) if found.stx_nlink > 0 => OTHERWISE_NAMED,
        _ => NAMELESS,
    }
}
