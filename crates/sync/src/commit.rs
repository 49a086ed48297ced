//! Group commit: several threads in msync on one file share a flush.
//!
//! Flushes of a file are numbered and run one after another. A caller that arrives when flush `n` has
//! begun (or none) needs flush `n + 1`: that one begins after the call did, so it covers every store
//! that happened before the call. Whoever finds nobody leading leads the next one; everybody who
//! waited for its number is served by it. Nobody is ever served by a flush that had begun before.
//!
//! A leader says when its flush begins ([`GroupCommit::begin`]): as late as it can, because whoever comes
//! until then is served too. Eight threads at work would otherwise fall into two parties, the one
//! that was served and the one that came meanwhile, and the smaller may be a single thread. So a leader
//! may wait a little before that, while it has fewer with it than the last one ([`GroupCommit::is_short`]).

use crate::port::{self, UnsafeCell, Word};
use core::sync::atomic::Ordering;

/// Results kept for callers that wake late; one that is overtaken takes the newest.
const KEPT: usize = 8;

/// The result of a flush that was begun and not done: it serves nobody.
pub const ABANDONED: i32 = -1;

/// The flushes of one file, say. Whoever calls a method passes what locks it, the same lock always.
#[derive(Default)]
pub struct GroupCommit {
    state: UnsafeCell<State>,
    /// Number of the last flush that ended; waiters sleep on it.
    done: Word,
}

#[derive(Default)]
struct State {
    /// The process that the rest belongs to: after a fork the child starts anew.
    birth: u32,
    /// Somebody leads.
    running: bool,
    begun: u32,
    /// Callers that neither lead nor were served yet.
    waiting: u32,
    /// Callers that the last flush began with, its leader among them.
    party: u32,
    results: [i32; KEPT],
}

/// How a call gets its flush.
#[derive(Debug, PartialEq, Eq)]
pub enum Ticket {
    /// The caller calls [`GroupCommit::begin`], flushes, and calls [`GroupCommit::leave`].
    Lead,
    /// Another thread's flush, which began after the call, ended with this errno; 0 is none.
    Served(i32),
}

/// A flush that begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    pub number: u32,
    /// Whether it may serve others than its leader.
    pub shared: bool,
}

impl GroupCommit {
    /// Waits until the caller is served, or is the one to flush, in the process `birth`.
    ///
    /// # Safety
    /// What `lock` returns excludes all others from the group while it lives.
    pub unsafe fn enter<L>(&self, lock: impl Fn() -> L, birth: u32) -> Ticket {
        // SAFETY: the caller's contract.
        let mut needed = unsafe { self.with(&lock, birth, State::arrive) };
        let mut attempt = |state: &mut State| {
            let done = self.done.load(Ordering::Relaxed);
            while reached(done, needed) {
                let result = state.result(needed, done);
                if result != ABANDONED {
                    state.waiting -= 1;
                    return Ok(Ticket::Served(result));
                }
                needed = needed.wrapping_add(1);
            }
            if state.running {
                return Err(done);
            }
            state.running = true;
            state.waiting -= 1;
            Ok(Ticket::Lead)
        };
        loop {
            // SAFETY: the caller's contract.
            match unsafe { self.with(&lock, birth, &mut attempt) } {
                Ok(ticket) => return ticket,
                Err(seen) => port::wait(
                    &self.done,
                    defect!(SleepsOnWhatItSeesLate => self.done.load(Ordering::Relaxed); seen),
                ),
            }
        }
    }

    /// The caller, who leads, begins its flush: whoever called before is served by it, and nobody
    /// who calls from here on.
    ///
    /// # Safety
    /// As [`GroupCommit::enter`].
    pub unsafe fn begin<L>(&self, lock: impl Fn() -> L, birth: u32) -> Begun {
        // SAFETY: the caller's contract.
        unsafe { self.with(&lock, birth, State::begin) }
    }

    /// Whether the flush that the caller leads would begin with fewer callers than the last one.
    ///
    /// # Safety
    /// As [`GroupCommit::enter`].
    pub unsafe fn is_short<L>(&self, lock: impl Fn() -> L, birth: u32) -> bool {
        // SAFETY: the caller's contract.
        unsafe { self.with(&lock, birth, |state| state.waiting + 1 < state.party) }
    }

    /// Ends flush `number` with `result`, an errno, 0 or [`ABANDONED`].
    ///
    /// # Safety
    /// As [`GroupCommit::enter`].
    pub unsafe fn leave<L>(&self, lock: impl Fn() -> L, birth: u32, number: u32, result: i32) {
        let end = |state: &mut State| {
            state.running = false;
            state.results[number as usize % KEPT] = result;
            self.done.store(number, Ordering::Release);
        };
        // SAFETY: the caller's contract.
        unsafe { self.with(&lock, birth, end) };
        defect!(WakesOneOfAll => port::wake_one(&self.done); port::wake_all(&self.done));
    }

    /// The number of the flush that began last.
    ///
    /// # Safety
    /// As [`GroupCommit::enter`].
    pub unsafe fn begun<L>(&self, lock: impl Fn() -> L, birth: u32) -> u32 {
        // SAFETY: the caller's contract.
        unsafe { self.with(&lock, birth, |state| state.begun) }
    }

    unsafe fn with<L, R>(
        &self,
        lock: &impl Fn() -> L,
        birth: u32,
        f: impl FnOnce(&mut State) -> R,
    ) -> R {
        let _locked = lock();
        self.state.with_mut(|state| {
            // SAFETY: the lock excludes all others.
            let state = unsafe { &mut *state };
            if state.birth != birth {
                *state = State {
                    birth,
                    ..State::default()
                };
                self.done.store(0, Ordering::Relaxed);
            }
            f(state)
        })
    }
}

impl State {
    /// A caller comes; returns the number of the first flush that may serve it.
    fn arrive(&mut self) -> u32 {
        self.waiting += 1;
        defect!(ServedByTheRunningFlush => self.begun.max(1); self.begun.wrapping_add(1))
    }

    fn begin(&mut self) -> Begun {
        self.begun = self.begun.wrapping_add(1);
        self.party = self.waiting + 1;
        Begun {
            number: self.begun,
            shared: self.waiting > 0,
        }
    }

    fn result(&self, wanted: u32, done: u32) -> i32 {
        let overtaken = done.wrapping_sub(wanted) as usize >= KEPT;
        let number = if overtaken { done } else { wanted };
        self.results[number as usize % KEPT]
    }
}

/// Whether number `done` is at or after `wanted`; numbers wrap.
fn reached(done: u32, wanted: u32) -> bool {
    done.wrapping_sub(wanted) as i32 >= 0
}
