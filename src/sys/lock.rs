//! A futex lock for `lock_api`, and waiting on futex words.
//!
//! `parking_lot`'s own slow path allocates and uses thread-local storage; a hook may do neither (a
//! signal handler may be the caller, and the custodian has no thread-local storage). Its typed
//! guards are kept, over this raw lock.

use core::sync::atomic::{AtomicU32, Ordering};
use parking_lot::lock_api;
use rustix::thread::{Timespec, futex};

/// What futex(2) sleeps on.
pub type Word = AtomicU32;

/// 0 free, 1 held, 2 held with waiters. All-zero is the free state, so that memory wiped by fork
/// holds free locks.
pub struct RawFutex(AtomicU32);

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
    const INIT: RawFutex = RawFutex(AtomicU32::new(0));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        if self.try_lock() {
            return;
        }
        while self.0.swap(2, Ordering::Acquire) != 0 {
            wait(&self.0, 2);
        }
    }

    fn try_lock(&self) -> bool {
        self.0
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            wake_one(&self.0);
        }
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
