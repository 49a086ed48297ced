//! Tracked files, found by what identifies an inode.

pub use crate::helper::Handle;
use crate::sys::pool::Pool;
use core::cell::UnsafeCell;
use core::cmp::Ordering;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicUsize};
use keepmydata_promise::Zero;
pub use keepmydata_promise::{Debt, Traits};
use keepmydata_ranges::FewRanges;
use keepmydata_sync::commit::GroupCommit;
use rustix::io::Errno;

/// What identifies the kernel's inode, and so the page cache, behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub dev: u64,
    pub ino: u64,
    /// Digest of the kernel's own handle; 0 where (dev, ino) is enough.
    pub handle: u64,
    /// When the file was made, ns, on a filesystem of this machine's, which gives the number of a deleted one to the
    /// next; else 0.
    pub born: u64,
}

/// Whether the kernel drops the page cache of a file when it learns of a new modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewAttributes {
    /// It was asked so often, and there was none: so it is where the kernel itself keeps the time, as with a writeback cache.
    Unknown(u8),
    Drop,
    Keep,
}

/// What of the program's may drop the whole page cache of a file, on some filesystems and not on others.
#[derive(Clone, Copy)]
pub enum MayDrop {
    /// open(2) for reading alone, which a FUSE daemon may answer otherwise.
    OpenToRead,
    /// open(2): on FUSE without FOPEN_KEEP_CACHE.
    Open,
    /// Truncation, also to a longer file: on FUSE.
    Truncate,
    /// mmap(2): on FUSE with FOPEN_DIRECT_IO.
    Map,
    /// mmap(2) of what was opened for reading alone.
    MapToRead,
    /// write(2): there, what it writes.
    Write,
}

impl MayDrop {
    const KINDS: usize = MayDrop::Write as usize + 1;
}

/// Files of which [`MayDrop::Write`] is not known to drop nothing.
static WRITES_MAY_DROP: AtomicUsize = AtomicUsize::new(0);

/// Files that their debt holds.
static KEPT_FILES: AtomicUsize = AtomicUsize::new(0);

/// Files that were let go with something owed, because too many are kept.
static FORGOTTEN: AtomicUsize = AtomicUsize::new(0);

/// How many there were, and none from here on. Any context.
pub fn take_forgotten() -> usize {
    FORGOTTEN.swap(0, Relaxed)
}

/// Whether there is a file that is not mapped, perhaps, and whose debt is remembered. Any context.
pub fn are_kept() -> bool {
    KEPT_FILES.load(Relaxed) > 0
}

/// Whether there is such a file. Any context.
pub fn may_writes_drop() -> bool {
    WRITES_MAY_DROP.load(Relaxed) > 0
}

/// Bytes kept of a path; a longer one is cut at the front.
pub const PATH: usize = 512;

/// A file that is or was mapped: what never changes, and what locks itself. Who has a reference to it may look
/// at that at any time; for the rest, [`State`], one needs the table lock
/// ([`Guard::get`](super::Guard::get)). Two are equal if they are one and the same, and their order is that of
/// their addresses.
pub struct File {
    pub key: Key,
    pub traits: Traits,
    pub group: GroupCommit<Result<Zero, Errno>>,
    /// Mappings, enforcements under way, and its debt where that holds it. It may grow without the table lock,
    /// and becomes less than two under it.
    refs: AtomicU32,
    state: UnsafeCell<State>,
}

/// What changes about a file.
pub struct State {
    next: Option<NonNull<File>>,
    pub handle: Handle,
    pub excluded: bool,
    /// A sync of it failed: it is verified next time, whatever the setting.
    pub suspect: bool,
    /// The errno of a sync that lost pages for good; 0 is none.
    pub lost: i32,
    /// How long the last fdatasync of it took, ns.
    pub fdatasync_ns: u64,
    /// Where its dirty pages were when they were looked for last, bytes: most programs store near there again.
    pub dirty_near: (u64, u64),
    /// How often it was synced at once since all of it was, or could not be, mapped for that.
    pub synced: i32,
    pub debt: Debt,
    /// What the program has put into the file past its mappings since the last snapshot of those pages, or is about to:
    /// with a second look only.
    pub changed: FewRanges,
    /// Whether the debt holds the file, also when it is not mapped any more.
    kept: bool,
    /// Calls of the program's under way that may drop the page cache, by threads of a process that has several.
    pub dropping: u32,
    /// Whether the calls of the program's that may drop the page cache do, by [`MayDrop`]: once one was seen to.
    pub drops: [Option<bool>; MayDrop::KINDS],
    /// It is one of the files whose writes may drop pages.
    writes_may_drop: bool,
    /// A mapping of it was made to store to, not only of a file that was opened for writing.
    pub maps_to_store: bool,
    pub new_attributes: NewAttributes,
    /// The page cache was dropped since the last sync that succeeded: what was dirty then is not all known.
    pub dropped: bool,
    /// It was, while stores to a part of the file were not tracked. What the file has grown by since has lost nothing.
    pub dropped_unseen: bool,
    /// Whether the program was told, at the default level, of an msync that returned 0 without a proof.
    pub doubted: bool,
    /// Entries of the table through which it can be stored to.
    pub writable: usize,
    /// Lowest and highest address that it was mapped at.
    pub low: usize,
    pub high: usize,
    pub probes: super::probes::Probes,
    path_len: u16,
    path: [u8; PATH],
}

// What docs/limitations.md says.
const _: () = assert!(size_of::<File>() <= 2048);

impl PartialEq for File {
    fn eq(&self, other: &File) -> bool {
        ptr::eq(self, other)
    }
}

impl Eq for File {}

impl PartialOrd for File {
    fn partial_cmp(&self, other: &File) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for File {
    fn cmp(&self, other: &File) -> Ordering {
        ptr::from_ref(self).cmp(&ptr::from_ref(other))
    }
}

impl File {
    /// One more reference to it.
    pub fn hold(&self) -> Held {
        self.refs.fetch_add(1, Relaxed);
        Held(NonNull::from(self))
    }
}

/// Owns a reference to a file, and lets go of it when it is dropped: then without the table lock, which that
/// takes. Under the lock [`Guard::release`](super::Guard::release) does it.
#[must_use]
pub struct Held(NonNull<File>);

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        // SAFETY: a file lives as long as there is a reference that somebody owns.
        unsafe { self.0.as_ref() }
    }
}

impl Held {
    /// The file, which is held for as long as nobody calls [`FileRef::adopt`].
    pub(super) fn leave(self) -> FileRef {
        FileRef(ManuallyDrop::new(self).0)
    }

    /// Lets go, where that does not need the table lock because others hold the file; says whether it did.
    pub(super) fn leave_to_others(&self) -> bool {
        let less = |refs| (refs > 2).then(|| refs - 1);
        let done = self.refs.fetch_update(Release, Relaxed, less);
        done.is_ok()
    }

    /// The same reference once more.
    ///
    /// # Safety
    /// Only one of the two is used from here on.
    pub(super) unsafe fn share(&self) -> Held {
        Held(self.0)
    }
}

/// How the address table refers to a file: each of its entries owns a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRef(NonNull<File>);

impl FileRef {
    /// The reference that [`Held::leave`] has left.
    ///
    /// # Safety
    /// Once for each.
    pub(super) unsafe fn adopt(self) -> Held {
        Held(self.0)
    }
}

impl State {
    /// Notes whether writes of the program's may drop pages of it.
    pub fn note_writes(&mut self, may_drop: bool) {
        match (self.writes_may_drop, may_drop) {
            (false, true) => WRITES_MAY_DROP.fetch_add(1, Relaxed),
            (true, false) => WRITES_MAY_DROP.fetch_sub(1, Relaxed),
            _ => return,
        };
        self.writes_may_drop = may_drop;
    }

    /// The path that it was mapped under, as bytes; empty while unknown.
    pub fn path(&self) -> &[u8] {
        &self.path[..self.path_len as usize]
    }

    /// Keeps `path`, or its end.
    pub fn set_path(&mut self, path: &[u8]) {
        let tail = &path[path.len().saturating_sub(PATH)..];
        self.path[..tail.len()].copy_from_slice(tail);
        self.path_len = tail.len() as u16;
    }

    /// Whether [`State::path`] is whole, so that it can be opened.
    pub fn path_is_whole(&self) -> bool {
        self.path().first() == Some(&b'/')
    }
}

const BUCKETS: usize = 1024;

/// Every tracked file. There is one, behind the table lock: a shared reference to it, or the only one, is how the
/// methods know that the lock is held.
pub struct Files {
    buckets: [Option<NonNull<File>>; BUCKETS],
    pool: Pool<File>,
    /// Files that are held by their debt alone, or may be.
    kept: usize,
    /// Handles of a parent process, of files that are mapped no more: the last ones.
    inherited: [Option<(Key, Handle)>; INHERITED],
    next_inherited: usize,
}

/// So many handles of a parent process are remembered.
const INHERITED: usize = 16;

/// Files whose debt holds them, at the most: more are forgotten with their last mapping.
const KEPT: usize = 1024;

fn bucket_of(key: &Key) -> usize {
    let hash = (key.dev ^ key.ino.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 54) as usize % BUCKETS
}

impl Files {
    /// None.
    pub(super) const fn new() -> Files {
        Files {
            buckets: [None; BUCKETS],
            pool: Pool::new(),
            kept: 0,
            inherited: [None; INHERITED],
            next_inherited: 0,
        }
    }

    /// The handle of a file that is gone was a parent process's: where the file is mapped again, it can be copied from
    /// there, and need not be opened.
    pub fn remember(&mut self, key: Key, handle: Handle) {
        let is_same = |at: &Option<(Key, Handle)>| at.is_some_and(|(of, _)| of == key);
        let at = self.inherited.iter().position(is_same).unwrap_or_else(|| {
            self.next_inherited += 1;
            self.next_inherited % INHERITED
        });
        self.inherited[at] = Some((key, handle));
    }

    fn remembered(&self, key: &Key) -> Handle {
        let mut all = self.inherited.iter().flatten();
        all.find(|(of, _)| of == key)
            .map_or_else(Handle::default, |(_, handle)| *handle)
    }

    /// What changes about `file`.
    pub fn get<'a>(&'a self, file: &'a File) -> &'a State {
        // SAFETY: written through the only reference to all files alone, and this is another one.
        unsafe { &*file.state.get() }
    }

    /// The same, to change it.
    pub fn get_mut<'a>(&'a mut self, file: &'a File) -> &'a mut State {
        // SAFETY: reached through a reference to all files alone, and this is the only one.
        unsafe { &mut *file.state.get() }
    }

    /// The file of an entry that is in the table now, and stays there as long as `self` is shared.
    ///
    /// # Safety
    /// So it is.
    pub unsafe fn of_entry(&self, file: FileRef) -> &File {
        // SAFETY: the entry owns a reference.
        unsafe { file.0.as_ref() }
    }

    /// The files of a bucket.
    fn in_bucket(&self, bucket: usize) -> impl Iterator<Item = &File> {
        let mut next = self.buckets[bucket];
        core::iter::from_fn(move || {
            // SAFETY: files in the chains are live, and leave them through the only reference to all files.
            let file = unsafe { next?.as_ref() };
            next = self.get(file).next;
            Some(file)
        })
    }

    /// The file of `key`.
    pub fn find(&self, key: &Key) -> Option<&File> {
        self.in_bucket(bucket_of(key)).find(|file| file.key == *key)
    }

    /// Adds a file; nothing when memory is out.
    pub fn add(&mut self, key: Key, traits: Traits) -> Option<Held> {
        let block = self.pool.recycled().or_else(|| self.pool.fresh())?;
        let handle = self.remembered(&key);
        let head = &mut self.buckets[bucket_of(&key)];
        // SAFETY: the block is ours; the new file is complete before the chain leads to it.
        unsafe {
            block.write(File {
                key,
                traits,
                group: GroupCommit::default(),
                refs: AtomicU32::new(1),
                state: UnsafeCell::new(State {
                    next: *head,
                    handle,
                    excluded: false,
                    suspect: false,
                    lost: 0,
                    fdatasync_ns: 0,
                    dirty_near: (0, 0),
                    synced: 0,
                    debt: Debt::default(),
                    changed: FewRanges::new(),
                    kept: false,
                    dropping: 0,
                    drops: [None; MayDrop::KINDS],
                    writes_may_drop: false,
                    maps_to_store: false,
                    new_attributes: NewAttributes::Unknown(0),
                    dropped: false,
                    dropped_unseen: false,
                    doubted: false,
                    writable: 0,
                    low: usize::MAX,
                    high: 0,
                    probes: Default::default(),
                    path_len: 0,
                    path: [0; PATH],
                }),
            });
        }
        *head = Some(block);
        Some(Held(block))
    }

    /// Lets `held` go. With its last reference a file is gone, and the handle that must be closed is returned.
    pub fn release(&mut self, held: Held) -> Option<Handle> {
        let file = held.leave().0;
        // SAFETY: the reference is given up only now.
        let f = unsafe { file.as_ref() };
        let refs = self.net(f, f.refs.fetch_sub(1, AcqRel) - 1);
        let state = self.get_mut(f);
        if refs == 1 && state.kept {
            // Not mapped any more: nothing may keep the filesystem busy.
            state.debt.mark_refused_unrecoverable();
            if !state.debt.is_pending() {
                // What is left is to be said, and no error.
                state.lost = 0;
            }
            let handle = core::mem::take(&mut state.handle);
            return (handle.generation != 0).then_some(handle);
        }
        if refs > 0 {
            return None;
        }
        state.probes.note_missing(false);
        state.note_writes(false);
        let handle = state.handle;
        if let Some(block) = self.unlink(f) {
            // SAFETY: it came from the pool, and no entry and no enforcement refers to it any more.
            unsafe {
                block.drop_in_place();
                self.pool.give(block);
            }
        }
        (handle.generation != 0).then_some(handle)
    }

    /// A net: `file` has `refs` references left. If those are none but its debt's, what is owed was proved before, or the debt has
    /// noted that it could not be. Where that has not happened, it is in doubt from here on, as nobody sees what becomes of the
    /// page cache: the next msync of the file says so. Returns the references.
    fn net(&mut self, file: &File, refs: u32) -> u32 {
        let may_keep = self.kept < KEPT;
        let state = self.get_mut(file);
        if refs > u32::from(state.kept) || state.debt.owed.is_empty() {
            return refs;
        }
        state.debt.doubt_owed();
        match (state.kept, may_keep) {
            (true, _) => return refs,
            (false, true) => state.kept = true,
            (false, false) => {
                FORGOTTEN.fetch_add(1, Relaxed);
                return refs;
            }
        }
        self.kept += 1;
        KEPT_FILES.store(self.kept, Relaxed);
        file.refs.fetch_add(1, AcqRel) + 1
    }

    /// Takes `file` out of its chain, and returns what led to it there: the pointer that it was made with.
    fn unlink(&mut self, file: &File) -> Option<NonNull<File>> {
        let next = self.get(file).next;
        let bucket = bucket_of(&file.key);
        let leads = |link: Option<NonNull<File>>| link == Some(NonNull::from(file));
        if leads(self.buckets[bucket]) {
            return core::mem::replace(&mut self.buckets[bucket], next);
        }
        let mut at = self.buckets[bucket];
        while let Some(before) = at {
            // SAFETY: files in the chains are live.
            let link = &mut self.get_mut(unsafe { before.as_ref() }).next;
            if leads(*link) {
                return core::mem::replace(link, next);
            }
            at = *link;
        }
        None
    }

    /// Whether there is something that an msync of `file` must fail for, or say, and nobody will know when it is not
    /// mapped any more.
    pub fn will_be_forgotten(&self, file: &File) -> bool {
        let state = self.get(file);
        state.debt.must_be_said() && !state.kept
    }

    /// Has the debt of `file` hold it, or not, as there is something that an msync must fail for, or say. Returns
    /// what [`Files::release`] does.
    pub fn settle_debt(&mut self, file: &File) -> Option<Handle> {
        let kept = self.kept;
        let state = self.get_mut(file);
        match (state.debt.must_be_kept(), state.kept) {
            (true, false) if kept < KEPT => {
                state.kept = true;
                self.kept += 1;
                KEPT_FILES.store(self.kept, Relaxed);
                file.hold().leave();
                None
            }
            (false, true) => {
                state.kept = false;
                self.kept -= 1;
                KEPT_FILES.store(self.kept, Relaxed);
                self.release(Held(NonNull::from(file)))
            }
            _ => None,
        }
    }

    /// What was owed of a (device, inode) that is not mapped, and not there any more: its number is another file's. Says
    /// whether there is none that is mapped.
    pub fn forget_unmapped(&mut self, dev: u64, ino: u64) -> bool {
        let is_held = |file: &File| file.refs.load(Relaxed) > u32::from(self.get(file).kept);
        if self.of_inode(dev, ino).any(is_held) {
            return false;
        }
        loop {
            let next = self.of_inode(dev, ino).next().map(File::hold);
            let Some(file) = next else {
                return true;
            };
            self.get_mut(&file).debt = Debt::default();
            // Its handle went with its last mapping.
            let _ = self.settle_debt(&file);
            let _ = self.release(file);
        }
    }

    /// Every file of that (device, inode): more than one where the kernel has several inodes of it.
    pub fn of_inode(&self, dev: u64, ino: u64) -> impl Iterator<Item = &File> {
        let key = Key {
            dev,
            ino,
            handle: 0,
            born: 0,
        };
        self.in_bucket(bucket_of(&key))
            .filter(move |file| (file.key.dev, file.key.ino) == (dev, ino))
    }

    /// Tells `each` of what changes about every file.
    pub fn for_each_state(&mut self, mut each: impl FnMut(&mut State)) {
        for bucket in 0..BUCKETS {
            let mut next = self.buckets[bucket];
            while let Some(file) = next {
                // SAFETY: files in the chains are live.
                let state = self.get_mut(unsafe { file.as_ref() });
                each(state);
                next = state.next;
            }
        }
    }

    /// Every file.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = &File> {
        (0..BUCKETS).flat_map(|bucket| self.in_bucket(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepmydata_ranges::Ranges;

    const TRAITS: Traits = Traits {
        local_block: false,
        dax: false,
        msync_is_fdatasync: false,
        drops_unallocated: false,
        loses_unwritten: false,
        encodes: false,
    };

    fn key(ino: u64) -> Key {
        Key {
            dev: 1,
            ino,
            handle: 0,
            born: 0,
        }
    }

    /// A file is unmapped for good, with something owed.
    fn let_go(files: &mut Files, ino: u64) {
        let file = files.add(key(ino), TRAITS).expect("memory");
        let mut stored = Ranges::new();
        stored.add(0, 4096);
        files.get_mut(&file).debt.owe(&stored, false);
        let _ = files.release(file);
    }

    #[test]
    fn what_is_owed_is_not_forgotten_with_the_last_mapping() {
        let mut files = Files::new();
        let before = KEPT_FILES.load(Relaxed);
        let most = KEPT as u64;
        (1..=most + 3).for_each(|ino| let_go(&mut files, ino));
        let file = files.find(&key(most)).expect("it is kept").hold();
        assert!(files.get(&file).debt.is_pending(), "nobody would be told");
        // Told by then.
        files.get_mut(&file).debt = Debt::default();
        let _ = files.settle_debt(&file);
        let _ = files.release(file);
        assert!(files.find(&key(most)).is_none());
        // No more are kept.
        assert!(files.find(&key(most + 1)).is_none());
        assert_eq!(take_forgotten(), 3);
        assert_eq!(take_forgotten(), 0);
        KEPT_FILES.store(before, Relaxed);
    }
}
