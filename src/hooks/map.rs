//! mmap, mmap64, munmap, mremap, remap_file_pages.

use crate::mappings::classify::is_shared_file;
use crate::track::{self, Mmap, RealMmap};
use crate::{mappings, next_fn, process};
use core::ffi::c_void;
use libc::{c_int, off_t, size_t};

/// Hook for [`libc::mmap`].
///
/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { any_mmap(addr, len, prot, flags, fd, offset, next_fn::mmap) }
}

/// Hook for [`libc::mmap64`].
///
/// # Safety
/// As mmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mmap64(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe { any_mmap(addr, len, prot, flags, fd, offset, next_fn::mmap64) }
}

/// # Safety
/// As mmap(2).
#[inline(always)]
unsafe fn any_mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
    next: RealMmap,
) -> *mut c_void {
    if !is_shared_file(flags) && !mappings::any() {
        // SAFETY: the caller's contract.
        return unsafe { next(addr, len, prot, flags, fd, offset) };
    }
    // SAFETY: the caller's contract.
    unsafe { looked_at(addr, len, prot, flags, fd, offset, next) }
}

/// # Safety
/// As mmap(2).
#[cold]
#[inline(never)]
unsafe fn looked_at(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
    next: RealMmap,
) -> *mut c_void {
    let call = Mmap {
        addr,
        len,
        prot,
        flags,
        fd,
        offset,
    };
    let state = next_fn::defer_cancel();
    // SAFETY: the caller's contract.
    let result = unsafe {
        match process::is_open() {
            false => call.call(next),
            true if is_shared_file(flags) => {
                let state = next_fn::enter();
                let result = track::mmap_file(&call, next, &state.quiet);
                next_fn::leave(state);
                result
            }
            true => track::mmap_other(&call, next),
        }
    };
    next_fn::allow_cancel(state);
    result
}

/// Hook for [`libc::munmap`].
///
/// # Safety
/// As munmap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        match mappings::any() {
            true => track::munmap(addr, len),
            false => next_fn::munmap(addr, len),
        }
    }
}

/// Hook for [`libc::mremap`]. The C prototype takes the new address as a variable argument, which
/// every ABI that Linux has passes as a fifth one; without `MREMAP_FIXED` it is never looked at.
///
/// # Safety
/// As mremap(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's contract.
    unsafe {
        match mappings::any() {
            true => {
                let state = next_fn::enter();
                let result = track::mremap(old, old_len, new_len, flags, new);
                next_fn::leave(state);
                result
            }
            false => next_fn::mremap(old, old_len, new_len, flags, new),
        }
    }
}

/// Hook for `remap_file_pages`.
///
/// # Safety
/// As remap_file_pages(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn remap_file_pages(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    page: size_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        match mappings::any() {
            true => {
                let state = next_fn::enter();
                let result = track::remap_file_pages(addr, len, prot, page, flags);
                next_fn::leave(state);
                result
            }
            false => next_fn::remap_file_pages(addr, len, prot, page, flags),
        }
    }
}
