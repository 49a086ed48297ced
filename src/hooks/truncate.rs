//! ftruncate, truncate and their names with 64: see [`findings`](crate::findings) and
//! [`removal`].

use crate::dirty::removal;
use crate::{findings, mappings, real, stats};
use core::ffi::c_char;
use libc::{c_int, off_t};

/// Hook for [`libc::ftruncate`].
///
/// # Safety
/// As ftruncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ftruncate(fd: c_int, size: off_t) -> c_int {
    // SAFETY: the caller's contract.
    let real = || unsafe { real::ftruncate(fd, size) };
    match mappings::any() {
        true => watched_fd(fd, size, real),
        false => real(),
    }
}

/// Hook for [`libc::ftruncate64`].
///
/// # Safety
/// As ftruncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ftruncate64(fd: c_int, size: off_t) -> c_int {
    // SAFETY: the caller's contract.
    let real = || unsafe { real::ftruncate64(fd, size) };
    match mappings::any() {
        true => watched_fd(fd, size, real),
        false => real(),
    }
}

/// Hook for [`libc::truncate`].
///
/// # Safety
/// As truncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn truncate(path: *const c_char, size: off_t) -> c_int {
    // SAFETY: the caller's contract.
    let real = || unsafe { real::truncate(path, size) };
    match mappings::any() {
        true => watched_path(path, size, real),
        false => real(),
    }
}

/// Hook for [`libc::truncate64`].
///
/// # Safety
/// As truncate(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn truncate64(path: *const c_char, size: off_t) -> c_int {
    // SAFETY: the caller's contract.
    let real = || unsafe { real::truncate64(path, size) };
    match mappings::any() {
        true => watched_path(path, size, real),
        false => real(),
    }
}

#[cold]
fn watched_fd(fd: c_int, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let result = match stats::on() {
        true => findings::truncate_fd(fd, size, real),
        false => real(),
    };
    after(result, size, || removal::tracked_fd(fd));
    result
}

#[cold]
fn watched_path(path: *const c_char, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let result = match stats::on() {
        true => findings::truncate_path(path, size, real),
        false => real(),
    };
    after(result, size, || removal::tracked_path(path));
    result
}

fn after(result: c_int, size: off_t, inode: impl FnOnce() -> Option<removal::Inode>) {
    if result == 0 {
        let state = real::enter();
        if let Some(inode) = inode() {
            removal::truncated(inode, size);
        }
        real::leave(state);
    }
}
