//! Descriptors: what a descriptor of the program's is, and the helper's own.

use super::{raw, seccomp, thread};
use crate::kernel::{FileHandle, Statx};
use core::ffi::{CStr, c_char, c_int};
use core::num::NonZeroU64;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{
    Advice, AtFlags, FileType, Statx as FileStatus, StatxFlags, fcntl_getfl, makedev, tell,
};
use rustix::io::Errno;
use rustix::mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::path::DecInt;

/// What descriptor `fd` of the program's is open on, for as long as `look` runs: it may look at any number, and where that
/// is not open, its calls fail with `EBADF`. Nothing for a negative number.
pub fn of_program<R>(fd: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    // SAFETY: of -1 there is no borrow, and what is borrowed does not outlive `look`. The number is the program's: whether it is
    // open, and stays so, the kernel says with each call.
    (fd >= 0).then(|| look(unsafe { BorrowedFd::borrow_raw(fd) }))
}

/// Gives the calling thread an empty descriptor table of its own (close_range(2) with
/// `CLOSE_RANGE_UNSHARE`, Linux 5.9): one call, nothing copied, nothing flushed.
pub fn leave_descriptor_table() -> Result<(), Errno> {
    raw::sys_close_range(0, u32::MAX, libc::CLOSE_RANGE_UNSHARE).map(drop)
}

/// fsync(2); `EBADF` where a sandbox denies the call.
pub fn fsync(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sync(fd, raw::sys_fsync)
}

/// fdatasync(2); `EBADF` where a sandbox denies the call.
pub fn fdatasync(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sync(fd, raw::sys_fdatasync)
}

/// Where it fails, it is asked what it says of no file at all.
fn sync(fd: BorrowedFd<'_>, call: fn(RawFd) -> Result<usize, Errno>) -> Result<(), Errno> {
    match call(fd.as_raw_fd()) {
        Ok(_) => Ok(()),
        Err(errno) if call(-1) == Err(errno) => Err(Errno::BADF),
        Err(errno) => Err(errno),
    }
}

/// A procfs of the caller's PID namespace that is mounted nowhere (fsopen(2), Linux 5.2).
///
/// Errors: `EPERM` without `CAP_SYS_ADMIN`; `ENOSYS`.
pub fn unmounted_proc() -> Result<OwnedFd, Errno> {
    let calls = [libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount];
    if calls.into_iter().any(seccomp::is_fatal) {
        return Err(Errno::NOSYS);
    }
    let proc = mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    mount::fsconfig_create(proc.as_fd())?;
    let attributes = MountAttrFlags::empty();
    mount::fsmount(proc.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The size of the file as the kernel knows it, bytes, without asking the filesystem's server. A
/// plain fstat(2) asks a FUSE daemon, and where the answer has a new modification time (that of the
/// very write that is to be verified), FUSE_AUTO_INVAL_DATA drops the file's page cache: the only
/// good copy, and the witness of it (`fuse_change_attributes` in fs/fuse/inode.c).
pub fn size(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(space(fd)?.size)
}

/// The size of the file at `path`, or, where that is empty, of what `at` is open on, bytes. With `STATX_FORCE_SYNC` the server is
/// asked, whatever the kernel knows, and it knows better afterwards.
pub fn size_at(at: impl AsFd, path: &CStr, flags: AtFlags) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | flags;
    Ok(statx(at, path, flags, StatxFlags::SIZE)?.stx_size)
}

/// Reads at most `buffer` at `offset`, to the end of the file; short only there.
///
/// The memory is touched before: btrfs reads into pages that are not there yet through the page cache, whatever the flags
/// (`btrfs_direct_read` in fs/btrfs/direct-io.c).
pub fn read_back(handle: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    for page in buffer.chunks_mut(super::page_size()) {
        if let Some(byte) = core::hint::black_box(page).first_mut() {
            *byte = 0;
        }
    }
    core::hint::black_box(&mut *buffer);
    let mut have = 0;
    while have < buffer.len() {
        match rustix::io::pread(handle, &mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(Errno::INTR) => {}
            // An end of file in the middle of a block leaves an offset that O_DIRECT refuses.
            Err(Errno::INVAL) if have > 0 => break,
            Err(errno) => return Err(errno),
        }
        if have % super::page_size() != 0 {
            break;
        }
    }
    Ok(have)
}

/// Device and inode of what the program's descriptor `fd` is open on, likewise without asking a server.
pub fn inode(fd: c_int) -> Option<(u64, u64)> {
    of_program(fd, |fd| inode_of(fd, c"", AtFlags::EMPTY_PATH))?
}

/// What a descriptor of the program's is open on.
pub struct Kind {
    /// Device number, as of makedev(3).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Regular file, pipe and so on.
    pub file_type: FileType,
    /// When it was made, ns; 0 where that is not known without asking a server.
    pub born: u64,
    /// The mount that it is on, by a number that no other mount gets (Linux 6.8); 0 where it is not known.
    pub mount: u64,
    /// The kernel has statx(2) not, or a sandbox denies it.
    pub without_statx: bool,
}

/// `STATX_MNT_ID_UNIQUE`, which rustix does not name.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// What `fd` is open on, without asking a server: a plain fstat(2) may have FUSE drop the file's page cache
/// ([`size`]).
pub fn kind(fd: c_int) -> Option<Kind> {
    of_program(fd, kind_of)?
}

fn kind_of(fd: BorrowedFd<'_>) -> Option<Kind> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let unique = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    let wanted = StatxFlags::INO | StatxFlags::TYPE | StatxFlags::BTIME | unique;
    if let Ok(stat) = statx(fd, c"", flags, wanted) {
        let has_mount = stat.stx_mask & MNT_ID_UNIQUE != 0;
        let born = (stat.stx_btime.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(stat.stx_btime.tv_nsec.into());
        let is_known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        return Some(Kind {
            dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            file_type: FileType::from_raw_mode(stat.stx_mode.into()),
            born: if is_known { born } else { 0 },
            mount: if has_mount { stat.stx_mnt_id } else { 0 },
            without_statx: false,
        });
    }
    // No statx(2): an old kernel, or a sandbox.
    let stat = rustix::fs::fstat(fd).ok()?;
    Some(Kind {
        dev: stat.st_dev,
        ino: stat.st_ino,
        file_type: FileType::from_raw_mode(stat.st_mode),
        born: 0,
        mount: 0,
        without_statx: true,
    })
}

/// The path of what `fd` of the calling thread's table is open on (proc(5), /proc/PID/fd), as far as there is room.
pub fn path(fd: RawFd, into: &mut [u8]) -> Option<&[u8]> {
    let number = DecInt::new(fd);
    let parts = [&b"/proc/thread-self/fd/"[..], number.as_bytes_with_nul()];
    let mut link = [0u8; 48];
    let bytes = parts.into_iter().flatten();
    link.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    thread::read_link(CStr::from_bytes_until_nul(&link).ok()?, into)
}

/// A file that a path leads to.
pub struct Found {
    /// Its device and inode.
    pub inode: (u64, u64),
    /// Its size, bytes.
    pub size: u64,
}

/// The file at the address `path` of the program's, which may be any pointer, seen from the program's descriptor `dir`, or
/// `AT_FDCWD`. The kernel reads the path itself: a sandbox would deny what copies it first (process_vm_readv(2)).
pub fn found_at(dir: c_int, path: *const c_char) -> Option<Found> {
    let mut stat = Statx::default();
    let wanted = libc::STATX_INO | libc::STATX_SIZE;
    raw::sys_statx(
        dir,
        path as usize,
        libc::AT_STATX_DONT_SYNC,
        wanted,
        &mut stat,
    )
    .ok()?;
    Some(Found {
        inode: (makedev(stat.dev_major, stat.dev_minor), stat.ino),
        size: stat.size,
    })
}

/// Whether `fd` is open on a file of memory: tmpfs, memfd_create(2), hugetlbfs, which alone have seals (fcntl(2),
/// F_GET_SEALS). Any context.
pub fn is_memory(fd: c_int) -> bool {
    raw::sys_get_seals(fd).is_ok()
}

/// The flags that `fd` is open with (fcntl(2), F_GETFL); nothing where it is not. Any context.
pub fn flags(fd: c_int) -> Option<c_int> {
    let flags = of_program(fd, |fd| fcntl_getfl(fd))?.ok()?;
    Some(flags.bits() as c_int)
}

/// Where `fd` is in its file, bytes (lseek(2)). Any context.
pub fn position(fd: c_int) -> Option<u64> {
    of_program(fd, |fd| tell(fd))?.ok()
}

/// statx(2). Errors: `ENOSYS` where a sandbox would end the program, too.
pub fn statx(
    dir: impl AsFd,
    path: &CStr,
    flags: AtFlags,
    wanted: StatxFlags,
) -> Result<FileStatus, Errno> {
    match seccomp::is_fatal(libc::SYS_statx) {
        true => Err(Errno::NOSYS),
        false => rustix::fs::statx(dir, path, flags, wanted),
    }
}

/// Whether a sandbox would end the program for reading a directory.
pub fn lists_nothing() -> bool {
    seccomp::is_fatal(libc::SYS_getdents64)
}

/// posix_fadvise(2) of `len` bytes, or to the end of the file. Errors: `ENOSYS` as [`statx`].
pub fn fadvise(
    fd: impl AsFd,
    offset: u64,
    len: Option<NonZeroU64>,
    advice: Advice,
) -> Result<(), Errno> {
    match seccomp::is_fatal(libc::SYS_fadvise64) {
        true => Err(Errno::NOSYS),
        false => rustix::fs::fadvise(fd, offset, len, advice),
    }
}

/// Device and inode of the file that `path` leads to from `fd`, without asking a server for attributes.
pub fn inode_of(fd: impl AsFd, path: &CStr, flags: AtFlags) -> Option<(u64, u64)> {
    let flags = flags | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, path, flags, StatxFlags::INO).ok()?;
    Some((
        makedev(stat.stx_dev_major, stat.stx_dev_minor),
        stat.stx_ino,
    ))
}

/// How large a file is, bytes.
pub struct Space {
    /// Its size.
    pub size: u64,
    /// How much of it has blocks.
    pub allocated: u64,
}

/// When the file was last modified, as far as the kernel knows, in seconds and nanoseconds. If that is to be `renewed`, it asks
/// the filesystem's server: see [`size`].
pub fn modified(fd: BorrowedFd<'_>, renewed: bool) -> Result<(i64, u32), Errno> {
    let flags = match renewed {
        true => AtFlags::STATX_FORCE_SYNC,
        false => AtFlags::STATX_DONT_SYNC,
    };
    let stat = statx(fd, c"", AtFlags::EMPTY_PATH | flags, StatxFlags::MTIME)?;
    Ok((stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec))
}

/// The same with what is allocated.
pub fn space(fd: BorrowedFd<'_>) -> Result<Space, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let (size, blocks) = match statx(fd, c"", flags, StatxFlags::SIZE | StatxFlags::BLOCKS) {
        Ok(stat) => (stat.stx_size, stat.stx_blocks),
        // No statx(2): an old kernel, or a sandbox.
        Err(_) => {
            let stat = rustix::fs::fstat(fd)?;
            (stat.st_size as u64, stat.st_blocks as u64)
        }
    };
    Ok(Space {
        size,
        allocated: blocks.saturating_mul(512),
    })
}

/// A 64-bit digest of the kernel's own handle of the inode behind `fd` (name_to_handle_at(2)), or 0
/// where the filesystem has none. Two inodes that show one (device, number) pair, as a FUSE daemon
/// with two node ids for a file makes them, differ here.
pub fn inode_handle(fd: RawFd) -> u64 {
    let mut handle = FileHandle::empty();
    let done = raw::sys_name_to_handle_at(fd, &mut handle, &mut 0);
    if done.is_err() {
        return 0;
    }
    let used = handle.data.get(..handle.bytes as usize);
    fnv1a(used.unwrap_or(&handle.data)) ^ handle.kind as u64
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wipe::Region;
    use rustix::fs::{Mode, OFlags};

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn memory_is_there_before_it_is_read_into() {
        let page = crate::page_size();
        let open = |path| rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).expect("open");
        let (null, pagemap) = (open("/dev/null"), open("/proc/self/pagemap"));
        let mut memory = Region::new(8 * page).expect("memory");
        let start = memory.start();
        let is_there = |at: usize| crate::vm::is_present(pagemap.as_fd(), start + at * page);
        assert!(
            (0..8).all(|at| !is_there(at)),
            "control: nobody has touched it"
        );
        let read = read_back(null.as_fd(), memory.numbers_mut(0, 8 * page), 0);
        assert_eq!(read, Ok(0));
        assert!((0..8).all(is_there));
    }
}
