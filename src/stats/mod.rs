//! What happened to each file, in numbers, until the process ends.
//!
//! Only where the log shows `info`: below, no memory is taken for it and [`on`] says no. The memory is fixed: [`FILES`] files
//! are kept apart; when all places are taken, a file that is no longer mapped gives up its own, and its numbers are added to
//! those of the "other files". A fork child finds it zeroed, and counts from zero.

mod smaps;
mod summary;

pub use summary::{before_unmap, write};

use crate::log;
use crate::mappings::{
    self,
    file::{File, Key, PATH},
};
use crate::process;
use crate::sys::lock::Mutex;
use crate::sys::wipe;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use keepmydata_ranges::Ranges;
use keepmydata_records::{FINDINGS, Finding, FindingCounts, Level, Stats};

/// Files that are kept apart.
const FILES: usize = 64;

/// What is added up.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Number {
    Msyncs,
    PagesFlushed,
    PagesVerified,
    PagesHealed,
    PagesDropped,
    MsyncNs,
    DirtyNs,
    CopyNs,
    FlushNs,
    FdatasyncNs,
    VerifyNs,
    HealNs,
    DropNs,
    /// Files that gave up their place; of the "other files" only.
    Files,
}

const NUMBERS: usize = Number::Files as usize + 1;

/// The numbers of one file. All-zero is "no file".
pub struct Slot {
    state: AtomicU32,
    dev: AtomicU64,
    ino: AtomicU64,
    handle: AtomicU64,
    born: AtomicU64,
    numbers: [AtomicU64; NUMBERS],
    findings: [AtomicU64; FINDINGS],
    track: Mutex<Track>,
}

const FREE: u32 = 0;
const USED: u32 = 1;
/// The place of the "other files".
const SHARED: u32 = 2;

/// What is remembered of a file's syncs, for the findings.
pub struct Track {
    path_len: usize,
    path: [u8; PATH],
    /// Stored to by this process, and in no range that it has called msync for since.
    pub owed: Ranges,
    /// Those that were in the range of an msync with MS_ASYNC.
    pub asynced: Ranges,
    /// What had no blocks when it was mapped, and was in no msync with stores to it since.
    pub holes: Ranges,
    /// Stored to, and about to be truncated away.
    pub truncated: Ranges,
    /// The thread that made the last msync that was not served by another's, its file size; 0 is
    /// none.
    pub last: Option<(i32, u64)>,
    /// What the msync under way is to write, and whether that is known.
    pub syncing: Ranges,
    pub known: bool,
    /// The last msync failed; what it was to write, without what was stored to again since.
    pub failed: bool,
    pub unwritten: Ranges,
    /// The mappings before the last one was unmapped.
    sample: Sample,
}

/// What /proc/self/smaps and cachestat(2) say of a file.
#[derive(Clone, Copy, Default)]
struct Sample {
    mapped_bytes: u64,
    resident_pages: u64,
    dirty_pages: u64,
    cached_pages: Option<u64>,
}

impl Slot {
    /// Adds `n` to a number. Any context.
    pub fn add(&self, number: Number, n: u64) {
        self.numbers[number as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Counts what was found. Any context.
    pub fn count(&self, finding: Finding) {
        self.findings[finding as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What is remembered of the file; nothing where several share the place. With signals blocked,
    /// and not under the table lock.
    pub fn track(&self) -> Option<impl core::ops::DerefMut<Target = Track> + '_> {
        (self.state.load(Ordering::Acquire) == USED).then(|| self.track.lock())
    }

    fn get(&self, number: Number) -> u64 {
        self.numbers[number as usize].load(Ordering::Relaxed)
    }

    fn key(&self) -> Key {
        Key {
            dev: self.dev.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            handle: self.handle.load(Ordering::Relaxed),
            born: self.born.load(Ordering::Relaxed),
        }
    }

    fn is_of(&self, key: &Key) -> bool {
        self.state.load(Ordering::Acquire) == USED && self.key() == *key
    }

    fn findings(&self) -> FindingCounts {
        FindingCounts(core::array::from_fn(|i| {
            self.findings[i].load(Ordering::Relaxed)
        }))
    }

    fn stats(&self) -> Stats {
        let get = |number| Some(self.get(number));
        Stats {
            msyncs: get(Number::Msyncs),
            pages_flushed: get(Number::PagesFlushed),
            pages_verified: get(Number::PagesVerified),
            pages_healed: get(Number::PagesHealed),
            pages_dropped: get(Number::PagesDropped),
            msync_ns: get(Number::MsyncNs),
            dirty_ns: get(Number::DirtyNs),
            copy_ns: get(Number::CopyNs),
            flush_ns: get(Number::FlushNs),
            fdatasync_ns: get(Number::FdatasyncNs),
            verify_ns: get(Number::VerifyNs),
            heal_ns: get(Number::HealNs),
            drop_ns: get(Number::DropNs),
            ..Stats::default()
        }
    }

    /// Adds everything to `to`, and is as new.
    fn empty_into(&self, to: &Slot) {
        for (from, to) in self.numbers.iter().zip(&to.numbers) {
            to.fetch_add(from.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        for (from, to) in self.findings.iter().zip(&to.findings) {
            to.fetch_add(from.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        to.add(Number::Files, 1);
    }
}

struct Store {
    lock: Mutex<()>,
    slots: [Slot; FILES],
    others: Slot,
}

static STORE: AtomicPtr<Store> = AtomicPtr::new(null_mut());

/// Whether anything is counted. Any context.
#[inline]
pub fn on() -> bool {
    !STORE.load(Ordering::Relaxed).is_null()
}

/// Makes the memory, if the log shows what would be in it. Called once, while booting.
pub fn boot() {
    if !log::enabled(Level::Info) {
        return;
    }
    // Where the kernel does not wipe it (before Linux 4.14), a child would count its parent's.
    if let Some((memory, true)) = wipe::map_wiped(size_of::<Store>()) {
        STORE.store(memory.as_ptr().cast(), Ordering::Release);
    }
}

fn store() -> Option<&'static Store> {
    // SAFETY: made by `boot`, never unmapped; all-zero it is a valid `Store`.
    unsafe { STORE.load(Ordering::Acquire).as_ref() }
}

/// The place of `file`; nothing where nothing is counted, or the file is left
/// out by `KEEPMYDATA_FILES`. With signals blocked, and not under the table lock.
pub fn slot(file: &File) -> Option<&'static Slot> {
    let store = store()?;
    if mappings::lock().get(file).excluded {
        return None;
    }
    let key = file.key;
    let known = store.slots.iter().find(|slot| slot.is_of(&key));
    known.or_else(|| store.take(&key, file))
}

/// The place of the file of `key`, if it has one.
pub fn known(key: &Key) -> Option<&'static Slot> {
    store()?.slots.iter().find(|slot| slot.is_of(key))
}

impl Store {
    /// A place for a new file.
    #[cold]
    fn take(&self, key: &Key, file: &File) -> Option<&Slot> {
        let _lock = self.lock.lock();
        // Another thread may have been quicker.
        if let Some(slot) = self.slots.iter().find(|slot| slot.is_of(key)) {
            return Some(slot);
        }
        let is_free = |slot: &&Slot| slot.state.load(Ordering::Acquire) == FREE;
        let free = self.slots.iter().find(is_free).or_else(|| self.give_up());
        let Some(slot) = free else {
            self.others.state.store(SHARED, Ordering::Release);
            return Some(&self.others);
        };
        slot.dev.store(key.dev, Ordering::Relaxed);
        slot.ino.store(key.ino, Ordering::Relaxed);
        slot.handle.store(key.handle, Ordering::Relaxed);
        slot.born.store(key.born, Ordering::Relaxed);
        {
            let mut track = slot.track.lock();
            track.owed.clear();
            track.asynced.clear();
            track.holes.clear();
            track.truncated.clear();
            track.syncing.clear();
            track.unwritten.clear();
            track.last = None;
            track.failed = false;
            track.sample = Sample::default();
            let table = mappings::lock();
            let path = table.get(file).path();
            track.path[..path.len()].copy_from_slice(path);
            track.path_len = path.len();
        }
        slot.state.store(USED, Ordering::Release);
        Some(slot)
    }

    /// The place of a file that is mapped no more, its numbers added to the "other files".
    fn give_up(&self) -> Option<&Slot> {
        let gone = |slot: &&Slot| mappings::lock().find(&slot.key()).is_none();
        let slot = self.slots.iter().find(gone)?;
        slot.state.store(FREE, Ordering::Release);
        self.others.state.store(SHARED, Ordering::Release);
        slot.empty_into(&self.others);
        Some(slot)
    }
}

/// Whether this process has anything to tell at its end.
pub fn any() -> bool {
    store().is_some_and(|store| {
        let used = |slot: &Slot| slot.state.load(Ordering::Acquire) != FREE;
        store.slots.iter().any(used) || used(&store.others)
    })
}

/// Tells `each` of every file that has a place of its own.
pub fn for_each(mut each: impl FnMut(&'static Slot, Key)) {
    for slot in store().iter().flat_map(|store| &store.slots) {
        if slot.state.load(Ordering::Acquire) == USED {
            each(slot, slot.key());
        }
    }
}

/// A mapping of `file` is tracked now: from here on the file has a place.
pub fn mapped(file: &File) {
    if on() && !process::this().is_borrowed() {
        let _quiet = crate::sys::signals::Blocked::all();
        let _ = slot(file);
    }
}
