//! After a failure: nothing is dropped, and what was not written is dirty again.
//!
//! Plain Linux marks pages clean when their writeback has failed, so that the next msync returns 0
//! with data lost. Here they are made dirty again. Where even the page is gone (ext4 drops pages
//! that it could allocate no block for), no later msync of the file returns 0 until it is unmapped:
//! nobody but the program can know what the page held.

use super::context::Context;
use super::copy::State;
use super::flush;
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

fn stale_dirty_again(context: &mut Context) {
    for page in 0..context.copies.pages() {
        if context.copies.state(page) == State::Stale {
            let (_, at) = context.copies.place_of(page);
            let _ = make_page_dirty(at);
        }
    }
}

/// Every page of the dirty ranges that is still in the page cache; returns how many are not.
fn ranges_dirty_again(context: &Context) -> u64 {
    let size = sys::page_size();
    let mut lost = 0;
    flush::for_each_duplicate(context, |start, offset, len| {
        for range in context.dirty.as_slice() {
            let from = range.offset.max(offset);
            let to = (range.offset + range.length).min(offset + len as u64);
            let mut at = from;
            while at < to {
                let page = start + (at - offset) as usize;
                match vm::is_cached(page) {
                    true => drop(make_page_dirty(page)),
                    false => lost += 1,
                }
                at += size as u64;
            }
        }
    });
    lost
}
