//! Tracked files, found by what identifies an inode.

use crate::sys::pool::Pool;
use core::cell::UnsafeCell;
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
    /// After a failed flush nobody can tell which pages were not written.
    pub forgets_unwritten: bool,
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
    /// As the file's [`Traits::dax`].
    pub dax: bool,
    /// Opened for writing too.
    pub writable: bool,
    /// errno of the attempt to open it, where that failed.
    pub errno: i32,
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
}

// SAFETY: used under the table lock only.
unsafe impl Sync for Files {}

impl Files {
    pub const fn new() -> Files {
        Files {
            buckets: UnsafeCell::new([null_mut(); BUCKETS]),
            pool: Pool::new(),
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
        unsafe { self.pool.give(file) };
        (handle.generation != 0).then_some(handle)
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
