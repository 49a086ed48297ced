//! The next functions in line: what a hook calls when it has nothing to do, or has done it.
//!
//! They are looked up once, while booting; a hook that runs before that (another library's
//! constructor) looks up its own. `redhook` does the lookup; its `hook!` macro is not used, because
//! its `catch_unwind` turns `pthread_cancel`, which unwinds through every cancellation point, into
//! an abort.

use crate::process::{self, PerProcess};
use crate::sys::clib::{self, Stream};
use crate::sys::signals;
use crate::sys::strings::{Strings, Text};
use core::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use core::num::NonZeroUsize;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use libc::{
    dl_phdr_info, gid_t, iovec, mode_t, off_t, pid_t, posix_spawn_file_actions_t,
    posix_spawnattr_t, size_t, ssize_t, uid_t,
};
use once_cell::race::OnceNonZeroUsize;

macro_rules! real {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        mod next {
            $(pub static $name: super::OnceNonZeroUsize = super::OnceNonZeroUsize::new();)*
        }

        /// Before boot: looked up on the way. Apart, so that the way after boot needs no frame.
        mod first {
            use super::*;
            $(
                #[cold]
                #[inline(never)]
                #[allow(non_snake_case, reason = "named as the functions are")]
                pub unsafe fn $name($($arg: $type),*) -> $ret {
                    next::$name.get_or_init(|| next_in_line(concat!(stringify!($name), "\0")));
                    // SAFETY: the caller's contract.
                    unsafe { in_line::$name($($arg),*) }
                }
            )*
        }

        mod in_line {
            use super::*;
            $(
                #[doc = concat!("The next `", stringify!($name), "` in line.")]
                ///
                /// # Safety
                /// As the C function.
                #[inline]
                #[allow(non_snake_case, reason = "named as the functions are")]
                pub unsafe fn $name($($arg: $type),*) -> $ret {
                    type Next = unsafe extern "C-unwind" fn($($type),*) -> $ret;
                    match next::$name.get() {
                        Some(next) => {
                            // SAFETY: the symbol of that name has that type in the C library.
                            let next: Next = unsafe { core::mem::transmute(next.get()) };
                            // SAFETY: the caller's contract.
                            unsafe { next($($arg),*) }
                        }
                        // SAFETY: the caller's contract.
                        None => unsafe { first::$name($($arg),*) },
                    }
                }
            )*
        }
        pub use in_line::*;

        /// Looks all of them up; called once, while booting.
        pub fn boot() {
            $(next::$name.get_or_init(|| next_in_line(concat!(stringify!($name), "\0")));)*
            address::boot();
            look_up_optional();
            note_whose_msync();
        }
    };
}

#[cold]
fn next_in_line(name: &'static str) -> NonZeroUsize {
    // SAFETY: the name is NUL-terminated, and glibc 2.26 and later have every name in the list.
    let next = unsafe { redhook::ld_preload::dlsym_next(name) };
    NonZeroUsize::new(next as usize).unwrap_or_else(|| std::process::abort())
}

/// Where the library is mapped that holds `address` (dl_iterate_phdr(3)). Not by dladdr(3), which goes through all of the C
/// library's symbols: for every process that starts.
pub fn library_of(address: *const c_void) -> Option<usize> {
    struct Search {
        address: usize,
        found: Option<usize>,
    }
    unsafe extern "C" fn look(info: *mut dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
        // SAFETY: the loader's own description of a library, and the `Search` below.
        let (base, headers, search) = unsafe {
            let headers = slice::from_raw_parts((*info).dlpi_phdr, (*info).dlpi_phnum.into());
            (
                (*info).dlpi_addr as usize,
                headers,
                &mut *search.cast::<Search>(),
            )
        };
        let holds = headers.iter().any(|header| {
            let start = base.wrapping_add(header.p_vaddr as usize);
            let offset = search.address.wrapping_sub(start);
            header.p_type == libc::PT_LOAD && offset < header.p_memsz as usize
        });
        search.found = holds.then_some(base);
        holds.into()
    }
    let mut search = Search {
        address: address.addr(),
        found: None,
    };
    // SAFETY: `look` is called before this returns, and with that search.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

static MSYNC_IS_THE_C_LIBRARYS: AtomicBool = AtomicBool::new(false);

fn note_whose_msync() {
    let next = next::msync.get().map_or(0, NonZeroUsize::get) as *const c_void;
    let is = library_of(next) == library_of(libc::gnu_get_libc_version as *const c_void);
    MSYNC_IS_THE_C_LIBRARYS.store(is, Ordering::Relaxed);
}

/// errno of the calling thread.
pub fn errno() -> c_int {
    clib::__errno_location().get()
}

/// Leaves errno of the calling thread so.
pub fn set_errno(errno: c_int) {
    clib::__errno_location().set(errno);
}

/// Whether the next `msync` in line is the C library's, which makes the system call and nothing else.
pub fn msync_is_the_c_librarys() -> bool {
    MSYNC_IS_THE_C_LIBRARYS.load(Ordering::Relaxed)
}

/// Functions that are jumped to, with the caller's arguments.
pub mod address {
    use super::{OnceNonZeroUsize, next_in_line};

    macro_rules! address {
        ($($name:ident)*) => {$(
            #[doc = concat!("Where the next `", stringify!($name), "` in line is.")]
            pub fn $name() -> usize {
                static NEXT: OnceNonZeroUsize = OnceNonZeroUsize::new();
                NEXT.get_or_init(|| next_in_line(concat!(stringify!($name), "\0"))).get()
            }
        )*

            /// Looks all of them up; called once, while booting.
            pub fn boot() {
                $($name();)*
            }
        };
    }

    address! { execl execlp execle syscall }
}

/// A function of the C library's that it may not have: glibc has some since 2.34 alone, others in its own stdio.
struct Optional {
    name: &'static CStr,
    found: AtomicUsize,
}

impl Optional {
    const NOT_LOOKED_UP: usize = 0;
    const NONE: usize = 1;

    const fn new(name: &'static CStr) -> Optional {
        Optional {
            name,
            found: AtomicUsize::new(Optional::NOT_LOOKED_UP),
        }
    }

    fn get(&self) -> Option<usize> {
        let mut found = self.found.load(Ordering::Relaxed);
        if found == Optional::NOT_LOOKED_UP {
            // SAFETY: looks the name up; nothing is called.
            let symbol = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            found = (symbol as usize).max(Optional::NONE);
            self.found.store(found, Ordering::Relaxed);
        }
        (found != Optional::NONE).then_some(found)
    }
}

macro_rules! optional {
    ($($(#[$about:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty as $symbol:literal, else $other:expr;)*) => {
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        mod optional {
            $(pub static $name: super::Optional = super::Optional::new($symbol);)*
        }

        /// Looks all of them up; called once, while booting. Some are called between fork and exec, when another thread may have
        /// been in the dynamic loader, which nobody leaves in the child.
        fn look_up_optional() {
            $(let _ = optional::$name.get();)*
        }

        $(
            $(#[$about])*
            ///
            /// # Safety
            /// As the C function.
            pub unsafe fn $name($($arg: $type),*) -> $ret {
                type Next = unsafe extern "C-unwind" fn($($type),*) -> $ret;
                match optional::$name.get() {
                    Some(next) => {
                        // SAFETY: the symbol of that name has that type in the C library.
                        let next: Next = unsafe { core::mem::transmute(next) };
                        // SAFETY: the caller's contract.
                        unsafe { next($($arg),*) }
                    }
                    None => $other,
                }
            }
        )*
    };
}

optional! {
    /// The next `close_range` in line, or the system call.
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int as c"close_range",
        else raw_close_range(first, last, flags);
    /// The next `closefrom` in line, or the system call.
    fn closefrom(first: c_int) -> () as c"closefrom",
        else { raw_close_range(first.max(0) as c_uint, c_uint::MAX, 0); };
    /// The next `_Fork` in line, or the system call.
    #[allow(non_snake_case, reason = "the C function's name")]
    fn _Fork() -> pid_t as c"_Fork", else raw_fork();
    /// As [`StreamList::lock`].
    fn lock_streams() -> () as c"_IO_list_lock", else ();
    /// As [`StreamList::unlock`].
    fn unlock_streams() -> () as c"_IO_list_unlock", else ();
}

/// The lock of the C library's list of streams, taken by the thread. Dropped it stays taken.
#[must_use]
pub struct StreamList(());

impl StreamList {
    /// Takes the lock, which the thread may have.
    pub fn lock() -> StreamList {
        // SAFETY: any thread may take it.
        unsafe { lock_streams() };
        StreamList(())
    }

    /// Lets go of it.
    pub fn unlock(self) {
        // SAFETY: taken by [`StreamList::lock`], once for each value.
        unsafe { unlock_streams() };
    }
}

fn raw_fork() -> pid_t {
    // SAFETY: as the program has asked for it.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as pid_t }
}

fn raw_close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // SAFETY: the program closes its descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) as c_int }
}

real! {
    fn mmap(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, off: off_t)
        -> *mut c_void;
    fn mmap64(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, off: off_t)
        -> *mut c_void;
    fn munmap(addr: *mut c_void, len: size_t) -> c_int;
    fn mremap(old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, new: *mut c_void)
        -> *mut c_void;
    fn remap_file_pages(addr: *mut c_void, len: size_t, prot: c_int, page: size_t, flags: c_int)
        -> c_int;
    fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int;
    fn mlock(addr: *const c_void, len: size_t) -> c_int;
    fn mlock2(addr: *const c_void, len: size_t, flags: libc::c_uint) -> c_int;
    fn mlockall(flags: c_int) -> c_int;
    fn read(fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t;
    fn pread(fd: c_int, buf: *mut c_void, count: size_t, offset: off_t) -> ssize_t;
    fn pread64(fd: c_int, buf: *mut c_void, count: size_t, offset: off_t) -> ssize_t;
    fn readv(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t;
    fn preadv(fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn preadv64(fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn preadv2(fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
    fn preadv64v2(fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int)
        -> ssize_t;
    fn __read(fd: c_int, buf: *mut c_void, count: size_t) -> ssize_t;
    fn __pread64(fd: c_int, buf: *mut c_void, count: size_t, offset: off_t) -> ssize_t;
    fn __read_chk(fd: c_int, buf: *mut c_void, count: size_t, size: size_t) -> ssize_t;
    fn __pread_chk(fd: c_int, buf: *mut c_void, count: size_t, offset: off_t, size: size_t)
        -> ssize_t;
    fn __pread64_chk(fd: c_int, buf: *mut c_void, count: size_t, offset: off_t, size: size_t)
        -> ssize_t;
    fn setuid(user: uid_t) -> c_int;
    fn setgid(group: gid_t) -> c_int;
    fn seteuid(user: uid_t) -> c_int;
    fn setegid(group: gid_t) -> c_int;
    fn setreuid(real: uid_t, effective: uid_t) -> c_int;
    fn setregid(real: gid_t, effective: gid_t) -> c_int;
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int;
    fn setresgid(real: gid_t, effective: gid_t, saved: gid_t) -> c_int;
    fn setgroups(count: size_t, list: *const gid_t) -> c_int;
    fn initgroups(user: *const c_char, group: gid_t) -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn prctl(option: c_int, second: c_ulong, third: c_ulong, fourth: c_ulong, fifth: c_ulong)
        -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    fn madvise(addr: *mut c_void, len: size_t, advice: c_int) -> c_int;
    fn fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int;
    fn fallocate64(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int;
    fn ftruncate(fd: c_int, size: off_t) -> c_int;
    fn ftruncate64(fd: c_int, size: off_t) -> c_int;
    fn truncate(path: *const c_char, size: off_t) -> c_int;
    fn truncate64(path: *const c_char, size: off_t) -> c_int;
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __open_2(path: *const c_char, flags: c_int) -> c_int;
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn creat(path: *const c_char, mode: mode_t) -> c_int;
    fn creat64(path: *const c_char, mode: mode_t) -> c_int;
    fn fopen(path: Text<'_>, mode: Text<'_>) -> Stream;
    fn fopen64(path: Text<'_>, mode: Text<'_>) -> Stream;
    fn _IO_fopen(path: Text<'_>, mode: Text<'_>) -> Stream;
    fn freopen(path: Text<'_>, mode: Text<'_>, stream: Stream) -> Stream;
    fn freopen64(path: Text<'_>, mode: Text<'_>, stream: Stream) -> Stream;
    fn mkstemp(template: *mut c_char) -> c_int;
    fn mkstemp64(template: *mut c_char) -> c_int;
    fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int;
    fn mkstemps64(template: *mut c_char, suffix: c_int) -> c_int;
    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int;
    fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int;
    fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int;
    fn mkostemps64(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int;
    fn fclose(stream: Stream) -> c_int;
    fn _IO_fclose(stream: Stream) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn __dup2(from: c_int, to: c_int) -> c_int;
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    fn fsync(fd: c_int) -> c_int;
    fn fdatasync(fd: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn __close(fd: c_int) -> c_int;
    fn write(fd: c_int, buf: *const c_void, count: size_t) -> ssize_t;
    fn __write(fd: c_int, buf: *const c_void, count: size_t) -> ssize_t;
    fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t;
    fn pwrite(fd: c_int, buf: *const c_void, count: size_t, offset: off_t) -> ssize_t;
    fn pwrite64(fd: c_int, buf: *const c_void, count: size_t, offset: off_t) -> ssize_t;
    fn __pwrite64(fd: c_int, buf: *const c_void, count: size_t, offset: off_t) -> ssize_t;
    fn pwritev(fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn pwritev64(fd: c_int, iov: *const iovec, count: c_int, offset: off_t) -> ssize_t;
    fn pwritev2(fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int)
        -> ssize_t;
    fn pwritev64v2(fd: c_int, iov: *const iovec, count: c_int, offset: off_t, flags: c_int)
        -> ssize_t;
    fn copy_file_range(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t,
        len: size_t, flags: libc::c_uint) -> ssize_t;
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    fn splice(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t,
        len: size_t, flags: libc::c_uint) -> ssize_t;
    fn _exit(status: c_int) -> !;
    fn _Exit(status: c_int) -> !;
    fn execve(path: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    fn execv(path: Text<'_>, argv: Strings<'_>) -> c_int;
    fn execvp(file: Text<'_>, argv: Strings<'_>) -> c_int;
    fn execvpe(file: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    fn fexecve(fd: c_int, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    fn posix_spawn(pid: *mut pid_t, path: Text<'_>, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    fn posix_spawnp(pid: *mut pid_t, file: Text<'_>, actions: *const posix_spawn_file_actions_t,
        attributes: *const posix_spawnattr_t, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    fn pthread_setcancelstate(state: c_int, old: Option<&mut c_int>) -> c_int;
    fn pthread_testcancel() -> ();
    fn sigprocmask(how: c_int, set: &SignalSet, old: Option<&mut SignalSet>) -> c_int;
}

/// `sigset_t`, of which the first word is all that the kernel knows.
type SignalSet = [u64; 16];
const _: () = assert!(size_of::<SignalSet>() == size_of::<libc::sigset_t>());

/// Those that are sound to call with any arguments that their types allow, in front of the ones above.
macro_rules! safe {
    ($($(#[$about:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty;)*) => {$(
        $(#[$about])*
        #[inline]
        pub fn $name($($arg: $type),*) -> $ret {
            // SAFETY: so they are.
            unsafe { in_line::$name($($arg),*) }
        }
    )*};
}

safe! {
    /// The next `msync` in line, which changes no memory: a range that is not mapped gives ENOMEM.
    fn msync(addr: *mut c_void, len: size_t, flags: c_int) -> c_int;
    /// The next `execve` in line, which replaces the program, or does nothing.
    fn execve(path: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    /// The next `execvpe` in line, as `execve`.
    fn execvpe(file: Text<'_>, argv: Strings<'_>, env: Strings<'_>) -> c_int;
    /// The next `pthread_setcancelstate` in line. Where it unwinds, nothing of the caller's may need to be dropped.
    fn pthread_setcancelstate(state: c_int, old: Option<&mut c_int>) -> c_int;
    /// The next `pthread_testcancel` in line; likewise.
    fn pthread_testcancel() -> ();
    /// The next `sigprocmask` in line.
    fn sigprocmask(how: c_int, set: &SignalSet, old: Option<&mut SignalSet>) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE` of pthread.h, which the libc crate lacks.
const CANCEL_DISABLE: c_int = 1;

/// Blocks all signals and then puts cancellation off, for what blocks signals itself and takes a while.
/// A thread that cancels this one looks whether it may before it sends the signal; the C library's handler
/// does not look again. Sent in that moment, the signal would wait until the first lock of the shim's is
/// let go, and unwind from there. Returns what [`leave`] wants.
pub fn enter() -> Entered {
    let entered = Entered {
        quiet: signals::block(),
        state: defer_cancel(),
        is_counted: process::is_open(),
    };
    if entered.is_counted {
        INSIDE.get().fetch_add(1, Ordering::SeqCst);
    }
    entered
}

/// How many threads of a process are between [`enter`] and [`leave`].
static INSIDE: PerProcess<AtomicU32> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot_counting() -> bool {
    INSIDE.boot()
}

/// How many threads are inside, the calling one too.
pub fn inside() -> u32 {
    INSIDE.get().load(Ordering::SeqCst)
}

/// Between [`enter`] and [`leave`]. Nothing is to be dropped.
pub struct Entered {
    pub quiet: signals::Quiet,
    state: c_int,
    is_counted: bool,
}

/// Back to before [`enter`]: what came meanwhile acts now. Where it unwinds, nothing of the caller's may
/// need to be dropped.
pub fn leave(entered: Entered) {
    if entered.is_counted {
        INSIDE.get().fetch_sub(1, Ordering::SeqCst);
    }
    allow_cancel(entered.state);
    let before = entered.quiet.before();
    if before & INTERNAL != 0 {
        // The program has blocked the C library's own signals, which that would let through.
        return entered.quiet.end();
    }
    let mut set: SignalSet = [0; _];
    set[0] = before;
    // Through the C library: unwinding may begin in a function of its, and not in one of Rust's.
    sigprocmask(libc::SIG_SETMASK, &set, None);
}

/// `SIGCANCEL` and `SIGSETXID` of the C library, 32 and 33.
const INTERNAL: u64 = 0b11 << 31;

/// Puts cancellation of the calling thread off, for code that must not be left half-way
/// (`PTHREAD_CANCEL_ASYNCHRONOUS` acts between any two instructions). Returns what
/// [`allow_cancel`] wants. No system call.
pub fn defer_cancel() -> c_int {
    let mut state = 0;
    pthread_setcancelstate(CANCEL_DISABLE, Some(&mut state));
    state
}

/// Back to the `state` of before: what came meanwhile acts now, at once where it is asynchronous.
/// Where it unwinds, nothing of the caller's may need to be dropped.
pub fn allow_cancel(state: c_int) {
    pthread_setcancelstate(state, None);
}
