//! A futex lock for `lock_api`, and waiting on futex words.
//!
//! `parking_lot`'s own slow path allocates and uses thread-local storage; a hook may do neither (a
//! signal handler may be the caller, and the helper has no thread-local storage). Its typed
//! guards are kept, over this raw lock.

use super::raw;
use crate::kernel::FutexWaiter;
#[cfg(debug_assertions)]
use core::sync::atomic::AtomicI32;
use core::sync::atomic::{AtomicU32, Ordering};
use parking_lot::lock_api;
use rustix::io::Errno;
use rustix::thread::{Timespec, futex};

/// What futex(2) sleeps on.
pub type Word = AtomicU32;

/// All-zero is the free state, so that memory wiped by fork holds free locks.
///
/// A debug build remembers which thread holds it: one that takes it again would wait for itself, and
/// ends the program with a line that says so.
pub struct RawFutex {
    /// 0 free, 1 held, 2 held with waiters.
    word: AtomicU32,
    #[cfg(debug_assertions)]
    owner: AtomicI32,
}

/// A mutex over [`RawFutex`]. Signals must be blocked by whoever locks it (see [`super::signals`]).
pub type Mutex<T> = lock_api::Mutex<RawFutex, T>;

/// What holds it.
pub type Guard<'a, T> = lock_api::MutexGuard<'a, RawFutex, T>;

// SAFETY: `lock` returns only after an acquiring transition from 0, which one thread at a time can
// make; `unlock` releases.
unsafe impl lock_api::RawMutex for RawFutex {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "the trait asks for it"
    )]
    const INIT: RawFutex = RawFutex {
        word: AtomicU32::new(0),
        #[cfg(debug_assertions)]
        owner: AtomicI32::new(0),
    };
    type GuardMarker = lock_api::GuardNoSend;

    #[inline]
    fn lock(&self) {
        if self.try_lock() {
            return;
        }
        #[cfg(debug_assertions)]
        if self.owner.load(Ordering::Relaxed) == super::gettid() {
            super::abort_with(b"keepmydata: a thread takes a lock of the shim's that it holds\n");
        }
        while self.word.swap(2, Ordering::Acquire) != 0 {
            wait(&self.word, 2);
        }
        self.is_mine();
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let word = &self.word;
        let taken = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            self.is_mine();
        }
        taken.is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        #[cfg(debug_assertions)]
        self.owner.store(0, Ordering::Relaxed);
        if self.word.swap(0, Ordering::Release) == 2 {
            wake_one(&self.word);
        }
    }
}

impl RawFutex {
    /// The calling thread has taken it.
    #[inline]
    fn is_mine(&self) {
        #[cfg(debug_assertions)]
        self.owner.store(super::gettid(), Ordering::Relaxed);
    }
}

/// The longest that [`wait`] sleeps, ns: a sandbox may deny another thread the wake-up.
const LONGEST_NS: u64 = 1_000_000_000;

/// Sleeps while `word` holds `expected` (futex(2), private). May return early: check again.
pub fn wait(word: &AtomicU32, expected: u32) {
    wait_for(word, expected, LONGEST_NS);
}

/// The same for who has nothing to do until it is woken, however long that is.
pub fn rest(word: &AtomicU32, expected: u32) {
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, None);
}

/// Whether the calling thread may sleep and wake others: a sandbox may deny futex(2).
pub fn is_allowed() -> bool {
    wake_one(&Word::new(0))
}

/// The same for `ns` at the most.
pub fn wait_for(word: &AtomicU32, expected: u32, ns: u64) {
    let time = Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    };
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, Some(&time));
}

/// Sleeps while `own` holds `expected` and the word at address `other`, which the kernel clears and which
/// may be gone, holds `until`; for `ns` at the most. May return early: check again. Where futex_waitv(2)
/// is not there (Linux 5.16), for a short time only.
///
/// The kernel wakes one sleeper when it clears the word, and pthread_join(3) sleeps on it too: the others are
/// woken here.
pub fn wait_either(own: &AtomicU32, expected: u32, other: usize, until: u32, ns: u64) {
    const SIZE_U32: u32 = 2;
    const PRIVATE: u32 = 128;
    const SHORT_NS: u64 = 20_000_000;
    let waiter = |address, value, flags| FutexWaiter {
        value: u64::from(value),
        address,
        flags,
        reserved: 0,
    };
    let waiters = [
        waiter(own.as_ptr() as u64, expected, SIZE_U32 | PRIVATE),
        // The kernel wakes it as one that is shared (`mm_release` in kernel/fork.c).
        waiter(other as u64, until, SIZE_U32),
    ];
    let deadline = super::monotonic_ns() + ns;
    let time = libc::timespec {
        tv_sec: (deadline / 1_000_000_000) as i64,
        tv_nsec: (deadline % 1_000_000_000) as i64,
    };
    const OTHER: usize = 1;
    match raw::sys_futex_waitv(&waiters, &time) {
        Ok(OTHER) => {
            let _ = raw::sys_futex_wake(other, false, i32::MAX);
        }
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => wait_for(own, expected, SHORT_NS),
        _ => (),
    }
}

/// Wakes one sleeper on `word`, of which the address is all that is used: what it lay in may be gone. False where
/// a sandbox denies that.
pub fn wake_one(word: *const AtomicU32) -> bool {
    #[cfg(not(miri))]
    return matches!(
        raw::sys_futex_wake(word.addr(), true, 1),
        Ok(_) | Err(Errno::FAULT)
    );
    // SAFETY: the kernel looks for sleepers on that address, and at nothing that lies there. Miri knows no system
    // call instruction.
    #[cfg(miri)]
    unsafe {
        let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word, wake, 1) >= 0
    }
}

/// Wakes every sleeper on `word`. The kernel takes the count as signed: `u32::MAX` would wake one.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    /// In a process of its own, which it ends.
    #[test]
    #[cfg(debug_assertions)]
    #[cfg_attr(miri, ignore = "fork(2)")]
    fn a_thread_that_takes_a_lock_twice_ends_the_program() {
        static LOCK: Mutex<()> = Mutex::new(());
        let ended = crate::testing::in_child(|| {
            crate::note_program(crate::getpid());
            let _once = LOCK.lock();
            let _twice = LOCK.lock();
            0
        });
        let signal = ended.terminating_signal();
        assert_eq!(signal, Some(libc::SIGABRT), "{ended:?}");
    }

    #[test]
    fn lock_excludes() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let count = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let count = Arc::clone(&count);
                thread::spawn(move || (0..rounds).for_each(|_| *count.lock() += 1))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|t| t.join().expect("a thread"));
        assert_eq!(*count.lock(), 4 * rounds);
    }

    #[test]
    fn sleeper_is_woken() {
        static WORD: Word = Word::new(0);
        let sleeper = thread::spawn(|| {
            while WORD.load(Ordering::Acquire) == 0 {
                wait(&WORD, 0);
            }
        });
        WORD.store(1, Ordering::Release);
        wake_all(&WORD);
        sleeper.join().expect("the sleeper");
        // Another value is there: no sleep.
        wait(&WORD, 0);
        wait_for(&WORD, 1, 1_000);
    }
}
