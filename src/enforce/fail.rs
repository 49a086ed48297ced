//! After a failure: nothing is dropped, and what was not written is dirty again.
//!
//! Plain Linux marks pages clean when their writeback has failed, so that the next msync returns 0
//! with data lost. Here they are made dirty again. Where even the page is gone (ext4 drops pages
//! that it could allocate no block for), no later msync of the file returns 0 until it is unmapped:
//! nobody but the program can know what the page held.

use super::context::Context;
use super::copy::State;
use super::heal::make_page_dirty;
use crate::mappings;
use crate::sys::{self, vm};
use rustix::io::Errno;

/// Keeps the data of a file whose sync failed with `errno`, and remembers the failure.
pub fn keep_dirty(context: &mut Context, errno: Errno) {
    let lost = match context.flush_error {
        // Read back and found stale: those pages, through their witnesses.
        None => {
            stale_dirty_again(context);
            0
        }
        Some(_) => ranges_dirty_again(context),
    };
    let _table = mappings::lock();
    // SAFETY: held by the chain, and under the lock.
    let file = unsafe { &mut *context.file.as_ptr() };
    file.suspect = true;
    if lost > 0 && file.lost == 0 {
        file.lost = errno.raw_os_error();
    }
    context.lost_pages = lost;
    crate::reads::set_fresh(&file.key, false);
}

/// Through the program's own mappings: unmapping one of a FUSE file, a witness too, writes all its
/// dirty pages back (`fuse_vma_close` in fs/fuse/file.c), and they would not stay dirty.
fn stale_dirty_again(context: &mut Context) {
    context.copies.let_go_witnesses();
    for page in 0..context.copies.pages() {
        if context.copies.state(page) == State::Stale {
            let (offset, _) = context.copies.place_of(page);
            dirty_again(context, offset);
        }
    }
}

/// Every page of the dirty ranges that is still in the page cache; returns how many are not.
fn ranges_dirty_again(context: &mut Context) -> u64 {
    context.copies.let_go_witnesses();
    let size = sys::page_size() as u64;
    let mut lost = 0;
    for range in context.dirty.as_slice() {
        let mut offset = range.offset;
        while offset < range.offset + range.length {
            lost += u64::from(dirty_again(context, offset) == Some(false));
            offset += size;
        }
    }
    lost
}

/// Makes the page at `offset` in the file dirty, if it is in the page cache, and says whether it is;
/// nothing where it is not mapped any more. Under the table lock, so that the mapping stays: a page
/// in the page cache is made dirty without a read.
fn dirty_again(context: &Context, offset: u64) -> Option<bool> {
    let size = sys::page_size();
    let mut found = None;
    let table = mappings::lock();
    table.for_each_of(context.file, 0, |entry| {
        let end = entry.offset + entry.len() as u64;
        if !entry.writable || !(entry.offset..end).contains(&offset) {
            return true;
        }
        let at = entry.start + (offset - entry.offset) as usize;
        let cached = vm::is_cached(at);
        found = Some(cached);
        if cached && vm::make_dirty(at, size).is_err() {
            // Read-only now: through a duplicate, which may write it back at once.
            // SAFETY: unmapped below.
            if let Ok(duplicate) = unsafe { vm::duplicate(at, size) } {
                let _ = make_page_dirty(duplicate as usize);
                // SAFETY: the duplicate made above.
                let _ = unsafe { rustix::mm::munmap(duplicate, size) };
            }
        }
        false
    });
    found
}
