//! Memory that can run out, and that is given back after each input.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;

use keepmydata_sys::wipe;

const PAGE: usize = 4096;

#[derive(Default)]
struct Memory {
    given: Vec<(NonNull<u8>, Layout)>,
    /// How many more pieces there are, if it is to run out.
    left: Option<usize>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// That of the calling thread.
pub struct Limited;

// SAFETY: allocated for the caller, and freed by `reset` only, whose contract it is.
unsafe impl wipe::Memory for Limited {
    fn map(bytes: usize) -> Option<NonNull<u8>> {
        MEMORY.with_borrow_mut(|memory| {
            if let Some(left) = &mut memory.left {
                *left = left.checked_sub(1)?;
            }
            let layout = Layout::from_size_align(bytes, PAGE).ok()?;
            // SAFETY: nobody asks for no bytes.
            let piece = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            memory.given.push((piece, layout));
            Some(piece)
        })
    }
}

/// After so many more pieces it runs out, or never.
pub fn limit(left: Option<usize>) {
    MEMORY.with_borrow_mut(|memory| memory.left = left);
}

/// Takes everything back.
///
/// # Safety
/// Nobody uses any of it any more.
pub unsafe fn reset() {
    let memory = MEMORY.take();
    for (piece, layout) in memory.given {
        // SAFETY: allocated so in `map`.
        unsafe { dealloc(piece.as_ptr(), layout) };
    }
}
