//! Filters of system calls (seccomp(2)) that would end the program, or run a handler of its, at a call that is the shim's
//! and not the program's. Such calls are not made: those of [`super::raw`], [`super::thread`] and others that ask
//! [`is_fatal`] fail with `ENOSYS` instead. Of [`ESSENTIAL`] ones the shim cannot do without.
//!
//! [`super::filter`] finds out which these are.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Calls without which nothing can be done.
pub(super) const ESSENTIAL: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_rt_sigprocmask,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_clock_gettime,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_readlinkat,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    libc::SYS_pwritev2,
    libc::SYS_wait4,
    libc::SYS_prlimit64,
    libc::SYS_setsid,
    libc::SYS_chdir,
    libc::SYS_faccessat,
    libc::SYS_fallocate,
    libc::SYS_uname,
    libc::SYS_geteuid,
];

/// Calls that something else takes the place of, or that are left out, where they are denied.
pub(super) const OTHERS: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_name_to_handle_at,
    libc::SYS_statx,
    libc::SYS_fadvise64,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_getgroups,
    libc::SYS_setgroups,
    SYS_FUTEX_WAITV,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigaction,
    libc::SYS_getppid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_unshare,
    libc::SYS_kcmp,
    libc::SYS_getrusage,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setattr,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_process_vm_readv,
    libc::SYS_sendto,
    libc::SYS_userfaultfd,
    libc::SYS_vmsplice,
    libc::SYS_waitid,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    super::kernel::SYS_CACHESTAT,
    // The supervisor's alone.
    libc::SYS_ptrace,
    libc::SYS_process_madvise,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_seccomp,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_clone3,
];

/// What a supervisor cannot do without, beside [`ESSENTIAL`].
const SUPERVISING: &[i64] = &[
    libc::SYS_ioctl,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_seccomp,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
];

/// futex_waitv(2), which the libc crate does not have.
pub(super) const SYS_FUTEX_WAITV: i64 = 449;

/// A set of system calls, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls([u64; 8]);

impl Calls {
    pub(super) const MOST: i64 = 512;

    fn place(number: i64) -> Option<(usize, u64)> {
        (0..Calls::MOST)
            .contains(&number)
            .then(|| (number as usize / 64, 1 << (number % 64)))
    }

    pub(super) fn add(&mut self, number: i64) {
        if let Some((word, bit)) = Calls::place(number) {
            self.0[word] |= bit;
        }
    }

    /// These and those.
    pub fn with(self, others: Calls) -> Calls {
        let mut both = self;
        for (word, other) in both.0.iter_mut().zip(others.0) {
            *word |= other;
        }
        both
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Calls::default()
    }

    pub(super) fn has(&self, number: i64) -> bool {
        Calls::place(number).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// The first of them that the shim cannot do without.
    pub fn first_essential(&self) -> Option<i64> {
        ESSENTIAL.iter().copied().find(|&number| self.has(number))
    }

    /// The first of them that a supervisor cannot do without.
    pub fn first_to_supervise(&self) -> Option<i64> {
        let mut all = ESSENTIAL.iter().chain(SUPERVISING).copied();
        all.find(|&number| self.has(number))
    }
}

static FATAL: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
/// Whether there is one.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether call `number` is not to be made. Any context.
#[inline]
pub fn is_fatal(number: i64) -> bool {
    ANY.load(Ordering::Relaxed) && now().has(number)
}

/// All that are not to be made.
#[cold]
#[inline(never)]
pub fn now() -> Calls {
    Calls(FATAL.each_ref().map(|word| word.load(Ordering::Relaxed)))
}

/// Those are not to be made, and no others; ends of a thread and a process are no matter of choice.
pub fn set(mut calls: Calls) {
    for number in [libc::SYS_exit, libc::SYS_exit_group] {
        if let Some((word, bit)) = Calls::place(number) {
            calls.0[word] &= !bit;
        }
    }
    for (word, value) in FATAL.iter().zip(calls.0) {
        word.store(value, Ordering::Relaxed);
    }
    ANY.store(!calls.is_empty(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_listed_twice() {
        let mut calls = Calls::default();
        for &number in ESSENTIAL.iter().chain(OTHERS) {
            assert!(!calls.has(number), "{number}");
            calls.add(number);
        }
    }
}
