//! What the requests do to files and names.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FopenFlags, INodeNo, LockOwner, ReplyEmpty, Request, TimeOrNow,
};

use super::super::cluster::{Client, Coherence};
use super::super::file::Contents;
use super::super::inode::{Inode, Kind, Meta};
use super::super::locks::{Lock, Owner};
use super::super::modes::{Effect, Mode, Write};
use super::super::oplog::Op;
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
        self.daemon.names.read().expect("names").get(node)
    }

    /// How long the kernel may cache what it is told.
    pub(super) fn ttl(&self) -> Duration {
        match self.daemon.mode() {
            // Each path lookup must come to us, and each stat must correct the number.
            Mode::TwinInode => Duration::ZERO,
            _ => self.daemon.options.ttl(),
        }
    }

    /// Attributes with the node id by which the kernel is to know the inode.
    pub(super) fn entry(&self, inode: &Inode) -> FileAttr {
        inode.entry(self.daemon.mode() == Mode::TwinInode)
    }

    pub(super) fn lookup_name(&self, parent: INodeNo, name: &OsStr) -> Result<Arc<Inode>, Errno> {
        let names = self.daemon.names.read().expect("names");
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
        let mut names = self.daemon.names.write().expect("names");
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
        let options = &self.daemon.options;
        let path = self.daemon.names.read().expect("names").path(inode.ino);
        if let (Ok(mut contents), Some(path)) = (inode.contents(), path) {
            contents.set_concerned(options.concerns(&path));
        }
        inode.opened(node, 1);
        let mut answer = FopenFlags::empty();
        answer.set(FopenFlags::FOPEN_DIRECT_IO, options.is_direct(flags));
        let drops = options.cluster() == Some(Coherence::LateOpen)
            && inode.was_changed_before(self.client.other(), options.coherence_time());
        answer.set(
            FopenFlags::FOPEN_KEEP_CACHE,
            options.keeps_cache() && !drops,
        );
        (self.daemon.new_handle(), answer)
    }

    pub(super) fn set_attributes(
        &self,
        node: INodeNo,
        changes: Changes,
    ) -> Result<FileAttr, Errno> {
        let inode = self.inode(node)?;
        if let Some(size) = changes.size {
            self.daemon.contents(&inode)?.truncate(size);
            inode.meta().touch();
            self.daemon.changed(self.client, &inode);
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
        let contents = self.daemon.contents(&inode)?;
        act(&inode, contents)
    }

    pub(super) fn read_file(&self, node: INodeNo, offset: u64, size: u32) -> Done<Vec<u8>> {
        let read = self.with_contents(node, |_, mut contents| {
            let mut data = vec![0; size as usize];
            let context = self.daemon.context();
            let (len, effect) = contents.read(offset, &mut data, &context);
            data.truncate(len);
            if let Some(cluster) = self.cluster() {
                contents.after_read(cluster, offset, &mut data, context.now);
            }
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
            self.daemon.check_handle(handle)?;
            let context = self.daemon.context();
            if let Some(cluster) = self.cluster() {
                let until = context.now + self.daemon.options.coherence_time();
                contents.before_write(cluster, write, until);
            }
            let effect = if page_writeback {
                contents.page_write(write, &context)
            } else {
                contents.other_write(write);
                Effect::NONE
            };
            if let Some(cluster) = self.cluster() {
                contents.after_write(cluster, write);
            }
            drop(contents);
            inode.meta().touch();
            self.daemon.changed(self.client, inode);
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
            self.daemon.check_handle(handle)?;
            let done = contents.fsync(&self.daemon.context());
            self.daemon.watch(inode, &contents);
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
            self.daemon.changed(self.client, inode);
            Ok(())
        })
    }

    /// Who asks, where there are two clients, and how they are kept apart.
    fn cluster(&self) -> Option<(Client, Coherence)> {
        let coherence = self.daemon.options.cluster()?;
        Some((self.client, coherence))
    }

    pub(super) fn lock_of(
        &self,
        owner: LockOwner,
        (start, last): (u64, u64),
        kind: i32,
        pid: u32,
    ) -> Lock {
        Lock {
            owner: Owner(self.client, owner.0),
            start,
            last,
            exclusive: kind == libc::F_WRLCK,
            pid,
        }
    }

    /// Takes a record lock, or gives one up, and answers; where it is to be waited for, once it is there.
    pub(super) fn set_lock(
        &self,
        op: Op,
        node: INodeNo,
        (lock, kind): (Lock, i32),
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let inode = match self.inode(node) {
            Ok(inode) => inode,
            Err(errno) => return self.answer_plain(op, node.0, Err(errno), reply),
        };
        let ino = inode.ino;
        let fs = self.clone();
        let answer = move |result| {
            let then = fs.clone();
            fs.daemon.after_lock(fs.client, &inode, move || {
                then.answer_plain(op, ino, result, reply);
            });
        };
        let mut locks = self.daemon.locks.lock().expect("locks");
        let granted = if kind == libc::F_UNLCK {
            let granted = locks.release(ino, lock);
            drop(locks);
            answer(Ok(()));
            granted
        } else {
            let (taken, granted) = locks.take(ino, lock);
            match taken {
                false if sleep => locks.wait(ino, lock, Box::new(move || answer(Ok(())))),
                taken => {
                    drop(locks);
                    answer(if taken { Ok(()) } else { Err(Errno::EAGAIN) });
                }
            }
            granted
        };
        granted.into_iter().for_each(|granted| granted());
    }

    /// A descriptor is closed: its process gives up all its locks of the file.
    pub(super) fn unlock_all(&self, ino: u64, owner: LockOwner) {
        let mut locks = self.daemon.locks.lock().expect("locks");
        let granted = locks.release_all(ino, Owner(self.client, owner.0));
        drop(locks);
        granted.into_iter().for_each(|granted| granted());
    }

    pub(super) fn seek_file(&self, node: INodeNo, offset: i64, whence: i32) -> Result<u64, Errno> {
        if self.daemon.options.writeback_cache {
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
