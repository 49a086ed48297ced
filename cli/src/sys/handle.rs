//! The kernel's own name of an inode.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// MAX_HANDLE_SZ of the kernel.
const LONGEST: usize = 128;

#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    data: [u8; LONGEST],
}

/// The handle of the inode behind a descriptor (name_to_handle_at(2)). Two inodes that show one
/// (device, number) pair, as a FUSE daemon with two node ids for a file makes them, differ here.
///
/// # Errors
/// EOPNOTSUPP where the filesystem has none.
pub fn inode_handle(file: impl AsFd) -> io::Result<Vec<u8>> {
    let mut handle = FileHandle {
        bytes: LONGEST as u32,
        kind: 0,
        data: [0; LONGEST],
    };
    let mut mount = 0i32;
    // SAFETY: an empty path with AT_EMPTY_PATH names the descriptor itself. The kernel writes at most
    // as many bytes as `handle.bytes` says.
    let done = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let used = (handle.bytes as usize).min(LONGEST);
    Ok([&handle.kind.to_ne_bytes(), &handle.data[..used]].concat())
}
