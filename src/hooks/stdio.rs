//! The calls of stdio and its kin by which the C library opens, makes or closes a file by itself.

use super::change::{CREAT, Call, Change, opened};
use super::sync;
use crate::enforce::before;
use crate::next_fn;
use libc::{FILE, c_char, c_int};

/// The flags of an open with `mode`.
///
/// # Safety
/// As fopen(3).
unsafe fn flags_of(mode: *const c_char) -> c_int {
    // SAFETY: the caller's contract: it ends with NUL.
    let byte = |n| unsafe { mode.add(n).read() } as u8;
    let updates = || {
        (1..7)
            .map(byte)
            .take_while(|&byte| !matches!(byte, 0 | b','))
            .any(|byte| byte == b'+')
    };
    match byte(0) {
        b'w' => CREAT,
        b'r' if !updates() => libc::O_RDONLY,
        _ => libc::O_RDWR,
    }
}

macro_rules! fopens {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`: the C library opens the file by itself.")]
            fn $name(path: *const c_char, mode: *const c_char) -> *mut FILE, real => {
                if !before::is_needed() {
                    return real();
                }
                // SAFETY: as the program has called this one.
                let flags = unsafe { flags_of(mode) };
                let change = Change::opened_with(flags);
                let call = StreamCall::begin(|| Call::at_path(libc::AT_FDCWD, path, change));
                let stream = real();
                StreamCall::end(call, flags, stream);
                stream
            }
        }
    )*};
}

fopens! { fopen fopen64 _IO_fopen }

/// [`Call::at_path`] and [`Call::at_fd`] with the lock of the C library's list of streams, which its open takes, and
/// fflush(NULL) holds while it waits for the lock of a stream. Who has that may wait for the file: so nobody who has the
/// file is to wait for the list.
struct StreamCall(Call);

impl StreamCall {
    fn begin(call: impl FnOnce() -> Option<Call>) -> Option<StreamCall> {
        // SAFETY: let go of below, or by `end`.
        unsafe { next_fn::lock_streams() };
        let call = call();
        if call.is_none() {
            // The open itself may be a point of cancellation.
            // SAFETY: taken above.
            unsafe { next_fn::unlock_streams() };
        }
        call.map(StreamCall)
    }

    /// The C library has opened `stream` with `flags`, if it is not null.
    fn end(call: Option<StreamCall>, flags: c_int, stream: *mut FILE) {
        let result = match stream.is_null() {
            true => -1,
            // SAFETY: a stream that was opened just now.
            false => unsafe { libc::fileno(stream) },
        };
        let is_locked = call.is_some();
        opened(call.map(|StreamCall(call)| call), flags, result);
        if is_locked {
            // SAFETY: taken by `begin`.
            unsafe { next_fn::unlock_streams() };
        }
    }
}

// The libc crate lacks them.
unsafe extern "C" {
    fn flockfile(stream: *mut FILE);
    fn funlockfile(stream: *mut FILE);
    fn __fsetlocking(stream: *mut FILE, kind: c_int) -> c_int;
    fn __fpending(stream: *mut FILE) -> libc::size_t;
}

/// `FSETLOCKING_QUERY` and `FSETLOCKING_INTERNAL` of stdio_ext.h.
const LOCKING_QUERY: c_int = 0;
const LOCKING_INTERNAL: c_int = 1;

/// `real` opens `path` as `stream`, or, where it is null, what `stream` is open on.
///
/// # Safety
/// As freopen(3).
#[cold]
#[inline(never)]
unsafe fn reopen(
    path: *const c_char,
    mode: *const c_char,
    stream: *mut FILE,
    real: impl FnOnce() -> *mut FILE,
) -> *mut FILE {
    let errno = next_fn::errno();
    // SAFETY: the caller's contract.
    let (flags, is_locked) = unsafe {
        // Before the file, for which a thread may wait that has locked the stream.
        let is_locked = __fsetlocking(stream, LOCKING_QUERY) == LOCKING_INTERNAL;
        if is_locked {
            flockfile(stream);
        }
        // What it was to write may wait for a reader, and that for the file.
        if __fpending(stream) > 0 {
            libc::fflush(stream);
        }
        (flags_of(mode), is_locked)
    };
    let change = Change::opened_with(flags);
    let call = StreamCall::begin(|| match path.is_null() {
        // SAFETY: the caller's contract.
        true => Call::at_fd(unsafe { libc::fileno(stream) }, change),
        false => Call::at_path(libc::AT_FDCWD, path, change),
    });
    next_fn::set_errno(errno);
    let result = real();
    StreamCall::end(call, flags, result);
    if is_locked {
        // SAFETY: locked above; a stream that could not be opened is there still.
        unsafe { funlockfile(stream) };
    }
    result
}

macro_rules! freopens {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE, real => {
                let closed = sync::closes_stream(stream);
                let result = match before::is_needed() {
                    // SAFETY: as the program has called this one.
                    true => unsafe { reopen(path, mode, stream, real) },
                    false => real(),
                };
                sync::swallow(closed);
                result
            }
        }
    )*};
}

freopens! { freopen freopen64 }

macro_rules! makes {
    ($(fn $name:ident($($arg:ident: $type:ty),*);)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`: the C library makes the file by itself.")]
            fn $name($($arg: $type),*) -> c_int, real => {
                let fd = real();
                if before::is_needed() {
                    opened(None, CREAT, fd);
                }
                fd
            }
        }
    )*};
}

makes! {
    fn mkstemp(template: *mut c_char);
    fn mkstemp64(template: *mut c_char);
    fn mkstemps(template: *mut c_char, suffix: c_int);
    fn mkstemps64(template: *mut c_char, suffix: c_int);
    fn mkostemp(template: *mut c_char, flags: c_int);
    fn mkostemp64(template: *mut c_char, flags: c_int);
    fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int);
    fn mkostemps64(template: *mut c_char, suffix: c_int, flags: c_int);
}
