//! Step 6: the clean pages of the file leave the page cache, mapping first, then file.

use super::context::Context;
use super::entries::drop_mappings;
use super::folios;
use super::report;
use crate::config;
use crate::dirty::{self, Tracker};
use crate::helper::Worker;
use crate::log::{self, Timer};
use crate::mappings;
use crate::sys::{
    self,
    cachestat::{Cached, cachestat},
};
use core::num::NonZeroU64;
use keepmydata_records::{Invalidate, Level, event};
use rustix::fs::{Advice, fadvise};

/// Whether no page of the file is dirty, before the flush: not only in this process, where the tracker
/// knows no more than that.
pub fn nothing_is_dirty(worker: &Worker, context: &Context) -> bool {
    if !context.dirty.is_empty() || context.tracker == Some(Tracker::Cachestat) {
        return context.dirty.is_empty();
    }
    let file = worker.borrow_cached(&context.handle);
    let stat = file.and_then(|file| cachestat(file, 0, 0).ok());
    stat.is_some_and(|stat| stat.dirty + stat.writeback == 0)
}

/// Only after the data is stable and, where verification is on, was seen to be.
pub fn drop_clean(worker: &Worker, context: &mut Context) {
    let what = config::settings().invalidate;
    // Nothing on DAX.
    let Some(file) = worker.borrow_cached(&context.handle) else {
        return;
    };
    if what == Invalidate::Off {
        return;
    }
    if context.was_clean {
        context.dropped_pages = Some(0);
        return;
    }
    let timer = Timer::at(Level::Info);
    // It looks at every cached page.
    let cached = || log::enabled(Level::Info).then(|| cached(file)).flatten();
    let before = cached();
    if context.verify && !context.sees_stores() {
        drop_mappings(worker, context, &context.cached);
        for range in context.cached.as_slice() {
            let len = NonZeroU64::new(range.length);
            let _ = fadvise(file.fd(), range.offset, len, Advice::DontNeed);
        }
    } else if what == Invalidate::File {
        context.cached.clear();
        let finds = are_many_mappings(context) || is_sparse(context, file);
        if !finds || dirty::cached(file, &mut context.cached).is_err() {
            context.cached.clear();
            context.cached.add(0, u64::MAX);
        }
        drop_mappings(worker, context, &context.cached);
        let _ = fadvise(file.fd(), 0, None, Advice::DontNeed);
    } else {
        folios::drop_dirty(worker, context, file);
    }
    let after = cached();
    context.cached_pages = after;
    context.dropped_pages = before.zip(after).map(|(b, a)| b.saturating_sub(a));
    report::step(worker, context, event::DROP, timer, Ok(()));
}

/// Mappings of what is not cached need not be looked at; where there are few, finding out what is
/// cached costs more.
fn are_many_mappings(context: &Context) -> bool {
    let mut count = 0;
    mappings::lock().for_each_of(&context.file, 0, |_| {
        count += 1;
        count < 16
    });
    count == 16
}

/// Of so many pages one is cached, or fewer: where all of them have page tables, because stores are tracked, what is
/// cached is found sooner than what is mapped.
const SPARSE: u64 = 1024;

fn is_sparse(context: &Context, file: Cached<'_>) -> bool {
    let size = sys::fd::size(file.fd()).unwrap_or(0);
    let pages = size / sys::page_size() as u64;
    context.sees_stores()
        && pages >= SPARSE
        && cached(file).is_some_and(|cached| cached * SPARSE <= pages)
}

fn cached(file: Cached<'_>) -> Option<u64> {
    cachestat(file, 0, 0).ok().map(|stat| stat.cached)
}
