//! What one msync knows about one file, from the first step to the last.

use super::copy::Copies;
use crate::config;
use crate::dirty::{Ranges, Tracker};
use crate::log::{Timed, Timer};
use crate::mappings::file::{File, Handle, Held, Traits};
use crate::process::PerProcess;
use crate::stats::Slot;
use crate::sys::lock::Mutex;
use crate::sys::pool::Pool;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use keepmydata_records::{PageRow, Rung, Uncertain, Verdicts};
use rustix::io::Errno;

/// Rows of a report's page table; the counts are complete, the table is not beyond this.
pub const ROWS: usize = 64;

/// Lies in a pool, because it is too large for a stack that a signal handler may run on.
pub struct Context {
    /// The next file of the same msync, by address.
    pub next: Option<NonNull<Context>>,
    pub file: Held,
    /// Number of the msync in this process.
    pub call: u64,
    /// The program's thread.
    pub tid: i32,
    pub timer: Timer,
    /// The next one that waits for a second look, and when that is due (monotonic, ns).
    pub next_waiting: Option<NonNull<Context>>,
    pub due: u64,
    /// Whether this one waits for a second look.
    pub kept: bool,
    /// The arguments of the call.
    pub addr: usize,
    pub len: usize,
    pub flags: i32,
    /// Offset in the file of the first byte of the range.
    pub offset: u64,
    /// The number of the flush that the caller leads, when it has begun.
    pub ticket: Option<u32>,

    /// Where the file's numbers are, if anything is counted.
    pub slot: Option<&'static Slot>,
    pub handle: Handle,
    pub traits: Traits,
    pub verify: bool,
    /// The last sync of the file failed.
    pub suspect: bool,
    /// Whether the dirty ranges were asked for before the flush.
    pub dirty_known: bool,
    pub tracker: Option<Tracker>,
    /// Why that one.
    pub chosen: &'static str,
    /// Nothing was dirty in any file of the call, whoever stored it: there is nothing to drop.
    pub was_clean: bool,
    pub dirty: Ranges,
    /// Those of them without a page table entry.
    pub absent: Ranges,
    /// Dirty pages that were dropped before this msync began.
    pub gone: Ranges,
    /// Ranges that are dirty for all that is known.
    pub assumed_dirty: Ranges,
    /// The page cache was dropped since the last sync, with what may have been stored by then.
    pub refilled: bool,
    /// Pages that are uncertain for that reason alone.
    pub refilled_pages: u64,
    /// Pages that could only be compared with the page cache itself.
    pub unread_pages: u64,
    /// What of the file is in the page cache, for the drop.
    pub cached: Ranges,
    pub copies: Copies,
    /// How the real msync went: its time, and what it returned.
    pub real: Option<(Timed, Result<(), Errno>)>,
    /// How long fdatasync took, ns.
    pub fdatasync_ns: u64,
    /// The error of the first flush that failed, as long as none after it has succeeded.
    pub flush_error: Option<Errno>,
    /// Since then all that is known was made dirty again, and a flush has succeeded.
    pub rewritten: bool,
    /// That error stays: what it may be about is not known page by page.
    pub stands: bool,
    /// The error of the first flush that failed, whatever came after it.
    pub cause: Option<Errno>,
    /// Pages that are owed and not mapped, so that nobody can compare them.
    pub uncovered: Ranges,
    /// An earlier msync has failed for pages that are not proved yet, with this errno; 0 is none.
    pub refused: i32,
    /// How many pages that is about.
    pub refused_pages: u64,
    /// Whether it syncs what the program is about to take away: nothing is dropped, and no call is
    /// answered.
    pub settles: bool,
    /// The errno of an earlier sync that lost pages for good; 0 is none.
    pub lost: i32,
    /// Pages that this sync lost.
    pub lost_pages: u64,
    pub verdicts: Verdicts,
    /// The rung that cured the last pages, where any had to be cured.
    pub healed: Option<Rung>,
    pub rows: [PageRow; ROWS],
    pub row_count: usize,
    pub dropped_pages: Option<u64>,
    pub cached_pages: Option<u64>,
    /// Why a step could not be done.
    pub reason: &'static str,
}

impl Context {
    /// Whether all pages that this process has stored to are known.
    pub fn sees_stores(&self) -> bool {
        self.tracker.is_some_and(Tracker::sees_stores)
    }

    /// A flush failed.
    pub fn fails(&mut self, errno: Errno) {
        self.flush_error.get_or_insert(errno);
        self.cause.get_or_insert(errno);
    }

    /// Pages that were synced and could not be compared, because something is missing here: `reason` says what.
    pub fn unverified_pages(&self) -> u64 {
        let wanted = crate::dirty::is_verified(self.traits.local_block) && !self.traits.dax;
        match wanted {
            true if !self.verify => self.dirty.bytes() / crate::sys::page_size() as u64,
            true => self.copies.missed as u64,
            false => 0,
        }
    }

    /// What msync must say about the file, after all steps.
    pub fn outcome(&self) -> Result<(), Errno> {
        let uncertain_fails = config::settings().uncertain == Uncertain::Error;
        if self.lost != 0 {
            Err(Errno::from_raw_os_error(self.lost))
        } else if let Some(errno) = self.flush_error {
            Err(errno)
        } else if self.refused != 0 {
            Err(Errno::from_raw_os_error(self.refused))
        } else if self.verdicts.stale > 0
            || uncertain_fails && self.verdicts.uncertain + self.unverified_pages() > 0
        {
            Err(self.cause.unwrap_or(Errno::IO))
        } else {
            Ok(())
        }
    }
}

struct Contexts(Pool<Context>);

// SAFETY: used under `CONTEXTS_LOCK` only.
unsafe impl Sync for Contexts {}

static CONTEXTS_LOCK: PerProcess<Mutex<()>> = PerProcess::new();
static CONTEXTS: Contexts = Contexts(Pool::new());
static CALLS: AtomicU64 = AtomicU64::new(0);

/// A number for a new msync.
pub fn next_call() -> u64 {
    CALLS.fetch_add(1, Ordering::Relaxed) + 1
}

/// A new context, with a hold on `file`; nothing when memory is out.
pub fn new(file: &File) -> Option<NonNull<Context>> {
    let block = {
        let _lock = CONTEXTS_LOCK.get().lock();
        CONTEXTS.0.recycled().or_else(|| CONTEXTS.0.fresh())?
    };
    // Field by field: a whole `Context` would pass over the caller's stack.
    let c = block.as_ptr();
    // SAFETY: the block is ours; every field is written before the reference is made.
    unsafe {
        (&raw mut (*c).next).write(None);
        (&raw mut (*c).file).write(file.hold());
        (&raw mut (*c).call).write(0);
        (&raw mut (*c).tid).write(0);
        (&raw mut (*c).timer).write(Timer::start());
        (&raw mut (*c).next_waiting).write(None);
        (&raw mut (*c).due).write(0);
        (&raw mut (*c).kept).write(false);
        (&raw mut (*c).addr).write(0);
        (&raw mut (*c).len).write(0);
        (&raw mut (*c).flags).write(0);
        (&raw mut (*c).offset).write(0);
        (&raw mut (*c).ticket).write(None);
        (&raw mut (*c).slot).write(None);
        (&raw mut (*c).handle).write(Handle::default());
        (&raw mut (*c).traits).write(file.traits);
        (&raw mut (*c).verify).write(false);
        (&raw mut (*c).suspect).write(false);
        (&raw mut (*c).dirty_known).write(false);
        (&raw mut (*c).tracker).write(None);
        (&raw mut (*c).chosen).write("");
        (&raw mut (*c).was_clean).write(false);
        Ranges::init(&raw mut (*c).dirty);
        Ranges::init(&raw mut (*c).absent);
        Ranges::init(&raw mut (*c).gone);
        Ranges::init(&raw mut (*c).assumed_dirty);
        (&raw mut (*c).refilled).write(false);
        (&raw mut (*c).refilled_pages).write(0);
        (&raw mut (*c).unread_pages).write(0);
        Ranges::init(&raw mut (*c).cached);
        Copies::init(&raw mut (*c).copies);
        (&raw mut (*c).real).write(None);
        (&raw mut (*c).fdatasync_ns).write(0);
        (&raw mut (*c).flush_error).write(None);
        (&raw mut (*c).rewritten).write(false);
        (&raw mut (*c).stands).write(false);
        (&raw mut (*c).cause).write(None);
        Ranges::init(&raw mut (*c).uncovered);
        (&raw mut (*c).refused).write(0);
        (&raw mut (*c).refused_pages).write(0);
        (&raw mut (*c).settles).write(false);
        (&raw mut (*c).lost).write(0);
        (&raw mut (*c).lost_pages).write(0);
        (&raw mut (*c).healed).write(None);
        (&raw mut (*c).verdicts).write(Verdicts::default());
        // The rows are written before `row_count` counts them.
        (&raw mut (*c).row_count).write(0);
        (&raw mut (*c).dropped_pages).write(None);
        (&raw mut (*c).cached_pages).write(None);
        (&raw mut (*c).reason).write("");
    }
    Some(block)
}

/// Keeps memory for the first contexts: a process may map a file and then run out. Says whether there is a lock
/// for them.
pub fn boot() -> bool {
    if let Some(block) = CONTEXTS.0.fresh() {
        // SAFETY: from the pool, and unused.
        unsafe { CONTEXTS.0.give(block) };
    }
    CONTEXTS_LOCK.boot()
}

/// Puts a context back, and lets its file go; its copies must have been let go. Not under the table lock.
pub fn give(context: NonNull<Context>) {
    // SAFETY: the caller is done with it: what it has mapped is unmapped.
    unsafe { core::ptr::drop_in_place(context.as_ptr()) };
    let _lock = CONTEXTS_LOCK.get().lock();
    // SAFETY: from the pool, and nobody's.
    unsafe { CONTEXTS.0.give(context) };
}
