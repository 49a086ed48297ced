//! Descriptors: what a descriptor of the program's is, and the helper's own.

use super::raw;
use core::ffi::{CStr, c_int};
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, makedev, statx};
use rustix::io::Errno;

/// Gives the calling thread an empty descriptor table of its own (close_range(2) with
/// `CLOSE_RANGE_UNSHARE`, Linux 5.9): one call, nothing copied, nothing flushed.
pub fn leave_descriptor_table() -> Result<(), Errno> {
    // SAFETY: closes descriptors of the new table only; the calling thread uses none.
    unsafe {
        raw::syscall(
            libc::SYS_close_range,
            [
                0,
                u32::MAX as usize,
                libc::CLOSE_RANGE_UNSHARE as usize,
                0,
                0,
                0,
            ],
        )
    }
    .map(drop)
}

/// A copy of descriptor `fd` of the process behind `pidfd` (pidfd_getfd(2), Linux 5.6).
pub fn pidfd_getfd(pidfd: RawFd, fd: RawFd) -> Result<RawFd, Errno> {
    // SAFETY: only numbers are passed.
    unsafe {
        raw::syscall(
            libc::SYS_pidfd_getfd,
            [pidfd as usize, fd as usize, 0, 0, 0, 0],
        )
    }
    .map(|fd| fd as RawFd)
}

/// A procfs of the caller's PID namespace that is mounted nowhere (fsopen(2), Linux 5.2).
///
/// Errors: `EPERM` without `CAP_SYS_ADMIN`; `ENOSYS`.
pub fn unmounted_proc() -> Result<OwnedFd, Errno> {
    const CLOEXEC: usize = 1;
    const FSCONFIG_CMD_CREATE: usize = 6;
    let kind = c"proc".as_ptr() as usize;
    // SAFETY: a live string and numbers are passed; new descriptors are owned here.
    unsafe {
        let made = raw::syscall(libc::SYS_fsopen, [kind, CLOEXEC, 0, 0, 0, 0])?;
        let owned = OwnedFd::from_raw_fd(made as RawFd);
        let create = [made, FSCONFIG_CMD_CREATE, 0, 0, 0, 0];
        raw::syscall(libc::SYS_fsconfig, create)?;
        let mount = raw::syscall(libc::SYS_fsmount, [made, CLOEXEC, 0, 0, 0, 0])?;
        drop(owned);
        Ok(OwnedFd::from_raw_fd(mount as RawFd))
    }
}

/// The size of the file as the kernel knows it, bytes, without asking the filesystem's server. A
/// plain fstat(2) asks a FUSE daemon, and where the answer has a new modification time (that of the
/// very write that is to be verified), FUSE_AUTO_INVAL_DATA drops the file's page cache: the only
/// good copy, and the witness of it (`fuse_change_attributes` in fs/fuse/inode.c).
pub fn size(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(space(fd)?.size)
}

/// Reads at most `buffer` at `offset`, to the end of the file; short only there.
pub fn read_back(handle: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
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
    // SAFETY: used before this function returns; where it is not open, the call fails.
    let fd = (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })?;
    inode_of(fd, c"", AtFlags::EMPTY_PATH)
}

/// What a descriptor of the program's is open on.
pub struct Kind {
    pub dev: u64,
    pub ino: u64,
    pub file_type: FileType,
    /// When it was made, ns; 0 where that is not known without asking a server.
    pub born: u64,
}

/// What `fd` is open on, without asking a server: a plain fstat(2) may have FUSE drop the file's page cache
/// ([`size`]).
pub fn kind(fd: c_int) -> Option<Kind> {
    // SAFETY: used before this function returns; where it is not open, the call fails.
    let fd = (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let wanted = StatxFlags::INO | StatxFlags::TYPE | StatxFlags::BTIME;
    if let Ok(stat) = statx(fd, c"", flags, wanted) {
        let born = (stat.stx_btime.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(stat.stx_btime.tv_nsec.into());
        let is_known = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        return Some(Kind {
            dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            file_type: FileType::from_raw_mode(stat.stx_mode.into()),
            born: if is_known { born } else { 0 },
        });
    }
    // No statx(2): an old kernel, or a sandbox.
    let stat = rustix::fs::fstat(fd).ok()?;
    Some(Kind {
        dev: stat.st_dev,
        ino: stat.st_ino,
        file_type: FileType::from_raw_mode(stat.st_mode),
        born: 0,
    })
}

/// The same of the file at `path`, seen from the program's descriptor `dir`, or `AT_FDCWD`.
pub fn inode_at(dir: c_int, path: &CStr) -> Option<(u64, u64)> {
    let dir = match dir {
        libc::AT_FDCWD => CWD,
        // SAFETY: used before this function returns; where it is not open, the call fails.
        fd if fd >= 0 => unsafe { BorrowedFd::borrow_raw(fd) },
        _ => return None,
    };
    inode_of(dir, path, AtFlags::empty())
}

/// The flags that `fd` is open with (fcntl(2), F_GETFL); nothing where it is not. Any context.
pub fn flags(fd: c_int) -> Option<c_int> {
    let arguments = [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0];
    // SAFETY: only asks.
    let flags = unsafe { raw::syscall(libc::SYS_fcntl, arguments) };
    flags.ok().map(|flags| flags as c_int)
}

/// Where `fd` is in its file, bytes (lseek(2)). Any context.
pub fn position(fd: c_int) -> Option<u64> {
    let arguments = [fd as usize, 0, libc::SEEK_CUR as usize, 0, 0, 0];
    // SAFETY: only asks.
    let position = unsafe { raw::syscall(libc::SYS_lseek, arguments) };
    position.ok().map(|position| position as u64)
}

fn inode_of(fd: BorrowedFd<'_>, path: &CStr, flags: AtFlags) -> Option<(u64, u64)> {
    let flags = flags | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, path, flags, StatxFlags::INO).ok()?;
    Some((
        makedev(stat.stx_dev_major, stat.stx_dev_minor),
        stat.stx_ino,
    ))
}

/// How large a file is, bytes.
pub struct Space {
    pub size: u64,
    /// How much of it has blocks.
    pub allocated: u64,
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

#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// A 64-bit digest of the kernel's own handle of the inode behind `fd` (name_to_handle_at(2)), or 0
/// where the filesystem has none. Two inodes that show one (device, number) pair, as a FUSE daemon
/// with two node ids for a file makes them, differ here.
pub fn inode_handle(fd: RawFd) -> u64 {
    let mut handle = FileHandle {
        bytes: 128,
        kind: 0,
        data: [0; 128],
    };
    let mut mount_id = 0i32;
    // SAFETY: an empty path with AT_EMPTY_PATH names `fd` itself; the buffers are live.
    let done = unsafe {
        raw::syscall(
            libc::SYS_name_to_handle_at,
            [
                fd as usize,
                c"".as_ptr() as usize,
                &raw mut handle as usize,
                &raw mut mount_id as usize,
                libc::AT_EMPTY_PATH as usize,
                0,
            ],
        )
    };
    if done.is_err() {
        return 0;
    }
    let used = (handle.bytes as usize).min(128);
    fnv1a(&handle.data[..used]) ^ handle.kind as u64
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
