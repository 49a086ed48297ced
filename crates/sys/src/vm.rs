//! Memory mapping calls that must be safe against another thread's `munmap`.

use super::raw;
use super::wipe::Mapping;
use core::ffi::{CStr, c_char, c_void};
use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MremapFlags};

/// Copies from the program's memory into `into` (process_vm_readv(2) on oneself): memory that is
/// gone gives `EFAULT` (or a short count) instead of a signal.
pub fn read_own_memory(addr: usize, into: &mut [u8]) -> Result<usize, Errno> {
    raw::sys_process_vm_readv(super::getpid(), addr, into)
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
/// within one mapping.
pub fn duplicate(addr: usize, len: usize) -> Result<Mapping, Errno> {
    let place = Mapping::reserve(len).ok_or(Errno::NOMEM)?;
    let (old, new) = (addr as *mut c_void, place.start() as *mut c_void);
    // Where it fails, the kernel may have unmapped the reservation before; nobody else's mapping can be there that
    // soon, when the place is unmapped again, but by a hint to this very place.
    // SAFETY: an old size of 0 leaves the original as it is; what is replaced was just reserved.
    unsafe { mm::mremap_fixed(old, 0, len, MremapFlags::MAYMOVE, new)? };
    Ok(place)
}

/// Maps a part of a file, shared and for reading, in a place of the shim's.
pub fn map_readable(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Mapping, Errno> {
    let place = Mapping::reserve(len).ok_or(Errno::NOMEM)?;
    let at = place.start() as *mut c_void;
    let flags = mm::MapFlags::SHARED | mm::MapFlags::FIXED;
    // SAFETY: what is replaced was just reserved.
    unsafe { mm::mmap(at, len, mm::ProtFlags::READ, flags, file, offset)? };
    Ok(place)
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

/// Drops the page table entries of a shared mapping of the shim's own that is for reading alone, and may be locked.
pub fn forget_locked(addr: usize, len: usize) {
    let _ = raw::sys_drop_locked(addr, len);
}

/// Faults the pages in for writing, which marks them dirty, without touching a byte (madvise(2),
/// `MADV_POPULATE_WRITE`, Linux 5.14). `EFAULT` past the end of the file, `EINVAL` where the
/// mapping is read-only.
pub fn make_dirty(addr: usize, len: usize) -> Result<(), Errno> {
    raw::sys_populate_write(addr, len).map(drop)
}

/// Faults the pages in for reading (madvise(2), `MADV_POPULATE_READ`, Linux 5.14). `EFAULT` past the
/// end of the file, `EINVAL` where the mapping may not be read.
pub fn populate_read(addr: usize, len: usize) -> Result<(), Errno> {
    raw::sys_populate_read(addr, len).map(drop)
}

/// The same, and locks them in memory where that is allowed. Not by mlock(2) alone, which tries for ever where a page
/// cannot be read, as of a FUSE daemon that is gone (`__mm_populate` in mm/gup.c).
pub fn populate_locked(addr: usize, len: usize) -> Result<(), Errno> {
    populate_read(addr, len)?;
    let _ = raw::sys_mlock(addr, len);
    Ok(())
}

/// Lets go of what [`populate_locked`] has locked; the pages stay, and may be evicted.
pub fn unlock(addr: usize, len: usize) {
    let _ = raw::sys_munlock(addr, len);
}

/// Has the processor that the calling thread runs on let go of the pages that it is about to put on a list of the
/// kernel's (madvise(2), `MADV_COLD` of `untouched`, a page of anonymous memory that nobody has touched: nothing else is
/// done with it).
pub fn let_go_of_pages(untouched: usize) {
    let _ = raw::sys_cool(untouched, super::page_size());
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
    raw::sys_msync(addr, len, flags).map(drop)
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
    raw::sys_mincore(addr, states).map(drop)
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
