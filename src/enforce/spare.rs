//! Memory for the copies of a small msync, kept for the next one: to map it, to fault it in and to take it away from
//! all processors costs more than the copies.

use super::readback::BUFFER;
use crate::process::{PerProcess, Zeroed};
use crate::sys::{self, wipe};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use rustix::mm::{Advice, madvise, munmap};

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

/// `len` bytes of memory or more, with any content: where they are, and how many. Nothing where memory is out.
pub fn take(len: usize) -> Option<(*mut u8, usize)> {
    if len > size() {
        return Some((wipe::map(len)?.as_ptr(), len));
    }
    let kept = OWN.get().0.swap(null_mut(), Ordering::Acquire);
    if !kept.is_null() {
        return Some((kept, size()));
    }
    let memory = wipe::map(size())?.as_ptr();
    // A fork child knows nothing of it.
    // SAFETY: mapped just now.
    let _ = unsafe { madvise(memory.cast(), size(), Advice::LinuxDontFork) };
    Some((memory, size()))
}

/// Takes back what [`take`] has given.
pub fn give(memory: *mut u8, len: usize) {
    let slot = &OWN.get().0;
    let kept = len == size()
        && slot
            .compare_exchange(null_mut(), memory, Ordering::Release, Ordering::Relaxed)
            .is_ok();
    if !kept {
        // SAFETY: nobody uses it any more.
        let _ = unsafe { munmap(memory.cast(), len) };
    }
}
