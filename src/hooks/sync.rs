//! msync; and fsync, fdatasync and close, which also return an error that the shim received in their place.

use super::prctl;
use crate::dirty::removal;
use crate::mappings::untold::{self, By};
use crate::{enforce, mappings, next_fn, sys};
use core::ffi::c_void;
use libc::{c_int, size_t};

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
                let result = real();
                match untold::may_be_any() && !prctl::is_strict() {
                    true => synced(fd, result),
                    false => result,
                }
            }
        }
    )*};
}

syncs! { fsync fdatasync }

/// What a sync of `fd` returns that has returned `result`: an error is told once, whoever tells it.
#[cold]
#[inline(never)]
fn synced(fd: c_int, result: c_int) -> c_int {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    let untold = removal::tracked_fd(fd).and_then(|inode| {
        untold::wait(inode);
        untold::take(inode, By::Sync)
    });
    next_fn::set_errno(errno);
    next_fn::leave(state);
    told(result, untold)
}

fn told(result: c_int, untold: Option<rustix::io::Errno>) -> c_int {
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
                match untold::are_any() && !prctl::is_strict() {
                    true => closing(fd, real),
                    false => real(),
                }
            }
        }
    )*};
}

closes! { close __close }

#[cold]
#[inline(never)]
fn closing(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    let inode = sys::fd::inode(fd);
    next_fn::set_errno(errno);
    next_fn::leave(state);
    let result = real();
    let state = next_fn::enter();
    let untold = inode.and_then(|inode| untold::take(inode, By::Close));
    next_fn::leave(state);
    told(result, untold)
}
