//! Group commit: no caller is served by a flush that began before its call, what it had stored is
//! in the flush, and nobody sleeps for ever.

mod checking;

#[cfg(loom)]
use checking::{assert_found, sync::defect::Defect};
use checking::{
    check,
    sync::commit::{GroupCommit, Ticket},
    sync::port::{Mutex, UnsafeCell},
    thread,
};
use core::sync::atomic::{AtomicUsize, Ordering};
#[cfg(loom)]
use loom::sync::atomic::AtomicUsize as SeenAtomic;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::AtomicUsize as SeenAtomic;

const BIRTH: u32 = 7;

struct File {
    table: Mutex<()>,
    group: GroupCommit<u32>,
    /// Of each caller: what it stored. Written by it before its call, read by flushes.
    stored: Vec<SeenAtomic>,
    /// What flushes have written. By one flush at a time.
    written: UnsafeCell<Vec<usize>>,
    /// Steps so far; seen by the checks only.
    clock: AtomicUsize,
    /// The caller whose call the kernel refuses, if any.
    refused: usize,
    /// When each flush began.
    began: Vec<AtomicUsize>,
}

// SAFETY: `group` is used under the table lock; loom checks the use of `written`.
unsafe impl Sync for File {}
// SAFETY: as above.
unsafe impl Send for File {}

impl File {
    fn tick(&self) -> usize {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn msync(&self, caller: usize) {
        self.stored[caller].fetch_add(1, Ordering::Relaxed);
        let called = self.tick();
        // SAFETY: every use of the group takes the same lock.
        let group = unsafe { self.group.under(|| self.table.lock(), BIRTH) };
        let number = match group.enter() {
            Ticket::Lead => {
                let number = group.begin().number;
                self.began[number as usize].store(self.tick(), Ordering::SeqCst);
                if caller == self.refused {
                    group.leave(number, None);
                    return;
                }
                self.flush();
                // The result tells which flush it was.
                group.leave(number, Some(number));
                number
            }
            Ticket::Served(number) => number,
        };
        let began = self.began[number as usize].load(Ordering::SeqCst);
        assert!(
            began > called,
            "served by flush {number} of before the call"
        );
    }

    fn flush(&self) {
        self.written.with_mut(|written| {
            // SAFETY: loom checks that no other flush runs.
            let written = unsafe { &mut *written };
            for (caller, stored) in self.stored.iter().enumerate() {
                written[caller] = stored.load(Ordering::Relaxed);
            }
        });
    }
}

fn run(callers: usize, calls: usize) {
    run_with(callers, calls, usize::MAX);
}

fn run_with(callers: usize, calls: usize, refused: usize) {
    let file = Arc::new(File {
        table: Mutex::new(()),
        group: GroupCommit::default(),
        stored: (0..callers).map(|_| Default::default()).collect(),
        written: UnsafeCell::new(vec![0; callers]),
        clock: AtomicUsize::new(0),
        refused,
        began: (0..=callers * calls).map(|_| AtomicUsize::new(0)).collect(),
    });
    let threads: Vec<_> = (1..callers)
        .map(|caller| {
            let file = Arc::clone(&file);
            thread::spawn(move || (0..calls).for_each(|_| file.msync(caller)))
        })
        .collect();
    (0..calls).for_each(|_| file.msync(0));
    for thread in threads {
        thread.join().expect("a caller");
    }
    file.written.with(|written| {
        // SAFETY: all flushes have ended.
        let written = unsafe { &*written };
        let served = (0..callers).filter(|caller| *caller != refused);
        served.for_each(|caller| assert_eq!(written[caller], calls, "of {caller}"));
    });
}

#[test]
fn three_callers() {
    check(3, || run(3, 1));
}

#[test]
fn two_callers_twice() {
    check(3, || run(2, 2));
}

#[test]
fn four_callers() {
    check(1, || run(4, 1));
}

/// Nobody is served by it, and nobody waits for it for ever.
#[test]
fn three_callers_and_one_is_refused() {
    check(2, || run_with(3, 1, 1));
}

#[cfg(loom)]
#[test]
fn flush_that_began_before_is_found() {
    assert_found(
        Defect::ServedByTheRunningFlush,
        "of before the call",
        || run(3, 1),
    );
}

#[cfg(loom)]
#[test]
fn sleep_for_ever_is_found() {
    assert_found(Defect::WakesOneOfAll, "deadlock", || run(4, 1));
}

#[cfg(loom)]
#[test]
fn lost_wake_up_is_found() {
    assert_found(Defect::SleepsOnWhatItSeesLate, "deadlock", || run(2, 1));
}
