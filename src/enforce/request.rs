//! What one msync asks for one file, and the pool in which all that is known of it lies.

use crate::dirty::{self, Tracker};
use crate::log::Timer;
use crate::mappings::{
    self,
    file::{File, Handle, Held},
};
use crate::process::PerProcess;
use crate::stats::Slot;
use crate::sys::lock::Mutex;
use crate::sys::pool::Pool;
use crate::{config, sys};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use keepmydata_promise::{self as promise, Home, Patience, Terms};
use keepmydata_records::Uncertain;

/// In a block of the pool.
pub type Pooled<T> = promise::Pooled<T, Contexts>;
/// See [`promise::Snapshot`].
pub type Snapshot = promise::Snapshot<Request>;
/// See [`promise::Flushed`].
pub type Flushed = promise::Flushed<Request>;
/// See [`promise::Proved`].
pub type Proved = promise::Proved<Request, Contexts>;
/// See [`promise::Refused`].
pub type Refused = promise::Refused<Request, Contexts>;
/// See [`promise::Ended`].
pub type Ended = promise::Ended<Request>;

/// The call, as far as it concerns a file.
pub struct Request {
    pub file: Held,
    pub caller: Caller,
    pub timer: Timer,
    /// The arguments of the call; without one, 0.
    pub addr: usize,
    pub len: usize,
    pub flags: i32,
    /// Offset in the file of the first byte of the range.
    pub offset: u64,
    /// Whether it syncs what the program is about to take away: nothing is dropped, and no call is
    /// answered.
    pub settles: bool,
    /// Whether it need prove only what is owed by now: marks stay, and nobody else is served by it.
    pub is_part: bool,
    /// The number of the flush that the caller leads already.
    pub ticket: Option<u32>,
    /// The program was to be told of an earlier flush, before this one.
    pub was_untold: bool,
}

/// What a call of the program's begins with.
pub fn patience() -> Patience {
    Patience::new(config::settings().deadline_ms.0.saturating_mul(1_000_000))
}

/// Who has called.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Number of the msync in this process.
    pub call: u64,
    /// The program's thread.
    pub tid: i32,
}

impl Caller {
    /// The calling thread, with a new msync.
    pub fn next() -> Caller {
        Caller {
            call: CALLS.fetch_add(1, Ordering::Relaxed) + 1,
            tid: sys::gettid(),
        }
    }
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How the snapshot was taken.
#[derive(Default)]
pub struct Known {
    /// Where the file's numbers are, if anything is counted.
    pub slot: Option<&'static Slot>,
    pub handle: Handle,
    /// The last sync of the file failed.
    pub suspect: bool,
    pub tracker: Option<Tracker>,
    /// Why that one.
    pub chosen: &'static str,
    /// Nothing was dirty in any file of the call, whoever stored it: there is nothing to drop.
    pub was_clean: bool,
    /// Why it is not compared.
    pub reason: &'static str,
    /// The number of the flush, when it has begun.
    pub ticket: Option<u32>,
}

impl promise::Request for Request {
    type Known = Known;
}

impl Request {
    /// For `file`, which it holds: a sync without arguments.
    pub fn new(file: &File, caller: Caller) -> Request {
        Request {
            file: file.hold(),
            caller,
            timer: Timer::start(),
            addr: 0,
            len: 0,
            flags: libc::MS_SYNC,
            offset: 0,
            settles: false,
            is_part: false,
            ticket: None,
            was_untold: false,
        }
    }

    /// By what its file is judged.
    pub fn terms(&self) -> Terms {
        let (settings, traits) = (config::settings(), self.file.traits);
        let elsewhere =
            config::has_other_client() && mappings::lock_blocked().is_shown_elsewhere(&self.file);
        Terms {
            is_verified: dirty::is_verified(traits.local_block) && !traits.dax,
            local_block: traits.local_block,
            settles: self.settles,
            uncertain_fails: settings.uncertain == Uncertain::Error,
            seen_elsewhere: elsewhere,
            copy_budget: settings.copy_budget.0,
        }
    }
}

/// The pool.
pub struct Contexts(Pool<Ended>);

// SAFETY: used under `CONTEXTS_LOCK` only.
unsafe impl Sync for Contexts {}

static CONTEXTS_LOCK: PerProcess<Mutex<()>> = PerProcess::new();
static CONTEXTS: Contexts = Contexts(Pool::new());

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    CONTEXTS_LOCK.boot()
}

/// Keeps memory for the first contexts: a process may map a file and then run out. With all signals blocked. Not
/// while booting: most processes never map one.
pub fn keep_memory() {
    static KEPT: AtomicBool = AtomicBool::new(false);
    if KEPT.load(Ordering::Relaxed) {
        return;
    }
    let _lock = CONTEXTS_LOCK.get().lock();
    if !KEPT.swap(true, Ordering::Relaxed)
        && let Some(block) = CONTEXTS.0.fresh()
    {
        // SAFETY: from the pool, and unused.
        unsafe { CONTEXTS.0.give(block) };
    }
}

// SAFETY: the pool's blocks are of that size, and each is taken by one.
unsafe impl Home for Contexts {
    type Block = Ended;

    fn take() -> Option<NonNull<Ended>> {
        let _lock = CONTEXTS_LOCK.get().lock();
        CONTEXTS.0.recycled().or_else(|| CONTEXTS.0.fresh())
    }

    unsafe fn give(block: NonNull<Ended>) {
        let _lock = CONTEXTS_LOCK.get().lock();
        // SAFETY: from the pool, by contract nobody's.
        unsafe { CONTEXTS.0.give(block) };
    }
}
