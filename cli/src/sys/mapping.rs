//! A shared mapping of a file.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// The start of a file, mapped shared and writable; unmapped when dropped.
///
/// All calls go through libc by name, so that a preloaded library sees them.
pub struct Mapping {
    start: *mut c_void,
    length: usize,
}

// SAFETY: the address is the process's, not a thread's, and nobody else has it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes, which the file has.
    pub fn new(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::protected(file, length, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// The same, of a file that may only be read: nothing can be stored.
    pub fn readable(file: impl AsFd, length: usize) -> io::Result<Self> {
        Self::protected(file, length, libc::PROT_READ)
    }

    fn protected(file: impl AsFd, length: usize, protection: libc::c_int) -> io::Result<Self> {
        let descriptor = file.as_fd().as_raw_fd();
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                descriptor,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start, length })
    }

    /// The address, for interfaces of the kernel.
    pub fn start(&self) -> u64 {
        self.start as u64
    }

    /// In bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Stores `bytes` at `offset`, as memcpy(3) does.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len()).cast::<u8>();
        // SAFETY: inside the mapping, which nobody else in this process knows. Another process that
        // truncates the file could raise SIGBUS: it has a name that nobody else uses.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Reads what is mapped at `offset`, as memcpy(3) does.
    pub fn load(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len()).cast::<u8>();
        // SAFETY: inside the mapping, which can be read. Another process may store meanwhile, which is what it is read
        // for: any bytes will do.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    }

    /// msync(2) with MS_SYNC of the whole mapping.
    pub fn sync(&self) -> io::Result<()> {
        self.sync_range(0, self.length)
    }

    /// msync(2) with MS_SYNC; `offset` is that of a page.
    pub fn sync_range(&self, offset: usize, length: usize) -> io::Result<()> {
        // SAFETY: the range is in the mapping, and msync changes no memory.
        check(unsafe { libc::msync(self.at(offset, length), length, libc::MS_SYNC) })
    }

    /// Makes pages dirty again that hold what they held: madvise(2) with MADV_POPULATE_WRITE
    /// (Linux 5.14).
    pub fn make_dirty(&self, offset: usize, length: usize) -> io::Result<()> {
        // SAFETY: the range is in the mapping, and no byte of it changes.
        check(unsafe { libc::madvise(self.at(offset, length), length, libc::MADV_POPULATE_WRITE) })
    }

    /// Lets go of the pages, so that the kernel can drop them from the page cache: madvise(2) with
    /// MADV_DONTNEED, which loses nothing of a shared mapping.
    pub fn let_go(&self) -> io::Result<()> {
        // SAFETY: the mapping is shared: what was stored is in the page cache.
        check(unsafe { libc::madvise(self.start, self.length, libc::MADV_DONTNEED) })
    }

    fn at(&self, offset: usize, length: usize) -> *mut c_void {
        assert!(length <= self.length && offset <= self.length - length);
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.start.byte_add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping, and no reference to it is ever given out.
        let _ = unsafe { libc::munmap(self.start, self.length) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
