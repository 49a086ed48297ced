//! What stands behind a filesystem, by its magic number: the shim decides by it what to look at,
//! the doctor tells it.

/// What stands behind the page cache of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing: the data lives in memory only (tmpfs, memfd) or is made up (procfs). There is
    /// nobody to hand data to.
    Nothing,
    /// A block device of this machine.
    LocalBlock,
    /// A daemon, a server, another filesystem, or something not known.
    Other,
}

impl Backing {
    /// By the `f_type` of statfs(2). Does not allocate.
    pub fn of(magic: u32) -> Self {
        if NOTHING.contains(&magic) {
            Backing::Nothing
        } else if LOCAL_BLOCK.contains(&magic) {
            Backing::LocalBlock
        } else {
            Backing::Other
        }
    }
}

// include/uapi/linux/magic.h, and the filesystems' own headers for those that it lacks.
const NOTHING: &[u32] = &[
    0x0102_1994, // tmpfs, also memfd and SysV shared memory
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
    0x0000_9fa0, // procfs
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6165_676c, // pstore
    0x6265_6570, // configfs
    0x5345_434d, // secretmem, memfd_secret(2)
    0x474d_454d, // guest_memfd, the memory of a KVM guest
    0x444d_4142, // dma-buf
    0x0904_1934, // anonymous inodes
];

const LOCAL_BLOCK: &[u32] = &[
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
    0x3153_464a, // jfs
    0x5265_4973, // reiserfs
    0x0000_4d44, // vfat
    0x2011_bab0, // exfat
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // zfs
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_filesystems() {
        assert_eq!(Backing::of(libc::TMPFS_MAGIC as u32), Backing::Nothing);
        assert_eq!(
            Backing::of(libc::EXT4_SUPER_MAGIC as u32),
            Backing::LocalBlock
        );
        assert_eq!(
            Backing::of(libc::BTRFS_SUPER_MAGIC as u32),
            Backing::LocalBlock
        );
        assert_eq!(Backing::of(libc::FUSE_SUPER_MAGIC as u32), Backing::Other);
        assert_eq!(Backing::of(libc::NFS_SUPER_MAGIC as u32), Backing::Other);
    }
}
