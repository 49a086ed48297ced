//! A shared mapping of a file.

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr;

/// The start of a file, mapped shared and writable; unmapped when dropped.
pub struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes, which the file has.
    pub fn new(file: impl AsFd, length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address at which nothing is mapped.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
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

    /// Stores `byte` at `offset`.
    pub fn store(&self, offset: usize, byte: u8) {
        assert!(offset < self.length);
        // SAFETY: inside the mapping, which nobody else in this process knows. Another process that
        // truncates the file could raise SIGBUS: it has a name that nobody else uses.
        unsafe { self.start.cast::<u8>().add(offset).write_volatile(byte) };
    }

    /// msync(2) with MS_SYNC of the whole mapping.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is the mapping.
        unsafe { msync(self.start, self.length, MsyncFlags::SYNC) }.map_err(io::Error::from)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping, and no reference to it is ever given out.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}
