//! Blocking every signal while the shim holds a lock.
//!
//! A handler that interrupted a lock holder and called a hook would wait for itself. The raw system call is used because the
//! C library's `sigprocmask` refuses to block its own two signals (cancellation and setxid), and a handler for those must not run
//! in here either. The program cannot notice: a signal that arrives during msync(2) is delivered when the system call returns,
//! natively too.
//!
//! In a process that has a filter (seccomp(2)) SIGSYS stays as the program has it: where a handler is to answer a system call
//! (SECCOMP_RET_TRAP), the kernel kills a process that blocks it.

use super::{raw, thread};
use core::sync::atomic::{AtomicU64, Ordering};

/// All signals are blocked while this lives; the previous mask returns with its drop.
pub struct Blocked {
    /// None on a thread of the shim's own, on which they are blocked anyway.
    old: Option<u64>,
}

impl Blocked {
    /// Blocks all signals of the calling thread (rt_sigprocmask(2)). Any context.
    #[inline]
    pub fn all() -> Blocked {
        Blocked {
            old: (!thread::is_own()).then(|| block().old),
        }
    }
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// All but SIGSYS.
const FEWEST: u64 = !bit(libc::SIGSYS);

/// What is blocked: all, or [`FEWEST`].
static ALL: AtomicU64 = AtomicU64::new(u64::MAX);

/// The process is about to have a filter that may answer system calls by SIGSYS. Any context.
pub fn expect_traps() {
    ALL.store(FEWEST, Ordering::Relaxed);
}

/// Whether all signals that can be blocked, but perhaps SIGSYS, are blocked of the calling thread.
pub fn are_blocked() -> bool {
    const NEVER: u64 = bit(libc::SIGKILL) | bit(libc::SIGSTOP);
    let mut old = 0u64;
    // Blocks nothing more.
    change(libc::SIG_BLOCK, 0, &mut old);
    (old | NEVER) & FEWEST == FEWEST
}

/// Says that all signals of the calling thread are blocked, until [`Quiet::end`]. Nothing is to be dropped.
pub struct Quiet {
    old: u64,
}

/// Blocks all signals of the calling thread. Any context.
#[inline]
pub fn block() -> Quiet {
    let mut old = 0u64;
    change(libc::SIG_BLOCK, ALL.load(Ordering::Relaxed), &mut old);
    Quiet { old }
}

impl Quiet {
    /// What was blocked before: bit n is signal n + 1.
    #[inline]
    pub fn before(&self) -> u64 {
        self.old
    }

    /// Blocks that again, and nothing else.
    #[inline]
    pub fn end(self) {
        set(self.old, &mut 0);
    }
}

impl Drop for Blocked {
    #[inline]
    fn drop(&mut self) {
        if let Some(old) = self.old {
            set(old, &mut 0);
        }
    }
}

#[inline]
fn set(mask: u64, old: &mut u64) {
    change(libc::SIG_SETMASK, mask, old);
}

#[inline]
fn change(how: i32, mask: u64, old: &mut u64) {
    let _ = raw::sys_sigprocmask(how, &mask, old);
}
