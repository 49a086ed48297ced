//! Tracked files, found by what identifies an inode.

use crate::dirty::FewRanges;
use crate::sys::pool::Pool;
use core::cell::{Cell, UnsafeCell};
use core::ptr::{NonNull, null_mut};

/// What identifies the kernel's inode, and so the page cache, behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub dev: u64,
    pub ino: u64,
    /// Digest of the kernel's own handle; 0 where (dev, ino) is enough.
    pub handle: u64,
}

/// What the filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// On a block device of this machine: the page cache is the only cache.
    pub local_block: bool,
    /// `STATX_ATTR_DAX`: there is no page cache, a mapping is the medium itself. The kernel settles it
    /// when it takes the inode into memory, and a mapping keeps it there.
    pub dax: bool,
    /// msync(2) asks the filesystem for a part of what fdatasync(2) does, in the same call
    /// (`vfs_fsync_range` in fs/sync.c): the second has nothing left to do after the first, but to ask
    /// the disk once more.
    pub msync_is_fdatasync: bool,
    /// A page for which it finds no block is dropped from the page cache.
    pub drops_unallocated: bool,
    /// After a failed flush what was not written is lost, although its pages stay.
    pub loses_unwritten: bool,
    /// Some extents may not be stored as they are read (btrfs compresses): those are read through the page
    /// cache whatever the flags, and prove nothing ([`crate::sys::extents::encoded`]).
    pub encodes: bool,
}

/// The shim's own open file description, in the custodian's table of one generation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handle {
    /// Number of the process generation whose custodian holds it; 0 is none.
    pub generation: u32,
    pub fd: i32,
    /// Opened `O_DIRECT`, and whole pages are aligned enough for it.
    pub direct: bool,
    /// Nobody may ask for the cached pages of what it is open on: DAX, where there is no page cache, or a
    /// filesystem on top of another, whose inode has the pages (overlayfs, FUSE passthrough).
    pub uncounted: bool,
    /// Opened for writing too.
    pub writable: bool,
    /// The process that has it in its table, where that is a helper of its own: its children may take a copy.
    pub holder: i32,
    /// errno of the attempt to open it, where that failed.
    pub errno: i32,
}

/// What this process owes a file that is verified: pages that it may have stored to, and that nothing has
/// proved since. It belongs to the file, not to a mapping. All of it in whole pages; wants the table lock.
#[derive(Default)]
pub struct Debt {
    /// Taken from the marks of a mapping, and in no enforcement yet.
    pub owed: FewRanges,
    /// Those of what is owed that nobody saw stored to: cached pages of mappings that are not tracked.
    pub guessed: FewRanges,
    /// In the enforcement under way. A fork child that finds some has them to prove itself.
    pub proving: FewRanges,
    /// An msync has failed for these. What they hold is still in the page cache.
    pub refused: FewRanges,
    /// The same, and what they held has left the page cache: only a new store makes an end of it.
    pub lost: FewRanges,
    /// What that msync returned.
    pub errno: i32,
    /// What no msync has told of yet: an enforcement before another call of the program's found these pages
    /// gone, or failed for them and they are gone since. Storing anew is no end of that.
    pub untold: FewRanges,
    /// The errno of that failure; 0 where nobody knows whether they are safe.
    pub untold_errno: i32,
    /// Nobody was told of what is `refused` either.
    pub refused_untold: bool,
    /// The process that has seen the page cache since, by its birth.
    pub birth: u32,
}

impl Debt {
    /// Whether an msync must fail, whatever it finds.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty() || !self.lost.is_empty()
    }

    /// Whether there is something that the next msync must tell or fail for.
    pub fn is_pending(&self) -> bool {
        self.is_refused() || !self.untold.is_empty()
    }

    /// Nobody has seen whether the page cache was dropped: what is in it proves nothing.
    pub fn lose_refused(&mut self) {
        match self.refused_untold && !self.refused.is_empty() {
            true => {
                self.untold.add_all(self.refused.iter());
                self.untold_errno = self.errno;
            }
            false => self.lost.add_all(self.refused.iter()),
        }
        self.refused.clear();
    }
}

/// Bytes kept of a path; a longer one is cut at the front.
pub const PATH: usize = 512;

/// A file that is or was mapped. All fields want the table lock.
pub struct File {
    hash_next: *mut File,
    pub key: Key,
    pub traits: Traits,
    /// Mappings, and enforcements under way.
    refs: u32,
    pub handle: Handle,
    pub excluded: bool,
    /// A sync of it failed: it is verified next time, whatever the setting.
    pub suspect: bool,
    /// The errno of a sync that lost pages for good; 0 is none.
    pub lost: i32,
    /// How long the last fdatasync of it took, ns.
    pub flush_ns: u64,
    pub debt: Debt,
    /// Whether the debt holds the file, also when it is not mapped any more.
    kept: bool,
    /// Calls of the program's under way that may drop the page cache, by threads of a process that has several.
    pub dropping: u32,
    /// Whether the calls of the program's that may drop the page cache do: once one was seen to.
    pub drops: Option<bool>,
    /// The page cache was dropped since the last sync that succeeded: what was dirty then is not all known.
    pub dropped: bool,
    /// Whether the program was told, at the default level, of an msync that returned 0 without a proof.
    pub doubted: bool,
    /// Lowest and highest address that it was mapped at.
    pub low: usize,
    pub high: usize,
    pub canaries: crate::dirty::canary::Canaries,
    pub group: keepmydata_sync::commit::GroupCommit,
    path_len: u16,
    path: [u8; PATH],
}

// What docs/limitations.md says.
const _: () = assert!(size_of::<File>() <= 2048);

impl File {
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

    /// Whether [`File::path`] is whole, so that it can be opened.
    pub fn path_is_whole(&self) -> bool {
        self.path().first() == Some(&b'/')
    }
}

const BUCKETS: usize = 1024;

/// Every tracked file. All methods want the table lock.
pub struct Files {
    buckets: UnsafeCell<[*mut File; BUCKETS]>,
    pool: Pool<File>,
    /// Files that are held by their debt alone, or may be.
    kept: Cell<usize>,
}

/// Files whose debt holds them, at the most: more are forgotten with their last mapping.
const KEPT: usize = 1024;

// SAFETY: used under the table lock only.
unsafe impl Sync for Files {}

impl Files {
    pub const fn new() -> Files {
        Files {
            buckets: UnsafeCell::new([null_mut(); BUCKETS]),
            pool: Pool::new(),
            kept: Cell::new(0),
        }
    }

    #[allow(
        clippy::mut_from_ref,
        reason = "the table lock makes the caller the only one"
    )]
    fn bucket(&self, dev: u64, ino: u64) -> &mut *mut File {
        let hash = (dev ^ ino.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: under the table lock nobody else has a reference into the array.
        unsafe { &mut (*self.buckets.get())[(hash >> 54) as usize % BUCKETS] }
    }

    /// The file of `key`.
    pub fn find(&self, key: &Key) -> Option<NonNull<File>> {
        let mut file = *self.bucket(key.dev, key.ino);
        while let Some(found) = NonNull::new(file) {
            // SAFETY: files in the chains are live.
            let f = unsafe { found.as_ref() };
            if f.key == *key {
                return Some(found);
            }
            file = f.hash_next;
        }
        None
    }

    /// Adds a file with no reference yet; nothing when memory is out.
    pub fn add(&self, key: Key, traits: Traits) -> Option<NonNull<File>> {
        let block = self.pool.recycled().or_else(|| self.pool.fresh())?;
        let head = self.bucket(key.dev, key.ino);
        // SAFETY: the block is ours; the new file is complete before the chain leads to it.
        unsafe {
            block.as_ptr().write(File {
                hash_next: *head,
                key,
                traits,
                refs: 0,
                handle: Handle::default(),
                excluded: false,
                suspect: false,
                lost: 0,
                flush_ns: 0,
                debt: Debt::default(),
                kept: false,
                dropping: 0,
                drops: None,
                dropped: false,
                doubted: false,
                low: usize::MAX,
                high: 0,
                canaries: Default::default(),
                group: keepmydata_sync::commit::GroupCommit::default(),
                path_len: 0,
                path: [0; PATH],
            });
        }
        *head = block.as_ptr();
        Some(block)
    }

    /// Keeps `file` until the matching [`Files::release`].
    pub fn hold(&self, mut file: NonNull<File>) {
        // SAFETY: live, and under the table lock.
        unsafe { file.as_mut() }.refs += 1;
    }

    /// Lets `file` go. With its last reference it is gone, and the handle that must be closed is
    /// returned.
    pub fn release(&self, mut file: NonNull<File>) -> Option<Handle> {
        // SAFETY: live, and under the table lock.
        let f = unsafe { file.as_mut() };
        f.refs -= 1;
        if f.refs == 1 && f.kept {
            // Not mapped any more: nothing may keep the filesystem busy.
            f.debt.lose_refused();
            let handle = core::mem::take(&mut f.handle);
            return (handle.generation != 0).then_some(handle);
        }
        if f.refs > 0 {
            return None;
        }
        let mut at = self.bucket(f.key.dev, f.key.ino) as *mut *mut File;
        // SAFETY: the chain holds the file; nobody else walks it.
        unsafe {
            while *at != file.as_ptr() {
                at = &raw mut (**at).hash_next;
            }
            *at = f.hash_next;
        }
        let handle = f.handle;
        // SAFETY: no entry and no enforcement refers to it any more.
        unsafe {
            core::ptr::drop_in_place(&raw mut (*file.as_ptr()).debt);
            self.pool.give(file);
        }
        (handle.generation != 0).then_some(handle)
    }

    /// Has the debt of `file` hold it, or not, as there is something that an msync must fail for. Returns
    /// what [`Files::release`] does.
    pub fn settle_debt(&self, mut file: NonNull<File>) -> Option<Handle> {
        // SAFETY: live, and under the table lock.
        let f = unsafe { file.as_mut() };
        match (f.debt.is_pending(), f.kept) {
            (true, false) if self.kept.get() < KEPT => {
                (f.kept, f.refs) = (true, f.refs + 1);
                self.kept.set(self.kept.get() + 1);
                None
            }
            (false, true) => {
                f.kept = false;
                self.kept.set(self.kept.get() - 1);
                self.release(file)
            }
            _ => None,
        }
    }

    /// Tells `each` of every file of that (device, inode): more than one where the kernel has several
    /// inodes of it.
    pub fn for_each_of_inode(&self, dev: u64, ino: u64, mut each: impl FnMut(NonNull<File>)) {
        let mut file = *self.bucket(dev, ino);
        while let Some(found) = NonNull::new(file) {
            // SAFETY: files in the chains are live.
            let f = unsafe { found.as_ref() };
            file = f.hash_next;
            if (f.key.dev, f.key.ino) == (dev, ino) {
                each(found);
            }
        }
    }

    /// Tells `each` of every file.
    #[cfg(test)]
    pub fn for_each(&self, mut each: impl FnMut(NonNull<File>)) {
        // SAFETY: under the table lock.
        for head in unsafe { &*self.buckets.get() } {
            let mut file = *head;
            while let Some(found) = NonNull::new(file) {
                // SAFETY: files in the chains are live.
                file = unsafe { found.as_ref() }.hash_next;
                each(found);
            }
        }
    }
}
