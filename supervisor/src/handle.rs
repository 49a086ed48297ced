//! The supervisor's own open files of a file.

use keepmydata_promise::Traits;
use keepmydata_sys::{self as sys, seccomp};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, inotify, openat, statx};
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The supervisor's own open files of it.
pub struct Handle {
    /// For reading and writing, where that is allowed: what is mapped, so that a page can be made dirty again.
    pub fd: OwnedFd,
    /// What is read back from, `O_DIRECT` where the filesystem has it. For reading only: a FUSE daemon that answers such
    /// an open with FOPEN_DIRECT_IO has reads past the page cache that ask for no attributes, which may drop it
    /// (`fuse_cache_read_iter` in fs/fuse/file.c, AUTO_INVAL_DATA).
    pub reader: OwnedFd,
    /// The same without O_DIRECT, once that was found not to work.
    pub through_cache: Mutex<Option<Arc<OwnedFd>>>,
    pub direct: AtomicBool,
    /// Its count of cached pages is another inode's (overlayfs).
    pub uncounted: AtomicBool,
}

const FLAGS: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// `STATX_DIOALIGN` (Linux 6.1), which rustix does not name.
const DIOALIGN: u32 = 0x2000;

/// Opens the handle; `O_NOATIME` where it is allowed, so that reads leave no trace.
pub fn open_handle(path: &str, traits: &Traits) -> Result<Handle, Errno> {
    let open = |flags: OFlags| {
        let flags = FLAGS | flags;
        match openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
            opened => opened,
        }
    };
    let (reader, direct) = match open(OFlags::RDONLY | OFlags::DIRECT) {
        Err(Errno::INVAL) => (open(OFlags::RDONLY)?, false),
        opened => (opened?, true),
    };
    let fd = match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => open(OFlags::RDONLY)?,
        opened => opened?,
    };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::from_bits_retain(DIOALIGN);
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    // 0 where the kernel says that there are no direct reads: the flag is taken, and they come from the page cache.
    let works = match statx(&reader, c"", flags, wanted) {
        Ok(x) if x.stx_mask & DIOALIGN != 0 => {
            (1..=sys::page_size() as u32).contains(&x.stx_dio_offset_align.max(x.stx_dio_mem_align))
        }
        _ => true,
    };
    Ok(Handle {
        fd,
        reader,
        through_cache: Mutex::default(),
        direct: AtomicBool::new(direct && works && !traits.dax),
        uncounted: AtomicBool::new(false),
    })
}

/// A descriptor to read by.
pub enum Reader<'a> {
    Handle(BorrowedFd<'a>),
    Other(Arc<OwnedFd>),
}

impl AsFd for Reader<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Reader::Handle(fd) => fd.as_fd(),
            Reader::Other(fd) => fd.as_fd(),
        }
    }
}

/// A count of the times that it was found written to (inotify(7)).
pub struct Writes {
    /// Nothing where there is none: then it counts as written to whenever it is asked.
    events: Option<OwnedFd>,
    count: AtomicU64,
}

impl Writes {
    /// `path` is a link of /proc to the file.
    pub fn watch(path: &str) -> Writes {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let watch = |events: OwnedFd| {
            inotify::add_watch(&events, path, inotify::WatchFlags::MODIFY)?;
            Ok(events)
        };
        let calls = [libc::SYS_inotify_init1, libc::SYS_inotify_add_watch];
        let is_allowed = !calls.into_iter().any(seccomp::is_fatal);
        let init = || inotify::init(flags).and_then(watch).ok();
        Writes {
            events: is_allowed.then(init).flatten(),
            count: AtomicU64::new(0),
        }
    }

    pub fn count(&self) -> u64 {
        let mut buffer = [0; 4096];
        let mut any = self.events.is_none();
        if let Some(events) = &self.events {
            while rustix::io::read(events, &mut buffer).is_ok_and(|read| read > 0) {
                any = true;
            }
        }
        self.count.fetch_add(u64::from(any), Ordering::Relaxed) + u64::from(any)
    }
}
