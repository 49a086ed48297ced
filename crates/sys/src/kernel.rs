//! Kernel interfaces that no crate has yet, as numbers and layouts: the shim calls them, and the
//! doctor tells whether they are there.

// Fields and constants are the kernel's, whose headers say what they are.
#![allow(missing_docs)]

/// The number of cachestat(2) on every architecture (Linux 6.5).
pub const SYS_CACHESTAT: i64 = 451;

/// `struct cachestat`: pages of a file range by state (include/uapi/linux/mman.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStat {
    /// Pages in the page cache.
    pub cached: u64,
    /// Of those, pages newer than the backing store.
    pub dirty: u64,
    /// Of those, pages being written now.
    pub writeback: u64,
    pub evicted: u64,
    pub recently_evicted: u64,
}

/// A range of a file, bytes, as cachestat(2) takes it.
#[repr(C)]
pub struct CacheRange {
    pub offset: u64,
    pub len: u64,
}

/// A set of CPUs with room for 8192, the most that Linux is built for.
pub type Cpus = [u64; 128];

/// `struct sched_attr` (include/uapi/linux/sched/types.h).
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Runtime, deadline and period, ns.
    times: [u64; 3],
    utilization: [u32; 2],
}

impl SchedAttr {
    pub fn has_deadline(&self) -> bool {
        self.policy == libc::SCHED_DEADLINE as u32
    }

    /// The same for a thread whose children have the default policy.
    pub fn reset_on_fork(&self) -> SchedAttr {
        SchedAttr {
            flags: self.flags | libc::SCHED_FLAG_RESET_ON_FORK as u64,
            ..*self
        }
    }
}

/// `struct futex_waitv` (include/uapi/linux/futex.h).
#[repr(C)]
pub struct FutexWaiter {
    pub value: u64,
    pub address: u64,
    pub flags: u32,
    pub reserved: u32,
}

/// `struct file_handle` with as much room as any has (`MAX_HANDLE_SZ`).
#[repr(C)]
pub struct FileHandle {
    pub bytes: u32,
    pub kind: i32,
    pub data: [u8; FileHandle::ROOM],
}

impl FileHandle {
    const ROOM: usize = 128;

    /// An empty one.
    pub const fn empty() -> FileHandle {
        FileHandle {
            bytes: 0,
            kind: 0,
            data: [0; FileHandle::ROOM],
        }
    }

    /// Says how much room there is.
    pub(crate) fn with_room(&mut self) -> &mut FileHandle {
        self.bytes = FileHandle::ROOM as u32;
        self
    }
}

/// `struct statx` (include/uapi/linux/stat.h), of which the first half is looked at.
#[derive(Default)]
#[repr(C)]
pub struct Statx {
    pub mask: u32,
    pub blksize: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub pad: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    /// Last access, creation, change, modification.
    pub times: [[u64; 2]; 4],
    pub rdev: [u32; 2],
    pub dev_major: u32,
    pub dev_minor: u32,
    pub rest: [u64; 14],
}

const _: () = assert!(size_of::<Statx>() == 256);

/// `FS_IOC_FIEMAP`: `_IOWR('f', 11, struct fiemap)` (include/uapi/linux/fiemap.h).
pub const FS_IOC_FIEMAP: usize = 0xc020_660b;

/// `struct fiemap_extent`, bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Extent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    pub reserved64: [u64; 2],
    pub flags: u32,
    pub reserved: [u32; 3],
}

/// `struct fiemap`, and room for the answer.
#[repr(C)]
pub struct Fiemap {
    pub start: u64,
    pub length: u64,
    pub flags: u32,
    pub mapped_extents: u32,
    pub extent_count: u32,
    pub reserved: u32,
    pub extents: [Extent; Fiemap::BATCH],
}

const _: () = assert!(size_of::<Extent>() == 56 && size_of::<Fiemap>() == 32 + Fiemap::BATCH * 56);

impl Fiemap {
    /// Extents that one call asks for.
    pub const BATCH: usize = 64;

    /// Asks for the extents that overlap so many bytes from `start` on.
    pub const fn new(start: u64, length: u64) -> Fiemap {
        const NONE: Extent = Extent {
            logical: 0,
            physical: 0,
            length: 0,
            reserved64: [0; 2],
            flags: 0,
            reserved: [0; 3],
        };
        Fiemap {
            start,
            length,
            flags: 0,
            mapped_extents: 0,
            extent_count: 0,
            reserved: 0,
            extents: [NONE; Fiemap::BATCH],
        }
    }

    /// Says how much room there is.
    pub(crate) fn with_room(&mut self) -> &mut Fiemap {
        self.extent_count = Fiemap::BATCH as u32;
        self
    }
}

/// userfaultfd(2) (include/uapi/linux/userfaultfd.h).
pub mod userfaultfd {
    pub const USER_MODE_ONLY: i32 = 1;
    pub const API: u64 = 0xaa;
    pub const FEATURE_EVENT_REMAP: u64 = 1 << 2;
    pub const FEATURE_EVENT_UNMAP: u64 = 1 << 6;
    pub const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
    pub const FEATURE_WP_ASYNC: u64 = 1 << 15;
    pub const REGISTER_MODE_WP: u64 = 1 << 1;
    pub const WRITEPROTECT_MODE_WP: u64 = 1 << 0;

    pub const UFFDIO_API: u32 = 0xc018_aa3f;
    pub const UFFDIO_REGISTER: u32 = 0xc020_aa00;
    pub const UFFDIO_UNREGISTER: u32 = 0x8010_aa01;
    pub const UFFDIO_WRITEPROTECT: u32 = 0xc018_aa06;
}

/// The `PAGEMAP_SCAN` ioctl of /proc/PID/pagemap (include/uapi/linux/fs.h, Linux 6.7).
pub mod pagemap_scan {
    pub const PAGEMAP_SCAN: u32 = 0xc060_6610;
    pub const WP_MATCHING: u64 = 1 << 0;
    pub const CHECK_WPASYNC: u64 = 1 << 1;
    pub const IS_WPALLOWED: u64 = 1 << 0;
    pub const IS_WRITTEN: u64 = 1 << 1;
    pub const IS_PRESENT: u64 = 1 << 3;

    /// `struct pm_scan_arg`.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct ScanArg {
        pub size: u64,
        pub flags: u64,
        pub start: u64,
        pub end: u64,
        pub walk_end: u64,
        pub vec: u64,
        pub vec_len: u64,
        pub max_pages: u64,
        pub category_inverted: u64,
        pub category_mask: u64,
        pub category_anyof_mask: u64,
        pub return_mask: u64,
    }

    impl ScanArg {
        /// Says where the runs go, and for how many there is room.
        pub(crate) fn with_room(&mut self, found: &mut [Region]) -> &mut ScanArg {
            self.size = size_of::<ScanArg>() as u64;
            self.vec = found.as_mut_ptr() as u64;
            self.vec_len = found.len() as u64;
            self
        }
    }

    /// `struct page_region`: a run of pages that a scan found.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Region {
        pub start: u64,
        pub end: u64,
        pub categories: u64,
    }
}
