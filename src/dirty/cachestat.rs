//! `cachestat`: the page cache of the whole file, in parts and by halving.

use super::{Query, Ranges};
use crate::mappings;
use crate::sys;
use crate::sys::cachestat::{Cached, cachestat};
use core::sync::atomic::{AtomicU8, Ordering};
use keepmydata_promise::cached_pages::{count, find_in, unstable};
use rustix::io::Errno;

/// The place where dirty pages are looked for first begins and ends at a multiple of this, bytes.
const NEAR: u64 = 256 << 10;
/// So many times as long as what was found there last it is at the most.
const NEAR_ENOUGH: u64 = 4;

/// Adds the ranges of the file that are dirty or being written: first from where they were the last time, which are all
/// if the whole file has no more.
pub fn all_unstable(query: &Query<'_>, into: &mut Ranges) -> Result<(), Errno> {
    let file = query.cache().ok_or(Errno::BADF)?;
    let size = sys::page_up(sys::fd::size(file.fd())?);
    let (start, end) = mappings::lock().get(query.file).dirty_near;
    let near = start..end.min(size);
    // Where that is most of the file, all of it is counted no more often.
    let is_much = near.end.saturating_sub(near.start) > size / 2;
    let place = match near.is_empty() || is_much {
        true => 0..size,
        false => match count(file, unstable, 0, size)? {
            0 => return Ok(()),
            all if count(file, unstable, near.start, near.end)? == all => near.clone(),
            _ => 0..size,
        },
    };
    find_in(file, unstable, place.start, place.end, into)?;
    let (Some(first), Some(last)) = (into.iter().next(), into.iter().last()) else {
        return Ok(());
    };
    let found = first.offset & !(NEAR - 1)..last.end().next_multiple_of(NEAR);
    let both = start.min(found.start)..end.max(found.end);
    let near = match both.end - both.start <= NEAR_ENOUGH * (found.end - found.start) {
        true if !near.is_empty() => both,
        _ => found,
    };
    mappings::lock().get_mut(query.file).dirty_near = (near.start, near.end);
    Ok(())
}

const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const MISSING: u8 = 2;

/// Whether this kernel has the call (it answers EBADF for no descriptor).
pub fn works() -> bool {
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    if KNOWN.load(Ordering::Relaxed) == UNKNOWN {
        let answer = sys::fd::of_program(i32::MAX, |none| {
            Cached::new(none, false).map(|none| cachestat(none, 0, 0))
        });
        let works = answer == Some(Some(Err(Errno::BADF)));
        KNOWN.store(if works { WORKS } else { MISSING }, Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == WORKS
}
