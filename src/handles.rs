//! Handles: the shim's own open file description of each tracked file.
//!
//! Opened by the custodian before mmap returns, because the program may close its descriptor and
//! unlink the file right after. Read-only, so that a later execve(2) of the file does not fail with
//! `ETXTBSY` (for writing too where the holes of a writable mapping are to be allocated, which makes
//! the file busy itself); `O_DIRECT` where the filesystem has it, so that reads go past the page cache.

use crate::custodian::{self, Worker};
use crate::mappings::file::{File, Handle, PATH};
use crate::mappings::{self, table::Entry};
use crate::process;
use crate::sys;
use crate::sys::signals::Blocked;
use crate::{config, dirty, prealloc};
use core::ffi::CStr;
use core::ptr::NonNull;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use rustix::io::Errno;

/// Neither wait for a lease to be broken nor touch the access time.
const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Gives the file of a new mapping, which the caller holds, a handle of this process's custodian,
/// opened from the program's descriptor `fd`, and has the stores to the mapping tracked where that
/// is wanted. Returns what to note as `registered` in its entry. Without a handle, enforcement goes
/// on with less.
pub fn open(fd: RawFd, entry: &Entry) -> u32 {
    let file = entry.file;
    let _quiet = Blocked::all();
    let process = process::this();
    let tid = sys::gettid();
    // SAFETY: held by the caller; traits never change.
    let traits = unsafe { file.as_ref() }.traits;
    let tracked = entry.writable && dirty::wants_registration(traits);
    if !tracked && has_handle(file, process.generation()) {
        return 0;
    }
    // Opening the file would break a write lease on it (fcntl(2), F_SETLEASE).
    // SAFETY: only asks; the descriptor is the program's.
    let lease = unsafe {
        let arguments = [fd as usize, libc::F_GETLEASE as usize, 0, 0, 0, 0];
        sys::raw::syscall(libc::SYS_fcntl, arguments)
    };
    let leased = lease == Ok(libc::F_WRLCK as usize);
    custodian::run(process, |worker| {
        if !has_handle(file, process.generation()) {
            let mut buffer = [0; 4096];
            let path = worker.path_of(tid, fd, &mut buffer).unwrap_or(b"");
            let opened = match leased {
                true => Err(Errno::AGAIN),
                false => open_first(entry, path, |flags| worker.reopen(tid, fd, flags)),
            };
            keep(worker, file, path, opened);
        }
        match tracked {
            true => dirty::register(worker, entry),
            false => 0,
        }
    })
    .unwrap_or(0)
}

/// The same on a custodian thread, for a file that was mapped by a parent process and whose
/// descriptor may be closed: by the kernel's own link to the mapping, or by path, if that still
/// leads to the same inode.
pub fn reopen(worker: &Worker, file: NonNull<File>) {
    let generation = worker.process().generation();
    if !worker.has_descriptors() || has_handle(file, generation) || is_leased(file) {
        return;
    }
    let (mapping, path, length) = {
        let table = mappings::lock();
        let mut mapping = None;
        table.for_each_of(file, 0, |entry| {
            mapping = Some((entry.start, entry.end));
            false
        });
        // SAFETY: held by the caller, and under the lock.
        let f = unsafe { file.as_ref() };
        let mut path = [0u8; PATH + 1];
        let whole = if f.path_is_whole() { f.path() } else { b"" };
        path[..whole.len()].copy_from_slice(whole);
        (mapping, path, whole.len())
    };
    let by_mapping = open_direct(|flags| {
        let (start, end) = mapping.ok_or(Errno::NOENT)?;
        worker.reopen_mapping(start, end, flags)
    });
    let opened = by_mapping.or_else(|errno| {
        let path = CStr::from_bytes_until_nul(&path[..=length]).map_err(|_| errno)?;
        open_direct(|flags| {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
        })
    });
    keep(worker, file, b"", opened);
}

/// Opens the handle of `file`, which the caller holds, again without `O_DIRECT`, under the same number.
/// A FUSE daemon that hands the flags of an open on to a filesystem of its own may take the flag then,
/// and refuse each read (`EINVAL`): its own buffer is not aligned. On a custodian thread.
pub fn without_direct(worker: &Worker, file: NonNull<File>) -> Result<(), Errno> {
    let fd = of(file).fd;
    let opened = worker.reopen(sys::gettid(), fd, FLAGS)?;
    let arguments = [opened.as_raw_fd(), fd, libc::O_CLOEXEC].map(|n| n as usize);
    let [new, old, flags] = arguments;
    // SAFETY: the handle's number is the file's alone; its description is replaced in one step.
    unsafe { sys::raw::syscall(libc::SYS_dup3, [new, old, flags, 0, 0, 0])? };
    let _table = mappings::lock();
    // SAFETY: as above.
    let handle = unsafe { &mut (*file.as_ptr()).handle };
    (handle.direct, handle.writable) = (false, false);
    Ok(())
}

/// The file of `handle` opened for writing, for as long as that takes: where the handle itself is not,
/// because it was opened for a mapping that is only read, or by a fork child. On a custodian thread.
pub fn for_writing(worker: &Worker, handle: &Handle) -> Result<OwnedFd, Errno> {
    worker.reopen(sys::gettid(), handle.fd, FLAGS | OFlags::RDWR)
}

/// Whether opening the file would have broken a lease on it.
fn is_leased(file: NonNull<File>) -> bool {
    of(file).errno == Errno::AGAIN.raw_os_error()
}

fn has_handle(file: NonNull<File>, generation: u32) -> bool {
    of(file).generation == generation
}

/// The handle of `file`, which the caller holds. Not under the table lock.
pub fn of(file: NonNull<File>) -> Handle {
    let _table = mappings::lock();
    // SAFETY: held by the caller, and under the lock.
    unsafe { file.as_ref() }.handle
}

/// What was opened.
struct Opened {
    fd: OwnedFd,
    direct: bool,
    writable: bool,
}

/// Opens the handle of the first mapping of a file: for writing too, where that is wanted and allowed.
fn open_first(
    entry: &Entry,
    path: &[u8],
    open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
) -> Result<Opened, Errno> {
    if entry.writable
        && prealloc::on()
        && config::settings().files.includes(path)
        && let Ok(opened) = open_direct(|flags| open(flags | OFlags::RDWR))
    {
        return Ok(Opened {
            writable: true,
            ..opened
        });
    }
    open_direct(open)
}

/// Opens with `O_DIRECT`, or without where that is refused.
fn open_direct(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<Opened, Errno> {
    let opened = |fd, direct| Opened {
        fd,
        direct,
        writable: false,
    };
    match open(FLAGS | OFlags::DIRECT) {
        Ok(fd) => Ok(opened(fd, true)),
        Err(Errno::INVAL) => Ok(opened(open(FLAGS)?, false)),
        Err(errno) => Err(errno),
    }
}

/// Stores what was opened with the file, if it is the file.
fn keep(worker: &Worker, file: NonNull<File>, path: &[u8], opened: Result<Opened, Errno>) {
    let looked = opened.and_then(|opened| Ok((about(opened.fd.as_fd())?, opened)));
    let close_late;
    {
        let _table = mappings::lock();
        // SAFETY: held by the caller, and under the lock.
        let f = unsafe { &mut *file.as_ptr() };
        if !path.is_empty() {
            f.set_path(path);
            f.excluded = !config::settings().files.includes(path);
        }
        if f.handle.generation == worker.process().generation() {
            return;
        }
        close_late = match looked {
            Ok((about, opened)) if (about.dev, about.ino) == (f.key.dev, f.key.ino) => {
                f.handle = Handle {
                    generation: worker.process().generation(),
                    fd: opened.fd.into_raw_fd(),
                    direct: opened.direct
                        && !f.traits.dax
                        && about.align <= sys::page_size() as u32,
                    dax: f.traits.dax,
                    writable: opened.writable,
                    errno: 0,
                };
                None
            }
            // Another thread put another file under that number meanwhile.
            Ok((_, opened)) => {
                f.handle.errno = Errno::STALE.raw_os_error();
                Some(opened)
            }
            Err(errno) => {
                f.handle.errno = errno.raw_os_error();
                None
            }
        };
    }
    drop(close_late);
}

struct About {
    dev: u64,
    ino: u64,
    /// Of offsets and memory for direct reads, bytes; 0 where the kernel does not say.
    align: u32,
}

/// `STATX_DIOALIGN` (Linux 6.1), which rustix does not name.
const DIOALIGN: u32 = 0x2000;

fn about(fd: BorrowedFd<'_>) -> Result<About, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(DIOALIGN);
    let align = match statx(fd, c"", AtFlags::EMPTY_PATH, wanted) {
        Ok(x) => x.stx_dio_offset_align.max(x.stx_dio_mem_align),
        Err(_) => 0,
    };
    Ok(About {
        dev: stat.st_dev,
        ino: stat.st_ino,
        align,
    })
}
