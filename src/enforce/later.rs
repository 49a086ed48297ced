//! `KEEPMYDATA_REVERIFY_MS`: verified data is looked at once more, some time after msync returned.
//!
//! A filesystem that applies an older write after a newer one passes every check that is made in
//! time. The second look can only report: the caller is gone. A thread of the custodian's, started
//! with the first need, waits and looks; until then it keeps the copies and holds the file. A page
//! that this process has synced again, or stored to, since then is left out.

use super::context::Context;
use super::copy::State;
use super::{context, report, turn, verify};
use crate::config;
use crate::custodian::Worker;
use crate::dirty::{self, Ranges};
use crate::log::Timer;
use crate::mappings::{self, file::File};
use crate::process::Process;
use crate::sys::lock::{self, Mutex};
use crate::sys::{self, thread};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

/// Second looks under way at once; beyond, they are left out.
const MOST: u32 = 256;

/// What waits for its second look. All-zero is "nothing".
pub struct Later {
    list: Mutex<List>,
    /// Counts what was added; the thread sleeps on it.
    added: AtomicU32,
}

struct List {
    first: Option<NonNull<Context>>,
    len: u32,
    has_thread: bool,
}

impl Later {
    /// Wakes the thread, to look at its orders.
    pub fn nudge(&self) {
        self.added.fetch_add(1, Ordering::Release);
        lock::wake_one(&self.added);
    }
}

// SAFETY: the contexts are reached under the lock only.
unsafe impl Send for List {}

/// Keeps `context` for a second look, if that is wanted; says whether it did. On a custodian thread.
pub fn keep(worker: &Worker, context: &mut Context) -> bool {
    let wait = config::settings().reverify_ms.0;
    if wait == 0 || !context.verify || context.copies.pages() == 0 || !worker.has_descriptors() {
        return false;
    }
    let process = worker.process();
    let mut list = process.later.list.lock();
    if list.len >= MOST || !list.has_thread && !start(process) {
        return false;
    }
    list.has_thread = true;
    list.len += 1;
    context.due = sys::monotonic_ns() + wait * 1_000_000;
    // In order of their time: each waits equally long.
    let mut at: *mut Option<NonNull<Context>> = &raw mut list.first;
    // SAFETY: contexts in the list are the list's alone, and the lock is held.
    unsafe {
        while let Some(next) = *at {
            at = &raw mut (*next.as_ptr()).later;
        }
        context.later = None;
        *at = Some(NonNull::from(&mut *context));
    }
    drop(list);
    process.later.nudge();
    true
}

/// This process syncs `dirty` of `file` again: earlier copies of it are out of date.
pub fn supersede(process: &Process, file: NonNull<File>, dirty: &Ranges) {
    if config::settings().reverify_ms.0 == 0 {
        return;
    }
    let list = process.later.list.lock();
    let mut at = list.first;
    while let Some(context) = at {
        // SAFETY: contexts in the list are the list's alone, and the lock is held.
        let context = unsafe { &mut *context.as_ptr() };
        if context.file == file {
            leave_out(context, dirty);
        }
        at = context.later;
    }
}

fn leave_out(context: &mut Context, ranges: &Ranges) {
    for page in 0..context.copies.pages() {
        let (offset, _) = context.copies.place_of(page);
        if ranges.has(offset) {
            context.copies.states()[page] = State::Skipped;
        }
    }
}

/// On a custodian thread; says whether it could.
fn start(process: &'static Process) -> bool {
    let state = (&raw const *process).cast_mut().cast();
    process.custodian.hire(|| {
        // SAFETY: the process state lives for ever.
        unsafe { thread::spawn(serve, state) }.is_ok()
    })
}

extern "C" fn serve(process: *mut c_void) -> c_int {
    // SAFETY: `start` passed the process state, which lives for ever.
    let process: &'static Process = unsafe { &*process.cast() };
    let worker = Worker::new(process, true);
    let mut member = process.custodian.join();
    loop {
        let added = process.later.added.load(Ordering::Acquire);
        let leaving = process.custodian.attend(&mut member);
        let first = {
            let mut list = process.later.list.lock();
            list.has_thread = !(leaving && list.first.is_none());
            list.first
        };
        let Some(context) = first else {
            if leaving {
                process.custodian.left(member);
                return 0;
            }
            lock::wait(&process.later.added, added);
            continue;
        };
        // SAFETY: only this thread takes contexts out of the list.
        let due = unsafe { context.as_ref() }.due;
        let wait = due.saturating_sub(sys::monotonic_ns());
        // Who leaves looks now: the descriptors go.
        if wait > 0 && !leaving {
            lock::wait_for(&process.later.added, added, wait);
            continue;
        }
        look(&worker, context);
    }
}

/// The second look at the first context of the list, which leaves it.
fn look(worker: &Worker, context: NonNull<Context>) {
    let process = worker.process();
    // SAFETY: under the lock until it leaves the list, and this thread's alone from then on.
    let c = unsafe { &mut *context.as_ptr() };
    {
        let mut list = process.later.list.lock();
        list.first = c.later;
        list.len -= 1;
    }
    let timer = Timer::start();
    let syncs = turn::begun(c.file);
    for state in c.copies.states() {
        *state = match state {
            State::Verified => State::Unchecked,
            _ => State::Skipped,
        };
    }
    let result = verify::check(worker, c);
    let query = c.query(worker);
    c.cached.clear();
    let _ = dirty::stored_since(&query, c.tracker, &mut c.cached);
    let superseded = syncs != turn::begun(c.file);
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
    c.copies.let_go();
    mappings::ops::release(c.file);
    context::give(process, context);
}
