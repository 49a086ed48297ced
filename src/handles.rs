//! Handles: the shim's own open file description of each tracked file.
//!
//! Opened by the helper before the first mmap returns that may store to the file, because the program may
//! close its descriptor and unlink the file right after. Read-only, so that a later execve(2) of the file
//! does not fail with `ETXTBSY` (for writing too where the holes of a writable mapping are to be allocated,
//! which makes the file busy itself); `O_DIRECT` where the filesystem has it, so that reads go past the
//! page cache; `O_NOATIME` where it is allowed, so that they leave no trace.
//!
//! With `KEEPMYDATA_ENFORCE=off` nothing is opened: a handle is then a copy of the program's descriptor,
//! to count by.

use crate::helper::{self, TaskPath, Worker};
use crate::mappings::file::{File, Handle, PATH};
use crate::mappings::{
    self, handle_of,
    table::{Entry, Marks},
};
use crate::process;
use crate::sys;
use crate::sys::fd::statx;
use crate::sys::signals::Quiet;
use crate::{config, dirty, stats};
use core::cell::UnsafeCell;
use core::ffi::CStr;
use keepmydata_records::Enforce;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

/// Neither wait for a lease to be broken nor touch the access time.
const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Whether the helper has anything to do for a mapping of a file: nothing can be stored through one that is
/// not writable, and where the shim only watches, the log shows what is counted from `info` on.
pub fn wanted(writable: bool, excluded: bool) -> bool {
    let watched = config::settings().enforce == Enforce::Full || stats::on();
    writable && !excluded && watched
}

/// Gives the file of a new mapping its path, a handle of this process's helper,
/// opened from the program's descriptor `fd`, and has the stores to the mapping tracked, as far as that is
/// wanted. Returns what to note in its entry. Without a handle, enforcement goes on with
/// less.
pub fn open(fd: RawFd, entry: &Entry<'_>, quiet: &Quiet) -> Marks {
    let file = entry.file;
    let process = process::this();
    if !wanted(entry.writable, name(file, fd, quiet)) {
        return Marks::default();
    }
    let tracked = dirty::wants_registration(file.traits);
    if !tracked && is_open(file, quiet) {
        return Marks::default();
    }
    let enforced = config::settings().enforce == Enforce::Full;
    // Opening the file would break a write lease on it (fcntl(2), F_SETLEASE).
    let leased = sys::raw::sys_get_lease(fd) == Ok(libc::F_WRLCK as usize);
    let task = TaskPath::of_caller();
    helper::run(process, |worker| {
        if !has_handle(file, process.generation()) {
            let opened = match enforced {
                false => copy(worker, fd),
                true if leased => Err(Errno::AGAIN),
                true => inherit(worker, file).map_or_else(
                    || open_as_wanted(|flags| worker.reopen(&task, fd, flags)),
                    Ok,
                ),
            };
            // The program gave up rights since its helper started.
            let opened = match opened {
                Err(Errno::ACCESS | Errno::PERM) if enforced => {
                    open_without_descriptor(worker, file, Some((entry.start, entry.end)))
                }
                opened => opened,
            };
            keep(worker, file, opened);
            if enforced && dirty::is_verified(file.traits.local_block) {
                dirty::attributes::renew_at_first(worker, file);
            }
        }
        match tracked {
            true => dirty::register(worker, entry),
            false => Marks::default(),
        }
    })
    .unwrap_or_default()
}

/// Room for a path, used under the table lock: the program's stack may be small.
struct Scratch(UnsafeCell<[u8; libc::PATH_MAX as usize]>);

// SAFETY: used in `name` only, under the table lock.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([0; libc::PATH_MAX as usize]));

/// Notes the path of a file, if it has none, by the program's descriptor `fd`: without
/// a descriptor of the shim's (readlink(2)). Says whether the file is excluded.
fn name(file: &File, fd: RawFd, quiet: &Quiet) -> bool {
    let mut table = mappings::lock_if(Some(quiet));
    let f = table.get_mut(file);
    if f.path().is_empty() {
        // SAFETY: `table`, the guard of the lock, is held until `buffer` is used no more.
        let buffer = unsafe { &mut *SCRATCH.0.get() };
        if let Some(path) = sys::fd::path(fd, buffer) {
            f.set_path(path);
            f.excluded = !config::settings().files.includes(path);
        }
    }
    f.excluded
}

/// A copy of the program's descriptor, for a shim that only watches: it opens nothing.
fn copy(worker: &Worker, fd: RawFd) -> Result<Opened, Errno> {
    let fd = worker.borrow_from_program(fd).ok_or(Errno::ACCESS)?;
    Ok(Opened {
        fd,
        direct: false,
        writable: false,
    })
}

/// The same on a helper thread, for a file that was mapped by a parent process and whose
/// descriptor may be closed: by the kernel's own link to the mapping, or by path, if that still
/// leads to the same inode.
pub fn reopen(worker: &Worker, file: &File) {
    let generation = worker.process().generation();
    if !worker.has_descriptors() || has_handle(file, generation) || is_leased(file) {
        return;
    }
    let mut mapping = None;
    mappings::lock().for_each_of(file, 0, |entry| {
        mapping = Some((entry.start, entry.end));
        false
    });
    let opened = inherit(worker, file)
        .map_or_else(|| open_without_descriptor(worker, file, mapping), Ok)
        .or_else(|errno| open_inherited(worker, file, errno));
    keep(worker, file, opened);
}

/// A copy of a parent process's handle of `file`: where an open drops the page cache (FUSE without KEEP_CACHE), a
/// fork child must not drop what its parent, or itself, has stored and not synced. Nothing where the parent has
/// gone, or may not be asked (pidfd_getfd(2)).
fn inherit(worker: &Worker, file: &File) -> Option<Opened> {
    if file.traits.local_block {
        return None;
    }
    let fd = copy_of_parents(worker, file)?;
    let flags = sys::fd::flags(fd.as_raw_fd())?;
    Some(Opened {
        fd,
        direct: flags & libc::O_DIRECT != 0,
        writable: flags & libc::O_ACCMODE == libc::O_RDWR,
    })
}

/// Opens the file anew by a parent process's handle, where it could not be opened otherwise, for `errno`: its name may be
/// gone. A local filesystem tells an error to each open file, and so to this one.
fn open_inherited(worker: &Worker, file: &File, errno: Errno) -> Result<Opened, Errno> {
    let fd = copy_of_parents(worker, file).ok_or(errno)?;
    open_as_wanted(|flags| worker.reopen_own(fd.as_raw_fd(), flags))
}

fn copy_of_parents(worker: &Worker, file: &File) -> Option<OwnedFd> {
    let handle = handle_of(file);
    if handle.generation == 0 {
        return None;
    }
    let fd = worker.copy_from(handle.holder, handle.fd)?;
    // The parent may have closed it, and opened another file there.
    let is_it = sys::fd::inode(fd.as_raw_fd()) == Some((file.key.dev, file.key.ino));
    is_it.then_some(fd)
}

/// Opens a file by the kernel's own link to `mapping`, start and end, or by path,
/// if that still leads to the same inode.
fn open_without_descriptor(
    worker: &Worker,
    file: &File,
    mapping: Option<(usize, usize)>,
) -> Result<Opened, Errno> {
    let (path, length) = {
        let table = mappings::lock();
        let f = table.get(file);
        let mut path = [0u8; PATH + 1];
        let whole = if f.path_is_whole() { f.path() } else { b"" };
        path[..whole.len()].copy_from_slice(whole);
        (path, whole.len())
    };
    let by_mapping = open_as_wanted(|flags| {
        let (start, end) = mapping.ok_or(Errno::NOENT)?;
        worker.reopen_mapping(start, end, flags)
    });
    by_mapping.or_else(|errno| {
        let path = CStr::from_bytes_until_nul(&path[..=length]).map_err(|_| errno)?;
        // What is there may be another file by now, which opening might do something to.
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let found = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?;
        match sys::fd::inode(found.as_raw_fd()) == Some((file.key.dev, file.key.ino)) {
            true => open_as_wanted(|flags| worker.reopen_own(found.as_raw_fd(), flags)),
            false => Err(Errno::STALE),
        }
    })
}

/// Opens the handle of `file` again without `O_DIRECT`, under the same number.
/// A FUSE daemon that hands the flags of an open on to a filesystem of its own may take the flag then,
/// and refuse each read (`EINVAL`): its own buffer is not aligned. On a helper thread.
pub fn without_direct(worker: &Worker, file: &File) -> Result<(), Errno> {
    let Handle { fd, writable, .. } = handle_of(file);
    let mode = if writable {
        OFlags::RDWR
    } else {
        OFlags::RDONLY
    };
    let opened = quietly(FLAGS | mode, |flags| worker.reopen_own(fd, flags))?;
    // The handle's number is the file's alone; its description is replaced in one step.
    sys::raw::sys_dup3(opened.as_fd(), fd, libc::O_CLOEXEC)?;
    let mut table = mappings::lock();
    table.get_mut(file).handle.direct = false;
    Ok(())
}

/// Syncs of a file after which all of it is mapped ([`map_whole`]); tests of a debug build have few.
const OFTEN: i32 = if cfg!(debug_assertions) { 2 } else { 8 };
/// Syncs after which that is tried again where it could not be.
const SELDOM: i32 = 1000;

/// Maps all of `file`, if it is synced often: msync(2) of that mapping is then fdatasync(2) of an open file of the
/// shim's, for which no thread needs a descriptor, and the program's need not wait for the helper. On a helper thread, by who
/// leads the file's flush, and right before that: the handle tells of an error until then, and this open file of one
/// that comes after.
pub fn map_whole(worker: &Worker, file: &File) {
    let often = {
        let mut table = mappings::lock();
        let synced = &mut table.get_mut(file).synced;
        *synced = synced.saturating_add(1);
        *synced >= OFTEN
    };
    if !often {
        return;
    }
    unmap_whole(file);
    let mapped = try_to_map(worker, file);
    let mut table = mappings::lock();
    let state = table.get_mut(file);
    match mapped {
        Some((start, len)) => (state.handle.whole, state.handle.whole_len) = (start, len),
        None => state.synced = -SELDOM,
    }
}

/// Address and length of a mapping of all of `file`, which is left there; nothing where it is not worth its addresses.
fn try_to_map(worker: &Worker, file: &File) -> Option<(usize, usize)> {
    let handle = handle_of(file);
    let size = sys::page_up(sys::fd::size(worker.borrow_handle(&handle)?).ok()?);
    let mut covers = false;
    mappings::lock().for_each_of(file, 0, |entry| {
        covers = entry.writable && entry.offset == 0 && entry.len() as u64 >= size;
        !covers
    });
    let limit = rustix::process::getrlimit(rustix::process::Resource::As);
    if !covers || size == 0 || limit.current.is_some() {
        return None;
    }
    // Room to grow. The last page is beyond the end of the file: see [`is_whole_mapped`].
    let len = sys::page_up(size + size / 2) as usize + sys::page_size();
    let opened = open_for_writing(worker, &handle).ok()?;
    let mut mapping = sys::vm::map_readable(opened.as_fd(), 0, len).ok()?;
    mapping.keep_from_children();
    Some((mapping.leave().as_ptr().expose_provenance(), len))
}

/// Opens the file of `handle` anew, for reading and writing. On a helper thread.
pub fn open_for_writing(worker: &Worker, handle: &Handle) -> Result<OwnedFd, Errno> {
    let fd = worker.borrow_handle(handle).ok_or(Errno::BADF)?;
    let flags = FLAGS | OFlags::RDWR;
    quietly(flags, |flags| worker.reopen_own(fd.as_raw_fd(), flags))
}

/// The file was not synced, or has grown: [`map_whole`] begins anew. By who leads its flush.
pub fn unmap_whole(file: &File) {
    let mut handle = {
        let mut table = mappings::lock();
        let state = table.get_mut(file);
        state.synced = 0;
        let handle = state.handle;
        state.handle.whole = 0;
        handle
    };
    handle.unmap_whole();
}

/// Whether the shim maps all that there is of the file of `handle`: its last page is beyond the end, and cannot be read.
pub fn is_whole_mapped(handle: &Handle) -> bool {
    handle.has_whole()
        && handle.generation == process::this().generation()
        && sys::vm::read_own_memory(handle.whole + handle.whole_len - 1, &mut [0])
            == Err(Errno::FAULT)
}

/// Whether opening the file would have broken a lease on it.
fn is_leased(file: &File) -> bool {
    handle_of(file).errno == Errno::AGAIN.raw_os_error()
}

fn has_handle(file: &File, generation: u32) -> bool {
    handle_of(file).generation == generation
}

/// Whether `file` has a handle of this process.
pub fn is_open(file: &File, quiet: &Quiet) -> bool {
    let handle = mappings::lock_if(Some(quiet)).get(file).handle;
    handle.generation == process::this().generation()
}

/// What was opened.
struct Opened {
    fd: OwnedFd,
    direct: bool,
    writable: bool,
}

/// Opens a handle: for writing too, where that is wanted and allowed.
fn open_as_wanted(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<Opened, Errno> {
    if config::preallocates()
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
    match quietly(FLAGS | OFlags::DIRECT, &open) {
        Ok(fd) => Ok(opened(fd, true)),
        Err(Errno::INVAL) => Ok(opened(quietly(FLAGS, &open)?, false)),
        Err(errno) => Err(errno),
    }
}

/// Opens so that reads leave the access time alone, where that is allowed: to the owner (open(2)).
fn quietly(
    flags: OFlags,
    open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        opened => opened,
    }
}

/// Stores what was opened with the file, if it is the file.
fn keep(worker: &Worker, file: &File, opened: Result<Opened, Errno>) {
    let looked = opened.and_then(|opened| Ok((about(opened.fd.as_fd())?, opened)));
    let close_late;
    {
        let mut table = mappings::lock();
        let f = table.get_mut(file);
        if f.handle.generation == worker.process().generation() {
            return;
        }
        f.handle.unmap_whole();
        let before = f.handle;
        close_late = match looked {
            Ok((about, opened)) if (about.dev, about.ino) == (file.key.dev, file.key.ino) => {
                f.handle = Handle {
                    generation: worker.process().generation(),
                    fd: opened.fd.into_raw_fd(),
                    direct: opened.direct
                        && !file.traits.dax
                        && about
                            .align
                            .is_some_and(|align| align <= sys::page_size() as u32),
                    uncounted: file.traits.dax,
                    writable: opened.writable,
                    holder: worker.own_pid(),
                    errno: 0,
                    whole: 0,
                    whole_len: 0,
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
        if before.generation != 0 {
            table.remember(file, before);
        }
    }
    drop(close_late);
}

struct About {
    dev: u64,
    ino: u64,
    /// Of offsets and memory for direct reads, bytes; 0 where the kernel does not say, and nothing where it
    /// says that there are none: the flag is taken, and reads come from the page cache (ext4 with
    /// data=journal, encrypted files).
    align: Option<u32>,
}

/// `STATX_DIOALIGN` (Linux 6.1), which rustix does not name.
const DIOALIGN: u32 = 0x2000;

fn about(fd: BorrowedFd<'_>) -> Result<About, Errno> {
    let (dev, ino) = match sys::fd::inode(fd.as_raw_fd()) {
        Some(inode) => inode,
        // No statx(2): an old kernel, or a sandbox.
        None => {
            let stat = rustix::fs::fstat(fd)?;
            (stat.st_dev, stat.st_ino)
        }
    };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(DIOALIGN);
    let align = match statx(
        fd,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        wanted,
    ) {
        Ok(x) if x.stx_mask & DIOALIGN == 0 => Some(0),
        Ok(x) => Some(x.stx_dio_offset_align.max(x.stx_dio_mem_align)).filter(|align| *align > 0),
        Err(_) => Some(0),
    };
    Ok(About { dev, ino, align })
}
