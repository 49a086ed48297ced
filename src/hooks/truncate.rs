//! ftruncate, truncate and their names with 64: see [`findings`](crate::findings) and
//! [`removal`].

use super::change::{Call, Change, grew};
use crate::dirty::removal;
use crate::enforce::before;
use crate::{findings, mappings, next_fn, stats, sys};
use core::ffi::c_char;
use core::ops::Range;
use libc::{c_int, off_t};

macro_rules! truncate {
    ($($name:ident($file:ident: $type:ty) by $watched:ident;)*) => {$(
        hook! {
            #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
            fn $name($file: $type, size: off_t) -> c_int, real => {
                match mappings::any() {
                    true => $watched($file, size, real),
                    false => real(),
                }
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
    let call = || Call::at_fd(fd, Change::truncated(beyond(size)));
    let real = || match size_before_growth(fd, size) {
        Some(before) => growing(fd, size as u64 > before, real),
        None => changing(call, || removal::tracked_fd(fd), size, real),
    };
    match stats::on() {
        true => findings::truncate_fd(fd, size, real),
        false => real(),
    }
}

#[cold]
fn watched_path(path: *const c_char, size: off_t, real: impl FnOnce() -> c_int) -> c_int {
    let dir = libc::AT_FDCWD;
    let call = || Call::at_path(dir, path, Change::truncated(beyond(size)));
    let real = || changing(call, || removal::tracked_path(dir, path), size, real);
    match stats::on() {
        true => findings::truncate_path(path, size, real),
        false => real(),
    }
}

/// How large the tracked file is that `fd` is open on, if a truncation to `size` bytes takes nothing out of its page
/// cache: journald does that after each record, to the size that the file has.
fn size_before_growth(fd: c_int, size: off_t) -> Option<u64> {
    let state = next_fn::enter();
    let inode = removal::tracked_fd(fd).filter(|&inode| removal::keeps_what_stays(inode));
    let before = inode.and_then(|_| sys::fd::of_program(fd, sys::fd::size)?.ok());
    next_fn::leave(state);
    before.filter(|&before| u64::try_from(size).is_ok_and(|size| size >= before))
}

/// `real` truncates the file that `fd` is open on so; `grows` says whether it is longer then.
fn growing(fd: c_int, grows: bool, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    if result == 0 && grows {
        grew(fd);
    }
    result
}

/// What a truncation to `size` bytes takes out.
fn beyond(size: off_t) -> Range<u64> {
    u64::try_from(size).unwrap_or(0)..u64::MAX
}

/// `real` truncates the file of `call`, which is `inode`, to `size` bytes.
fn changing(
    call: impl FnOnce() -> Option<Call>,
    inode: impl FnOnce() -> Option<removal::Inode>,
    size: off_t,
    real: impl FnOnce() -> c_int,
) -> c_int {
    let call = before::is_needed().then(call).flatten();
    let result = real();
    match call {
        Some(call) => {
            call.end((result == 0).then_some(beyond(size)));
        }
        None if result == 0 => {
            let state = next_fn::enter();
            if let Some(inode) = inode() {
                removal::truncated(inode, size);
            }
            next_fn::leave(state);
        }
        None => {}
    }
    result
}
