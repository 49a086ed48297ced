//! The calls of stdio and its kin by which the C library opens, makes or closes a file by itself.

use super::change::{CREAT, Call, Change, opened};
use super::sync;
use crate::enforce::before;
use crate::next_fn::{self, StreamList};
use crate::sys::clib::{self, Stream};
use crate::sys::strings::Text;
use core::ffi::CStr;
use libc::{c_char, c_int};

/// The flags of an open with `mode`.
fn flags_of(mode: Text<'_>) -> c_int {
    let mode = mode.get().map_or(&b""[..], CStr::to_bytes);
    let updates = || {
        let rest = mode.iter().skip(1).take(6);
        rest.take_while(|&&byte| byte != b',')
            .any(|&byte| byte == b'+')
    };
    match mode.first() {
        Some(b'w') => CREAT,
        Some(b'r') if !updates() => libc::O_RDONLY,
        _ => libc::O_RDWR,
    }
}

macro_rules! fopens {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`: the C library opens the file by itself.")]
            fn $name(path: Text<'_>, mode: Text<'_>) -> Stream, real => {
                if !before::is_needed() {
                    return real();
                }
                let flags = flags_of(mode);
                let change = Change::opened_with(flags);
                let call = StreamCall::begin(|| Call::at_path(libc::AT_FDCWD, path.as_ptr(), change));
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
struct StreamCall(Call, StreamList);

impl StreamCall {
    fn begin(call: impl FnOnce() -> Option<Call>) -> Option<StreamCall> {
        let list = StreamList::lock();
        match call() {
            Some(call) => Some(StreamCall(call, list)),
            None => {
                // The open itself may be a point of cancellation.
                list.unlock();
                None
            }
        }
    }

    /// The C library has opened `stream` with `flags`, if it is not null.
    fn end(call: Option<StreamCall>, flags: c_int, stream: Stream) {
        let result = match stream.is_null() {
            true => -1,
            false => clib::fileno(stream),
        };
        let (call, list) = call.map(|StreamCall(call, list)| (call, list)).unzip();
        opened(call, flags, result);
        if let Some(list) = list {
            list.unlock();
        }
    }
}

/// `FSETLOCKING_QUERY` and `FSETLOCKING_INTERNAL` of stdio_ext.h.
const LOCKING_QUERY: c_int = 0;
const LOCKING_INTERNAL: c_int = 1;

/// `real` opens `path` as `stream`, or, where it is null, what `stream` is open on.
#[cold]
#[inline(never)]
fn reopen(path: Text<'_>, mode: Text<'_>, stream: Stream, real: impl FnOnce() -> Stream) -> Stream {
    let errno = next_fn::errno();
    // Before the file, for which a thread may wait that has locked the stream.
    let is_locked = clib::__fsetlocking(stream, LOCKING_QUERY) == LOCKING_INTERNAL;
    if is_locked {
        clib::flockfile(stream);
    }
    // What it was to write may wait for a reader, and that for the file.
    if clib::__fpending(stream) > 0 {
        clib::fflush(stream);
    }
    let flags = flags_of(mode);
    let change = Change::opened_with(flags);
    let call = StreamCall::begin(|| match path.as_ptr().is_null() {
        true => Call::at_fd(clib::fileno(stream), change),
        false => Call::at_path(libc::AT_FDCWD, path.as_ptr(), change),
    });
    next_fn::set_errno(errno);
    let result = real();
    StreamCall::end(call, flags, result);
    if is_locked {
        // A stream that could not be opened is there still.
        clib::funlockfile(stream);
    }
    result
}

macro_rules! freopens {
    ($($name:ident)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name(path: Text<'_>, mode: Text<'_>, stream: Stream) -> Stream, real => {
                let closed = sync::closes_stream(stream);
                let result = match before::is_needed() {
                    true => reopen(path, mode, stream, real),
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
