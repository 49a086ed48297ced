//! ftruncate, truncate and their names with 64: see [`findings`](crate::findings) and
//! [`removal`].

use super::change;
use crate::dirty::removal;
use crate::enforce::before;
use crate::{findings, mappings, real, stats};
use core::ffi::c_char;
use libc::{c_int, off_t};

macro_rules! truncate {
    ($($name:ident($file:ident: $type:ty) by $watched:ident;)*) => {$(
        #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
        ///
        /// # Safety
        /// As the C function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($file: $type, size: off_t) -> c_int {
            // SAFETY: the caller's contract.
            let real = || unsafe { real::$name($file, size) };
            match mappings::any() {
                true => $watched($file, size, real),
                false => real(),
            }
        }
    )*};
}

truncate! {
    ftruncate(fd: c_int) by watched_fd;
    ftruncate64(fd: c_int) by watched_fd;
    truncate(path: *const c_char) by watched_path;
    truncate64(path: *const c_char) by watched_path;
}

#[cold]
fn watched_fd(fd: c_int, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let real = || {
        if before::is_needed() {
            change::before_fd(fd);
        }
        real()
    };
    let result = match stats::on() {
        true => findings::truncate_fd(fd, size, real),
        false => real(),
    };
    after(result, size, || removal::tracked_fd(fd));
    result
}

#[cold]
fn watched_path(path: *const c_char, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let real = || {
        if before::is_needed() {
            change::before_path(libc::AT_FDCWD, path);
        }
        real()
    };
    let result = match stats::on() {
        true => findings::truncate_path(path, size, real),
        false => real(),
    };
    after(result, size, || removal::tracked_path(libc::AT_FDCWD, path));
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
