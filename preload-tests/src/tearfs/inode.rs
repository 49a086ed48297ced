//! Files and directories, apart from their names.

use std::ffi::OsString;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo};

use super::cluster::Client;
use super::file::Contents;

/// Set in the second node id of a file (mode twin-inode).
const TWIN: u64 = 1 << 63;

/// The inode that a node id of the kernel's stands for.
pub fn inode_of(node: INodeNo) -> u64 {
    node.0 & !TWIN
}

/// What `stat` tells besides size and type.
#[derive(Clone, Debug)]
pub struct Meta {
    pub perm: u16,
    pub uid: u32,
    pub gid: u32,
    pub atime: SystemTime,
    pub mtime: SystemTime,
    pub ctime: SystemTime,
}

impl Meta {
    pub fn new(perm: u32, uid: u32, gid: u32) -> Self {
        let now = SystemTime::now();
        Self {
            perm: (perm & 0o7777) as u16,
            uid,
            gid,
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    /// The content was changed.
    pub fn touch(&mut self) {
        self.mtime = SystemTime::now();
        self.ctime = self.mtime;
    }
}

/// A file or directory.
pub struct Inode {
    pub ino: u64,
    meta: Mutex<Meta>,
    pub kind: Kind,
    /// How often the kernel was told of it and has not forgotten.
    lookups: AtomicI64,
    /// Open descriptions that go by the first node id.
    opens: AtomicI64,
    place: Mutex<Option<(u64, OsString)>>,
    /// When each client has changed the contents last.
    changed: Mutex<[Option<Instant>; 2]>,
}

pub enum Kind {
    File(Mutex<Contents>),
    Directory,
}

impl Kind {
    pub fn is_directory(&self) -> bool {
        matches!(self, Kind::Directory)
    }
}

impl Inode {
    pub fn new(ino: u64, kind: Kind, meta: Meta) -> Self {
        Self {
            ino,
            meta: Mutex::new(meta),
            kind,
            lookups: AtomicI64::new(0),
            opens: AtomicI64::new(0),
            place: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    pub fn changed_by(&self, client: Client) {
        self.changed.lock().expect("changes")[client.index()] = Some(Instant::now());
    }

    /// Whether the client has changed the contents, and not within this time.
    pub fn was_changed_before(&self, client: Client, time: Duration) -> bool {
        let changed = self.changed.lock().expect("changes")[client.index()];
        changed.is_some_and(|changed| changed.elapsed() >= time)
    }

    /// Whether the client has changed the contents since this was asked last.
    pub fn take_change_of(&self, client: Client) -> bool {
        let mut changed = self.changed.lock().expect("changes");
        changed[client.index()].take().is_some()
    }

    /// The file's contents, locked.
    ///
    /// # Errors
    /// EISDIR for a directory.
    pub fn contents(&self) -> Result<MutexGuard<'_, Contents>, Errno> {
        match &self.kind {
            Kind::File(contents) => Ok(contents.lock().expect("contents")),
            Kind::Directory => Err(Errno::EISDIR),
        }
    }

    pub fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().expect("meta")
    }

    pub fn file_type(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::RegularFile,
            Kind::Directory => FileType::Directory,
        }
    }

    /// Attributes under the inode's own number, as GETATTR tells them.
    pub fn attr(&self) -> FileAttr {
        let (size, allocated) = match &self.kind {
            Kind::File(contents) => {
                let backend = &contents.lock().expect("contents").backend;
                (backend.size(), backend.allocated())
            }
            Kind::Directory => (4096, 4096),
        };
        let meta = self.meta();
        FileAttr {
            ino: INodeNo(self.ino),
            size,
            blocks: allocated / 512,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            crtime: meta.ctime,
            kind: self.file_type(),
            perm: meta.perm,
            nlink: 1 + u32::from(self.kind.is_directory()),
            uid: meta.uid,
            gid: meta.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Attributes for a reply from which the kernel takes the node id: the file's second one
    /// if `twin` and it is open through the first.
    pub fn entry(&self, twin: bool) -> FileAttr {
        let mut attr = self.attr();
        if twin && self.opens.load(Ordering::Relaxed) > 0 {
            attr.ino.0 |= TWIN;
        }
        attr
    }

    /// The kernel is about to be told of it, once more. With the names locked, so that it does
    /// not vanish before.
    pub fn told(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// The kernel forgets that it was told of it so often.
    pub fn forgotten(&self, count: u64) {
        self.lookups.fetch_sub(count as i64, Ordering::Relaxed);
    }

    pub fn is_known(&self) -> bool {
        self.lookups.load(Ordering::Relaxed) > 0
    }

    /// The directory it lies in, and its name there, while it has one.
    pub fn place(&self) -> MutexGuard<'_, Option<(u64, OsString)>> {
        self.place.lock().expect("place")
    }

    /// A descriptor was opened (or, with -1, released) by this node id.
    pub fn opened(&self, node: INodeNo, change: i64) {
        if node.0 & TWIN == 0 {
            self.opens.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Both node ids that the kernel may know it by.
    pub fn nodes(&self) -> [INodeNo; 2] {
        [INodeNo(self.ino), INodeNo(self.ino | TWIN)]
    }
}
