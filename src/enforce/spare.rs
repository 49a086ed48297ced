//! Memory for the copies of a small msync, kept for the next one: to map it, to fault it in and to take it away from
//! all processors costs more than the copies.

use crate::process::{PerProcess, Zeroed};
use crate::sys::{self, wipe::Region};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use keepmydata_promise::BUFFER;

/// Pages that are copied into it, at the most.
const PAGES: usize = 64;

/// Of a process; all-zero is "there is none".
#[derive(Default)]
struct Spare(AtomicPtr<u8>);

// SAFETY: an address.
unsafe impl Zeroed for Spare {}

static OWN: PerProcess<Spare> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// Bytes of it.
fn size() -> usize {
    BUFFER + (2 + PAGES) * sys::page_size()
}

/// `len` bytes of memory or more, with any content. Nothing where memory is out.
pub fn take(len: usize) -> Option<Region> {
    if len > size() {
        return Region::new(len);
    }
    if let Some(kept) = NonNull::new(OWN.get().0.swap(null_mut(), Ordering::Acquire)) {
        // SAFETY: left there by `give`, with that size, and taken by nobody else.
        return Some(unsafe { Region::adopt(kept, size()) });
    }
    let mut memory = Region::new(size())?;
    // A fork child knows nothing of it.
    memory.keep_from_children();
    Some(memory)
}

/// Takes back what [`take`] has given.
pub fn give(memory: Region) {
    if memory.size() != size() {
        return;
    }
    let memory = memory.leave();
    let slot = &OWN.get().0;
    let (none, order) = (null_mut(), Ordering::Release);
    if slot
        .compare_exchange(none, memory.as_ptr(), order, Ordering::Relaxed)
        .is_err()
    {
        // SAFETY: left above, with that size.
        drop(unsafe { Region::adopt(memory, size()) });
    }
}
