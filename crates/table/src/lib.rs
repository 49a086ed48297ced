//! The address table: which file is mapped where. What a file is, an entry does not know: it carries some
//! reference `F` to it.
//!
//! Sorted, disjoint entries lie in leaves of up to [`LEAF`] entries under one directory. A published
//! leaf or directory is never written again: a change builds new ones and publishes them with a
//! single store. That gives two things that locks cannot:
//!
//! - [`Table::overlaps`], which every `munmap` of every allocator passes through, takes no lock;
//! - a fork in the middle of a change leaves the child either the old table or the new one.
//!
//! Blocks are recycled, so a reader without the lock may look at a block that has a new use. It
//! notices: `retired` counts each block taken out of use before its contents change, and a reader
//! that sees it move starts again.

use core::cell::UnsafeCell;
use core::mem::size_of;
use core::ops::RangeInclusive;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use keepmydata_sys::pool::Pool;
use keepmydata_sys::wipe::{Mapped, Memory};

/// Entries in a leaf.
pub const LEAF: usize = 32;

/// One mapping, or the part of it that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<F> {
    /// First byte; page aligned.
    pub start: usize,
    /// One past the last byte; page aligned.
    pub end: usize,
    /// Offset in the file, in bytes, of the byte at `start`.
    pub offset: u64,
    /// Whose it is.
    pub file: F,
    /// Whether stores can ever happen: the descriptor was open for writing.
    pub writable: bool,
    pub marks: Marks,
}

/// What is noted of a mapping while it is in the table. Not a part of what it is: [`Table::mark`] changes them
/// where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The process generation in which its stores are tracked page by page; 0 is none.
    pub registered: u32,
    /// The same in which the program has been told of every writeback error that its open file had seen, by an msync of
    /// the mapping while the file had a handle: a later error is the handle's too.
    pub errseq_seen: u32,
    /// Where it is registered: the address up to which its stores are tracked, the end of the file as it was. May
    /// lie beyond the end of the entry, of which a part may be left.
    pub tracked: usize,
}

#[allow(clippy::len_without_is_empty, reason = "none is empty")]
impl<F> Entry<F> {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The same with another reference to its file.
    pub fn with<G>(&self, file: G) -> Entry<G> {
        Entry {
            start: self.start,
            end: self.end,
            offset: self.offset,
            file,
            writable: self.writable,
            marks: self.marks,
        }
    }

    /// The part inside `[start, end)`, if any.
    pub fn clip(&self, start: usize, end: usize) -> Option<Entry<F>>
    where
        F: Copy,
    {
        let from = self.start.max(start);
        let to = self.end.min(end);
        (from < to).then(|| Entry {
            start: from,
            end: to,
            offset: self.offset + (from - self.start) as u64,
            ..*self
        })
    }
}

/// `len` comes first: a pool writes there, and the bound of a reader without the lock is the only one that may
/// be anything.
#[repr(C)]
struct Leaf<F> {
    len: AtomicUsize,
    starts: [AtomicUsize; LEAF],
    ends: [AtomicUsize; LEAF],
    /// Read under the lock only.
    rest: UnsafeCell<[Rest<F>; LEAF]>,
}

#[derive(Clone, Copy)]
struct Rest<F> {
    offset: u64,
    file: F,
    writable: bool,
    marks: Marks,
}

/// Header of a directory; `capacity` slots follow it in memory.
struct Directory<F> {
    capacity: usize,
    len: AtomicUsize,
    /// Atomic, since a reader of the block's former use may look.
    next_free: AtomicPtr<Directory<F>>,
}

struct Slot<F> {
    /// Entries of this leaf start at or above it, and below the next slot's.
    lower: AtomicUsize,
    leaf: AtomicPtr<Leaf<F>>,
}

/// Directories of 2^n slots, n from [`SMALLEST`], are recycled by size.
const CLASSES: usize = 24;
const SMALLEST: usize = 64;
/// Leaves that one change can need: the scratch's entries in equal shares.
const NEW_LEAVES: usize = 4;

/// See the module's documentation. It is for one thread; where several share it nevertheless, they take a
/// lock for each call of a method but [`Table::overlaps`], which needs none. What a closure is given to, it
/// must not call.
pub struct Table<F, M = Mapped> {
    root: AtomicPtr<Directory<F>>,
    retired: AtomicU64,
    leaves: Pool<Leaf<F>, M>,
    directories: UnsafeCell<[*mut Directory<F>; CLASSES]>,
    scratch: UnsafeCell<Scratch<F>>,
}

/// Where a change is put together: at most three leaves' entries and what a split adds.
struct Scratch<F> {
    len: usize,
    entries: [Option<Entry<F>>; 3 * LEAF + 2],
}

impl<F> Scratch<F> {
    fn push(&mut self, entry: Entry<F>) {
        self.entries[self.len] = Some(entry);
        self.len += 1;
    }
}

/// Memory is out; the table is as it was.
#[derive(Debug)]
pub struct OutOfMemory;

impl<F: Copy, M: Memory> Default for Table<F, M> {
    fn default() -> Table<F, M> {
        Table::new()
    }
}

impl<F: Copy, M: Memory> Table<F, M> {
    /// A table without an entry.
    pub const fn new() -> Table<F, M> {
        Table {
            root: AtomicPtr::new(null_mut()),
            retired: AtomicU64::new(0),
            leaves: Pool::new(),
            directories: UnsafeCell::new([null_mut(); CLASSES]),
            scratch: UnsafeCell::new(Scratch {
                len: 0,
                entries: [None; 3 * LEAF + 2],
            }),
        }
    }

    /// Whether any entry overlaps `[start, end)`. Lock-free; any context.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        loop {
            let before = self.retired.load(Ordering::Acquire);
            let found = self.overlaps_in(self.root.load(Ordering::Acquire), start, end);
            fence(Ordering::Acquire);
            if self.retired.load(Ordering::Relaxed) == before {
                return found;
            }
        }
    }

    fn overlaps_in(&self, root: *mut Directory<F>, start: usize, end: usize) -> bool {
        let Some(slots) = slots(root) else {
            return false;
        };
        let at = slot_of(slots, start);
        // The predecessor may lie in the leaf before, and reach over this leaf's lower bound.
        let first = at.saturating_sub(1);
        let last = (at + 1).min(slots.len() - 1);
        slots[first..=last]
            .iter()
            .any(|slot| leaf_overlaps(slot.leaf.load(Ordering::Acquire), start, end))
    }

    /// Adds `entry`, which must overlap none.
    pub fn insert(&self, entry: Entry<F>) -> Result<(), OutOfMemory> {
        let root = self.root.load(Ordering::Relaxed);
        let Some(slots) = slots(root) else {
            let leaf = self.new_leaf(&[Some(entry)])?.as_ptr();
            let directory = self.new_directory(1)?;
            set_slot(directory, 0, 0, leaf);
            self.root.store(directory.as_ptr(), Ordering::Release);
            return Ok(());
        };
        let at = slot_of(slots, entry.start);
        let scratch = self.scratch();
        let mut pending = Some(entry);
        for old in entries(leaf_at(slots, at)) {
            if let Some(new) = pending.take_if(|new| new.start < old.start) {
                scratch.push(new);
            }
            scratch.push(old);
        }
        if let Some(new) = pending {
            scratch.push(new);
        }
        self.replace(root, at..=at, scratch, |_| ())
    }

    /// Removes what overlaps `[start, end)`; `removed` is told of each piece, in order, when the
    /// table no longer holds it, and how many parts (0 to 2) of its entry stay.
    pub fn remove(
        &self,
        start: usize,
        end: usize,
        mut removed: impl FnMut(Entry<F>, usize),
    ) -> Result<(), OutOfMemory> {
        if !self.overlaps(start, end) {
            return Ok(());
        }
        let root = self.root.load(Ordering::Relaxed);
        let Some(slots) = slots(root) else {
            return Ok(());
        };
        let mut first = slot_of(slots, start);
        let last = slot_of(slots, end - 1);
        if first > 0 && leaf_overlaps(slots[first - 1].leaf.load(Ordering::Relaxed), start, end) {
            first -= 1;
        }
        // Only the leaf of `start`, the one before it and the last can keep entries: those between
        // lie inside the range. So the scratch is large enough.
        let scratch = self.scratch();
        for at in first..=last {
            for entry in entries(leaf_at(slots, at)) {
                let kept = [entry.clip(0, start), entry.clip(end, usize::MAX)];
                kept.into_iter()
                    .flatten()
                    .for_each(|part| scratch.push(part));
            }
        }
        self.replace(root, first..=last, scratch, |old| {
            if let Some(piece) = old.clip(start, end) {
                removed(
                    piece,
                    usize::from(old.start < start) + usize::from(old.end > end),
                );
            }
        })
    }

    /// Tells `each` of every entry (or part of one) in `[start, end)`, in order, until it returns
    /// false.
    pub fn for_each(&self, start: usize, end: usize, mut each: impl FnMut(Entry<F>) -> bool) {
        for leaf in self.leaves_of(start, end) {
            for entry in entries(leaf) {
                if let Some(piece) = entry.clip(start, end)
                    && !each(piece)
                {
                    return;
                }
            }
        }
    }

    /// Lets `change` change the marks of every entry that overlaps `[start, end)`: of all of it, also
    /// where it reaches beyond.
    pub fn mark(&self, start: usize, end: usize, mut change: impl FnMut(&Entry<F>, &mut Marks)) {
        for leaf in self.leaves_of(start, end) {
            for (i, entry) in entries(leaf).enumerate() {
                if entry.clip(start, end).is_some() {
                    let mut marks = entry.marks;
                    change(&entry, &mut marks);
                    // SAFETY: read and written under the lock only, which the caller holds; each mark
                    // is one word, and a fork child takes none of its parent's for its own.
                    unsafe { (*leaf.rest.get())[i].marks = marks };
                }
            }
        }
    }

    /// The leaves that entries in `[start, end)` can be in.
    fn leaves_of(&self, start: usize, end: usize) -> impl Iterator<Item = &Leaf<F>> {
        let slots = slots(self.root.load(Ordering::Relaxed)).unwrap_or(&[]);
        let range = match slots.is_empty() || start >= end {
            true => 0..0,
            false => slot_of(slots, start).saturating_sub(1)..slot_of(slots, end - 1) + 1,
        };
        range.map(move |at| leaf_at(slots, at))
    }

    /// Puts the scratch's entries in the place of the slots `which`.
    fn replace(
        &self,
        root: *mut Directory<F>,
        which: RangeInclusive<usize>,
        scratch: &mut Scratch<F>,
        mut old_entry: impl FnMut(Entry<F>),
    ) -> Result<(), OutOfMemory> {
        let slots = slots(root).unwrap_or(&[]);
        let (first, last) = (*which.start(), *which.end());
        let old = last - first + 1;

        let kept = &scratch.entries[..scratch.len];
        let wanted = kept.len().div_ceil(LEAF);
        // Equal shares, so that the next insertion does not split again.
        let share = kept.len().checked_div(wanted).unwrap_or(0) + 1;
        let mut leaves = [null_mut::<Leaf<F>>(); NEW_LEAVES];
        let mut made = 0;
        for part in kept.chunks(share.min(LEAF)) {
            match self.new_leaf(part) {
                Ok(leaf) => leaves[made] = leaf.as_ptr(),
                Err(e) => {
                    self.give_leaves(&leaves[..made]);
                    return Err(e);
                }
            }
            made += 1;
        }

        if old == 1 && made == 1 {
            let slot = &slots[first];
            let leaf = slot.leaf.swap(leaves[0], Ordering::AcqRel);
            // SAFETY: the leaf was published; its block is intact until it is given back below.
            entries(unsafe { &*leaf }).for_each(&mut old_entry);
            self.give_leaves(&[leaf]);
            return Ok(());
        }

        let count = slots.len() - old + made;
        let new_root = if count == 0 {
            null_mut()
        } else {
            let directory = match self.new_directory(count) {
                Ok(directory) => directory,
                Err(e) => {
                    self.give_leaves(&leaves[..made]);
                    return Err(e);
                }
            };
            let mut to = 0;
            let mut add = |lower: usize, leaf: *mut Leaf<F>| {
                set_slot(directory, to, if to == 0 { 0 } else { lower }, leaf);
                to += 1;
            };
            for slot in &slots[..first] {
                add(
                    slot.lower.load(Ordering::Relaxed),
                    slot.leaf.load(Ordering::Relaxed),
                );
            }
            for (i, &leaf) in leaves[..made].iter().enumerate() {
                let lower = match i {
                    0 => slots[first].lower.load(Ordering::Relaxed),
                    // SAFETY: made just now, not empty.
                    _ => unsafe { &*leaf }.starts[0].load(Ordering::Relaxed),
                };
                add(lower, leaf);
            }
            for slot in &slots[last + 1..] {
                add(
                    slot.lower.load(Ordering::Relaxed),
                    slot.leaf.load(Ordering::Relaxed),
                );
            }
            directory.as_ptr()
        };
        self.root.store(new_root, Ordering::Release);
        for slot in &slots[first..=last] {
            let leaf = slot.leaf.load(Ordering::Relaxed);
            // SAFETY: as above.
            entries(unsafe { &*leaf }).for_each(&mut old_entry);
            self.give_leaves(&[leaf]);
        }
        self.give_directory(root);
        Ok(())
    }

    #[allow(
        clippy::mut_from_ref,
        reason = "the table lock makes the caller the only one"
    )]
    fn scratch(&self) -> &mut Scratch<F> {
        // SAFETY: used by the holder of the table lock only, one call at a time.
        let scratch = unsafe { &mut *self.scratch.get() };
        scratch.len = 0;
        scratch
    }

    fn new_leaf(&self, from: &[Option<Entry<F>>]) -> Result<NonNull<Leaf<F>>, OutOfMemory> {
        let leaf = match self.leaves.recycled() {
            Some(leaf) => leaf,
            None => self.leaves.fresh().ok_or(OutOfMemory)?,
        };
        // SAFETY: the block is ours until published. Readers that still look at it see only its
        // atomic fields.
        let leaf_ref = unsafe { leaf.as_ref() };
        // SAFETY: as above; `rest` is read under the lock only, which the caller holds.
        let rest = unsafe { &mut *leaf_ref.rest.get() };
        for (i, entry) in from.iter().flatten().enumerate() {
            leaf_ref.starts[i].store(entry.start, Ordering::Relaxed);
            leaf_ref.ends[i].store(entry.end, Ordering::Relaxed);
            rest[i] = Rest {
                offset: entry.offset,
                file: entry.file,
                writable: entry.writable,
                marks: entry.marks,
            };
        }
        leaf_ref.len.store(from.len(), Ordering::Relaxed);
        Ok(leaf)
    }

    /// Must come before the first write to a block that is no longer published.
    fn count_retired(&self) {
        self.retired.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::Release);
    }

    fn give_leaves(&self, leaves: &[*mut Leaf<F>]) {
        self.count_retired();
        for leaf in leaves.iter().filter_map(|&leaf| NonNull::new(leaf)) {
            // SAFETY: from this pool, and no longer published.
            unsafe { self.leaves.give(leaf) };
        }
    }

    fn new_directory(&self, len: usize) -> Result<NonNull<Directory<F>>, OutOfMemory> {
        let capacity = len.next_power_of_two().max(SMALLEST);
        // SAFETY: only the holder of the table lock comes here.
        let free = unsafe { &mut (*self.directories.get())[class(capacity)] };
        let directory = match NonNull::new(*free) {
            Some(directory) => {
                // SAFETY: given back whole; nobody else uses it.
                *free = unsafe { directory.as_ref() }
                    .next_free
                    .load(Ordering::Relaxed);
                directory
            }
            None => {
                let bytes = size_of::<Directory<F>>() + capacity * size_of::<Slot<F>>();
                let directory: NonNull<Directory<F>> = M::map(bytes).ok_or(OutOfMemory)?.cast();
                // SAFETY: fresh memory of that size.
                unsafe { (*directory.as_ptr()).capacity = capacity };
                directory
            }
        };
        // SAFETY: ours until published.
        unsafe { directory.as_ref() }
            .len
            .store(len, Ordering::Relaxed);
        Ok(directory)
    }

    fn give_directory(&self, directory: *mut Directory<F>) {
        self.count_retired();
        // SAFETY: no longer published, and only the holder of the table lock comes here.
        unsafe {
            let free = &mut (*self.directories.get())[class((*directory).capacity)];
            (*directory).next_free.store(*free, Ordering::Relaxed);
            *free = directory;
        }
    }
}

fn class(capacity: usize) -> usize {
    (capacity / SMALLEST).trailing_zeros() as usize
}

/// The slots of a published directory, at least one; nothing for no directory.
fn slots<'a, F>(directory: *mut Directory<F>) -> Option<&'a [Slot<F>]> {
    let header = NonNull::new(directory)?;
    // SAFETY: directories are never unmapped, and `capacity` never changes; `len` may belong to a
    // new use of the block, hence the bound.
    unsafe {
        let len = header.as_ref().len.load(Ordering::Acquire);
        let len = len.clamp(1, header.as_ref().capacity);
        Some(core::slice::from_raw_parts(
            header.as_ptr().add(1).cast(),
            len,
        ))
    }
}

fn set_slot<F>(directory: NonNull<Directory<F>>, at: usize, lower: usize, leaf: *mut Leaf<F>) {
    // SAFETY: `at` is below the capacity that the caller asked for; atomics, since a late reader of
    // the block's former use may look.
    let slot = unsafe { &*directory.as_ptr().add(1).cast::<Slot<F>>().add(at) };
    slot.lower.store(lower, Ordering::Relaxed);
    slot.leaf.store(leaf, Ordering::Relaxed);
}

/// The last slot whose lower bound is at or below `address`.
fn slot_of<F>(slots: &[Slot<F>], address: usize) -> usize {
    slots
        .partition_point(|slot| slot.lower.load(Ordering::Relaxed) <= address)
        .saturating_sub(1)
}

fn leaf_at<F>(slots: &[Slot<F>], at: usize) -> &Leaf<F> {
    // SAFETY: under the lock a published slot's leaf is valid.
    unsafe { &*slots[at].leaf.load(Ordering::Relaxed) }
}

fn leaf_overlaps<F>(leaf: *mut Leaf<F>, start: usize, end: usize) -> bool {
    let Some(leaf) = NonNull::new(leaf) else {
        return false;
    };
    // SAFETY: leaves are never unmapped; a recycled one is noticed by the caller.
    let leaf = unsafe { leaf.as_ref() };
    let len = leaf.len.load(Ordering::Acquire).min(LEAF);
    let at = leaf.ends[..len].partition_point(|e| e.load(Ordering::Relaxed) <= start);
    at < len && leaf.starts[at].load(Ordering::Relaxed) < end
}

fn entries<F: Copy>(leaf: &Leaf<F>) -> impl Iterator<Item = Entry<F>> + '_ {
    (0..leaf.len.load(Ordering::Relaxed)).map(|i| {
        // SAFETY: callers hold the table lock, so nobody writes meanwhile.
        let rest = unsafe { (*leaf.rest.get())[i] };
        Entry {
            start: leaf.starts[i].load(Ordering::Relaxed),
            end: leaf.ends[i].load(Ordering::Relaxed),
            offset: rest.offset,
            file: rest.file,
            writable: rest.writable,
            marks: rest.marks,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    const PAGE: usize = 4096;

    fn entry(page: usize) -> Entry<u32> {
        Entry {
            start: page * PAGE,
            end: (page + 1) * PAGE,
            offset: 0,
            file: 0,
            writable: true,
            marks: Marks::default(),
        }
    }

    struct Shared(Table<u32>);

    // SAFETY: one thread changes it, the others call `overlaps` only.
    unsafe impl Sync for Shared {}
    // SAFETY: it has no tie to the thread that made it.
    unsafe impl Send for Shared {}

    /// While leaves and directories are replaced, and their blocks used again.
    #[test]
    fn reader_without_a_lock_sees_what_stays_and_nothing_else() {
        let (pages, rounds) = if cfg!(miri) { (40, 6) } else { (400, 300) };
        let table = Arc::new(Shared(Table::new()));
        let (stays, never) = (pages / 2, pages / 2 + 1);
        table.0.insert(entry(stays)).expect("memory");
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                for _ in 0..rounds * pages {
                    assert!(table.0.overlaps(stays * PAGE, never * PAGE));
                    assert!(!table.0.overlaps(never * PAGE, (never + 1) * PAGE));
                }
            })
        };
        let others = || (0..pages).filter(|&page| page != stays && page != never);
        for _ in 0..rounds {
            for page in others() {
                table.0.insert(entry(page)).expect("memory");
            }
            for page in others() {
                let (start, end) = (page * PAGE, (page + 1) * PAGE);
                let mut removed = 0;
                table
                    .0
                    .remove(start, end, |piece, _| removed += piece.len())
                    .expect("memory");
                assert_eq!(removed, PAGE);
            }
        }
        reader.join().expect("the reader");
    }
}
