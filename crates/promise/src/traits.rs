//! What a filesystem does with the pages of its files, as far as a judge must know.

use keepmydata_records::Backing;
use keepmydata_sys::{self as sys, extents};
use rustix::fd::BorrowedFd;
use rustix::fs::{self, AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

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
    /// cache whatever the flags, and prove nothing ([`keepmydata_sys::extents::encoded`]).
    pub encodes: bool,
}

impl Traits {
    /// Of the file behind `fd`; nothing where no backing store stands behind it (tmpfs, memfd, procfs...).
    ///
    /// Errors: those of fstatfs(2).
    pub fn of(fd: BorrowedFd<'_>) -> Result<Option<Traits>, Errno> {
        Ok(Traits::on(filesystem(fd)?, fd))
    }

    /// The same where [`filesystem`] has said `magic` of it, and nobody else is asked.
    pub fn on(magic: u32, fd: BorrowedFd<'_>) -> Option<Traits> {
        let backing = Backing::of(magic);
        if backing == Backing::Nothing {
            return None;
        }
        let local_block = backing == Backing::LocalBlock;
        let dax = is_dax(fd);
        Some(Traits {
            local_block,
            msync_is_fdatasync: matches!(magic, EXT4 | XFS | BTRFS) && !dax,
            drops_unallocated: local_block && !keeps_unwritten(magic),
            loses_unwritten: magic == BTRFS && !sys::kernel_is_at_least(6, 18),
            encodes: magic == BTRFS,
            dax,
        })
    }

    /// Whether the filesystem may have dropped pages of the file, open as `handle`, that it found no block for, in a flush that
    /// has failed with `errno`. Those lie in holes ever after; so where the file has no hole, none was. Mapped or not: what
    /// dropped them need not have been stored through a mapping that is still there. The error for that is not EIO but that
    /// there is no room.
    pub fn may_have_dropped(&self, handle: Option<BorrowedFd<'_>>, errno: Errno) -> bool {
        let drops = self.drops_unallocated && !self.dax && errno != Errno::IO;
        drops && handle.is_none_or(|handle| extents::has_hole(handle).unwrap_or(true))
    }
}

/// Which filesystem the file behind `fd` is on (fstatfs(2), `f_type`): a FUSE daemon or a server is asked.
///
/// Errors: those of fstatfs(2).
#[allow(
    clippy::unnecessary_cast,
    reason = "the type differs between architectures"
)]
pub fn filesystem(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(fs::fstatfs(fd)?.f_type as u32)
}

/// Asked of the kernel's inode; a FUSE daemon or a server is not asked.
fn is_dax(fd: BorrowedFd<'_>) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    sys::fd::statx(fd, c"", flags, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::DAX))
}

/// ext2 and ext3 too.
const EXT4: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
/// Its older versions call a page out of date whose writeback failed, so that the next access reads the
/// old content in again. Seen on Linux 6.1, and not on 6.18; what lies between was not tried.
const BTRFS: u32 = 0x9123_683e;

/// Whether pages whose writeback failed stay in the page cache, and O_DIRECT then tells which. So it is
/// with xfs since Linux 5.19 ("iomap: don't invalidate folios after writeback errors") and with btrfs, but
/// for what it compresses. ext4 drops those that it has allocated no block for
/// (`mpage_release_unused_pages` in fs/ext4/inode.c).
fn keeps_unwritten(magic: u32) -> bool {
    match magic {
        XFS => sys::kernel_is_at_least(5, 19),
        BTRFS => sys::kernel_is_at_least(6, 18),
        _ => false,
    }
}
