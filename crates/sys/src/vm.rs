//! Memory mapping calls that must be safe against another thread's `munmap`.

use super::{raw, wipe};
use core::ffi::{CStr, c_char, c_void};
use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MremapFlags};

/// Copies from the program's memory into `into` (process_vm_readv(2) on oneself): memory that is
/// gone gives `EFAULT` (or a short count) instead of a signal.
pub fn read_own_memory(addr: usize, into: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: into.len(),
    };
    // SAFETY: the local vector is a live exclusive buffer; the kernel checks the remote one.
    unsafe {
        raw::syscall(
            libc::SYS_process_vm_readv,
            [
                super::getpid() as usize,
                &raw const local as usize,
                1,
                &raw const remote as usize,
                1,
                0,
            ],
        )
    }
}

/// The text at `path`, which may be any pointer: the kernel answers a bad one with EFAULT, and so must not
/// crash here.
pub fn read_path(path: *const c_char, into: &mut [u8]) -> Option<&CStr> {
    read_own_memory(path as usize, into).ok()?;
    CStr::from_bytes_until_nul(into).ok()
}

/// The same as [`read_own_memory`] where a sandbox denies that call, and of mappings that may not be read: /proc/self/mem,
/// which is opened in the calling thread's descriptor table, so on a helper thread only. `EIO` for
/// memory that is gone.
pub fn read_through_proc(addr: usize, into: &mut [u8]) -> Result<usize, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let memory = openat(CWD, c"/proc/self/mem", flags, Mode::empty())?;
    rustix::io::pread(memory, into, addr as u64)
}

/// Maps the pages of a *shared* mapping a second time, in a place of the shim's (mremap(2) with an
/// old size of 0). `EINVAL` where the mapping is private, `EFAULT` where `[addr, addr + len)` is not
/// within one mapping. The duplicate is the caller's, who must unmap it.
pub fn duplicate(addr: usize, len: usize) -> Result<*mut c_void, Errno> {
    let to = wipe::reserve(len).ok_or(Errno::NOMEM)?.as_ptr().cast();
    // SAFETY: an old size of 0 leaves the original as it is; what is replaced was just reserved.
    let done = unsafe { mm::mremap_fixed(addr as *mut c_void, 0, len, MremapFlags::MAYMOVE, to) };
    if done.is_err() {
        // The kernel may have unmapped the reservation before it failed; nobody else's mapping can
        // be there that soon but by a hint to this very place.
        // SAFETY: the shim's own reservation.
        let _ = unsafe { mm::munmap(to, len) };
    }
    done
}

/// Maps a part of a file, shared and for reading, in a place of the shim's. The mapping is the caller's, who must unmap it.
pub fn map_readable(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<*mut c_void, Errno> {
    let at: *mut c_void = wipe::reserve(len).ok_or(Errno::NOMEM)?.as_ptr().cast();
    let flags = mm::MapFlags::SHARED | mm::MapFlags::FIXED;
    // SAFETY: what is replaced was just reserved.
    let done = unsafe { mm::mmap(at, len, mm::ProtFlags::READ, flags, file, offset) };
    if done.is_err() {
        // SAFETY: the shim's own reservation.
        let _ = unsafe { mm::munmap(at, len) };
    }
    done
}

/// Drops the page table entries of a shared mapping (madvise(2), `MADV_DONTNEED`); its data stays
/// in the page cache. `EINVAL` where pages are locked.
///
/// # Safety
/// `[addr, addr + len)` must be a *shared* mapping: on a private one this destroys data.
pub unsafe fn drop_ptes(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: shared, by contract: the page cache keeps what the entries pointed to.
    unsafe { mm::madvise(addr as *mut c_void, len, Advice::LinuxDontNeed) }
}

/// Faults the pages in for writing, which marks them dirty, without touching a byte (madvise(2),
/// `MADV_POPULATE_WRITE`, Linux 5.14). `EFAULT` past the end of the file, `EINVAL` where the
/// mapping is read-only.
pub fn make_dirty(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: populating changes no byte and unmaps nothing, whatever lies there.
    unsafe { mm::madvise(addr as *mut c_void, len, Advice::LinuxPopulateWrite) }
}

/// Faults the pages in for reading (madvise(2), `MADV_POPULATE_READ`, Linux 5.14). `EFAULT` past the
/// end of the file, `EINVAL` where the mapping may not be read.
pub fn populate_read(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: populating changes no byte and unmaps nothing, whatever lies there.
    unsafe { mm::madvise(addr as *mut c_void, len, Advice::LinuxPopulateRead) }
}

/// Whether every page of the range is mapped.
pub fn is_mapped(addr: usize, len: usize) -> bool {
    judge_msync(addr, len, libc::MS_ASYNC).is_ok()
}

/// What the kernel will say of the arguments of msync(2), where that is an error: `EINVAL`, `EBUSY`
/// (`MS_INVALIDATE` of locked pages), `ENOMEM` (a hole). Asked with MS_ASYNC, which does no I/O.
pub fn judge_msync(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    let flags = match flags & (libc::MS_SYNC | libc::MS_ASYNC) {
        libc::MS_SYNC => flags & !libc::MS_SYNC | libc::MS_ASYNC,
        _ => flags,
    };
    sync_mapped(addr, len, flags)
}

/// msync(2), from whichever thread: the kernel syncs through the open files of the mappings. Not named like the C
/// library's function, for which a debugger of the program's sets breakpoints that would end the helper.
pub fn sync_mapped(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    // SAFETY: msync changes no memory.
    unsafe { raw::syscall(libc::SYS_msync, [addr, len, flags as usize, 0, 0, 0]) }.map(drop)
}

/// Whether some of the mappings in the range are locked in memory, by whichever call (mlock(2), mlockall(2),
/// `MAP_LOCKED`): msync(2) with `MS_INVALIDATE` says `EBUSY` then, and that flag does nothing else.
pub fn is_locked(addr: usize, len: usize) -> bool {
    judge_msync(addr, len, libc::MS_ASYNC | libc::MS_INVALIDATE) == Err(Errno::BUSY)
}

/// Whether the kernel did not take a call of msync(2) as it was: then nothing was promised.
pub fn is_refusal(result: Result<(), Errno>) -> bool {
    matches!(result, Err(Errno::INVAL | Errno::BUSY))
}

/// Whether an error of msync(2) means that data is not safe, rather than that the call was wrong.
pub fn is_failure(errno: Errno) -> bool {
    !matches!(errno, Errno::INVAL | Errno::NOMEM | Errno::BUSY)
}

/// Whether the page at `addr` of a file mapping is in the page cache (mincore(2)).
pub fn is_cached(addr: usize) -> bool {
    let mut state = [0];
    are_cached(addr, &mut state).is_ok() && state[0] & 1 != 0
}

/// The same of as many pages from `addr` on as `states` has room for: bit 0 of each. `ENOMEM` where
/// not all of them are mapped.
pub fn are_cached(addr: usize, states: &mut [u8]) -> Result<(), Errno> {
    let len = states.len() * super::page_size();
    let into = states.as_mut_ptr() as usize;
    // SAFETY: a byte of answer for each page.
    unsafe { raw::syscall(libc::SYS_mincore, [addr, len, into, 0, 0, 0]) }.map(drop)
}

/// Whether a page is mapped at `addr` in this process (proc_pid_pagemap(5): bit 63, or, of a page of a
/// file, bit 62 while the kernel moves it). `pagemap` is /proc/self/pagemap; where it cannot be read,
/// the answer is yes.
pub fn is_present(pagemap: BorrowedFd<'_>, addr: usize) -> bool {
    let mut entry = [0u8; 8];
    let offset = (addr / super::page_size() * entry.len()) as u64;
    match rustix::io::pread(pagemap, &mut entry, offset) {
        Ok(8) => u64::from_ne_bytes(entry) >> 62 != 0,
        _ => true,
    }
}
