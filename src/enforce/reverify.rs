//! `KEEPMYDATA_REVERIFY_MS`: verified data is read once more, some time after msync returned.
//!
//! This finds a filesystem that applies an older write after a newer one. It can only report. A thread of the helper's,
//! started with the first need, waits and looks; until then it keeps the copies and holds the file. A page that this process
//! has synced again, stored to, or changed past its mappings since then is left out. That is asked after the page was read
//! back, in the order in which a store goes on: its mark, what is owed or being proved, a later snapshot. All copies that wait
//! take no more memory than `KEEPMYDATA_COPY_BUDGET`.

use super::here::Here;
use super::observer;
use super::request::{Contexts, Ended, Pooled, Request};
use super::ticket;
use crate::config;
use crate::dirty::{self, Ranges, Tracker};
use crate::helper::{self, Worker};
use crate::log::Timer;
use crate::mappings::{
    self,
    file::{File, Handle},
};
use crate::process::{self, PerProcess, Zeroed};
use crate::sys;
use crate::sys::lock::{self, Mutex};
use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::Ordering;
use keepmydata_promise::{self as promise, Comparison, Copies, Evidence, PooledList, State};
use keepmydata_ranges::FewRanges;
use keepmydata_records::{Verdict, Verdicts};

/// Second looks under way at once; beyond, they are left out.
const MOST: usize = 256;

/// What is looked at a second time.
struct Second {
    request: Request,
    handle: Handle,
    tracker: Option<Tracker>,
    dirty: Ranges,
    copies: Copies,
    evidence: Evidence,
    /// When that is (monotonic, ns).
    due: u64,
}

/// What waits for its second look. All-zero is "nothing".
struct Waiting {
    list: Mutex<List>,
}

struct List {
    /// In order of their time.
    all: PooledList<Second, Contexts>,
    /// Of memory that the copies take.
    bytes: usize,
    has_thread: bool,
    /// The file that is looked at, by its address; 0 is none.
    looked_at: usize,
    /// What of it was synced again since.
    again: FewRanges,
}

/// What the thread does next.
enum Next {
    /// Its second look is due; it is in the list no more.
    Look(Pooled<Second>),
    /// So many ns until one is due.
    Wait(u64),
    Nothing,
}

fn address(file: &File) -> usize {
    ptr::from_ref(file).addr()
}

impl List {
    /// The first, if it is due, or the thread is `leaving`: its descriptors go.
    fn next(&mut self, leaving: bool) -> Next {
        let Some(first) = self.all.get(0) else {
            return Next::Nothing;
        };
        let wait = first.due.saturating_sub(sys::monotonic_ns());
        if wait > 0 && !leaving {
            return Next::Wait(wait);
        }
        self.bytes -= first.copies.bytes();
        self.looked_at = address(&first.request.file);
        self.again.clear();
        self.all.remove(0).map_or(Next::Nothing, Next::Look)
    }

    /// Leaves the pages `dirty` of `file` out. Adds those of whom nothing is left to look at, which are in the
    /// list no more, to `done`.
    fn leave_out(&mut self, file: &File, dirty: &Ranges, done: &mut PooledList<Second, Contexts>) {
        if self.looked_at == address(file) {
            self.again.add_all(dirty.iter());
        }
        let mut at = 0;
        while let Some(found) = self.all.get_mut(at) {
            let before = found.copies.bytes();
            let left = *found.request.file != *file || found.copies.leave_out(dirty);
            self.bytes -= before - if left { found.copies.bytes() } else { 0 };
            if left {
                at += 1;
            } else if let Some(found) = self.all.remove(at) {
                // Where memory is out it is let go under the lock.
                let _ = done.insert(done.len(), found);
            }
        }
    }
}

// SAFETY: a lock that is open, of an empty list.
unsafe impl Zeroed for Waiting {}

static OWN: PerProcess<Waiting> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

// SAFETY: what is in it is reached under the lock only.
unsafe impl Send for List {}

/// Keeps the copies of `ended` for a second look, if that is wanted; says whether it did. On a helper thread.
#[inline(never)]
pub fn keep(here: &Here<'_>, ended: &mut Ended) -> bool {
    let (wait, worker) = (config::settings().reverify_ms.0, here.worker);
    let is_wanted = wait > 0 && ended.result().is_ok() && ended.verify;
    if !is_wanted || ended.copies.pages() == 0 || !worker.has_descriptors() {
        return false;
    }
    let request = Request {
        timer: ended.timer,
        ..Request::new(&here.file, ended.caller)
    };
    let (handle, tracker) = (here.handle, ended.known.tracker);
    let (mut copies, dirty) = ended.take_copies();
    copies.shrink();
    let bytes = copies.bytes();
    let second = Pooled::new(Second {
        request,
        handle,
        tracker,
        dirty,
        copies,
        evidence: Evidence::default(),
        due: sys::monotonic_ns() + wait * 1_000_000,
    });
    let mut list = OWN.get().list.lock();
    let fits = (list.bytes + bytes) as u64 <= config::settings().copy_budget.0;
    let Some(second) = second.filter(|_| list.all.len() < MOST && fits) else {
        drop(list);
        observer::not_reverified(worker, ended);
        return true;
    };
    let has_thread = list.has_thread || start();
    list.has_thread = has_thread;
    let at = list.all.len();
    let put = match has_thread {
        true => list.all.insert(at, second),
        false => Err(second),
    };
    if let Err(second) = put {
        // It holds a file: not dropped under the lock.
        drop(list);
        drop(second);
        observer::not_reverified(worker, ended);
        return true;
    }
    list.bytes += bytes;
    helper::own().begin_job();
    drop(list);
    helper::own().nudge();
    true
}

/// This process syncs `dirty` of `file` again: earlier copies of it are out of date.
pub fn supersede(file: &File, dirty: &Ranges) {
    if config::settings().reverify_ms.0 == 0 {
        return;
    }
    let mut done = PooledList::default();
    OWN.get().list.lock().leave_out(file, dirty, &mut done);
    // From here on it is another copy that is changed.
    mappings::lock().get_mut(file).changed.remove_all(dirty);
    while let Some(second) = done.remove(0) {
        let_go(second);
    }
}

/// Ends with one that has left the list.
fn let_go(second: Pooled<Second>) {
    drop(second);
    // Until here it was at work.
    helper::own().end_job();
}

/// On a helper thread; says whether it could.
fn start() -> bool {
    helper::own().hire(|| helper::spawn(serve).is_ok())
}

extern "C" fn serve(_: usize) -> c_int {
    let process = process::this();
    let worker = Worker::new(process, true);
    let mut member = helper::own().join();
    loop {
        let nudges = helper::own().nudges();
        let nudged = nudges.load(Ordering::Acquire);
        let leaving = helper::own().attend(&mut member);
        let next = {
            let mut list = OWN.get().list.lock();
            list.has_thread = !(leaving && list.all.is_empty());
            list.next(leaving)
        };
        match next {
            Next::Look(second) => look(&worker, second),
            Next::Wait(ns) => lock::wait_for(nudges, nudged, ns),
            Next::Nothing if leaving => {
                helper::own().left(member);
                return 0;
            }
            Next::Nothing => lock::rest(nudges, nudged),
        }
    }
}

/// Adds what a store or a call of this process's may have changed since it was copied. Says whether that may be all.
fn find_superseded(here: &Here<'_>, tracker: Option<Tracker>, into: &mut Ranges) -> bool {
    let asked = dirty::stored_since(&here.query(), tracker, into);
    let unseen = tracker.is_some_and(Tracker::sees_stores)
        && (asked.is_err() || !dirty::are_stores_seen(here.worker, &here.file));
    {
        let table = mappings::lock();
        let state = table.get(&here.file);
        into.add_all(state.debt.owed.iter());
        into.add_all(state.debt.proving.iter());
        into.add_all(state.changed.iter());
    }
    into.add_all(OWN.get().list.lock().again.iter());
    unseen
}

/// The second look.
fn look(worker: &Worker, mut second: Pooled<Second>) {
    let timer = Timer::start();
    let s = &mut *second;
    let mut here = Here::new(worker, &s.request.file, s.handle);
    let syncs = ticket::begun(&here.file);
    for page in 0..s.copies.pages() {
        let state = match s.copies.state(page) {
            State::Verified => State::Unchecked,
            _ => State::Skipped,
        };
        s.copies.set_state(page, state);
    }
    let result = promise::check(&mut Comparison {
        target: &mut here,
        dirty: &s.dirty,
        of_others: &Ranges::new(),
        copies: &mut s.copies,
        local_block: s.request.file.traits.local_block,
        unwritten: false,
        // That is msync's business.
        seen_elsewhere: false,
        unshown: &mut Ranges::new(),
    });
    let mut superseded = Ranges::new();
    let all =
        find_superseded(&here, s.tracker, &mut superseded) || syncs != ticket::begun(&here.file);
    let mut verdicts = Verdicts::default();
    for page in 0..s.copies.pages() {
        let (offset, _) = s.copies.place_of(page);
        match s.copies.state(page) {
            State::Verified => verdicts.count(Verdict::Verified),
            // Without a witness, what differs is uncertain.
            State::Uncertain | State::Stale if all || superseded.has(offset) => {
                s.copies.set_state(page, State::Skipped);
            }
            State::Uncertain | State::Stale => {
                s.copies.set_state(page, State::Stale);
                verdicts.count(Verdict::Stale);
            }
            _ => {}
        }
    }
    if verdicts.stale > 0 {
        s.evidence.gather(&here, &mut s.copies);
    }
    let result = result.map(drop);
    observer::reverified(worker, &s.request, timer, result, verdicts, &s.evidence);
    drop(here);
    OWN.get().list.lock().looked_at = 0;
    let_go(second);
}
