//! msync; and what returns an error that the shim received in its place: fsync, fdatasync, close and fclose.
//!
//! Calls that close a descriptor and return no error of it (dup2(2), close_range(2), freopen(3)) drop such an error, too.
//! syncfs(2) and sync_file_range(2) send the daemon neither FSYNC nor FLUSH; for errors of writeback the kernel keeps a mark
//! of their own.

use super::prctl;
use crate::enforce::told::{self, Unverified};
use crate::mappings::classify;
use crate::mappings::untold::{self, By, Whose};
use crate::sys::clib::{self, Stream};
use crate::sys::vm::is_failure;
use crate::{enforce, mappings, next_fn};
use core::ffi::c_void;
use libc::{c_int, c_uint, size_t};
use rustix::io::Errno;

hook! {
    /// Hook for [`libc::msync`].
    fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int, real => {
        match mappings::overlaps(addr as usize, len) {
            true => enforce::msync(addr, len, flags),
            false => real(),
        }
    }
}

macro_rules! syncs {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
            fn $name(fd: c_int) -> c_int, real => {
                if told::is_needed() && !prctl::is_strict() {
                    return watched(fd, real);
                }
                let result = real();
                let matters = untold::may_be_any() || result != 0 && mappings::any();
                match matters && !prctl::is_strict() {
                    true => synced(fd, result),
                    false => result,
                }
            }
        }
    )*};
}

syncs! { fsync fdatasync }

/// A sync of what is not verified, perhaps: an msync in another thread must know of what it is told.
#[cold]
#[inline(never)]
fn watched(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    let call = told::Call::begin(fd);
    next_fn::set_errno(errno);
    let result = real();
    let errno = next_fn::errno();
    if let Some(call) = call {
        call.end(has_failed(result, errno));
    }
    next_fn::set_errno(errno);
    next_fn::leave(state);
    match untold::may_be_any() {
        true => synced(fd, result),
        false => result,
    }
}

/// Whether a call that has returned `result` was told an error of the filesystem's.
fn has_failed(result: c_int, errno: c_int) -> bool {
    result != 0 && is_failure(Errno::from_raw_os_error(errno))
}

/// What a sync of `fd` returns that has returned `result`: an error is told once, whoever tells it.
#[cold]
#[inline(never)]
fn synced(fd: c_int, result: c_int) -> c_int {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    if has_failed(result, errno) {
        told::sync_failed(fd);
    }
    let untold = classify::whose(fd).and_then(|whose| {
        untold::wait(whose);
        untold::take(whose, By::Sync)
    });
    next_fn::set_errno(errno);
    next_fn::leave(state);
    told(result, untold)
}

fn told(result: c_int, untold: Option<Errno>) -> c_int {
    match untold {
        Some(errno) if result == 0 => {
            next_fn::set_errno(errno.raw_os_error());
            -1
        }
        _ => result,
    }
}

macro_rules! closes {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name(fd: c_int) -> c_int, real => {
                let closed = closes(fd);
                closing(closed, real())
            }
        }
    )*};
}

closes! { close __close }

macro_rules! closes_streams {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`: the C library closes the descriptor by itself.")]
            fn $name(stream: Stream) -> c_int, real => {
                let closed = closes_stream(stream);
                closing(closed, real())
            }
        }
    )*};
}

closes_streams! { fclose _IO_fclose }

/// Whether a close may have an error to tell.
#[inline]
fn may_be_told() -> bool {
    untold::are_any() && !prctl::is_strict()
}

/// What is about to be closed: an error may have to be told of it then, or its own be remembered.
pub struct Closes {
    whose: Option<Whose>,
    unverified: Option<Unverified>,
}

/// What `fd` is open on, if that matters.
#[inline]
fn closes(fd: c_int) -> Option<Closes> {
    match may_be_told() || told::is_needed() {
        true => look_at(fd),
        false => None,
    }
}

#[cold]
#[inline(never)]
fn look_at(fd: c_int) -> Option<Closes> {
    if prctl::is_strict() {
        return None;
    }
    let state = next_fn::enter();
    let errno = next_fn::errno();
    let found = Closes {
        whose: untold::are_any().then(|| classify::whose(fd)).flatten(),
        unverified: told::is_needed().then(|| Unverified::of(fd)).flatten(),
    };
    next_fn::set_errno(errno);
    next_fn::leave(state);
    Some(found)
}

/// The same for a stream.
#[inline]
pub fn closes_stream(stream: Stream) -> Option<Closes> {
    match may_be_told() || told::is_needed() {
        true => look_at_stream(stream),
        false => None,
    }
}

#[cold]
#[inline(never)]
fn look_at_stream(stream: Stream) -> Option<Closes> {
    let errno = next_fn::errno();
    let fd = clib::fileno(stream);
    next_fn::set_errno(errno);
    look_at(fd)
}

/// What a close returns that has returned `result`.
fn closing(closed: Option<Closes>, result: c_int) -> c_int {
    let Some(closed) = closed else {
        return result;
    };
    if let Some(file) = closed.unverified {
        remember(file, result);
    }
    told(result, closed.whose.and_then(taken))
}

#[cold]
#[inline(never)]
fn remember(file: Unverified, result: c_int) {
    let errno = next_fn::errno();
    if has_failed(result, errno) {
        let state = next_fn::enter();
        file.failed();
        next_fn::leave(state);
        next_fn::set_errno(errno);
    }
}

#[cold]
#[inline(never)]
fn taken(closed: Whose) -> Option<Errno> {
    let state = next_fn::enter();
    let untold = untold::take(closed, By::Close);
    next_fn::leave(state);
    untold
}

/// It was closed, and nobody was told: natively the error is gone.
pub fn swallow(closed: Option<Closes>) {
    if let Some(whose) = closed.and_then(|closed| closed.whose) {
        taken(whose);
    }
}

macro_rules! closes_over {
    ($(fn $name:ident($from:ident, $to:ident $(, $flags:ident)?);)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name($from: c_int, $to: c_int $(, $flags: c_int)?) -> c_int, real => {
                let closed = closes($to);
                let result = real();
                swallow(closed.filter(|_| result >= 0 && $from != $to));
                result
            }
        }
    )*};
}

closes_over! {
    fn dup2(from, to);
    fn __dup2(from, to);
    fn dup3(from, to, flags);
}

hook! {
    /// Hook for `close_range`.
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int, real => {
        // With flags the descriptors stay open, for somebody or until an exec.
        let ends = flags == 0 && closes_range(first, last);
        let result = real();
        if ends {
            closed_range(result == 0);
        }
        result
    }
}

hook! {
    /// Hook for `closefrom`.
    fn closefrom(first: c_int) -> (), real => {
        let ends = closes_range(first.max(0) as c_uint, c_uint::MAX);
        real();
        if ends {
            closed_range(true);
        }
    }
}

/// Whether errors end with a range of descriptors: [`closed_range`] must follow.
#[inline]
fn closes_range(first: c_uint, last: c_uint) -> bool {
    may_be_told() && ends_in(first, last)
}

/// Descriptors that are looked at, at the most.
const LOOKED_AT: c_uint = 1 << 16;

#[cold]
#[inline(never)]
fn ends_in(first: c_uint, last: c_uint) -> bool {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    let any = untold::are_any_for(By::Close);
    if any {
        let end = last.min(first.saturating_add(LOOKED_AT));
        let open = (first..=end).filter_map(|fd| classify::whose(c_int::try_from(fd).ok()?));
        open.for_each(untold::ending);
    }
    next_fn::set_errno(errno);
    next_fn::leave(state);
    any
}

#[cold]
#[inline(never)]
fn closed_range(closed: bool) {
    let state = next_fn::enter();
    untold::end(closed);
    next_fn::leave(state);
}
