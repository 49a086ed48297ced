//! Functions of the C library's that are sound to call with any arguments that their types allow.

use core::cell::Cell;
use core::ffi::{c_char, c_int, c_long, c_ulong};
use core::sync::atomic::{AtomicPtr, AtomicU8};
use libc::size_t;

/// A stream that the program has passed to a function of the C library's, or that this has returned to it: it is open
/// until the call ends that closes it, or null where it was not opened.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Stream(*mut libc::FILE);

impl Stream {
    /// Whether it was not opened.
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }
}

// SAFETY: the prototypes are those of the C library's headers, where a stream and the pointer to one are the same. None
// writes anything but what is the C library's own. Handlers stay: neither a program nor a preloaded library is unloaded.
// errno is the calling thread's, and a reference to a `Cell` does not leave the thread.
unsafe extern "C" {
    /// sysconf(3).
    pub safe fn sysconf(name: c_int) -> c_long;
    /// getauxval(3).
    pub safe fn getauxval(kind: c_ulong) -> c_ulong;
    /// pthread_self(3): an address, only to be compared.
    pub safe fn pthread_self() -> usize;
    /// pthread_atfork(3). The handler in the child must be async-signal-safe.
    pub safe fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
    /// at_quick_exit(3).
    pub safe fn at_quick_exit(handler: extern "C" fn()) -> c_int;
    /// errno(3).
    pub safe fn __errno_location() -> &'static Cell<c_int>;

    /// fileno(3).
    pub safe fn fileno(stream: Stream) -> c_int;
    /// fflush(3).
    pub safe fn fflush(stream: Stream) -> c_int;
    /// flockfile(3).
    pub safe fn flockfile(stream: Stream);
    /// The same: the thread has locked it.
    pub safe fn funlockfile(stream: Stream);
    /// stdio_ext(3).
    pub safe fn __fsetlocking(stream: Stream, kind: c_int) -> c_int;
    /// stdio_ext(3): bytes.
    pub safe fn __fpending(stream: Stream) -> size_t;

    /// Not 0 while the process has one thread, for all that the C library knows (glibc 2.32).
    pub safe static __libc_single_threaded: AtomicU8;
    /// environ(7).
    pub safe static environ: AtomicPtr<*const c_char>;
}
