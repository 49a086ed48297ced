//! Which of the shim's trackers the running kernel offers, or what sandbox the test is in.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use keepmydata_sys::kernel::SYS_CACHESTAT;
use keepmydata_sys::kernel::userfaultfd::*;

/// Whether there is cachestat(2), Linux 6.5.
///
/// # Errors
/// A sentence for a skip where there is not.
pub fn cachestat() -> Result<(), String> {
    // SAFETY: nothing is read or written for a descriptor that is none.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, -1, 0, 0, 0) };
    match io::Error::last_os_error() {
        error if result == -1 && error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        error => Err(format!("no cachestat: {error}")),
    }
}

/// Whether stores can be tracked page by page (userfaultfd `WP_ASYNC` and `PAGEMAP_SCAN`, both of
/// Linux 6.7).
///
/// # Errors
/// A sentence for a skip where they cannot.
pub fn page_tracking() -> Result<(), String> {
    let wanted = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED;
    let mut api = [API, wanted, 0];
    let flags = USER_MODE_ONLY | libc::O_CLOEXEC;
    // SAFETY: makes a descriptor, which is owned here; `struct uffdio_api` is three u64.
    let granted = unsafe {
        match libc::syscall(libc::SYS_userfaultfd, flags) {
            -1 => Err(io::Error::last_os_error()),
            fd => {
                let fd = OwnedFd::from_raw_fd(fd as i32);
                match libc::ioctl(fd.as_raw_fd(), UFFDIO_API.into(), api.as_mut_ptr()) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(api[1] & wanted == wanted),
                }
            }
        }
    };
    match granted {
        Ok(true) => Ok(()),
        Ok(false) => Err("no page tracking: userfaultfd has no WP_ASYNC".to_owned()),
        Err(error) => Err(format!("no page tracking: userfaultfd: {error}")),
    }
}

/// Whether it can be told what was stored to in the last moments: tracked, or by the page cache's own count.
pub fn sees_dirty() -> bool {
    page_tracking().is_ok() || cachestat().is_ok()
}

/// Whether the kernel's version is `major.minor` or newer.
pub fn is_at_least(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (major, minor)
}
