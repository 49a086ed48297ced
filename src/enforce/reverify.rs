//! `KEEPMYDATA_REVERIFY_MS`: verified data is looked at once more, some time after msync returned.
//!
//! A filesystem that applies an older write after a newer one passes every check that is made in
//! time. The second look can only report: the caller is gone. A thread of the helper's, started
//! with the first need, waits and looks; until then it keeps the copies and holds the file. A page
//! that this process has synced again, or stored to, since then is left out: its copy goes with the later
//! sync. All copies that wait take no more memory than `KEEPMYDATA_COPY_BUDGET` says.

use super::context::Context;
use super::copy::State;
use super::{context, report, ticket, verify};
use crate::config;
use crate::dirty::{self, Query, Ranges};
use crate::helper::{self, Worker};
use crate::log::Timer;
use crate::mappings::file::File;
use crate::process::{PerProcess, Process, Zeroed};
use crate::sys::lock::{self, Mutex};
use crate::sys::{self, thread};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// Second looks under way at once; beyond, they are left out.
const MOST: u32 = 256;

/// What waits for its second look. All-zero is "nothing".
struct Waiting {
    list: Mutex<List>,
}

struct List {
    first: Option<NonNull<Context>>,
    len: u32,
    /// Of memory that the copies take.
    bytes: usize,
    has_thread: bool,
}

/// What the thread does next.
enum Next {
    /// Its second look is due; it is in the list no more.
    Look(NonNull<Context>),
    /// So many ns until one is due.
    Wait(u64),
    Nothing,
}

impl List {
    /// The first, if it is due, or the thread is `leaving`: its descriptors go.
    fn next(&mut self, leaving: bool) -> Next {
        let Some(first) = self.first else {
            return Next::Nothing;
        };
        // SAFETY: contexts in the list are the list's alone, and the lock is held.
        let context = unsafe { first.as_ref() };
        let wait = context.due.saturating_sub(sys::monotonic_ns());
        if wait > 0 && !leaving {
            return Next::Wait(wait);
        }
        self.first = context.next_waiting;
        self.len -= 1;
        self.bytes -= context.copies.bytes();
        Next::Look(first)
    }

    /// Leaves the pages `dirty` of `file` out. Returns those of whom nothing is left to look at, which are in the
    /// list no more: one leads to the next.
    fn leave_out(&mut self, file: &File, dirty: &Ranges) -> Option<NonNull<Context>> {
        let mut done = None;
        let mut at: *mut Option<NonNull<Context>> = &raw mut self.first;
        // SAFETY: contexts in the list are the list's alone, and the lock is held; `at` is the list's
        // first link, or one of theirs.
        unsafe {
            while let Some(found) = *at {
                let context = &mut *found.as_ptr();
                let before = context.copies.bytes();
                if *context.file == *file && !context.copies.leave_out(dirty) {
                    *at = context.next_waiting;
                    self.len -= 1;
                    self.bytes -= before;
                    context.next_waiting = done;
                    done = Some(found);
                    continue;
                }
                self.bytes -= before - context.copies.bytes();
                at = &raw mut context.next_waiting;
            }
        }
        done
    }
}

// SAFETY: a lock that is open, of an empty list.
unsafe impl Zeroed for Waiting {}

static OWN: PerProcess<Waiting> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

// SAFETY: the contexts are reached under the lock only.
unsafe impl Send for List {}

/// Keeps `context` for a second look, if that is wanted; says whether it did. On a helper thread.
pub fn keep(worker: &Worker, context: &mut Context) -> bool {
    let wait = config::settings().reverify_ms.0;
    if wait == 0 || !context.verify || context.copies.pages() == 0 || !worker.has_descriptors() {
        return false;
    }
    let process = worker.process();
    context.copies.shrink();
    let bytes = context.copies.bytes();
    let mut list = OWN.get().list.lock();
    let fits = (list.bytes + bytes) as u64 <= config::settings().copy_budget.0;
    if list.len >= MOST || !fits {
        drop(list);
        report::not_reverified(worker, context);
        return false;
    }
    if !list.has_thread && !start(process) {
        return false;
    }
    list.has_thread = true;
    list.len += 1;
    list.bytes += bytes;
    helper::own().begin_job();
    context.due = sys::monotonic_ns() + wait * 1_000_000;
    // In order of their time: each waits equally long.
    let mut at: *mut Option<NonNull<Context>> = &raw mut list.first;
    // SAFETY: contexts in the list are the list's alone, and the lock is held.
    unsafe {
        while let Some(next) = *at {
            at = &raw mut (*next.as_ptr()).next_waiting;
        }
        context.next_waiting = None;
        *at = Some(NonNull::from(&mut *context));
    }
    drop(list);
    helper::own().nudge();
    true
}

/// This process syncs `dirty` of `file` again: earlier copies of it are out of date.
pub fn supersede(file: &File, dirty: &Ranges) {
    if config::settings().reverify_ms.0 == 0 {
        return;
    }
    let mut done = OWN.get().list.lock().leave_out(file, dirty);
    while let Some(context) = done {
        // SAFETY: out of the list, and nobody else's.
        let c = unsafe { &mut *context.as_ptr() };
        done = c.next_waiting;
        let_go(context);
    }
}

/// Ends with a context that has left the list.
fn let_go(context: NonNull<Context>) {
    // SAFETY: out of the list, and the caller's alone.
    let c = unsafe { &mut *context.as_ptr() };
    c.copies.let_go();
    context::give(context);
    // Until here it was at work.
    helper::own().end_job();
}

/// On a helper thread; says whether it could.
fn start(process: &'static Process) -> bool {
    let state = (&raw const *process).cast_mut().cast();
    helper::own().hire(|| {
        // SAFETY: the process state lives for ever.
        unsafe { thread::spawn(serve, state) }.is_ok()
    })
}

extern "C" fn serve(process: *mut c_void) -> c_int {
    // SAFETY: `start` passed the process state, which lives for ever.
    let process: &'static Process = unsafe { &*process.cast() };
    let worker = Worker::new(process, true);
    let mut member = helper::own().join();
    loop {
        let nudges = helper::own().nudges();
        let nudged = nudges.load(Ordering::Acquire);
        let leaving = helper::own().attend(&mut member);
        let next = {
            let mut list = OWN.get().list.lock();
            list.has_thread = !(leaving && list.first.is_none());
            list.next(leaving)
        };
        match next {
            Next::Look(context) => look(&worker, context),
            Next::Wait(ns) => lock::wait_for(nudges, nudged, ns),
            Next::Nothing if leaving => {
                helper::own().left(member);
                return 0;
            }
            Next::Nothing => lock::wait(nudges, nudged),
        }
    }
}

/// The second look at a context that has left the list.
fn look(worker: &Worker, context: NonNull<Context>) {
    // SAFETY: out of the list, and this thread's alone.
    let c = unsafe { &mut *context.as_ptr() };
    let timer = Timer::start();
    let syncs = ticket::begun(&c.file);
    for state in c.copies.states() {
        *state = match state {
            State::Verified => State::Unchecked,
            _ => State::Skipped,
        };
    }
    let result = verify::check(worker, c);
    let query = Query::of(worker, &c.file, c.handle);
    c.cached.clear();
    let _ = dirty::stored_since(&query, c.tracker, &mut c.cached);
    let superseded = syncs != ticket::begun(&c.file);
    for page in 0..c.copies.pages() {
        // Without a witness, what differs is uncertain.
        if c.copies.state(page) == State::Uncertain {
            let (offset, _) = c.copies.place_of(page);
            let stored = c.cached.has(offset);
            c.copies.states()[page] = match superseded || stored {
                true => State::Skipped,
                false => State::Stale,
            };
        }
    }
    report::reverified(worker, c, timer, result.map(drop));
    let_go(context);
}
