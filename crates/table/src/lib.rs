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

#![warn(missing_docs)]

use core::cell::Cell;
use core::mem::size_of;
use core::ops::{Deref, Range, RangeInclusive};
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
    /// What is noted of it.
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

    /// Where the byte at `offset` in the file is mapped, if it is.
    pub fn address_of(&self, offset: u64) -> Option<usize> {
        let inside = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        (inside < self.len()).then(|| self.start + inside)
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

/// A leaf or a directory. Its memory is never given back ([`Memory`]), and what is in it is atomic, or a [`Cell`] for the
/// one thread that changes the table: so whoever was led to one may look at it for ever, whatever it has become.
struct Block<T>(NonNull<T>);

impl<T> Clone for Block<T> {
    fn clone(&self) -> Block<T> {
        *self
    }
}

impl<T> Copy for Block<T> {}

impl<T> Block<T> {
    fn behind(link: &AtomicPtr<T>, order: Ordering) -> Option<Block<T>> {
        NonNull::new(link.load(order)).map(Block)
    }

    fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Deref for Block<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: made of memory for a `T`, see above.
        unsafe { self.0.as_ref() }
    }
}

/// `len` comes first: a pool writes there, and the bound of a reader without the lock is the only one that may
/// be anything.
#[repr(C)]
struct Leaf<F> {
    len: AtomicUsize,
    starts: [AtomicUsize; LEAF],
    ends: [AtomicUsize; LEAF],
    rest: [Cell<Rest<F>>; LEAF],
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
    capacity: AtomicUsize,
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

/// See the module's documentation. It is for one thread, as its cells say; who shares it nevertheless sees to it that one
/// thread at a time calls any method but [`Table::overlaps`]. While a method calls a closure, that changes nothing here.
pub struct Table<F, M = Mapped> {
    root: AtomicPtr<Directory<F>>,
    retired: AtomicU64,
    leaves: Pool<Leaf<F>, M>,
    /// Those that are free.
    directories: [AtomicPtr<Directory<F>>; CLASSES],
    scratch: Scratch<F>,
}

/// Where a change is put together: at most three leaves' entries and what a split adds.
struct Scratch<F> {
    len: Cell<usize>,
    entries: [Cell<Option<Entry<F>>>; 3 * LEAF + 2],
}

impl<F> Scratch<F> {
    fn push(&self, entry: Entry<F>) {
        self.entries[self.len.get()].set(Some(entry));
        self.len.set(self.len.get() + 1);
    }

    fn entries(&self) -> &[Cell<Option<Entry<F>>>] {
        &self.entries[..self.len.get()]
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
            directories: [const { AtomicPtr::new(null_mut()) }; CLASSES],
            scratch: Scratch {
                len: Cell::new(0),
                entries: [const { Cell::new(None) }; 3 * LEAF + 2],
            },
        }
    }

    /// Whether any entry overlaps `[start, end)`. Lock-free; any context.
    pub fn overlaps(&self, start: usize, end: usize) -> bool {
        loop {
            let before = self.retired.load(Ordering::Acquire);
            let root = Block::behind(&self.root, Ordering::Acquire);
            let found = self.overlaps_in(root, start, end);
            fence(Ordering::Acquire);
            if self.retired.load(Ordering::Relaxed) == before {
                return found;
            }
        }
    }

    fn overlaps_in(&self, root: Option<Block<Directory<F>>>, start: usize, end: usize) -> bool {
        let Some(slots) = root.map(slots) else {
            return false;
        };
        let at = slot_of(slots, start);
        // The predecessor may lie in the leaf before, and reach over this leaf's lower bound.
        let first = at.saturating_sub(1);
        let last = (at + 1).min(slots.len() - 1);
        slots[first..=last]
            .iter()
            .any(|slot| leaf_overlaps(slot, Ordering::Acquire, start, end))
    }

    /// Adds `entry`, which must overlap none.
    pub fn insert(&self, entry: Entry<F>) -> Result<(), OutOfMemory> {
        let Some(root) = self.root() else {
            let leaf = self.new_leaf(&[Cell::new(Some(entry))])?;
            let directory = self.new_directory(1)?;
            slots(directory)[0].set(0, leaf);
            self.root.store(directory.as_ptr(), Ordering::Release);
            return Ok(());
        };
        let slots = slots(root);
        let at = slot_of(slots, entry.start);
        if let Some(old) = leaf_of(&slots[at]).filter(|old| old.len() < LEAF) {
            let place = old.first_from(entry.start);
            return self.edit(&slots[at], old, place..place, Some(entry), |_| ());
        }
        let scratch = self.scratch();
        let mut pending = Some(entry);
        for old in leaf_of(&slots[at]).into_iter().flat_map(entries) {
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

    /// Makes the entry that ends at `end` longer, into a range that overlaps none; says whether there is one. No reader
    /// finds it gone meanwhile. What is new of it is not tracked.
    pub fn lengthen(&self, end: usize, by: usize) -> Result<bool, OutOfMemory> {
        let Some(root) = self.root() else {
            return Ok(false);
        };
        let slots = slots(root);
        let last = slot_of(slots, end - 1);
        let ends_in = |&at: &usize| {
            let mut entries = leaf_of(&slots[at]).into_iter().flat_map(entries);
            entries.any(|entry| entry.end == end)
        };
        // It may begin below the bound of the leaf that its last page would be in.
        let Some(at) = (last.saturating_sub(1)..=last).find(ends_in) else {
            return Ok(false);
        };
        let scratch = self.scratch();
        for mut entry in leaf_of(&slots[at]).into_iter().flat_map(entries) {
            if entry.end == end {
                entry.end += by;
                entry.marks.tracked = entry.marks.tracked.min(end);
            }
            scratch.push(entry);
        }
        self.replace(root, at..=at, scratch, |_| ()).map(|()| true)
    }

    /// Removes what overlaps `[start, end)`; `removed` gets each piece, in order, when the
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
        let Some(root) = self.root() else {
            return Ok(());
        };
        let slots = slots(root);
        let mut first = slot_of(slots, start);
        let last = slot_of(slots, end - 1);
        if first > 0 && leaf_overlaps(&slots[first - 1], Ordering::Relaxed, start, end) {
            first -= 1;
        }
        if let (true, Some(old)) = (first == last, leaf_of(&slots[first])) {
            let gone = old.first_from(start)..old.first_from(end);
            // None is cut, and some stay.
            let is_whole = gone.start == 0 || old.entry(gone.start - 1).end <= start;
            if is_whole
                && gone.len() < old.len()
                && (gone.clone()).all(|at| old.entry(at).end <= end)
            {
                return self.edit(&slots[first], old, gone, None, |entry| removed(entry, 0));
            }
        }
        // Only the leaf of `start`, the one before it and the last can keep entries: those between
        // lie inside the range. So the scratch is large enough.
        let scratch = self.scratch();
        let old = slots[first..=last].iter().filter_map(leaf_of);
        for entry in old.flat_map(entries) {
            let kept = [entry.clip(0, start), entry.clip(end, usize::MAX)];
            kept.into_iter()
                .flatten()
                .for_each(|part| scratch.push(part));
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
                    // Each mark is one word, and a fork child takes none of its parent's for its own.
                    let rest = &leaf.rest[i];
                    rest.set(Rest {
                        marks,
                        ..rest.get()
                    });
                }
            }
        }
    }

    /// The leaves that entries in `[start, end)` can be in.
    fn leaves_of(&self, start: usize, end: usize) -> impl Iterator<Item = Block<Leaf<F>>> {
        let slots = self.root().map(slots).unwrap_or(&[]);
        let range = match slots.is_empty() || start >= end {
            true => 0..0,
            false => slot_of(slots, start).saturating_sub(1)..slot_of(slots, end - 1) + 1,
        };
        range.filter_map(move |at| leaf_of(&slots[at]))
    }

    fn root(&self) -> Option<Block<Directory<F>>> {
        Block::behind(&self.root, Ordering::Relaxed)
    }

    /// Puts the scratch's entries in the place of the slots `which`.
    fn replace(
        &self,
        root: Block<Directory<F>>,
        which: RangeInclusive<usize>,
        scratch: &Scratch<F>,
        mut old_entry: impl FnMut(Entry<F>),
    ) -> Result<(), OutOfMemory> {
        let slots = slots(root);
        let (first, last) = (*which.start(), *which.end());
        let old = last - first + 1;

        let kept = scratch.entries();
        let wanted = kept.len().div_ceil(LEAF);
        // Equal shares, so that the next insertion does not split again.
        let share = kept.len().checked_div(wanted).unwrap_or(0) + 1;
        let mut leaves = [None; NEW_LEAVES];
        let mut made = 0;
        for part in kept.chunks(share.min(LEAF)) {
            match self.new_leaf(part) {
                Ok(leaf) => leaves[made] = Some(leaf),
                Err(e) => {
                    self.give_leaves(&leaves[..made]);
                    return Err(e);
                }
            }
            made += 1;
        }

        if let (1, [Some(new), None, ..]) = (old, leaves) {
            let slot = &slots[first];
            let old = leaf_of(slot);
            slot.leaf.store(new.as_ptr(), Ordering::Release);
            old.into_iter().flat_map(entries).for_each(old_entry);
            self.give_leaves(&[old]);
            return Ok(());
        }

        let new = || leaves.into_iter().flatten();
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
            let lower = |slot: &Slot<F>| slot.lower.load(Ordering::Relaxed);
            let kept = |slot: &Slot<F>| Some((lower(slot), leaf_of(slot)?));
            let before = slots[..first].iter().filter_map(kept);
            let between = new().enumerate().map(|(i, leaf)| match i {
                0 => (lower(&slots[first]), leaf),
                _ => (leaf.starts[0].load(Ordering::Relaxed), leaf),
            });
            let after = slots[last + 1..].iter().filter_map(kept);
            let all = before.chain(between).chain(after);
            for (i, (slot, (lower, leaf))) in self::slots(directory).iter().zip(all).enumerate() {
                slot.set(if i == 0 { 0 } else { lower }, leaf);
            }
            directory.as_ptr()
        };
        self.root.store(new_root, Ordering::Release);
        for slot in &slots[first..=last] {
            let old = leaf_of(slot);
            old.into_iter().flat_map(entries).for_each(&mut old_entry);
            self.give_leaves(&[old]);
        }
        self.give_directory(root);
        Ok(())
    }

    /// Puts a new leaf in the place of `old`, which is that of `slot`: the entries `gone` are not in it, but `new` is, in
    /// their place. Most changes are of one entry.
    fn edit(
        &self,
        slot: &Slot<F>,
        old: Block<Leaf<F>>,
        gone: Range<usize>,
        new: Option<Entry<F>>,
        old_entry: impl FnMut(Entry<F>),
    ) -> Result<(), OutOfMemory> {
        let leaf = self.blank_leaf()?;
        let mut len = 0;
        let before = (0..gone.start).map(|at| old.entry(at));
        let after = (gone.end..old.len()).map(|at| old.entry(at));
        before.chain(new).chain(after).for_each(|entry| {
            leaf.set(len, entry);
            len += 1;
        });
        leaf.len.store(len, Ordering::Relaxed);
        slot.leaf.store(leaf.as_ptr(), Ordering::Release);
        gone.map(|at| old.entry(at)).for_each(old_entry);
        self.give_leaves(&[Some(old)]);
        Ok(())
    }

    fn scratch(&self) -> &Scratch<F> {
        self.scratch.len.set(0);
        &self.scratch
    }

    fn blank_leaf(&self) -> Result<Block<Leaf<F>>, OutOfMemory> {
        let block = self.leaves.recycled().or_else(|| self.leaves.fresh());
        Ok(Block(block.ok_or(OutOfMemory)?))
    }

    fn new_leaf(&self, from: &[Cell<Option<Entry<F>>>]) -> Result<Block<Leaf<F>>, OutOfMemory> {
        let leaf = self.blank_leaf()?;
        for (i, entry) in from.iter().filter_map(Cell::get).enumerate() {
            leaf.set(i, entry);
        }
        leaf.len.store(from.len(), Ordering::Relaxed);
        Ok(leaf)
    }

    /// Must come before the first write to a block that is no longer published.
    fn count_retired(&self) {
        self.retired.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::Release);
    }

    fn give_leaves(&self, leaves: &[Option<Block<Leaf<F>>>]) {
        self.count_retired();
        for leaf in leaves.iter().flatten() {
            // SAFETY: from this pool, and no longer published.
            unsafe { self.leaves.give(leaf.0) };
        }
    }

    fn new_directory(&self, len: usize) -> Result<Block<Directory<F>>, OutOfMemory> {
        let capacity = len.next_power_of_two().max(SMALLEST);
        let free = &self.directories[class(capacity)];
        let directory = match Block::behind(free, Ordering::Relaxed) {
            Some(directory) => {
                let next = directory.next_free.load(Ordering::Relaxed);
                free.store(next, Ordering::Relaxed);
                directory
            }
            None => {
                let bytes = size_of::<Directory<F>>() + capacity * size_of::<Slot<F>>();
                let directory = Block(M::map(bytes).ok_or(OutOfMemory)?.cast::<Directory<F>>());
                directory.capacity.store(capacity, Ordering::Relaxed);
                directory
            }
        };
        directory.len.store(len, Ordering::Relaxed);
        Ok(directory)
    }

    fn give_directory(&self, directory: Block<Directory<F>>) {
        self.count_retired();
        let free = &self.directories[class(directory.capacity.load(Ordering::Relaxed))];
        let next = free.load(Ordering::Relaxed);
        directory.next_free.store(next, Ordering::Relaxed);
        free.store(directory.as_ptr(), Ordering::Relaxed);
    }
}

fn class(capacity: usize) -> usize {
    (capacity / SMALLEST).trailing_zeros() as usize
}

/// The slots of a directory that is or was published, at least one.
fn slots<'a, F>(directory: Block<Directory<F>>) -> &'a [Slot<F>] {
    // May belong to a new use of the block, hence the bound.
    let len = directory.len.load(Ordering::Acquire);
    let len = len.clamp(1, directory.capacity.load(Ordering::Relaxed));
    // SAFETY: directories are never unmapped, and `capacity` slots follow the header, which never changes.
    unsafe { core::slice::from_raw_parts(directory.as_ptr().add(1).cast(), len) }
}

impl<F> Slot<F> {
    fn set(&self, lower: usize, leaf: Block<Leaf<F>>) {
        self.lower.store(lower, Ordering::Relaxed);
        self.leaf.store(leaf.as_ptr(), Ordering::Relaxed);
    }
}

/// The last slot whose lower bound is at or below `address`.
fn slot_of<F>(slots: &[Slot<F>], address: usize) -> usize {
    slots
        .partition_point(|slot| slot.lower.load(Ordering::Relaxed) <= address)
        .saturating_sub(1)
}

fn leaf_of<F>(slot: &Slot<F>) -> Option<Block<Leaf<F>>> {
    Block::behind(&slot.leaf, Ordering::Relaxed)
}

fn leaf_overlaps<F>(slot: &Slot<F>, order: Ordering, start: usize, end: usize) -> bool {
    let Some(leaf) = Block::behind(&slot.leaf, order) else {
        return false;
    };
    let len = leaf.len.load(Ordering::Acquire).min(LEAF);
    let at = leaf.ends[..len].partition_point(|e| e.load(Ordering::Relaxed) <= start);
    at < len && leaf.starts[at].load(Ordering::Relaxed) < end
}

fn entries<F: Copy>(leaf: Block<Leaf<F>>) -> impl Iterator<Item = Entry<F>> {
    (0..leaf.len()).map(move |i| leaf.entry(i))
}

/// For the one thread that changes the table.
impl<F: Copy> Leaf<F> {
    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn entry(&self, at: usize) -> Entry<F> {
        let rest = self.rest[at].get();
        Entry {
            start: self.starts[at].load(Ordering::Relaxed),
            end: self.ends[at].load(Ordering::Relaxed),
            offset: rest.offset,
            file: rest.file,
            writable: rest.writable,
            marks: rest.marks,
        }
    }

    fn set(&self, at: usize, entry: Entry<F>) {
        self.starts[at].store(entry.start, Ordering::Relaxed);
        self.ends[at].store(entry.end, Ordering::Relaxed);
        self.rest[at].set(Rest {
            offset: entry.offset,
            file: entry.file,
            writable: entry.writable,
            marks: entry.marks,
        });
    }

    /// Of the first entry that starts at or above `address`.
    fn first_from(&self, address: usize) -> usize {
        let starts = &self.starts[..self.len()];
        starts.partition_point(|start| start.load(Ordering::Relaxed) < address)
    }
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

    #[test]
    fn what_is_lengthened_stays_one_entry_and_what_is_new_of_it_is_not_tracked() {
        for pages in [1, LEAF, 5 * LEAF] {
            let table = Table::<u32>::new();
            for page in 0..pages {
                table.insert(entry(3 * page)).expect("memory");
            }
            for page in 0..pages {
                let (start, end) = (3 * page * PAGE, (3 * page + 1) * PAGE);
                // As a part of it is left that was longer.
                table.mark(start, end, |_, marks| {
                    marks.registered = 7;
                    marks.tracked = end + PAGE;
                });
                assert!(table.lengthen(end, PAGE).expect("memory"));
                assert!(!table.lengthen(end, PAGE).expect("memory"));
                let mut found = Vec::new();
                table.for_each(start, end + 2 * PAGE, |entry| {
                    found.push(entry);
                    true
                });
                let marks = Marks {
                    registered: 7,
                    tracked: end,
                    errseq_seen: 0,
                };
                let longer = Entry {
                    end: end + PAGE,
                    marks,
                    ..entry(3 * page)
                };
                assert_eq!(found, [longer]);
                assert!(table.overlaps(end, end + PAGE));
                assert!(!table.overlaps(end + PAGE, end + 2 * PAGE));
            }
        }
    }
}
