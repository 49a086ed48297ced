//! Which mappings the shim looks at, and the named reasons for leaving the others alone.

use super::file::{Key, Traits};
use super::may_know;
use super::untold::Whose;
use crate::sys;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use keepmydata_promise::filesystem;
use libc::c_int;
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;

/// Why a mapping, a file or a call is left to the kernel alone. Printed by the log as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// statx(2) of the descriptor failed: the real call will say so.
    BadDescriptor,
    NotRegular,
    /// tmpfs, memfd, hugetlbfs, procfs...: nothing to hand data to.
    NoBackingStore,
    /// For reading alone, and a sandbox denies what is to be asked about the file.
    Sandbox,
    /// `KEEPMYDATA_FILES` leaves the file out.
    Excluded,
    /// The shim's own tables could not grow (`RLIMIT_AS`, overcommit).
    OutOfMemory,
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bypass::BadDescriptor => "bad descriptor",
            Bypass::NotRegular => "not a regular file",
            Bypass::NoBackingStore => "no backing store",
            Bypass::Sandbox => "for reading, in a sandbox",
            Bypass::Excluded => "excluded by KEEPMYDATA_FILES",
            Bypass::OutOfMemory => "out of memory for the address table",
        })
    }
}

/// Whether mmap(2) `flags` ask for a shared mapping of a file.
pub fn is_shared_file(flags: c_int) -> bool {
    let kind = flags & libc::MAP_TYPE;
    (kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE)
        && flags & libc::MAP_ANONYMOUS == 0
}

/// A descriptor whose mapping is to be tracked.
pub struct Candidate {
    pub key: Key,
    /// The mount that it is on ([`sys::fd::Kind::mount`]).
    pub mount: u64,
    /// Opened for writing: stores can happen, now or after mprotect(2).
    pub writable: bool,
}

fn is_on_device(kind: &sys::fd::Kind) -> bool {
    rustix::fs::major(kind.dev) != 0
}

fn key_of(kind: &sys::fd::Kind, handle: u64) -> Key {
    Key {
        dev: kind.dev,
        ino: kind.ino,
        handle,
        born: if is_on_device(kind) { kind.born } else { 0 },
    }
}

/// What an error of the file that `fd` is open on is about: one statx(2) that asks no server.
pub fn whose(fd: c_int) -> Option<Whose> {
    Some(Whose::of(&key_of(&sys::fd::kind(fd)?, 0)))
}

/// Looks at `fd`, of which a mapping with `prot` is to be made: one statx(2) that asks no server, and one fcntl(2) unless
/// stores are asked for, which the kernel grants where it was opened for writing; for FUSE and network filesystems one
/// fcntl(2) more, and the kernel's handle of the inode.
pub fn candidate(fd: c_int, prot: c_int) -> Result<Candidate, Bypass> {
    let kind = sys::fd::kind(fd).ok_or(Bypass::BadDescriptor)?;
    if kind.file_type != FileType::RegularFile {
        return Err(Bypass::NotRegular);
    }
    let is_on_device = is_on_device(&kind);
    // Sandboxes that share memory allow this call, and deny most of those that come later.
    if !is_on_device && sys::fd::is_memory(fd) {
        return Err(Bypass::NoBackingStore);
    }
    let writable = prot & libc::PROT_WRITE != 0 || {
        let mode = sys::fd::flags(fd).ok_or(Bypass::BadDescriptor)?;
        mode & libc::O_ACCMODE == libc::O_RDWR
    };
    // Browsers' sandboxes end a process for the calls that come later, and map fonts so.
    if kind.without_statx && !writable && !may_know(kind.dev, kind.ino) {
        return Err(Bypass::Sandbox);
    }
    // Filesystems on a block device of this machine have one inode for a file; others may not.
    let handle = match is_on_device {
        true => 0,
        false => sys::fd::inode_handle(fd),
    };
    Ok(Candidate {
        key: key_of(&kind, handle),
        mount: kind.mount,
        writable,
    })
}

/// What the filesystem behind `fd` is; asked once a file. A FUSE daemon or a server is asked once a `mount`, where that is known.
pub fn traits(fd: c_int, mount: u64) -> Result<Traits, Bypass> {
    let look = |fd: BorrowedFd<'_>| match known_on(mount) {
        Some(magic) => Ok(Traits::on(magic, fd)),
        None => filesystem(fd).map(|magic| {
            remember(mount, magic);
            Traits::on(magic, fd)
        }),
    };
    match sys::fd::of_program(fd, look) {
        Some(Ok(Some(traits))) => Ok(traits),
        Some(Ok(None)) => Err(Bypass::NoBackingStore),
        Some(Err(_)) | None => Err(Bypass::BadDescriptor),
    }
}

/// Mounts, and which filesystem each is of; the oldest gives way.
struct Mounts {
    all: [(AtomicU64, AtomicU32); 16],
    next: AtomicUsize,
}

static MOUNTS: Mounts = Mounts {
    all: [const { (AtomicU64::new(0), AtomicU32::new(0)) }; 16],
    next: AtomicUsize::new(0),
};

fn known_on(mount: u64) -> Option<u32> {
    MOUNTS.all.iter().find_map(|(id, magic)| {
        let is_it = || mount != 0 && id.load(SeqCst) == mount;
        // Another thread may put another mount in its place.
        is_it().then(|| magic.load(SeqCst)).filter(|_| is_it())
    })
}

fn remember(mount: u64, of: u32) {
    let next = MOUNTS.next.fetch_add(1, SeqCst);
    let (id, magic) = &MOUNTS.all[next % MOUNTS.all.len()];
    id.store(0, SeqCst);
    magic.store(of, SeqCst);
    id.store(mount, SeqCst);
}
