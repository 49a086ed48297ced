//! Kernel interfaces that no crate has yet, as numbers and layouts: the shim calls them, and the
//! doctor tells whether they are there.

/// The number of cachestat(2) on every architecture (Linux 6.5).
pub const SYS_CACHESTAT: i64 = 451;

/// `struct cachestat`: pages of a file range by state (include/uapi/linux/mman.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
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

/// userfaultfd(2) (include/uapi/linux/userfaultfd.h).
#[allow(missing_docs)]
pub mod userfaultfd {
    pub const USER_MODE_ONLY: i32 = 1;
    pub const API: u64 = 0xaa;
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
#[allow(missing_docs)]
pub mod pagemap_scan {
    pub const PAGEMAP_SCAN: u32 = 0xc060_6610;
    pub const WP_MATCHING: u64 = 1 << 0;
    pub const CHECK_WPASYNC: u64 = 1 << 1;
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

    /// `struct page_region`: a run of pages that a scan found.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Region {
        pub start: u64,
        pub end: u64,
        pub categories: u64,
    }
}
