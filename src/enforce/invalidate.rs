//! Step 6: the clean pages of the file leave the page cache, mapping first, then file.

use super::entries::drop_mappings;
use super::folios::{self, drop_range};
use super::here::Here;
use super::request::{Proved, Snapshot};
use crate::config;
use crate::dirty::{self, Ranges, Tracker};
use crate::helper::Worker;
use crate::log;
use crate::mappings::{self, file::File};
use crate::sys::{
    self,
    cachestat::{Cached, cachestat},
};
use keepmydata_records::{Invalidate, Level};

/// Pages that have left the page cache, and those that are in it; nothing where nobody wants to know.
#[derive(Clone, Copy, Default)]
pub struct Dropped {
    pub pages: Option<u64>,
    pub left: Option<u64>,
}

impl Dropped {
    /// There was nothing to drop.
    pub const NOTHING: Dropped = Dropped {
        pages: Some(0),
        left: None,
    };
}

/// Whether no page of the file is dirty, before the flush: not only in this process, where the tracker
/// knows no more than that.
pub fn nothing_is_dirty(worker: &Worker, snapshot: &Snapshot) -> bool {
    let is_counted = snapshot.known.tracker == Some(Tracker::Cachestat);
    if snapshot.dirty_known && (is_counted || !snapshot.dirty.is_empty()) {
        return snapshot.dirty.is_empty();
    }
    let file = worker.borrow_cached(&snapshot.known.handle);
    let stat = file.and_then(|file| cachestat(file, 0, 0).ok());
    stat.is_some_and(|stat| stat.dirty + stat.writeback == 0)
}

/// Whether there is something to drop.
pub fn is_wanted(here: &Here<'_>, proved: &Proved) -> bool {
    // Nothing on DAX.
    let has_cache = here.worker.borrow_cached(&here.handle).is_some();
    has_cache && !proved.terms.settles && config::settings().invalidate != Invalidate::Off
}

/// Only after the data is stable and, where verification is on, was seen to be: of that where stores are not seen, the
/// `unchanged` ranges, which no mapping has in its page table.
pub fn drop_clean(here: &Here<'_>, proved: &Proved, unchanged: Option<&Ranges>) -> Dropped {
    let Some(file) = here.worker.borrow_cached(&here.handle) else {
        return Dropped::default();
    };
    // It looks at every cached page.
    let count = || log::enabled(Level::Info).then(|| cached(file)).flatten();
    let before = count();
    if let Some(unchanged) = unchanged {
        for range in unchanged.as_slice() {
            drop_range(&here.file, file, range.offset..range.end());
        }
    } else if config::settings().invalidate == Invalidate::File {
        let mut all = Ranges::new();
        let finds = are_many_mappings(&here.file) || is_sparse(proved, file);
        if !finds || dirty::cached(file, &mut all).is_err() {
            all.clear();
            all.add(0, u64::MAX);
        }
        drop_mappings(here.worker, &here.file, &all);
        drop_range(&here.file, file, 0..u64::MAX);
    } else {
        folios::drop_dirty(here.worker, &here.file, file, &proved.dirty);
    }
    let left = count();
    Dropped {
        pages: before.zip(left).map(|(b, a)| b.saturating_sub(a)),
        left,
    }
}

/// Mappings of what is not cached need not be looked at; where there are few, finding out what is
/// cached costs more.
fn are_many_mappings(file: &File) -> bool {
    let mut count = 0;
    mappings::lock().for_each_of(file, 0, |_| {
        count += 1;
        count < 16
    });
    count == 16
}

/// Of so many pages one is cached, or fewer: where all of them have page tables, because stores are tracked, what is
/// cached is found sooner than what is mapped.
const SPARSE: u64 = 1024;

fn is_sparse(proved: &Proved, file: Cached<'_>) -> bool {
    let size = sys::fd::size(file.fd()).unwrap_or(0);
    let pages = size / sys::page_size() as u64;
    proved.sees_stores
        && pages >= SPARSE
        && cached(file).is_some_and(|cached| cached * SPARSE <= pages)
}

fn cached(file: Cached<'_>) -> Option<u64> {
    cachestat(file, 0, 0).ok().map(|stat| stat.cached)
}
