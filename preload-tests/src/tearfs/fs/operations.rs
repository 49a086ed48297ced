//! What the requests do to files and names.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileHandle, FopenFlags, INodeNo, Request, TimeOrNow};

use super::super::file::Contents;
use super::super::inode::{Inode, Kind, Meta};
use super::super::modes::{Effect, Mode, Write};
use super::TearFs;
use super::answer::Done;

/// What SETATTR changes.
pub struct Changes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeOrNow>,
    pub mtime: Option<TimeOrNow>,
    pub ctime: Option<SystemTime>,
}

impl TearFs {
    pub(super) fn inode(&self, node: INodeNo) -> Result<Arc<Inode>, Errno> {
        self.0.names.read().expect("names").get(node)
    }

    /// How long the kernel may cache what it is told.
    pub(super) fn ttl(&self) -> Duration {
        match self.0.mode() {
            // Each path lookup must come to us, and each stat must correct the number.
            Mode::TwinInode => Duration::ZERO,
            _ => Duration::from_millis(self.0.options.ttl_ms),
        }
    }

    /// Attributes with the node id by which the kernel is to know the inode.
    pub(super) fn entry(&self, inode: &Inode) -> FileAttr {
        inode.entry(self.0.mode() == Mode::TwinInode)
    }

    pub(super) fn lookup_name(&self, parent: INodeNo, name: &OsStr) -> Result<Arc<Inode>, Errno> {
        let names = self.0.names.read().expect("names");
        let inode = names.lookup(parent, name)?;
        inode.told();
        Ok(inode)
    }

    /// Makes a file (whose contents are empty) or a directory.
    pub(super) fn make(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        kind: Kind,
        mode: u32,
    ) -> Result<Arc<Inode>, Errno> {
        let meta = Meta::new(mode, request.uid(), request.gid());
        let mut names = self.0.names.write().expect("names");
        let inode = names.create(parent, name, kind, meta)?;
        inode.told();
        Ok(inode)
    }

    pub(super) fn create_file(
        &self,
        request: &Request,
        place: (INodeNo, &OsStr),
        mode: u32,
        flags: i32,
    ) -> Result<(FileAttr, FileHandle, FopenFlags), Errno> {
        let inode = self.make(request, place, Kind::File(Mutex::default()), mode)?;
        let attr = self.entry(&inode);
        let (handle, flags) = self.open_inode(&inode, attr.ino, flags);
        Ok((attr, handle, flags))
    }

    pub(super) fn open_file(
        &self,
        node: INodeNo,
        flags: i32,
    ) -> Result<(FileHandle, FopenFlags), Errno> {
        let inode = self.inode(node)?;
        Ok(self.open_inode(&inode, node, flags))
    }

    fn open_inode(&self, inode: &Inode, node: INodeNo, flags: i32) -> (FileHandle, FopenFlags) {
        let options = &self.0.options;
        let path = self.0.names.read().expect("names").path(inode.ino);
        if let (Ok(mut contents), Some(path)) = (inode.contents(), path) {
            contents.set_concerned(options.concerns(&path));
        }
        inode.opened(node, 1);
        let mut answer = FopenFlags::empty();
        answer.set(FopenFlags::FOPEN_DIRECT_IO, options.is_direct(flags));
        answer.set(FopenFlags::FOPEN_KEEP_CACHE, options.keep_cache);
        (self.0.new_handle(), answer)
    }

    pub(super) fn set_attributes(
        &self,
        node: INodeNo,
        changes: Changes,
    ) -> Result<FileAttr, Errno> {
        let inode = self.inode(node)?;
        if let Some(size) = changes.size {
            self.0.contents(&inode)?.truncate(size);
            inode.meta().touch();
        }
        let time = |time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        };
        let mut meta = inode.meta();
        meta.perm = changes
            .mode
            .map_or(meta.perm, |mode| (mode & 0o7777) as u16);
        meta.uid = changes.uid.unwrap_or(meta.uid);
        meta.gid = changes.gid.unwrap_or(meta.gid);
        meta.atime = changes.atime.map_or(meta.atime, time);
        meta.mtime = changes.mtime.map_or(meta.mtime, time);
        meta.ctime = changes.ctime.unwrap_or_else(SystemTime::now);
        drop(meta);
        Ok(inode.attr())
    }

    /// Runs `act` on the file's contents.
    fn with_contents<T>(
        &self,
        node: INodeNo,
        act: impl FnOnce(&Arc<Inode>, MutexGuard<'_, Contents>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let inode = self.inode(node)?;
        let contents = self.0.contents(&inode)?;
        act(&inode, contents)
    }

    pub(super) fn read_file(&self, node: INodeNo, offset: u64, size: u32) -> Done<Vec<u8>> {
        let read = self.with_contents(node, |_, mut contents| {
            let mut data = vec![0; size as usize];
            let (len, effect) = contents.read(offset, &mut data, &self.0.context());
            data.truncate(len);
            Ok((data, effect))
        });
        split(read)
    }

    pub(super) fn write_file(
        &self,
        node: INodeNo,
        handle: FileHandle,
        write: Write<'_>,
        page_writeback: bool,
    ) -> Done<usize> {
        let written = self.with_contents(node, |inode, mut contents| {
            self.0.check_handle(handle)?;
            let effect = if page_writeback {
                contents.page_write(write, &self.0.context())
            } else {
                contents.other_write(write);
                Effect::NONE
            };
            drop(contents);
            inode.meta().touch();
            Ok((write.data.len(), effect))
        });
        split(written)
    }

    pub(super) fn flush_file(&self, node: INodeNo) -> Done<()> {
        let flushed = self.with_contents(node, |_, mut contents| Ok(contents.flush()));
        flushed.unwrap_or_else(|errno| (Err(errno), Effect::NONE))
    }

    pub(super) fn fsync_file(&self, node: INodeNo, handle: FileHandle) -> Done<()> {
        let synced = self.with_contents(node, |inode, mut contents| {
            self.0.check_handle(handle)?;
            let done = contents.fsync(&self.0.context());
            self.0.watch(inode, &contents);
            Ok(done)
        });
        synced.unwrap_or_else(|errno| (Err(errno), Effect::NONE))
    }

    /// fallocate(2). Room is never short, so that only sizes and holes change.
    pub(super) fn allocate(
        &self,
        node: INodeNo,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Result<(), Errno> {
        const ZEROES: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if mode & !(libc::FALLOC_FL_KEEP_SIZE | ZEROES) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        self.with_contents(node, |inode, mut contents| {
            if mode & ZEROES != 0 {
                contents.punch(offset..end);
            }
            if mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
                contents.backend.extend(end);
            }
            drop(contents);
            inode.meta().touch();
            Ok(())
        })
    }

    pub(super) fn seek_file(&self, node: INodeNo, offset: i64, whence: i32) -> Result<u64, Errno> {
        if self.0.options.writeback_cache {
            // The kernel alone knows the size, and what is data: let it do without us.
            return Err(Errno::ENOSYS);
        }
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(Errno::EINVAL),
        };
        let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        self.with_contents(node, |_, contents| {
            contents.backend.seek(offset, data).ok_or(Errno::ENXIO)
        })
    }
}

fn split<T>(done: Result<(T, Effect), Errno>) -> Done<T> {
    match done {
        Ok((value, effect)) => (Ok(value), effect),
        Err(errno) => (Err(errno), Effect::NONE),
    }
}
