//! Memory that a fork child finds zeroed.
//!
//! A lock that another thread held at the moment of the fork would stay taken in the child for
//! ever, and the custodian's threads do not exist there. Whatever is true of one process only lies
//! in pages marked `MADV_WIPEONFORK` (madvise(2), Linux 4.14): after `fork`, `_Fork` and a raw
//! `clone` they read as zero, without a handler that could be bypassed; after `vfork`, whose child
//! runs in the parent's memory, they stay.

use core::ptr::NonNull;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// Maps `bytes` of zeroed memory outside every allocator, or nothing where the kernel refuses.
pub fn map(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
    let p = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    NonNull::new(p.ok()?.cast())
}

/// Maps `bytes` of memory that a fork child finds zeroed. The flag says whether the kernel does the
/// wiping; where it does not (before Linux 4.14), an atfork handler must.
pub fn map_wiped(bytes: usize) -> Option<(NonNull<u8>, bool)> {
    let p = map(bytes)?;
    // SAFETY: the range was mapped just now and belongs to this function.
    let wiped = unsafe { madvise(p.as_ptr().cast(), bytes, Advice::LinuxWipeOnFork) };
    Some((p, wiped.is_ok()))
}
