//! Those of the model checker, over which it sees every step.

use core::sync::atomic::Ordering;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Condvar};

pub use loom::cell::UnsafeCell;

/// What futex(2) sleeps on.
pub type Word = AtomicU32;

/// A lock that cannot be poisoned: where a thread panics the model ends.
#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// What holds it.
pub type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A lock that is free.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Waits until it is free, and takes it.
    pub fn lock(&self) -> Guard<'_, T> {
        self.0.lock().expect("not poisoned")
    }

    /// Takes it if it is free.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// A thread that sleeps on a word.
struct Sleeper {
    address: usize,
    number: u64,
    wake: Arc<Condvar>,
}

#[derive(Default)]
struct Sleepers {
    asleep: Vec<Sleeper>,
    count: u64,
}

loom::lazy_static! {
    static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers::default());
}

/// futex(2), `FUTEX_WAIT`: compares and falls asleep in one step as seen by who wakes.
pub fn wait(word: &Word, expected: u32) {
    let mut sleepers = SLEEPERS.lock();
    if word.load(Ordering::Relaxed) != expected {
        return;
    }
    sleepers.count += 1;
    let number = sleepers.count;
    let wake = Arc::new(Condvar::new());
    sleepers.asleep.push(Sleeper {
        address: core::ptr::from_ref(word).addr(),
        number,
        wake: Arc::clone(&wake),
    });
    while sleepers.asleep.iter().any(|s| s.number == number) {
        sleepers = wake.wait(sleepers).expect("not poisoned");
    }
}

/// The same here.
pub use wait as rest;

/// `FUTEX_WAKE` of one. The word may be gone. Nobody denies it here.
pub fn wake_one(word: *const Word) -> bool {
    wake(word.addr(), 1);
    true
}

/// `FUTEX_WAKE` of all.
pub fn wake_all(word: &Word) {
    wake(core::ptr::from_ref(word).addr(), usize::MAX);
}

fn wake(address: usize, most: usize) {
    let mut sleepers = SLEEPERS.lock();
    for _ in 0..most {
        let Some(at) = sleepers.asleep.iter().position(|s| s.address == address) else {
            return;
        };
        sleepers.asleep.remove(at).wake.notify_one();
    }
}
