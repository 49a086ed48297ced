//! prctl: a thread in seccomp's strict mode may make no system call of the shim's.

use core::ffi::c_ulong;
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{c_int, pthread_self};

/// The threads in that mode, which none leaves again. The kernel ends a thread there that makes another call than read,
/// write, exit and sigreturn (prctl(2), `PR_SET_SECCOMP`): only hooks that natively make no other need to ask.
static STRICT: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];
/// How many calls have asked for it; those beyond the room above are for all threads.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether the calling thread is in that mode. No system call; any context.
#[inline]
pub fn is_strict() -> bool {
    COUNT.load(Ordering::Relaxed) != 0 && is_listed()
}

#[cold]
fn is_listed() -> bool {
    let own = this_thread();
    let is_own = |thread: &AtomicUsize| thread.load(Ordering::Relaxed) == own;
    COUNT.load(Ordering::Relaxed) > STRICT.len() || STRICT.iter().any(is_own)
}

fn this_thread() -> usize {
    // SAFETY: only says which thread it is.
    unsafe { pthread_self() as usize }
}

/// Puts `to` where `from` is.
fn replace(from: usize, to: usize) {
    let put = |thread: &&AtomicUsize| {
        let done = thread.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        done.is_ok()
    };
    let _ = STRICT.iter().find(put);
}

hook! {
    /// Hook for [`libc::prctl`]. The C prototype takes all arguments but the first as variable ones, which every ABI that
    /// Linux has passes in registers; those that an option does not have are never looked at.
    fn prctl(
        option: c_int,
        second: c_ulong,
        third: c_ulong,
        fourth: c_ulong,
        fifth: c_ulong,
    ) -> c_int, real => {
        let strict = c_ulong::from(libc::SECCOMP_MODE_STRICT);
        let is_asked = option == libc::PR_SET_SECCOMP && second == strict;
        if is_asked {
            // Before the call: a signal handler may run right after it.
            replace(0, this_thread());
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        let result = real();
        if is_asked && result != 0 {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            replace(this_thread(), 0);
        }
        result
    }
}
