//! read, pread, readv, preadv and preadv2, with their large-file and fortified names.

use super::prctl;
use crate::enforce::before;
use crate::reads::{self, Range};
use crate::{next_fn, sys};
use core::ffi::c_void;
use libc::{c_int, iovec, off_t, size_t, ssize_t};

/// Whether to look where a read has stored: direct I/O holds the pages from its beginning on, and leaves no mark when it stores
/// to them, and another thread's msync may have taken those of its beginning.
#[cold]
fn may_be_overtaken() -> bool {
    before::is_needed() && !sys::thread::is_single()
}

macro_rules! hooks {
    ($(fn $name:ident($fd:ident $(, $arg:ident: $type:ty)*) range $range:expr;)*) => {
        /// The way of a read that is watched.
        mod watched {
            use super::*;
            $(
                #[cold]
                #[inline(never)]
                pub unsafe fn $name($fd: c_int $(, $arg: $type)*) -> ssize_t {
                    let state = next_fn::defer_cancel();
                    let range = $range;
                    let seen = reads::before($fd, range);
                    next_fn::allow_cancel(state);
                    if seen.stale {
                        let state = next_fn::enter();
                        reads::refresh($fd, range, seen);
                        next_fn::leave(state);
                    }
                    // SAFETY: the caller's contract.
                    let result = unsafe { next_fn::$name($fd $(, $arg)*) };
                    if seen.recorded {
                        let state = next_fn::enter();
                        reads::after(stringify!($name), $fd, range, result, seen);
                        next_fn::leave(state);
                    }
                    if result > 0 {
                        let state = next_fn::defer_cancel();
                        let is_looked_at = may_be_overtaken();
                        next_fn::allow_cancel(state);
                        if is_looked_at {
                            let state = next_fn::enter();
                            range.for_each_stored(result, before::stored_unseen);
                            next_fn::leave(state);
                        }
                    }
                    result
                }
            )*
        }

        $(
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            ///
            /// # Safety
            /// As the C function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($fd: c_int $(, $arg: $type)*) -> ssize_t {
                // SAFETY: the caller's contract.
                unsafe {
                    match reads::watched() && !prctl::is_strict() {
                        true => watched::$name($fd $(, $arg)*),
                        false => next_fn::$name($fd $(, $arg)*),
                    }
                }
            }
        )*
    };
}

hooks! {
    fn read(fd, buf: *mut c_void, count: size_t) range Range::at_position(buf, count);
    fn __read(fd, buf: *mut c_void, count: size_t) range Range::at_position(buf, count);
    fn __read_chk(fd, buf: *mut c_void, count: size_t, size: size_t)
        range Range::at_position(buf, count);
    fn readv(fd, iov: *const iovec, count: c_int) range Range::vectors(iov, count, -1);
    fn pread(fd, buf: *mut c_void, count: size_t, offset: off_t) range Range::at(offset, buf, count);
    fn pread64(fd, buf: *mut c_void, count: size_t, offset: off_t) range Range::at(offset, buf, count);
    fn __pread64(fd, buf: *mut c_void, count: size_t, offset: off_t) range Range::at(offset, buf, count);
    fn __pread_chk(fd, buf: *mut c_void, count: size_t, offset: off_t, size: size_t)
        range Range::at(offset, buf, count);
    fn __pread64_chk(fd, buf: *mut c_void, count: size_t, offset: off_t, size: size_t)
        range Range::at(offset, buf, count);
    fn preadv(fd, iov: *const iovec, count: c_int, offset: off_t)
        range Range::vectors(iov, count, offset);
    fn preadv64(fd, iov: *const iovec, count: c_int, offset: off_t)
        range Range::vectors(iov, count, offset);
    fn preadv2(fd, iov: *const iovec, count: c_int, offset: off_t, flags: c_int)
        range Range::vectors(iov, count, offset).with_flags(flags);
    fn preadv64v2(fd, iov: *const iovec, count: c_int, offset: off_t, flags: c_int)
        range Range::vectors(iov, count, offset).with_flags(flags);
}
