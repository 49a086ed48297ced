//! Which file is mapped where, kept true under every mapping call.
//!
//! What a call unmaps leaves the table *before* the real call and returns to it if that fails:
//! another thread may be given the same addresses the moment the kernel has them free, and nobody
//! may then take its memory for a tracked file's.

pub mod classify;
pub mod family;
pub mod file;
pub mod leaving;
pub mod probes;
pub mod table;
pub mod untold;

use crate::helper;
use crate::process::{self, PerProcess, Process};
use crate::sys::pool::Pool;
use crate::sys::signals::{self, Blocked, Quiet};
use crate::sys::{
    self,
    lock::{self, Mutex},
};
use crate::{config, next_fn};
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use file::{File, FileRef, Files, Handle, Held, Key, MayDrop, State};
use keepmydata_ranges::Ranges;
use libc::c_int;
use table::{Entry, Marks, Table};

/// All mappings and files. In ordinary memory: a fork child inherits the mappings too.
struct Tracked {
    table: Table,
    files: UnsafeCell<Files>,
    taken: Pool<TakenNode>,
}

static TRACKED: Tracked = Tracked {
    table: Table::new(),
    files: UnsafeCell::new(Files::new()),
    taken: Pool::new(),
};

// SAFETY: `table.overlaps` is lock-free; all else is reached through `Guard`, under the table lock.
unsafe impl Sync for Tracked {}

static TABLE_LOCK: PerProcess<Mutex<leaving::Ranges>> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    TABLE_LOCK.boot() && untold::boot()
}

/// Whether anything was ever tracked; until then the hooks have nothing to do.
static ANY: AtomicBool = AtomicBool::new(false);
/// The table could not follow (memory is out): nothing is tracked any more.
static LOST: AtomicBool = AtomicBool::new(false);
/// Whether a file was ever tracked that is verified.
static VERIFIED: AtomicBool = AtomicBool::new(false);
/// The same of one that is not, on a filesystem that may tell an error once, to whoever asks first.
static TELLS_ONCE: AtomicBool = AtomicBool::new(false);
/// Filter over (device, inode) of every file ever tracked: a clear bit says "none".
static SEEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Whether anything was ever tracked. Any context, before boot too.
#[inline]
pub fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// Whether a file that is verified was ever tracked. Any context, before boot too.
#[inline]
pub fn any_verified() -> bool {
    VERIFIED.load(Ordering::Relaxed)
}

/// Whether a file that is not verified was ever tracked on a filesystem that may tell an error once. Any context, before
/// boot too.
#[inline]
pub fn any_tells_once() -> bool {
    TELLS_ONCE.load(Ordering::Relaxed)
}

/// What [`any`] and its like have said.
pub struct Gates([bool; 3]);

/// Has hooks find nothing to do.
pub fn shut() -> Gates {
    untold::shut();
    Gates([&ANY, &VERIFIED, &TELLS_ONCE].map(|gate| gate.swap(false, Ordering::Relaxed)))
}

/// Has them find what they found before.
pub fn open(gates: Gates) {
    for (gate, was) in [&ANY, &VERIFIED, &TELLS_ONCE].into_iter().zip(gates.0) {
        gate.fetch_or(was, Ordering::Relaxed);
    }
}

/// Runs `run` for every mapping, clipped to `[start, end)`, each with a hold on its file and without the lock.
/// With all signals blocked.
pub fn each(start: usize, end: usize, mut run: impl FnMut(&Entry<'_>)) {
    any_of(start, end, |entry| {
        run(entry);
        false
    });
}

/// The same, until `run` returns true: says whether it did.
pub fn any_of(start: usize, end: usize, mut run: impl FnMut(&Entry<'_>) -> bool) -> bool {
    let mut from = start;
    loop {
        let Some(entry) = first_in(from, end) else {
            return false;
        };
        if run(&entry.with(&entry.file)) {
            return true;
        }
        from = entry.end;
    }
}

/// The first mapping, clipped to `[start, end)`, with a hold on its file.
pub fn first_in(start: usize, end: usize) -> Option<HeldEntry> {
    let mut first = None;
    lock().for_each(start, end, |entry| {
        first = Some(entry.with(entry.file.hold()));
        false
    });
    first
}

/// Runs `run` for every file, held and without the lock, that has a mapping in `[start, end)`, by where they are
/// in memory. With all signals blocked.
pub fn each_file(start: usize, end: usize, run: impl FnMut(&File)) {
    each_held(run, |table, each| {
        table.for_each(start, end, |entry| {
            each(entry.file);
            true
        });
    });
}

/// Runs `run` for every file of that (device, inode), held and without the lock: more than one where the
/// kernel has several inodes of it. With all signals blocked.
pub fn each_of_inode(dev: u64, ino: u64, run: impl FnMut(&File)) {
    each_held(run, |table, each| table.of_inode(dev, ino).for_each(each));
}

/// Runs `run` for all files that `walk` finds, the lowest first.
fn each_held(mut run: impl FnMut(&File), walk: impl Fn(&Guard, &mut dyn FnMut(&File))) {
    let mut last = ptr::null();
    loop {
        let mut next: Option<Held> = None;
        {
            let table = lock();
            let mut found = None;
            walk(&table, &mut |file| {
                let at = ptr::from_ref(file);
                if last < at && found.is_none_or(|found| at < found) {
                    found = Some(at);
                }
            });
            walk(&table, &mut |file| {
                if found == Some(ptr::from_ref(file)) && next.is_none() {
                    next = Some(file.hold());
                }
            });
        }
        let Some(file) = next else { return };
        last = ptr::from_ref(&*file);
        run(&file);
    }
}

/// The handle of `file`. Not under the table lock.
pub fn handle_of(file: &File) -> Handle {
    lock().get(file).handle
}

/// Whether `[addr, addr + len)` holds a tracked mapping. Lock-free; any context.
#[inline]
pub fn overlaps(addr: usize, len: usize) -> bool {
    any() && overlaps_slow(addr, len)
}

#[inline(never)]
fn overlaps_slow(addr: usize, len: usize) -> bool {
    let end = addr.saturating_add(crate::sys::page_up(len as u64) as usize);
    if end <= addr || LOST.load(Ordering::Relaxed) {
        return false;
    }
    // The search may hold frames that cannot be unwound through (checks of a debug build).
    let state = next_fn::defer_cancel();
    let overlaps = TRACKED.table.overlaps(addr, end);
    next_fn::allow_cancel(state);
    overlaps
}

/// Whether a file of that (device, inode) may be tracked. Lock-free; any context.
pub fn may_know(dev: u64, ino: u64) -> bool {
    let (word, bit) = seen(dev, ino);
    SEEN[word].load(Ordering::Relaxed) & bit != 0
}

/// Whether writes of the program's to such a file may drop pages of it, and that is of interest.
fn may_writes_drop(traits: file::Traits) -> bool {
    config::is_verified(traits.local_block) && !traits.local_block
}

fn seen(dev: u64, ino: u64) -> (usize, u64) {
    let hash = (dev ^ ino.rotate_left(21)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 58) as usize, 1 << (hash >> 52 & 63))
}

/// The table lock, held with all signals blocked.
pub struct Guard {
    // Declared, and so dropped, before the signals come back.
    leaving: lock::Guard<'static, leaving::Ranges>,
    _quiet: Option<Blocked>,
    process: &'static Process,
}

/// Takes the table lock. Not while waiting for anything but the CPU: mmap callers wait for it.
pub fn lock() -> Guard {
    lock_with(Some(Blocked::all()))
}

/// The same where signals are blocked already, as `quiet` says if it is there: two system calls less.
pub fn lock_if(quiet: Option<&Quiet>) -> Guard {
    lock_with(quiet.is_none().then(Blocked::all))
}

/// The same where the caller has all signals blocked, as during an msync.
pub fn lock_blocked() -> Guard {
    debug_assert!(signals::are_blocked());
    lock_with(None)
}

fn lock_with(_quiet: Option<Blocked>) -> Guard {
    let process = process::this();
    Guard {
        leaving: TABLE_LOCK.get().lock(),
        _quiet,
        process,
    }
}

/// A mapping with a hold on its file.
pub type HeldEntry = keepmydata_table::Entry<Held>;

struct TakenNode {
    next: Option<NonNull<TakenNode>>,
    entry: HeldEntry,
}

/// Entries that left the table for the time of a real call; they still hold their files.
#[must_use]
pub struct Taken {
    first: Option<NonNull<TakenNode>>,
}

impl Taken {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// The last hold may close the handle, before the drop returns: umount(8) right after munmap must find nothing
/// open.
impl Drop for Held {
    fn drop(&mut self) {
        if !self.leave_to_others() {
            // SAFETY: the reference that `self` owns, which nobody uses any more.
            let_go(unsafe { self.share() });
        }
    }
}

#[inline(never)]
fn let_go(held: Held) {
    let_go_if(held, None);
}

/// The same where signals are blocked already, as `quiet` says if it is there.
pub fn let_go_if(held: Held, quiet: Option<&Quiet>) {
    let handle = lock_if(quiet).release(held);
    if handle.is_some() {
        close_if(&[handle], quiet);
    }
}

/// Whether the filesystem of `file` may tell an error once, to whichever open file asks first.
pub fn tells_once(file: &File, handle: &Handle) -> bool {
    !file.traits.local_block && !handle.uncounted
}

/// Closes handles before it returns.
pub fn close(handles: &[Option<Handle>]) {
    close_if(handles, None);
}

/// The same where signals are blocked already, as `quiet` says if it is there.
pub fn close_if(handles: &[Option<Handle>], quiet: Option<&Quiet>) {
    if handles.is_empty() {
        return;
    }
    let _quiet = quiet.is_none().then(Blocked::all);
    let process = process::this();
    let _ = helper::run(process, |worker| {
        for handle in handles.iter().flatten() {
            close_handle(worker, handle);
        }
    });
}

/// The same on a helper thread. On FUSE the last FLUSH may tell of an error, which the program's own close would have got.
pub fn close_handle(worker: &helper::Worker, handle: &Handle) {
    let mut handle = *handle;
    handle.unmap_whole();
    if handle.generation != process::this().generation() {
        return;
    }
    let whose = classify::whose(handle.fd);
    if let (Err(errno), Some(whose)) = (worker.close(handle.fd), whose)
        && sys::vm::is_failure(errno)
    {
        untold::note(whose, untold::By::Close, errno);
    }
}

impl Guard {
    fn files(&self) -> &Files {
        // SAFETY: reached through the guard alone, of which there is one, for as long as it is borrowed.
        unsafe { &*TRACKED.files.get() }
    }

    fn files_mut(&mut self) -> &mut Files {
        // SAFETY: as above, and the guard is borrowed by nobody else.
        unsafe { &mut *TRACKED.files.get() }
    }

    /// What changes about `file`.
    pub fn get<'a>(&'a self, file: &'a File) -> &'a State {
        self.files().get(file)
    }

    /// The same, to change it.
    pub fn get_mut<'a>(&'a mut self, file: &'a File) -> &'a mut State {
        self.files_mut().get_mut(file)
    }

    /// The file of `key`, if it is tracked.
    pub fn find(&self, key: &Key) -> Option<&File> {
        self.files().find(key)
    }

    /// Every tracked file of that (device, inode).
    pub fn of_inode(&self, dev: u64, ino: u64) -> impl Iterator<Item = &File> {
        self.files().of_inode(dev, ino)
    }

    /// The file of `key`, which is added if it is new; nothing when memory is out.
    pub fn find_or_add(&mut self, key: Key, traits: file::Traits) -> Option<Held> {
        if let Some(file) = self.files().find(&key) {
            return Some(file.hold());
        }
        if config::is_verified(traits.local_block) && !traits.dax {
            VERIFIED.store(true, Ordering::Relaxed);
        } else if !traits.local_block && !traits.dax {
            TELLS_ONCE.store(true, Ordering::Relaxed);
        }
        let (word, bit) = seen(key.dev, key.ino);
        SEEN[word].fetch_or(bit, Ordering::Relaxed);
        let file = self.files_mut().add(key, traits)?;
        self.get_mut(&file).note_writes(may_writes_drop(traits));
        Some(file)
    }

    /// A mapping of `file` was made with `prot`. Once it can be stored to, what writes do is to be seen anew.
    pub fn note_prot(&mut self, file: &File, prot: c_int) {
        let state = self.get_mut(file);
        if prot & libc::PROT_WRITE != 0 && !state.maps_to_store {
            state.maps_to_store = true;
            let drops = &mut state.drops[MayDrop::Write as usize];
            *drops = drops.filter(|&dropped| dropped);
            state.note_writes(may_writes_drop(file.traits));
        }
    }

    /// Tells `each` of what changes about every tracked file.
    pub fn for_each_state(&mut self, each: impl FnMut(&mut State)) {
        self.files_mut().for_each_state(each);
    }

    /// Every tracked file.
    #[cfg(test)]
    pub fn all_files(&self) -> impl Iterator<Item = &File> {
        self.files().all()
    }

    /// Lets `file` go; a handle returned must be closed by the helper, without the lock.
    pub fn release(&mut self, file: Held) -> Option<Handle> {
        let key = file.key;
        let handle = self.files_mut().release(file)?;
        let is_own = handle.generation == self.process.generation();
        let has_whole = handle.has_whole();
        if !is_own && !has_whole {
            self.files_mut().remember(key, handle);
        }
        (is_own || has_whole).then_some(handle)
    }

    /// `file` had that handle of a parent process ([`Files::remember`]).
    pub fn remember(&mut self, file: &File, handle: Handle) {
        self.files_mut().remember(file.key, handle);
    }

    /// Notes that `pages` of `file` were stored to, or, where they are only `assumed_dirty`, may have been.
    pub fn owe(&mut self, file: &File, pages: &Ranges, assumed_dirty: bool) {
        self.get_mut(file).debt.owe(pages, assumed_dirty);
    }

    /// What is owed in `entry` cannot be proved any more: the next msync of the file says so.
    pub fn doubt_owed(&mut self, entry: &Entry<'_>) {
        let debt = &mut self.get_mut(entry.file).debt;
        let end = entry.offset + entry.len() as u64;
        debt.untold.add_all(debt.owed.within(entry.offset, end));
        // There is a mapping that holds the file.
        let _ = self.settle_debt(entry.file);
    }

    /// Notes that `pages` of `file` are about to be proved, before anybody can take their mapping away.
    pub fn prove(&mut self, file: &File, pages: &Ranges) {
        let debt = &mut self.get_mut(file).debt;
        debt.proving.add_all(pages.iter());
    }

    /// The program itself has changed `[start, end)` of the file: nobody need be told of what was there, and what is there
    /// now is owed. What is owed stays: it may have been stored since.
    pub fn forgive(&mut self, file: &File, start: u64, end: u64) {
        self.get_mut(file).debt.forgive(start, end);
    }

    /// Whether `file` is verified and may have to be shown to the other client (`KEEPMYDATA_SEEN_BY`): it lies on the first
    /// mount, or below it. Where it lies beside the directory that was named as the first mount, who shows it finds that out.
    pub fn is_shown_elsewhere(&self, file: &File) -> bool {
        if !config::has_other_client()
            || !config::is_verified(file.traits.local_block)
            || file.traits.dax
        {
            return false;
        }
        if config::device_of_first() == Some(file.key.dev) {
            return true;
        }
        let state = self.get(file);
        let is_cut = !state.path_is_whole() && !state.path().is_empty();
        is_cut || config::settings().seen_by.concerns(state.path())
    }

    /// The program has changed the bytes `range` of `file` past its mappings: the other client must be shown that, too, by the
    /// next msync, whether the file is mapped until then or not.
    pub fn must_be_shown(&mut self, file: &File, range: &Range<u64>) {
        if range.is_empty() || !self.is_shown_elsewhere(file) {
            return;
        }
        let (start, end) = (sys::page_down(range.start), sys::page_up(range.end));
        self.get_mut(file).debt.unshown.add(start, end);
        // It has a debt: nothing is closed.
        let _ = self.settle_debt(file);
    }

    /// The program changes the bytes `range` of `file` past its mappings: a second look finds something else there.
    pub fn change(&mut self, file: &File, range: &Range<u64>) {
        if config::settings().reverify_ms.0 > 0 {
            let (start, end) = (sys::page_down(range.start), sys::page_up(range.end));
            self.get_mut(file).changed.add(start, end);
        }
    }

    /// `pages` of `file` were stored to ([`file::Debt::store_anew`]).
    pub fn stored_anew(&mut self, file: &File, pages: &Ranges) {
        self.get_mut(file).debt.store_anew(pages);
    }

    /// Notes that `pages` of `file` were stored to in the moment in which its page cache was dropped: what they hold
    /// now is owed, and of what they held before nobody knows.
    pub fn doubt(&mut self, file: &File, pages: &Ranges) {
        let debt = &mut self.get_mut(file).debt;
        debt.untold.add_all(pages.iter());
        debt.owed.add_all(pages.iter());
    }

    /// A call of the program's has dropped the page cache of `file`, or not: what the next ones are expected to do.
    pub fn note_drop(&mut self, file: &File, call: MayDrop, dropped: bool) {
        let state = self.get_mut(file);
        let drops = &mut state.drops[call as usize];
        *drops = Some(dropped || *drops == Some(true));
        if matches!(call, MayDrop::Write) && !dropped && *drops == Some(false) {
            state.note_writes(false);
        }
    }

    /// Somebody has dropped the page cache of `file`: what mmap does to it is to be seen anew.
    pub fn doubt_mapping(&mut self, file: &File) {
        let drops = &mut self.get_mut(file).drops;
        for call in [MayDrop::Map, MayDrop::MapToRead] {
            drops[call as usize] = drops[call as usize].filter(|&dropped| dropped);
        }
    }

    /// Whether such a call is expected to: also where none was seen yet.
    pub fn drops(&self, file: &File, call: MayDrop) -> bool {
        !file.traits.local_block && self.get(file).drops[call as usize] != Some(false)
    }

    /// Whether one was seen to.
    pub fn is_known_to_drop(&self, file: &File, call: MayDrop) -> bool {
        self.get(file).drops[call as usize] == Some(true)
    }

    /// One call more, or less, is under way that may drop the page cache of `file`.
    pub fn count_dropping(&mut self, file: &File, begins: bool) {
        let count = &mut self.get_mut(file).dropping;
        *count = match begins {
            true => *count + 1,
            false => count.saturating_sub(1),
        };
    }

    /// Whether such a call is under way.
    pub fn is_dropping(&self, file: &File) -> bool {
        self.get(file).dropping > 0
    }

    /// The page cache of `file` was dropped.
    pub fn mark_refused_unrecoverable(&mut self, file: &File) {
        self.get_mut(file).debt.mark_refused_unrecoverable();
    }

    /// See [`Files::forget_unmapped`].
    pub fn forget_unmapped(&mut self, dev: u64, ino: u64) -> bool {
        self.files_mut().forget_unmapped(dev, ino)
    }

    /// After a change of the file's debt: see [`Files::settle_debt`]. A handle returned must be closed by
    /// the helper, without the lock.
    pub fn settle_debt(&mut self, file: &File) -> Option<Handle> {
        let handle = self.files_mut().settle_debt(file)?;
        (handle.generation == self.process.generation() || handle.has_whole()).then_some(handle)
    }

    /// See [`Files::will_be_forgotten`].
    pub fn will_be_forgotten(&self, file: &File) -> bool {
        self.files().will_be_forgotten(file)
    }

    /// Adds a mapping that overlaps none; says whether the table could take it.
    pub fn insert(&mut self, entry: Entry<'_>) -> bool {
        if LOST.load(Ordering::Relaxed) {
            return false;
        }
        let reference = entry.file.hold().leave();
        // First, so that a fork in between leaves the child with one too many.
        self.get_mut(entry.file).writable += usize::from(entry.writable);
        if TRACKED.table.insert(entry.with(reference)).is_err() {
            self.get_mut(entry.file).writable -= usize::from(entry.writable);
            // SAFETY: the table has not taken it.
            let _ = self.release(unsafe { reference.adopt() });
            return false;
        }
        let file = self.get_mut(entry.file);
        file.low = file.low.min(entry.start);
        file.high = file.high.max(entry.end);
        if process::is_open() {
            ANY.store(true, Ordering::Release);
        }
        true
    }

    /// The mapping that ends at `end` is longer, by what overlaps no other: it stays one entry, as the kernel has one
    /// mapping, and what is known of it stays. Says whether there is one, and the table could take it.
    pub fn lengthen(&mut self, end: usize, by: usize) -> bool {
        if LOST.load(Ordering::Relaxed) || !matches!(TRACKED.table.lengthen(end, by), Ok(true)) {
            return false;
        }
        let mut file = None;
        self.for_each(end - 1, end, |entry| {
            file = Some(entry.file.hold());
            false
        });
        if let Some(held) = file {
            let state = self.get_mut(&held);
            state.high = state.high.max(end + by);
            let _ = self.release(held);
        }
        true
    }

    /// Whether a mapping overlaps `[start, end)`.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        TRACKED.table.overlaps(start, end)
    }

    /// Takes what overlaps `[start, end)` out of the table, whole pieces and parts.
    pub fn take(&mut self, start: usize, end: usize) -> Taken {
        let mut first = None;
        if start >= end {
            return Taken { first };
        }
        let removed = TRACKED.table.remove(start, end, |entry, stays| {
            // SAFETY: the reference of the entry, which is out of the table; its parts there get their own.
            let entry = entry.with(unsafe { entry.file.adopt() });
            for _ in 0..stays {
                entry.file.hold().leave();
            }
            if entry.writable {
                let file = self.get_mut(&entry.file);
                file.writable = (file.writable + stays).saturating_sub(1);
            }
            let pool = &TRACKED.taken;
            if let Some(node) = pool.recycled().or_else(|| pool.fresh()) {
                // SAFETY: the block is unused.
                unsafe { node.as_ptr().write(TakenNode { next: first, entry }) };
                first = Some(node);
            } else {
                // Under the lock it cannot be dropped.
                entry.file.leave();
            }
        });
        if removed.is_err() {
            LOST.store(true, Ordering::Relaxed);
        }
        Taken { first }
    }

    /// Makes entries of their own of the parts in `[start, end)`, so that they can be marked by themselves.
    pub fn split(&mut self, start: usize, end: usize) {
        let mut taken = self.take(start, end);
        self.consume(&mut taken, |table, entry| {
            table.insert(entry.with(&entry.file));
            // The table has a hold of its own: only where memory is out, a handle stays open.
            let _ = table.release(entry.file);
            true
        });
    }

    /// Tells `each` of the taken entries, which end with it, until it returns false; each still holds its
    /// file meanwhile.
    pub fn consume(
        &mut self,
        taken: &mut Taken,
        mut each: impl FnMut(&mut Guard, HeldEntry) -> bool,
    ) {
        while let Some(node) = taken.first {
            // SAFETY: made in `take`, and nobody else has it.
            let TakenNode { next, entry } = unsafe { node.as_ptr().read() };
            taken.first = next;
            // SAFETY: from this pool, and unused from here on.
            unsafe { TRACKED.taken.give(node) };
            if !each(self, entry) {
                return;
            }
        }
    }

    /// Tells `each` of every mapping of `file` above address `from`, until it returns false.
    pub fn for_each_of<'a>(
        &'a self,
        file: &File,
        from: usize,
        mut each: impl FnMut(Entry<'a>) -> bool,
    ) {
        let (low, high) = (self.get(file).low, self.get(file).high);
        self.for_each(low.max(from), high, |entry| {
            entry.file != file || each(entry)
        });
    }

    /// A call is about to unmap `[start, end)`.
    fn leave(&mut self, start: usize, end: usize) -> leaving::Place {
        self.leaving.add(start, end)
    }

    fn has_left(&mut self, place: leaving::Place) {
        self.leaving.remove(place);
    }

    /// Whether a call is about to unmap something in `[start, end)`.
    pub fn is_leaving(&self, start: usize, end: usize) -> bool {
        self.leaving.overlap(start, end)
    }

    /// Whether something can be stored to `file` through a mapping, or is owed of what was: an msync of a mapping
    /// that can only be read is about that too.
    pub fn is_stored_to(&self, file: &File) -> bool {
        let state = self.get(file);
        state.writable > 0 || state.debt.is_pending()
    }

    /// Lets `change` change the marks of every mapping of `file`.
    pub fn mark_each(&mut self, file: &File, mut change: impl FnMut(&Entry<'_>, &mut Marks)) {
        let (low, high) = (self.get(file).low, self.get(file).high);
        self.mark(low, high, |entry, marks| {
            if entry.file == file {
                change(entry, marks);
            }
        });
    }

    /// Lets `change` change the marks of every mapping that overlaps `[start, end)`, as a whole.
    pub fn mark(
        &mut self,
        start: usize,
        end: usize,
        mut change: impl FnMut(&Entry<'_>, &mut Marks),
    ) {
        if !LOST.load(Ordering::Relaxed) {
            TRACKED.table.mark(start, end, |entry, marks| {
                change(&self.refer(entry), marks);
            });
        }
    }

    /// Tells `each` of every mapping, clipped to `[start, end)`, until it returns false.
    pub fn for_each<'a>(
        &'a self,
        start: usize,
        end: usize,
        mut each: impl FnMut(Entry<'a>) -> bool,
    ) {
        if !LOST.load(Ordering::Relaxed) {
            TRACKED
                .table
                .for_each(start, end, |entry| each(self.refer(&entry)));
        }
    }

    /// An entry of the table, which stays in it as long as the guard is shared.
    fn refer(&self, entry: &keepmydata_table::Entry<FileRef>) -> Entry<'_> {
        // SAFETY: so it is, because the table is changed through the only reference to the guard.
        entry.with(unsafe { self.files().of_entry(entry.file) })
    }
}

impl Taken {
    /// Tells `each` of every entry, in no order.
    pub fn for_each(&self, mut each: impl FnMut(&Entry<'_>)) {
        let mut at = self.first;
        while let Some(node) = at {
            // SAFETY: a node lives until it is consumed.
            let node = unsafe { node.as_ref() };
            each(&node.entry.with(&node.entry.file));
            at = node.next;
        }
    }

    /// The file of one of the entries.
    pub fn first_file(&self) -> Option<&File> {
        // SAFETY: a node lives until it is consumed.
        self.first.map(|node| &*unsafe { node.as_ref() }.entry.file)
    }
}
