//! The kernel's sources of dirty pages: cachestat(2), and userfaultfd(2) with PAGEMAP_SCAN
//! (Documentation/admin-guide/mm/pagemap.rst and userfaultfd.rst of the kernel).

use super::Mapping;
use keepmydata_sys::kernel::pagemap_scan::*;
use keepmydata_sys::kernel::userfaultfd::*;
use keepmydata_sys::kernel::{CacheStat, SYS_CACHESTAT};
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Why dirty pages cannot be asked for on DAX.
pub const NO_PAGE_CACHE: &str = "DAX: there is no page cache";

/// Whether the file is on DAX. There the kernel (Linux 6.12) dies of cachestat(2), and a mapping whose
/// stores are tracked with userfaultfd(2) faults for ever.
pub fn is_dax(file: impl AsFd) -> io::Result<bool> {
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::DAX))
}

/// The page cache of a whole file.
///
/// # Errors
/// ENOSYS before Linux 6.5, EOPNOTSUPP on hugetlbfs; [`NO_PAGE_CACHE`].
pub fn cachestat(file: impl AsFd) -> io::Result<CacheStat> {
    if is_dax(&file)? {
        return Err(io::Error::other(NO_PAGE_CACHE));
    }
    let range = [0u64; 2];
    let mut found = CacheStat::default();
    // SAFETY: the kernel reads `struct cachestat_range`, two u64, and writes `struct cachestat`.
    let result = unsafe {
        let descriptor = file.as_fd().as_raw_fd();
        libc::syscall(
            SYS_CACHESTAT as libc::c_long,
            descriptor,
            range.as_ptr(),
            &raw mut found,
            0,
        )
    };
    check(result as libc::c_int).map(|_| found)
}

/// A userfaultfd on which the kernel has granted asynchronous write-protection, and nothing is
/// registered.
///
/// # Errors
/// EPERM where userfaultfd is forbidden, ENOSYS without it, EINVAL before Linux 6.7.
pub fn write_protect_async() -> io::Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
    // SAFETY: makes a descriptor.
    let fd = check(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) } as libc::c_int)?;
    // SAFETY: it is new, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let wanted = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED;
    let mut api = [API, wanted, 0];
    // SAFETY: `struct uffdio_api` is three u64.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API as libc::Ioctl, api.as_mut_ptr()) })?;
    // A registration without the feature would stop this process at its first store.
    if api[1] & wanted == wanted {
        Ok(fd)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether the kernel knows PAGEMAP_SCAN at all.
pub fn pagemap_scan_exists() -> io::Result<()> {
    let here = 0u8;
    let page = rustix::param::page_size() as u64;
    let start = (&raw const here as u64) & !(page - 1);
    scan(start, start + page, 0).map(drop)
}

impl Mapping {
    /// Has the kernel note which pages are stored to from now on, until `tracker` is closed.
    pub fn track(&self, tracker: &OwnedFd) -> io::Result<()> {
        let mut register = [self.start(), self.length() as u64, REGISTER_MODE_WP, 0];
        // SAFETY: `struct uffdio_register` is four u64. Faults are resolved by the kernel, since
        // `tracker` was granted WP_ASYNC.
        check(unsafe {
            libc::ioctl(
                tracker.as_raw_fd(),
                UFFDIO_REGISTER as libc::Ioctl,
                register.as_mut_ptr(),
            )
        })?;
        self.scan_written().map(drop)
    }

    /// The ranges stored to since the last call, as offsets in the mapping; starts anew.
    pub fn scan_written(&self) -> io::Result<Vec<(u64, u64)>> {
        let end = self.start() + self.length() as u64;
        let found = scan(self.start(), end, WP_MATCHING | CHECK_WPASYNC)?;
        Ok(found
            .iter()
            .map(|(from, to)| (from - self.start(), to - self.start()))
            .collect())
    }
}

fn scan(start: u64, end: u64, flags: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut regions = [Region::default(); 64];
    let mut argument = ScanArg {
        size: size_of::<ScanArg>() as u64,
        flags,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_mask: IS_WRITTEN,
        return_mask: IS_WRITTEN,
        ..ScanArg::default()
    };
    let pagemap = File::open("/proc/self/pagemap")?;
    // SAFETY: the kernel reads and writes the argument, and writes `vec_len` regions at most.
    let count = check(unsafe {
        libc::ioctl(
            pagemap.as_raw_fd(),
            PAGEMAP_SCAN as libc::Ioctl,
            &raw mut argument,
        )
    })?;
    Ok(regions[..count as usize]
        .iter()
        .map(|region| (region.start, region.end))
        .collect())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
