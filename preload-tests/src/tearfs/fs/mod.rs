//! The FUSE requests: each is logged, done ([`operations`]) and answered ([`answer`]).

mod answer;
mod operations;

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, INodeNo, KernelConfig, LockOwner, OpenFlags,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyLock, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::cluster::Client;
use super::daemon::Daemon;
use super::inode::{Kind, inode_of};
use super::modes::{Effect, Write};
use super::oplog::{OpenBits, named};
use operations::Changes;

/// The filesystem as one client has it mounted.
#[derive(Clone)]
pub struct TearFs {
    pub daemon: Arc<Daemon>,
    pub client: Client,
}

/// The largest WRITE, in bytes: the kernel's own limit by default.
const MAX_WRITE: u32 = 1 << 20;

/// Logs and counts that a request has come in.
macro_rules! enter {
    ($fs:ident, $request:ident, $name:literal, $($arguments:tt)*) => {
        $fs.daemon.log.enter($name, $request, format_args!($($arguments)*))
    };
}

impl Filesystem for TearFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let added = config.add_capabilities(self.daemon.options.kernel_features());
        added.map_err(|missing| {
            io::Error::other(format!("the kernel does not offer {missing:?}"))
        })?;
        let limited = config.set_max_write(MAX_WRITE);
        limited.map(drop).map_err(|_| io::Error::other("max_write"))
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let op = enter!(self, request, "Lookup", "parent({parent}) name({name:?})");
        self.answer_entry(op, self.lookup_name(parent, name), reply);
    }

    fn forget(&self, request: &Request, node: INodeNo, count: u64) {
        let ino = inode_of(node);
        let op = enter!(self, request, "Forget", "ino({ino}) nlookup({count})");
        self.daemon
            .names
            .write()
            .expect("names")
            .forget(node, count);
        op.exit(format_args!("ino({ino})"));
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let op = enter!(self, request, "Getattr", "ino({})", inode_of(node));
        let attr = self.inode(node).map(|inode| inode.attr());
        self.answer_attr(op, attr, reply);
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let ino = inode_of(node);
        let op = enter!(
            self,
            request,
            "Setattr",
            "ino({ino}) size({size:?}) mode({mode:?})"
        );
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            ctime,
        };
        self.answer_attr(op, self.set_attributes(node, changes), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let op = enter!(self, request, "Mkdir", "parent({parent}) name({name:?})");
        let made = self.make(request, (parent, name), Kind::Directory, mode);
        self.answer_entry(op, made, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let op = enter!(self, request, "Unlink", "parent({parent}) name({name:?})");
        let removed = self
            .daemon
            .names
            .write()
            .expect("names")
            .remove(parent, name, false);
        self.answer_plain(op, parent.0, removed, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let op = enter!(self, request, "Rmdir", "parent({parent}) name({name:?})");
        let removed = self
            .daemon
            .names
            .write()
            .expect("names")
            .remove(parent, name, true);
        self.answer_plain(op, parent.0, removed, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let op = enter!(
            self,
            request,
            "Rename",
            "parent({parent}) name({name:?}) newparent({to}) newname({to_name:?})"
        );
        let renamed = if (flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            let noreplace = flags.contains(RenameFlags::RENAME_NOREPLACE);
            let mut names = self.daemon.names.write().expect("names");
            names.rename((parent, name), (to, to_name), noreplace)
        } else {
            Err(Errno::EINVAL)
        };
        self.answer_plain(op, parent.0, renamed, reply);
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (ino, bits) = (inode_of(node), OpenBits(flags.0));
        let op = enter!(self, request, "Open", "ino({ino}) flags({bits})");
        let opened = self.open_file(node, flags.0);
        let Ok(inode) = self.inode(node) else {
            return self.answer_open(op, node, opened, reply);
        };
        let fs = self.clone();
        let answer = move || fs.answer_open(op, node, opened, reply);
        self.daemon.after_open(self.client, &inode, flags.0, answer);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let bits = OpenBits(flags);
        let op = enter!(
            self,
            request,
            "Create",
            "parent({parent}) name({name:?}) flags({bits})"
        );
        let created = self.create_file(request, (parent, name), mode, flags);
        self.answer_create(op, created, reply);
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let ino = inode_of(node);
        let op = enter!(self, request, "Release", "ino({ino}) fh({handle})");
        let released = self.inode(node).map(|inode| inode.opened(node, -1));
        self.answer_plain(op, ino, released, reply);
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (ino, bits) = (inode_of(node), OpenBits(flags.0));
        let op = enter!(
            self,
            request,
            "Read",
            "ino({ino}) offset({offset}) len({size}) flags({bits}) fh({handle})"
        );
        let done = match self.daemon.options.refuse_direct_reads && flags.0 & libc::O_DIRECT != 0 {
            true => (Err(Errno::EINVAL), Effect::NONE),
            false => self.read_file(node, offset, size),
        };
        let delay = self.daemon.options.read_delay_ms;
        self.answer_data(op, ino, done, Vec::len, delay, |result| match result {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(errno),
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (ino, len, names) = (inode_of(node), data.len(), named(write_flags.iter_names()));
        let op = enter!(
            self,
            request,
            "Write",
            "ino({ino}) offset({offset}) len({len}) flags({names}) fh({handle})"
        );
        let page_writeback = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let done = self.write_file(node, handle, Write { offset, data }, page_writeback);
        let delay = self.daemon.options.write_delay_ms;
        self.answer_data(
            op,
            ino,
            done,
            |len| *len,
            delay,
            |result| match result {
                Ok(len) => reply.written(len as u32),
                Err(errno) => reply.error(errno),
            },
        );
    }

    fn flush(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let ino = inode_of(node);
        let op = enter!(self, request, "Flush", "ino({ino}) fh({handle})");
        self.unlock_all(ino, lock_owner);
        self.answer_empty(op, ino, self.flush_file(node), 0, reply);
    }

    fn fsync(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let (ino, datasync) = (inode_of(node), u8::from(datasync));
        let op = enter!(
            self,
            request,
            "Fsync",
            "ino({ino}) datasync({datasync}) fh({handle})"
        );
        let delay = self.daemon.options.fsync_delay_ms;
        let done = self.fsync_file(node, handle);
        let fs = self.clone();
        self.daemon.after_telling(self.client, move || {
            fs.answer_empty(op, ino, done, delay, reply);
        });
    }

    fn getlk(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let ino = inode_of(node);
        let op = enter!(
            self,
            request,
            "Getlk",
            "ino({ino}) range({start}-{end}) type({kind}) fh({handle})"
        );
        let wanted = self.lock_of(owner, (start, end), kind, pid);
        let against = self
            .daemon
            .locks
            .lock()
            .expect("locks")
            .against(ino, &wanted);
        match against {
            None => {
                op.exit(format_args!("ino({ino}) free"));
                reply.locked(0, 0, libc::F_UNLCK, 0);
            }
            Some(held) => {
                op.exit(format_args!("ino({ino}) held"));
                reply.locked(held.start, held.last, held.kind(), held.pid);
            }
        }
    }

    fn setlk(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let ino = inode_of(node);
        let op = enter!(
            self,
            request,
            "Setlk",
            "ino({ino}) range({start}-{end}) type({kind}) sleep({sleep}) fh({handle})"
        );
        let lock = self.lock_of(owner, (start, end), kind, pid);
        self.set_lock(op, node, (lock, kind), sleep, reply);
    }

    fn fsyncdir(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let op = enter!(self, request, "Fsyncdir", "ino({node})");
        self.answer_plain(op, node.0, Ok(()), reply);
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let op = enter!(self, request, "Readdir", "ino({node}) offset({offset})");
        let entries = match self.daemon.names.read().expect("names").list(node, offset) {
            Ok(entries) => entries,
            Err(errno) => {
                op.failed(errno);
                return reply.error(errno);
            }
        };
        for entry in &entries {
            if reply.add(INodeNo(entry.ino), entry.cookie, entry.kind, &entry.name) {
                break;
            }
        }
        op.exit(format_args!("ino({node})"));
        reply.ok();
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let ino = inode_of(node);
        let op = enter!(
            self,
            request,
            "Fallocate",
            "ino({ino}) offset({offset}) len({len}) mode({mode:#x}) fh({handle})"
        );
        self.answer_plain(op, ino, self.allocate(node, offset, len, mode), reply);
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let ino = inode_of(node);
        let op = enter!(
            self,
            request,
            "Lseek",
            "ino({ino}) offset({offset}) whence({whence}) fh({handle})"
        );
        match self.seek_file(node, offset, whence) {
            Ok(at) => {
                op.exit(format_args!("ino({ino}) result({at})"));
                reply.offset(at as i64);
            }
            Err(errno) => {
                op.failed(errno);
                reply.error(errno);
            }
        }
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        let op = enter!(self, request, "Statfs", "ino({node})");
        op.exit(format_args!("ino({node})"));
        // Sixteen tebibytes, all free.
        let blocks = 1 << 32;
        reply.statfs(blocks, blocks, blocks, 1 << 32, 1 << 32, 4096, 255, 4096);
    }
}
