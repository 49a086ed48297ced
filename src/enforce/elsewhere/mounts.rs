//! Where a file lies whose name does not begin with the first mount: it was opened through another mount of the same
//! filesystem, a bind mount say, or it lies beside the directory that was named.

use crate::sys::{fd::statx, lines};
use core::ffi::CStr;
use keepmydata_records::SeenBy;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat};
use rustix::io::Errno;

/// Room for a path, with its end.
pub const PATH_MAX: usize = libc::PATH_MAX as usize;

/// The path, with an end for the kernel; nothing where it is too long. `into` is zeros.
pub fn terminated<'b>(path: &[u8], into: &'b mut [u8; PATH_MAX]) -> Option<&'b CStr> {
    into.get_mut(..path.len())?.copy_from_slice(path);
    CStr::from_bytes_until_nul(into).ok()
}

/// The path of the file at the other mount; nothing where it does not lie below the first.
///
/// Errors: those of statx(2) and of reading /proc/self/mountinfo; `ENOENT` where that does not show both mounts.
pub fn place<'b>(
    handle: BorrowedFd<'_>,
    name: &[u8],
    mounts: &SeenBy<'_>,
    into: &'b mut [u8],
) -> Result<Option<&'b CStr>, Errno> {
    let own = mounts.own().ok_or(Errno::NOENT)?;
    let mut text = [0u8; PATH_MAX];
    let directory = terminated(own, &mut text).ok_or(Errno::NAMETOOLONG)?;
    let mut file = InFilesystem::new();
    let mut first = InFilesystem::new();
    let of_file = number_of(handle, c"", AtFlags::EMPTY_PATH)?;
    let of_first = number_of(CWD, directory, AtFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let table = openat(CWD, c"/proc/thread-self/mountinfo", flags, Mode::empty())?;
    lines::for_each(table.as_fd(), |line| {
        let Some(mount) = parse(line) else { return };
        if mount.number == of_file {
            file.set(&mount, name);
        }
        if mount.number == of_first {
            first.set(&mount, own);
        }
    })?;
    let (file, first) = (
        file.path().ok_or(Errno::NOENT)?,
        first.path().ok_or(Errno::NOENT)?,
    );
    let below = file
        .strip_prefix(first)
        .filter(|rest| rest.starts_with(b"/"));
    match below {
        None => Ok(None),
        Some(rest) => mounts
            .at_other(rest, into)
            .map(Some)
            .ok_or(Errno::NAMETOOLONG),
    }
}

/// That of the mount in /proc/self/mountinfo. Linux 5.8; before that none.
fn number_of(at: impl AsFd, path: &CStr, flags: AtFlags) -> Result<u64, Errno> {
    let found = statx(
        at,
        path,
        flags | AtFlags::STATX_DONT_SYNC,
        StatxFlags::MNT_ID,
    )?;
    match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Ok(found.stx_mnt_id),
        false => Err(Errno::NOENT),
    }
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)): `36 35 98:0 /root /point options ...`.
struct Mount<'a> {
    number: u64,
    /// Which directory of the filesystem is mounted, and where, as they are written there.
    root: &'a [u8],
    point: &'a [u8],
}

fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = lines::fields(line);
    let number = lines::number(fields.next()?, 10)?;
    Some(Mount {
        number,
        root: fields.nth(2)?,
        point: fields.next()?,
    })
}

/// The path of a file in its filesystem, whatever is mounted where.
struct InFilesystem {
    path: [u8; 2 * PATH_MAX],
    len: Option<usize>,
}

impl InFilesystem {
    fn new() -> Self {
        InFilesystem {
            path: [0; 2 * PATH_MAX],
            len: None,
        }
    }

    /// Of what has this name, through this mount.
    fn set(&mut self, mount: &Mount<'_>, name: &[u8]) {
        let mut point = [0u8; PATH_MAX];
        let point = plain(mount.point, &mut point);
        let rest = point.and_then(|point| name.strip_prefix(without_slash(point)));
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(b"/")) else {
            return;
        };
        let Some(root) = plain(mount.root, &mut self.path).map(without_slash) else {
            return;
        };
        let root = root.len();
        if let Some(room) = self.path.get_mut(root..root + rest.len()) {
            room.copy_from_slice(rest);
            self.len = Some(root + rest.len());
        }
    }

    fn path(&self) -> Option<&[u8]> {
        Some(&self.path[..self.len?])
    }
}

/// `/` is what all begins with.
fn without_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// A path of mountinfo, in which spaces and their like are written in octal: `\040`.
fn plain<'b>(text: &[u8], into: &'b mut [u8]) -> Option<&'b [u8]> {
    let (mut at, mut len) = (0, 0);
    while let Some(&byte) = text.get(at) {
        let octal = text.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| lines::number(digits, 8));
        *into.get_mut(len)? = octal.map_or(byte, |byte| byte as u8);
        len += 1;
        at += if octal.is_some() { 4 } else { 1 };
    }
    into.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(line: &str, name: &str) -> Option<String> {
        let mut path = InFilesystem::new();
        path.set(&parse(line.as_bytes())?, name.as_bytes());
        Some(String::from_utf8(path.path()?.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn a_file_has_one_path_in_its_filesystem() {
        for (line, name, path) in [
            ("36 1 0:50 / /mnt/a rw - fuse v rw", "/mnt/a/d/f", "/d/f"),
            ("37 1 0:50 /d /mnt/b rw - fuse v rw", "/mnt/b/f", "/d/f"),
            ("37 1 0:50 /d /mnt/b rw - fuse v rw", "/mnt/b", "/d"),
            ("1 0 0:50 / / rw - fuse v rw", "/d/f", "/d/f"),
            (
                r"38 1 0:50 /a\040b /m\134n rw - fuse v rw",
                r"/m\n/f",
                "/a b/f",
            ),
        ] {
            assert_eq!(path_of(line, name).as_deref(), Some(path), "{line}");
        }
        // Mounted over since, or beyond the root of the program's.
        let line = "36 1 0:50 / /mnt/a rw - fuse v rw";
        for name in ["/mnt/ab/f", "/f", "(unreachable)/f"] {
            assert_eq!(path_of(line, name), None, "{name}");
        }
    }
}
