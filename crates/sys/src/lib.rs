//! The lowest floor: wrappers over the kernel interfaces that `libc` and `rustix` lack, and what the
//! shim has in place of an allocator, a lock and a thread of the C library's.
//!
//! Everything here is a raw system call: no errno, no thread-local storage, no allocation. That is
//! what lets the same code run in a signal handler of the program's and on the shim's own threads,
//! which have no thread control block of their own (see [`thread`]).

#![warn(missing_docs)]

pub mod cachestat;
pub mod clib;
pub mod defect;
pub mod extents;
pub mod fd;
pub mod filter;
pub mod ids;
pub mod kernel;
pub mod lines;
pub mod list;
pub mod lock;
pub mod pool;
pub mod proc_path;
pub mod program;
pub mod raw;
pub mod seccomp;
pub mod signals;
pub mod strings;
pub mod supervised;
#[cfg(test)]
mod testing;
pub mod thread;
pub mod userfaultfd;
pub mod vm;
pub mod wipe;
pub mod write;

#[cfg(debug_assertions)]
use core::sync::atomic::AtomicI32;
use core::sync::atomic::{AtomicUsize, Ordering};

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4096);

/// The page size in bytes. Any context.
#[inline]
pub fn page_size() -> usize {
    PAGE_SIZE.load(Ordering::Relaxed)
}

/// What one page table maps, bytes: 2 MiB with pages of 4 KiB. No folio of the page cache is larger.
pub fn page_table_reach() -> usize {
    page_size() * (page_size() / size_of::<u64>())
}

/// Learns the page size from the C library; called once, while booting.
pub fn boot() {
    let size = clib::sysconf(libc::_SC_PAGESIZE);
    if size > 0 {
        PAGE_SIZE.store(size as usize, Ordering::Relaxed);
    }
}

/// `n` rounded up to whole pages; saturates at the highest page boundary.
#[inline]
pub fn page_up(n: u64) -> u64 {
    let mask = page_size() as u64 - 1;
    n.saturating_add(mask) & !mask
}

/// `n` rounded down to a page boundary.
#[inline]
pub fn page_down(n: u64) -> u64 {
    n & !(page_size() as u64 - 1)
}

/// The caller's thread id, asked of the kernel: right after `fork`, `vfork` and a raw `clone` too. 0 where
/// a sandbox denies the call: `rustix` takes the errno for a number, and kill(2) takes -1 for every process.
pub fn gettid() -> i32 {
    #[cfg(not(miri))]
    return id(raw::sys_gettid());
    #[cfg(miri)]
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// The caller's process id, asked of the kernel; 0 as above.
pub fn getpid() -> i32 {
    #[cfg(not(miri))]
    return id(raw::sys_getpid());
    #[cfg(miri)]
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The process id of the caller's parent; 0 as above, and where that is of another PID namespace.
pub fn getppid() -> i32 {
    id(raw::sys_getppid())
}

fn id(answer: Result<usize, rustix::io::Errno>) -> i32 {
    answer.map_or(0, |id| id as i32)
}

/// Sends `signal` to process `pid`: to one, or to nobody.
pub fn kill(pid: i32, signal: i32) {
    if pid > 0 {
        let _ = raw::sys_kill(pid, signal);
    }
}

/// The process whose standard error [`abort_with`] writes to: one that shares its memory may have another
/// process id, and descriptors of its own.
#[cfg(debug_assertions)]
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Notes the id of the program's process, which a fork child changes.
pub fn note_program(_pid: i32) {
    #[cfg(debug_assertions)]
    PROGRAM.store(_pid, Ordering::Relaxed);
}

/// Writes `line` to the program's standard error, opened anew, and ends the program by SIGABRT, whatever it
/// has made of that signal. On any thread, those without thread-local storage included.
#[cfg(debug_assertions)]
pub fn abort_with(line: &[u8]) -> ! {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let program = PROGRAM.load(Ordering::Relaxed);
    let mut path = proc_path::ProcPath::new(b"/proc/");
    path.number(program);
    path.push(b"/fd/2");
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
    if let Ok(stderr) = openat(CWD, path.as_c_str(), flags | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&stderr, line);
    }
    let _ = raw::sys_default_action(libc::SIGABRT);
    let _ = raw::sys_sigprocmask(libc::SIG_UNBLOCK, &(1 << (libc::SIGABRT - 1)), &mut 0);
    kill(program, libc::SIGABRT);
    let _ = raw::sys_tgkill(getpid(), gettid(), libc::SIGABRT);
    loop {
        let _ = raw::sys_exit_group(127);
    }
}

/// Whether the kernel says that it is of version `major`.`minor` or later (uname(2)).
pub fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    is_at_least(uname.release().to_bytes(), (major, minor))
}

fn is_at_least(release: &[u8], wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|b| !b.is_ascii_digit()).map(|digits| {
        digits.iter().fold(0u32, |n, b| {
            n.saturating_mul(10).saturating_add(u32::from(b - b'0'))
        })
    });
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// Sleeps for `ns` (nanosleep(2)), on a thread that gets no signals.
pub fn sleep(ns: u64) {
    let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    });
}

/// Wall-clock time in ns since the epoch (clock_gettime(2), `CLOCK_REALTIME`). Any context.
pub fn wall_ns() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Monotonic time in ns, for durations. Any context.
pub fn monotonic_ns() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since the machine was started (`CLOCK_BOOTTIME`), by which /proc tells when a process was.
pub fn boot_ns() -> u64 {
    clock(libc::CLOCK_BOOTTIME)
}

/// By the system call: valgrind hides the vDSO, and libfaketime bends the C library's function, by
/// which deadlines would never come.
fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = raw::sys_clock_gettime(id, &mut time);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, is) in [
            (&b"5.19.0"[..], true),
            (b"6.1.0-56-amd64", true),
            (b"6.18.44-fc", true),
            (b"7.0-rc1", true),
            (b"5.19", true),
            (b"5.9.19", false),
            (b"5.10.0-30-amd64", false),
            (b"4.20", false),
            (b"", false),
            (b"unknown", false),
        ] {
            assert_eq!(is_at_least(release, (5, 19)), is, "{release:?}");
        }
    }
}
