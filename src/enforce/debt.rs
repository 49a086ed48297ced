//! What a file is owed: taken at the beginning of an enforcement, paid at its end.
//!
//! A page leaves the [`Debt`](crate::mappings::file::Debt) in three ways only: it was proved, the program took
//! it out of the file, or the program was told of it. What an msync has failed for stays until it is proved or
//! stored anew, across unmapping: an error must not become a success by being asked about once more.
//!
//! A doubt is no failure. A page that somebody has taken away, where nothing has failed, is told of once; from then
//! on it is owed for what it holds, which is what the program reads there.

use super::context::Context;
use super::copy::State;
use super::doubt;
use crate::dirty::Ranges;
use crate::helper::Worker;
use crate::mappings::{self, file::Debt};
use crate::process;
use crate::sys::{
    self,
    cachestat::{CacheStat, cachestat},
};
use rustix::io::Errno;

/// Adds what is owed from before to the dirty ranges of `context`, and notes all of them as being proved.
/// `dropped` says whether the page cache of the file was dropped since the last time. Says whether there was
/// something.
pub fn take(context: &mut Context, dropped: bool) -> bool {
    let birth = process::this().birth();
    let mut table = mappings::lock_blocked();
    let debt = &mut table.get_mut(&context.file).debt;
    if context.sees_stores() && !debt.lost.is_empty() {
        // Stored anew: what these pages held before is of no interest any more.
        let mut stored = Ranges::new();
        stored.add_all(context.dirty.iter());
        stored.remove_all(&context.assumed_dirty);
        // An entry that is empty says less: one is left so where a page was dropped in the moment of a fault,
        // too (`unmap_mapping_folio` in mm/memory.c takes the marks with it).
        stored.remove_all(&context.absent);
        debt.lost.remove_all(&stored);
    }
    if dropped || debt.birth != birth {
        debt.mark_refused_unrecoverable();
        debt.birth = birth;
    }
    debt.assumed_dirty.remove_all(&context.dirty);
    context.assumed_dirty.add_all(debt.assumed_dirty.iter());
    debt.assumed_dirty.clear();
    debt.proving.add_all(debt.owed.iter());
    debt.owed.clear();
    let more = !debt.proving.is_empty() || !debt.refused.is_empty();
    debt.proving.add_all(context.dirty.iter());
    context.dirty.add_all(debt.proving.iter());
    context.dirty.add_all(debt.refused.iter());
    more
}

/// Takes what was proved from what an earlier msync has failed for, and says in `context` whether something
/// is left of that. After all comparing.
pub fn settle(worker: &Worker, context: &mut Context) {
    if context.verify {
        find_uncovered(worker, context);
    }
    let mut taken = Ranges::new();
    find_taken(worker, context, &mut taken);
    let mut table = mappings::lock_blocked();
    let debt = &mut table.get_mut(&context.file).debt;
    debt.refused.remove_all(&taken);
    if !debt.refused.is_empty() && context.flush_error.is_none() {
        for page in 0..context.copies.pages() {
            if matches!(context.copies.state(page), State::Verified | State::Newer) {
                let (start, _) = context.copies.place_of(page);
                debt.refused.remove(start, start + sys::page_size() as u64);
            }
        }
    }
    let pages = debt.refused.bytes() + debt.lost.bytes() + debt.untold.bytes();
    context.refused_pages = pages / sys::page_size() as u64;
    if debt.is_refused() {
        context.refused = debt.errno;
    } else if !context.settles && !debt.untold.is_empty() {
        match debt.untold_errno {
            0 => context.verdicts.uncertain += debt.untold.bytes() / sys::page_size() as u64,
            errno => context.refused = errno,
        }
    }
}

/// What is owed and has no mapping through which it could be compared.
fn find_uncovered(worker: &Worker, context: &mut Context) {
    context.uncovered.clear();
    if context.dirty.is_empty() {
        return;
    }
    let end = match worker.borrow_handle(&context.handle).map(sys::fd::size) {
        Some(Ok(size)) => sys::page_up(size),
        _ => u64::MAX,
    };
    context.uncovered.add_all(context.dirty.within(0, end));
    for piece in context.copies.all_pieces() {
        context
            .uncovered
            .remove(piece.offset, piece.offset + piece.len as u64);
    }
    let pages = context.uncovered.bytes() / sys::page_size() as u64;
    context.verdicts.uncertain += pages;
}

/// The enforcement has ended with `outcome`, which the program is told.
pub fn pay(worker: &Worker, context: &mut Context, outcome: Result<(), Errno>) {
    let (mut gone, mut told) = (Ranges::new(), Ranges::new());
    if let Err(errno) = outcome
        && !context.settles
    {
        find_gone(context, &mut gone);
        find_told(worker, context, errno, &gone, &mut told);
        gone.remove_all(&told);
    }
    let handle = {
        let mut table = mappings::lock_blocked();
        table.owe(&context.file, &told, true);
        let debt = &mut table.get_mut(&context.file).debt;
        debt.proving.clear();
        if !context.verify && !debt.is_pending() {
            return;
        }
        if let Err(errno) = outcome {
            refuse(debt, context, errno, &told);
            debt.lost.add_all(gone.iter());
            debt.told_pages += told.bytes() / sys::page_size() as u64;
        } else if context.settles {
            note_untold(debt, context);
        }
        if !context.settles {
            // The program is told now.
            debt.untold.clear();
            debt.untold_errno = 0;
            debt.refused_untold = false;
        }
        let handle = table.settle_debt(&context.file);
        let forgets = table.will_be_forgotten(&context.file);
        drop(table);
        if forgets {
            doubt::forgets(worker, context);
        }
        handle
    };
    if let Some(handle) = handle {
        worker.close(handle.fd);
    }
}

/// What msync fails for and cannot be compared any more, because it has left the page cache.
fn find_gone(context: &Context, into: &mut Ranges) {
    into.add_all(
        mappings::lock_blocked()
            .get(&context.file)
            .debt
            .untold
            .iter(),
    );
    add_pages(context, into, |state| {
        state.is_doubtful() && state != State::Unread
    });
}

fn add_pages(context: &Context, into: &mut Ranges, is: impl Fn(State) -> bool) {
    for page in 0..context.copies.pages() {
        if is(context.copies.state(page)) {
            let (start, _) = context.copies.place_of(page);
            into.add(start, start + sys::page_size() as u64);
        }
    }
}

/// Adds what of the pages that an earlier msync has failed for was taken away by somebody else since: on a local
/// filesystem EIO may be the kernel's word for a collision with another's direct I/O (`dio_warn_stale_pagecache` in
/// mm/filemap.c), and the next such write takes the page.
fn find_taken(worker: &Worker, context: &Context, into: &mut Ranges) {
    let mut refused = Ranges::new();
    {
        let table = mappings::lock_blocked();
        let debt = &table.get(&context.file).debt;
        if debt.errno == Errno::IO.raw_os_error() {
            refused.add_all(debt.refused.iter());
        }
    }
    add_removed(worker, context, &refused, into, |stat| {
        stat.cached + stat.evicted == 0
    });
}

/// Adds what of `pages` has left the page cache of a local filesystem in another way than by eviction, which leaves a
/// trace there: as `is` says of each.
fn add_removed(
    worker: &Worker,
    context: &Context,
    pages: &Ranges,
    into: &mut Ranges,
    is: impl Fn(&CacheStat) -> bool,
) {
    let file = worker.borrow_cached(&context.handle);
    let Some(file) = file.filter(|_| context.traits.local_block) else {
        return;
    };
    let size = sys::page_size();
    for range in pages.iter() {
        for start in (range.offset..range.end()).step_by(size) {
            if cachestat(file, start, size as u64).is_ok_and(|stat| is(&stat)) {
                into.add(start, start + size as u64);
            }
        }
    }
}

/// Those of the `gone` pages that the program need be told of no more than once: all, where nothing has failed; and
/// those that a direct write of somebody else's has overwritten.
fn find_told(worker: &Worker, context: &Context, errno: Errno, gone: &Ranges, into: &mut Ranges) {
    let (has_failed, debts) = {
        let table = mappings::lock_blocked();
        let debt = &table.get(&context.file).debt;
        (debt.untold_errno != 0, debt.is_refused())
    };
    if !has_failed && !debts && context.cause.is_none() && context.lost == 0 {
        if context.verdicts.stale == 0 {
            into.add_all(gone.iter());
            add_pages(context, into, |state| state == State::Unread);
        }
        return;
    }
    if errno == Errno::IO {
        add_removed(worker, context, gone, into, |stat| stat.evicted == 0);
    }
}

/// What is in doubt, and no msync has said so.
fn note_untold(debt: &mut Debt, context: &Context) {
    debt.owed.add_all(context.uncovered.iter());
    let mut doubtful = Ranges::new();
    add_pages(context, &mut doubtful, State::is_doubtful);
    debt.untold.add_all(doubtful.iter());
}

fn refuse(debt: &mut Debt, context: &Context, errno: Errno, told: &Ranges) {
    if context.refused == 0 || debt.errno == 0 {
        debt.errno = errno.raw_os_error();
    }
    defect!(TellsAnErrorOnce => return);
    debt.owed.add_all(context.uncovered.iter());
    debt.refused_untold |= context.settles;
    if context.settles {
        debt.untold_errno = errno.raw_os_error();
    }
    let size = sys::page_size() as u64;
    for page in 0..context.copies.pages() {
        let (start, _) = context.copies.place_of(page);
        match context.copies.state(page) {
            State::Stale | State::Racing | State::Unchecked => {
                debt.refused.add(start, start + size);
            }
            State::Unread if told.has(start) => {}
            State::Unread => debt.refused.add(start, start + size),
            State::Uncertain | State::Gone | State::Refilled => {
                if context.settles {
                    debt.untold.add(start, start + size);
                }
            }
            // What an error may be about is not known page by page.
            State::Verified | State::Newer if context.flush_error.is_some() => {
                debt.refused.add(start, start + size);
            }
            State::Verified | State::Newer | State::Skipped => {}
        }
    }
}

/// Nothing was synced: what was being proved is owed as before.
pub fn give_back(context: &Context) {
    let mut table = mappings::lock_blocked();
    let debt = &mut table.get_mut(&context.file).debt;
    debt.owed.add_all(debt.proving.iter());
    debt.proving.clear();
}
