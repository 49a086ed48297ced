//! Opening the log file, but not what somebody else may have put in its place.
//!
//! The kernel guards directories that everybody may write to (proc_sys_fs(5), `protected_symlinks`,
//! `protected_regular`, `protected_fifos`, `protected_hardlinks`) only where it is set up to. The shim checks for itself:
//! a program that runs as root, or as another user, may have been given a path in /tmp.

#![warn(missing_docs)]

use core::ffi::CStr;
use core::fmt;
use keepmydata_records as records;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, statat};
use rustix::io::Errno;

/// Why there is no log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A system call failed.
    Errno(Errno),
    /// It is not what it should be.
    Refused(&'static str),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Errno(errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(why) => f.write_str(why),
            Failure::Errno(errno) => {
                let what = match *errno {
                    Errno::NXIO => "nobody reads it",
                    Errno::PIPE => "nobody reads it any more",
                    Errno::AGAIN => "nobody has read it for a second",
                    Errno::ISDIR => "it is a directory",
                    Errno::FBIG => "no file may be larger (RLIMIT_FSIZE)",
                    _ => return write!(f, "{}", records::Errno(errno.raw_os_error())),
                };
                write!(f, "{what} ({})", records::Errno(errno.raw_os_error()))
            }
        }
    }
}

/// Symbolic links that a path may lead through, as the kernel has it.
const LINKS: u32 = 40;
/// Bytes of what is left of a path, with what links lead to.
const REST: usize = 2 * libc::PATH_MAX as usize;
/// A process's own files: its links lead where no path does, and nobody can put one there.
const PROC: u32 = 0x9fa0;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A FIFO that nobody reads must not be waited for (fifo(7)).
const LOG: OFlags = OFlags::WRONLY
    .union(OFlags::APPEND)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens the file at `path`, which is absolute, to append to it, without waiting; makes it where it is not
/// there.
///
/// A symbolic link counts if root or the user of this process made it. In a directory that others may write
/// to, so does a file of theirs not; in one of another user's, too, a file that has further names does not.
pub fn open(path: &CStr) -> Result<OwnedFd, Failure> {
    let mut rest = Rest::of(path.to_bytes())?;
    let mut directory = openat(CWD, c"/", DIRECTORY, Mode::empty())?;
    let mut links = 0;
    loop {
        let mut name = [0; NAME + 1];
        let (name, is_last) = rest.next(&mut name)?;
        if let Some(target) = link(&directory, name)? {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP.into());
            }
            if !is_of_proc(&directory) {
                if rest.lead_to(&target)? {
                    directory = openat(CWD, c"/", DIRECTORY, Mode::empty())?;
                }
                continue;
            }
            match is_last {
                true => return Ok(openat(&directory, name, LOG, Mode::empty())?),
                false => directory = openat(&directory, name, DIRECTORY, Mode::empty())?,
            }
        } else if is_last {
            return open_in(&directory, name);
        } else {
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            directory = openat(&directory, name, flags, Mode::empty())?;
        }
    }
}

/// Bytes of a name in a directory.
const NAME: usize = 255;

/// What is left of a path.
struct Rest {
    bytes: [u8; REST],
    start: usize,
}

impl Rest {
    fn of(path: &[u8]) -> Result<Rest, Failure> {
        let mut rest = Rest {
            bytes: [0; REST],
            start: REST,
        };
        rest.put(path)?;
        Ok(rest)
    }

    /// Puts `path` before what is left.
    fn put(&mut self, path: &[u8]) -> Result<(), Failure> {
        let start = self.start.checked_sub(path.len());
        let start = start.ok_or(Errno::NAMETOOLONG)?;
        self.bytes[start..self.start].copy_from_slice(path);
        self.start = start;
        Ok(())
    }

    /// The next name, into `name`, and whether it is the last.
    fn next<'n>(&mut self, name: &'n mut [u8; NAME + 1]) -> Result<(&'n CStr, bool), Failure> {
        let left = &self.bytes[self.start..];
        let skipped = left.iter().take_while(|&&byte| byte == b'/').count();
        let left = &left[skipped..];
        let len = left.iter().take_while(|&&byte| byte != b'/').count();
        let is_last = left.len() == len;
        if len == 0 {
            return Err(Errno::ISDIR.into());
        }
        let place = name.get_mut(..len).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(&left[..len]);
        self.start += skipped + len;
        let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::NAMETOOLONG)?;
        Ok((name, is_last))
    }

    /// Goes on where a link leads; whether that is from the root on.
    fn lead_to(&mut self, target: &Target) -> Result<bool, Failure> {
        let target = target.bytes.get(..target.len).unwrap_or(&[]);
        self.put(target)?;
        Ok(target.first() == Some(&b'/'))
    }
}

/// Where a symbolic link leads.
struct Target {
    bytes: [u8; libc::PATH_MAX as usize],
    len: usize,
}

/// Where `name` leads, if it is a symbolic link and may be followed.
fn link(directory: &OwnedFd, name: &CStr) -> Result<Option<Target>, Failure> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {}
        // Whatever it is: opening it tells.
        _ => return Ok(None),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = openat(directory, name, flags, Mode::empty())?;
    if !is_trusted(fstat(&link)?.st_uid) {
        return Err(Failure::Refused("a symbolic link that another user made"));
    }
    let mut target = Target {
        bytes: [0; libc::PATH_MAX as usize],
        len: 0,
    };
    // Of the link that was looked at, whatever has taken its place.
    target.len = rustix::fs::readlinkat_raw(&link, c"", &mut target.bytes[..])?;
    Ok(Some(target))
}

fn is_of_proc(directory: &OwnedFd) -> bool {
    fstatfs(directory).is_ok_and(|fs| fs.f_type as u32 == PROC)
}

/// Opens what `name` is, no symbolic link; makes it where it is not there.
fn open_in(directory: &OwnedFd, name: &CStr) -> Result<OwnedFd, Failure> {
    let flags = LOG | OFlags::NOFOLLOW;
    loop {
        match openat(directory, name, flags, Mode::empty()) {
            Ok(file) => {
                judge(&fstat(directory)?, &fstat(&file)?).map_err(Failure::Refused)?;
                return Ok(file);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let make = flags | OFlags::CREATE | OFlags::EXCL;
        match openat(directory, name, make, Mode::from_raw_mode(0o666)) {
            // Another process was faster.
            Err(Errno::EXIST) => {}
            made => return Ok(made?),
        }
    }
}

/// Whether what was there already may be written to.
fn judge(directory: &Stat, file: &Stat) -> Result<(), &'static str> {
    let others_write = directory.st_mode & 0o022 != 0;
    let is_foreign = !is_trusted(file.st_uid) && file.st_uid != directory.st_uid;
    match FileType::from_raw_mode(file.st_mode) {
        FileType::CharacterDevice => Ok(()),
        FileType::RegularFile | FileType::Fifo if others_write && is_foreign => {
            Err("it is another user's, in a directory that others may write to")
        }
        FileType::RegularFile
            if file.st_nlink > 1 && (others_write || !is_trusted(directory.st_uid)) =>
        {
            Err("it has another name, in a directory that others may write to")
        }
        FileType::RegularFile | FileType::Fifo => Ok(()),
        _ => Err("it is no file"),
    }
}

/// Root, and who this process acts for.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}
