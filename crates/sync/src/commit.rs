//! Group commit: several threads in msync on one file share a flush.
//!
//! Flushes of a file are numbered and run one after another. A caller that arrives after flush `n` has begun needs flush
//! `n + 1`, which covers every store that happened before the call. Whoever finds no leader leads the next flush, which serves
//! all who wait for its number. No caller is served by a flush that had begun before its call.
//!
//! A leader says when its flush begins ([`Locked::begin`]): as late as it can, because later callers join until then. Otherwise
//! eight threads fall into two parties, those that were served and those that came meanwhile. So a leader may wait a
//! little while it has fewer callers than the last one ([`Locked::is_short`]).

use crate::port::{self, UnsafeCell, Word};
use core::sync::atomic::Ordering;

/// Results kept for callers that wake late; one that is overtaken takes the newest.
const KEPT: usize = 8;

/// The flushes of one file, say, of each of which comes a `T`. Used through [`GroupCommit::under`] its lock, the same always.
pub struct GroupCommit<T> {
    state: UnsafeCell<State<T>>,
    /// Number of the last flush that ended; waiters sleep on it.
    done: Word,
}

struct State<T> {
    /// The process that the rest belongs to: after a fork the child starts anew.
    birth: u32,
    /// Somebody leads.
    running: bool,
    begun: u32,
    /// Callers that neither lead nor know yet that they were served.
    waiting: u32,
    /// Callers that came since the last flush began.
    came: u32,
    /// Those that had come when the last two flushes began. Of two, because callers that a flush missed lead the next one with
    /// few others, and would be followed by few for ever.
    parties: [u32; 2],
    /// Nothing of a flush that was not done: it serves nobody.
    results: [Option<T>; KEPT],
}

impl<T> Default for State<T> {
    fn default() -> State<T> {
        State {
            birth: 0,
            running: false,
            begun: 0,
            waiting: 0,
            came: 0,
            parties: [0; 2],
            results: [const { None }; KEPT],
        }
    }
}

/// How a call gets its flush.
#[derive(Debug, PartialEq, Eq)]
pub enum Ticket<T> {
    /// The caller calls [`Locked::begin`], flushes, and calls [`Locked::leave`].
    Lead,
    /// Another thread's flush, which began after the call, came to this.
    Served(T),
}

/// A flush that begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its number, from 1; it wraps around.
    pub number: u32,
    /// Whether it may serve others than its leader.
    pub shared: bool,
}

/// A group, and what locks it, in one process.
pub struct Locked<'a, T, F> {
    group: &'a GroupCommit<T>,
    lock: F,
    birth: u32,
}

impl<T> Default for GroupCommit<T> {
    fn default() -> GroupCommit<T> {
        GroupCommit {
            state: UnsafeCell::new(State::default()),
            done: Word::new(0),
        }
    }
}

impl<T> GroupCommit<T> {
    /// The group in the process `birth`.
    ///
    /// # Safety
    /// What `lock` returns excludes all others from the group while it lives.
    pub unsafe fn under<L, F: Fn() -> L>(&self, lock: F, birth: u32) -> Locked<'_, T, F> {
        Locked {
            group: self,
            lock,
            birth,
        }
    }
}

impl<T: Copy, L, F: Fn() -> L> Locked<'_, T, F> {
    /// Waits until the caller is served, or is the one to flush.
    pub fn enter(&self) -> Ticket<T> {
        let mut needed = self.with(State::arrive);
        let mut attempt = |state: &mut State<T>| {
            let done = self.group.done.load(Ordering::Relaxed);
            while reached(done, needed) {
                if let Some(result) = state.result(needed, done) {
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
            match self.with(&mut attempt) {
                Ok(ticket) => return ticket,
                Err(seen) => port::wait(
                    &self.group.done,
                    defect!(SleepsOnWhatItSeesLate => self.group.done.load(Ordering::Relaxed); seen),
                ),
            }
        }
    }

    /// The caller, who leads, begins its flush: whoever called before is served by it, and nobody
    /// who calls from here on.
    pub fn begin(&self) -> Begun {
        self.with(State::begin)
    }

    /// Whether fewer callers have come for the flush that the caller leads than for one of the last two.
    pub fn is_short(&self) -> bool {
        self.with(|state| state.came < state.parties[0].max(state.parties[1]))
    }

    /// Ends flush `number` with `result`; with none it was not done, and those who wait for it need another.
    pub fn leave(&self, number: u32, result: Option<T>) {
        let end = |state: &mut State<T>| {
            state.running = false;
            state.results[number as usize % KEPT] = result;
            self.group.done.store(number, Ordering::Release);
            state.waiting > 0
        };
        // Whoever comes from here on sees the new number.
        if self.with(end) {
            defect!(WakesOneOfAll => {
                port::wake_one(&self.group.done);
            }; port::wake_all(&self.group.done));
        }
    }

    /// The number of the flush that began last.
    pub fn begun(&self) -> u32 {
        self.with(|state| state.begun)
    }

    fn with<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let _locked = (self.lock)();
        self.group.state.with_mut(|state| {
            // SAFETY: the lock excludes all others, as whoever made `self` has promised.
            let state = unsafe { &mut *state };
            if state.birth != self.birth {
                *state = State {
                    birth: self.birth,
                    ..State::default()
                };
                self.group.done.store(0, Ordering::Relaxed);
            }
            f(state)
        })
    }
}

impl<T: Copy> State<T> {
    /// A caller comes; returns the number of the first flush that may serve it.
    fn arrive(&mut self) -> u32 {
        self.waiting += 1;
        self.came = self.came.saturating_add(1);
        defect!(ServedByTheRunningFlush => self.begun.max(1); self.begun.wrapping_add(1))
    }

    fn begin(&mut self) -> Begun {
        self.begun = self.begun.wrapping_add(1);
        self.parties = [core::mem::take(&mut self.came), self.parties[0]];
        Begun {
            number: self.begun,
            shared: self.waiting > 0,
        }
    }

    fn result(&self, wanted: u32, done: u32) -> Option<T> {
        let overtaken = done.wrapping_sub(wanted) as usize >= KEPT;
        let number = if overtaken { done } else { wanted };
        self.results[number as usize % KEPT]
    }
}

/// Whether number `done` is at or after `wanted`; numbers wrap.
fn reached(done: u32, wanted: u32) -> bool {
    done.wrapping_sub(wanted) as i32 >= 0
}
