//! A futex lock for `lock_api`, and waiting on futex words.
//!
//! `parking_lot`'s own slow path allocates and uses thread-local storage; a hook may do neither (a
//! signal handler may be the caller, and the custodian has no thread-local storage). Its typed
//! guards are kept, over this raw lock.

#[cfg(debug_assertions)]
use core::sync::atomic::AtomicI32;
use core::sync::atomic::{AtomicU32, Ordering};
use parking_lot::lock_api;
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

    fn try_lock(&self) -> bool {
        let word = &self.word;
        let taken = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            self.is_mine();
        }
        taken.is_ok()
    }

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
    fn is_mine(&self) {
        #[cfg(debug_assertions)]
        self.owner.store(super::gettid(), Ordering::Relaxed);
    }
}

/// Sleeps while `word` holds `expected` (futex(2), private). May return early: check again.
pub fn wait(word: &AtomicU32, expected: u32) {
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, None);
}

/// The same for `ns` at the most.
pub fn wait_for(word: &AtomicU32, expected: u32, ns: u64) {
    let time = Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    };
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, Some(&time));
}

/// Wakes one sleeper on `word`.
pub fn wake_one(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

/// Wakes every sleeper on `word`. The kernel takes the count as signed: `u32::MAX` would wake one.
pub fn wake_all(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32);
}

#[cfg(all(test, debug_assertions, not(miri)))]
mod tests {
    use super::*;

    /// In a process of its own, which it ends.
    #[test]
    fn a_thread_that_takes_a_lock_twice_ends_the_program() {
        static LOCK: Mutex<()> = Mutex::new(());
        // SAFETY: the child makes system calls only, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            super::super::note_program(super::super::getpid());
            let _once = LOCK.lock();
            let _twice = LOCK.lock();
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: the status is live.
        let ended = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(ended, child);
        assert_eq!(libc::WTERMSIG(status), libc::SIGABRT, "status {status:#x}");
    }
}
