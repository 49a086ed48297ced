//! Memory that a fork child finds zeroed.
//!
//! A lock that another thread held at the moment of the fork would stay taken in the child for
//! ever, and the custodian's threads do not exist there. Whatever is true of one process only lies
//! in pages marked `MADV_WIPEONFORK` (madvise(2), Linux 4.14): after `fork`, `_Fork` and a raw
//! `clone` they read as zero, without a handler that could be bypassed; after `vfork`, whose child
//! runs in the parent's memory, they stay.

use crate::sys;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// Where the shim's mappings go, if there is room: far from where the kernel puts the program's. A
/// program may have left a hole there on purpose, to map into it with `MAP_FIXED` later, or to be
/// told ENOMEM by msync(2).
const FROM: usize = 0x2000_0000_0000;
const TO: usize = 0x3000_0000_0000;
static NEXT: AtomicUsize = AtomicUsize::new(FROM);

/// Maps `bytes` of zeroed memory outside every allocator, or nothing where the kernel refuses.
pub fn map(bytes: usize) -> Option<NonNull<u8>> {
    place(bytes, ProtFlags::READ | ProtFlags::WRITE)
}

/// Reserves `bytes` of addresses, for a mapping to be put there.
pub fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    place(bytes, ProtFlags::empty())
}

fn place(bytes: usize, prot: ProtFlags) -> Option<NonNull<u8>> {
    // A page stays free between two, so that the kernel does not join them.
    let step = sys::page_up(bytes as u64) as usize + sys::page_size();
    let mut hint = NEXT.fetch_add(step, Ordering::Relaxed);
    if hint.checked_add(step).is_none_or(|end| end > TO) {
        NEXT.store(FROM, Ordering::Relaxed);
        hint = 0;
    }
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh anonymous mapping; the address is a hint only.
    let p = unsafe { mmap_anonymous(hint as *mut _, bytes, prot, flags) };
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
