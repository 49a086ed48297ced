//! Warnings of msyncs that returned 0 without a proof: a line for the first one of a file, and one at the end of the
//! process with their number, at any level but `off`.

use super::elsewhere;
use super::request::{Ended, Request};
use crate::helper::{self, Worker};
use crate::log::{self, FileName};
use crate::mappings::{self, file::Held};
use crate::process::{self, PerProcess, Zeroed};
use crate::sys::{self, signals::Blocked};
use crate::{config, dirty};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keepmydata_promise::{Told, words};
use keepmydata_records::{Level, LineBuf, Uncertain, Verdicts, event};
use rustix::io::Errno;

/// Counted in a process; all-zero is "none".
#[derive(Default)]
struct Doubts {
    msyncs: AtomicU64,
    pages: AtomicU64,
    /// Whether it was said that a file is forgotten.
    forgot: AtomicBool,
}

// SAFETY: numbers and false.
unsafe impl Zeroed for Doubts {}

static OWN: PerProcess<Doubts> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// An msync has ended, which says `told` of earlier ones. On a helper thread.
pub fn of(worker: &Worker, ended: &Ended, told: Told) {
    if ended.settles || ended.result().is_err() {
        return;
    }
    if told.pages > 0 {
        say_of(worker, ended, |message| words::told(message, told.pages));
    }
    if told.failed {
        say_of(worker, ended, words::failed);
    }
    let pages = ended.unknown_pages();
    if pages > 0 {
        tell(worker, ended, pages);
    }
}

#[cold]
#[inline(never)]
fn tell(worker: &Worker, ended: &Ended, pages: u64) {
    let doubts = OWN.get();
    // What is counted would fail with KEEPMYDATA_UNCERTAIN=error.
    let counted = pages - ended.facts.nameless_pages();
    if counted > 0 {
        doubts.msyncs.fetch_add(1, Ordering::Relaxed);
        doubts.pages.fetch_add(counted, Ordering::Relaxed);
    }
    let known = {
        let mut table = mappings::lock();
        core::mem::replace(&mut table.get_mut(&ended.file).doubted, true)
    };
    if known {
        return;
    }
    let mut message = LineBuf::<320>::new();
    let mut unseen = LineBuf::<160>::new();
    elsewhere::describe(&mut unseen, ended.facts.unseen_errno);
    words::doubt(&mut message, ended, ended.known.reason, unseen.as_str());
    let verdicts = ended.verify.then_some(ended.verdicts);
    warn(worker, ended, verdicts, message.as_str());
}

/// Says `message` of the file of `request`, at every level.
fn warn(worker: &Worker, request: &Request, verdicts: Option<Verdicts>, message: &str) {
    let name = FileName::of(&request.file);
    let caller = request.caller;
    let mut record = log::record(worker.process(), Level::Warn, caller.tid, event::DOUBT);
    name.fill(&mut record);
    record.call = Some(caller.call);
    record.verdicts = verdicts;
    record.message = message.into();
    log::notice(worker, &record);
}

#[cold]
#[inline(never)]
fn say_of(worker: &Worker, ended: &Ended, words: impl FnOnce(&mut LineBuf<320>)) {
    let mut message = LineBuf::<320>::new();
    words(&mut message);
    warn(worker, ended, None, message.as_str());
}

/// An msync of a vfork child has returned 0. Fails for what an earlier one has failed for, and, if so set, because
/// nothing was compared.
pub fn of_borrowed(addr: usize, len: usize) -> Result<(), Errno> {
    let end = addr.saturating_add(sys::page_up(len as u64) as usize);
    let (mut pages, mut refused, mut name) = (0, 0, None);
    {
        let mut table = mappings::lock();
        let mut first: Option<Held> = None;
        table.for_each(addr, end, |entry| {
            let state = table.get(entry.file);
            let is_proved =
                dirty::is_verified(entry.file.traits.local_block) && !entry.file.traits.dax;
            if state.excluded || !entry.writable {
                return true;
            }
            if state.debt.is_refused() {
                refused = state.debt.errno;
            }
            if is_proved {
                pages += entry.len() as u64 / sys::page_size() as u64;
                first.get_or_insert_with(|| entry.file.hold());
            }
            true
        });
        if let Some(first) = first {
            let known = core::mem::replace(&mut table.get_mut(&first).doubted, true);
            name = Some((known, first));
        }
    }
    if refused != 0 {
        return Err(Errno::from_raw_os_error(refused));
    }
    let Some((known, file)) = name else {
        return Ok(());
    };
    let fails = config::settings().uncertain == Uncertain::Error;
    if !fails {
        OWN.get().msyncs.fetch_add(1, Ordering::Relaxed);
        OWN.get().pages.fetch_add(pages, Ordering::Relaxed);
    }
    if !known {
        let name = FileName::of(&file);
        let process = process::this();
        let mut record = log::record(process, Level::Warn, sys::gettid(), event::DOUBT);
        name.fill(&mut record);
        record.message = match fails {
            true => {
                "msync of a vfork child failed: nothing can be compared for it, and KEEPMYDATA_UNCERTAIN=error is \
                 set. The parent's next msync of this file proves what it stored"
            }
            false => {
                "msync of a vfork child returned 0, and what it stored is not proved to be safe: the \
                 parent's next msync of this file proves it. KEEPMYDATA_UNCERTAIN=error makes it fail"
            }
        }
        .into();
        log::notice(&Worker::without_descriptors(process), &record);
    }
    match fails {
        true => Err(Errno::IO),
        false => Ok(()),
    }
}

/// What msync has failed for in so many files that are not mapped any more that this one is not remembered: said once.
pub fn forgets(worker: &Worker, request: &Request) {
    if OWN.get().forgot.swap(true, Ordering::Relaxed) {
        return;
    }
    let message = "msync has failed for too many files to remember them all: what it has failed for in this one and \
                   others is forgotten when they are unmapped";
    warn(worker, request, None, message);
}

/// The process becomes another program, whose msyncs know nothing of what is not proved. On a thread of the program's;
/// async-signal-safe.
#[cold]
pub fn at_exec() {
    let process = process::this();
    if process.is_borrowed() {
        return;
    }
    let _quiet = Blocked::all();
    let (mut pages, birth) = (0, process.birth());
    mappings::lock().for_each_state(|state| {
        if state.debt.birth == birth {
            pages += state.debt.pages();
        }
    });
    if pages > 0 {
        say(|message| words::executes(message, pages));
    }
}

/// The process ends, or becomes another program. On a thread of the program's; async-signal-safe.
#[cold]
pub fn at_end() {
    let process = process::this();
    let doubts = OWN.get();
    if process.is_borrowed() {
        return;
    }
    let forgotten = mappings::file::take_forgotten();
    if forgotten > 0 {
        say(|message| words::forgotten(message, forgotten as u64));
    }
    if doubts.msyncs.load(Ordering::Relaxed) == 0 {
        return;
    }
    let msyncs = doubts.msyncs.swap(0, Ordering::Relaxed);
    let pages = doubts.pages.swap(0, Ordering::Relaxed);
    say(|message| words::doubts(message, msyncs, pages));
}

/// Says what is about no file alone. On a thread of the program's; async-signal-safe.
fn say(words: impl Fn(&mut LineBuf<320>)) {
    let _quiet = Blocked::all();
    let tid = sys::gettid();
    let _ = helper::run(process::this(), |worker| {
        let mut message = LineBuf::<320>::new();
        words(&mut message);
        let mut record = log::record(worker.process(), Level::Warn, tid, event::DOUBT);
        record.message = message.as_str().into();
        log::notice(worker, &record);
    });
}
