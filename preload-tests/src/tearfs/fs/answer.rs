//! What all answers have in common: the log line, the counts, the delay.

use fuser::{
    Errno, FileAttr, FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate,
    ReplyEmpty, ReplyEntry, ReplyOpen,
};

use super::super::inode::{Inode, inode_of};
use super::super::modes::Effect;
use super::super::oplog::{Did, Op, Outcome, named};
use super::TearFs;

/// The result of a request, and what the mode did with it.
pub type Done<T> = (Result<T, Errno>, Effect);

impl TearFs {
    pub(super) fn answer_entry(
        &self,
        op: Op,
        inode: Result<std::sync::Arc<Inode>, Errno>,
        reply: ReplyEntry,
    ) {
        match inode {
            Ok(inode) => {
                let attr = self.entry(&inode);
                let (ino, node, size) = (inode.ino, attr.ino, attr.size);
                op.exit(format_args!("ino({ino}) node({node}) size({size})"));
                reply.entry(&self.ttl(), &attr, Generation(0));
            }
            Err(errno) => {
                op.failed(errno);
                reply.error(errno);
            }
        }
    }

    pub(super) fn answer_attr(&self, op: Op, attr: Result<FileAttr, Errno>, reply: ReplyAttr) {
        match attr {
            Ok(attr) => {
                op.exit(format_args!("ino({}) size({})", attr.ino, attr.size));
                reply.attr(&self.ttl(), &attr);
            }
            Err(errno) => {
                op.failed(errno);
                reply.error(errno);
            }
        }
    }

    pub(super) fn answer_open(
        &self,
        op: Op,
        node: INodeNo,
        opened: Result<(FileHandle, FopenFlags), Errno>,
        reply: ReplyOpen,
    ) {
        match opened {
            Ok((handle, flags)) => {
                let (ino, names) = (inode_of(node), named(flags.iter_names()));
                op.exit(format_args!(
                    "ino({ino}) node({node}) fh({handle}) flags({names})"
                ));
                reply.opened(handle, flags);
            }
            Err(errno) => {
                op.failed(errno);
                reply.error(errno);
            }
        }
    }

    pub(super) fn answer_create(
        &self,
        op: Op,
        created: Result<(FileAttr, FileHandle, FopenFlags), Errno>,
        reply: ReplyCreate,
    ) {
        match created {
            Ok((attr, handle, flags)) => {
                let (ino, names) = (inode_of(attr.ino), named(flags.iter_names()));
                op.exit(format_args!("ino({ino}) fh({handle}) flags({names})"));
                reply.created(&self.ttl(), &attr, Generation(0), handle, flags);
            }
            Err(errno) => {
                op.failed(errno);
                reply.error(errno);
            }
        }
    }

    /// An answer that the mode has a part in, given after the delay: `send` sends it.
    pub(super) fn answer_data<T: Send + 'static>(
        &self,
        op: Op,
        ino: u64,
        (result, effect): Done<T>,
        count: impl Fn(&T) -> usize,
        delay_ms: u64,
        send: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let mode = self.daemon.mode();
        self.daemon.log.count(mode, effect);
        let outcome = Outcome(result.as_ref().map(count).map_err(|errno| *errno));
        self.daemon.after(delay_ms, move || {
            let did = Did(mode, effect);
            op.exit(format_args!("ino({ino}) result({outcome}){did}"));
            send(result);
        });
    }

    pub(super) fn answer_empty(
        &self,
        op: Op,
        ino: u64,
        done: Done<()>,
        delay_ms: u64,
        reply: ReplyEmpty,
    ) {
        self.answer_data(
            op,
            ino,
            done,
            |()| 0,
            delay_ms,
            |result| match result {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            },
        );
    }

    /// An answer that no mode has a part in.
    pub(super) fn answer_plain(
        &self,
        op: Op,
        ino: u64,
        result: Result<(), Errno>,
        reply: ReplyEmpty,
    ) {
        self.answer_empty(op, ino, (result, Effect::NONE), 0, reply);
    }
}
