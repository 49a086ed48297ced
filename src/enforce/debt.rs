//! What a file is owed: taken at the beginning of an enforcement, paid at its end.
//!
//! A page leaves the [`Debt`](crate::mappings::file::Debt) in three ways only: it was proved, the program took
//! it out of the file, or the program was told of it. What an msync has failed for stays until it is proved or
//! stored anew, across unmapping: an error must not become a success by being asked about once more.

use super::context::Context;
use super::copy::State;
use crate::dirty::Ranges;
use crate::helper::Worker;
use crate::mappings::{self, file::Debt};
use crate::process;
use crate::sys;
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
    let mut table = mappings::lock_blocked();
    let debt = &mut table.get_mut(&context.file).debt;
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
    let handle = {
        let mut table = mappings::lock_blocked();
        let debt = &mut table.get_mut(&context.file).debt;
        debt.proving.clear();
        if !context.verify && !debt.is_pending() {
            return;
        }
        if let Err(errno) = outcome {
            refuse(debt, context, errno);
        } else if context.settles {
            note_untold(debt, context);
        }
        if !context.settles {
            // The program is told now.
            if outcome.is_err() {
                debt.lost.add_all(debt.untold.iter());
            }
            debt.untold.clear();
            debt.untold_errno = 0;
            debt.refused_untold = false;
        }
        table.settle_debt(&context.file)
    };
    if let Some(handle) = handle {
        worker.close(handle.fd);
    }
}

/// What is in doubt, and no msync has said so.
fn note_untold(debt: &mut Debt, context: &Context) {
    debt.owed.add_all(context.uncovered.iter());
    for page in 0..context.copies.pages() {
        let (start, _) = context.copies.place_of(page);
        if context.copies.state(page).is_doubtful() {
            debt.untold.add(start, start + sys::page_size() as u64);
        }
    }
}

fn refuse(debt: &mut Debt, context: &Context, errno: Errno) {
    if context.refused == 0 || debt.errno == 0 {
        debt.errno = errno.raw_os_error();
    }
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
            State::Unread => debt.refused.add(start, start + size),
            State::Uncertain | State::Gone | State::Refilled => match context.settles {
                true => debt.untold.add(start, start + size),
                false => debt.lost.add(start, start + size),
            },
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
