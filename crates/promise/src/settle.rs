//! What a file owes is taken at the beginning of an enforcement, and paid at its end.
//!
//! A page leaves the [`Debt`] in three ways only: it was proved, the program took it out of the file, or the program got an
//! error for it. What an msync has failed for stays until it is proved or stored anew, across unmapping: asking again must
//! not turn an error into a success.
//!
//! A doubt is no failure. A page that somebody has taken away, where nothing has failed, is reported once; from then on it is
//! owed for what it holds, which is what the program reads there.

use crate::copies::{Copies, State};
use crate::debt::Debt;
use crate::stages::{Judged, Request, Snapshot};
use crate::target::Target;
use core::ops::Range;
use keepmydata_ranges::{RangeList, Ranges};
use keepmydata_sys::{self as sys, kernel::CacheStat};
use rustix::io::Errno;

impl Debt {
    /// Adds what is owed from before to the dirty ranges of `snapshot`, and notes all of them as being proved.
    /// `dropped` says whether the page cache of the file was dropped since the last time, `birth` in which process
    /// this is. Says whether the dirty ranges are more by that.
    pub fn take<R: Request>(
        &mut self,
        snapshot: &mut Snapshot<R>,
        dropped: bool,
        birth: u32,
    ) -> bool {
        if snapshot.sees_stores && !self.lost.is_empty() {
            // Stored anew: what these pages held before is of no interest any more.
            let mut stored = Ranges::new();
            stored.add_all(snapshot.dirty.iter());
            stored.remove_all(&snapshot.assumed_dirty);
            // An entry that is empty says less: one is left so where a page was dropped in the moment of a fault,
            // too (`unmap_mapping_folio` in mm/memory.c takes the marks with it).
            stored.remove_all(&snapshot.absent);
            self.store_anew(&stored);
        }
        if dropped || self.birth != birth {
            self.mark_refused_unrecoverable();
            self.birth = birth;
        }
        self.assumed_dirty.remove_all(&snapshot.dirty);
        snapshot.assumed_dirty.add_all(self.assumed_dirty.iter());
        self.assumed_dirty.clear();
        self.proving.add_all(self.owed.iter());
        self.owed.clear();
        self.proving.add_all(snapshot.dirty.iter());
        if snapshot.terms.waits_elsewhere() {
            snapshot.unshown.add_all(self.unshown.iter());
            self.unshown.clear();
        }
        let known = snapshot.dirty.bytes();
        snapshot.dirty.add_all(self.proving.iter());
        snapshot.dirty.add_all(self.refused.iter());
        snapshot.dirty.bytes() > known
    }

    /// Takes what was proved from what an earlier msync has failed for, and says in `judged` whether something is
    /// left of that. `taken` are pages that somebody else has taken away since.
    fn settle<R: Request>(&mut self, judged: &mut Judged<R>, taken: &Ranges) {
        self.refused.remove_all(taken);
        if !self.refused.is_empty() && judged.facts.flush_error.is_none() {
            let nameless = judged.facts.nameless_pages() > 0;
            for (page, state) in states(&judged.copies) {
                // What has no name any more only lacks somebody who could be shown it.
                let is_there = matches!(state, State::Verified | State::Newer)
                    || nameless && state == State::Unseen;
                if is_there {
                    self.refused.remove(page.start, page.end);
                }
            }
        }
        judged.refused_pages = self.refused.pages() + self.lost.pages() + self.untold.pages();
        if self.is_refused() {
            judged.refused = self.errno;
        } else if !judged.terms.settles && !self.untold.is_empty() {
            match self.untold_errno {
                0 => judged.verdicts.uncertain += self.untold.pages(),
                errno => judged.refused = errno,
            }
        }
    }

    fn pay<R: Request>(
        &mut self,
        judged: &Judged<R>,
        outcome: Result<(), Errno>,
        gone: &Ranges,
        told: &Ranges,
    ) -> bool {
        self.owe(told, true);
        self.told.clear();
        self.told.add_all(told.iter());
        self.proving.clear();
        self.unshown.add_all(judged.unshown.iter());
        if judged.terms.settles && judged.unverified_pages() > 0 {
            self.doubt_unverified(judged);
        }
        // A local filesystem tells EIO of a collision with another's direct I/O, too, after which nothing is missing.
        let is_failed = outcome.is_err() && judged.facts.flush_error.is_some();
        self.failed |= is_failed && !judged.verify && !judged.terms.local_block;
        if !judged.verify && !self.is_pending() {
            return self.failed;
        }
        if let Err(errno) = outcome {
            self.refuse(judged, errno, told);
            self.lost.add_all(gone.iter());
            self.told_pages += told.pages();
        } else if judged.terms.settles {
            self.owed.add_all(judged.uncovered.iter());
            add_pages(&judged.copies, &mut self.untold, State::is_doubtful);
        }
        if judged.terms.seen_elsewhere {
            self.note_shown(judged);
        }
        if !judged.terms.settles {
            // The program is told now.
            self.untold.clear();
            self.untold_errno = 0;
            self.refused_untold = false;
        }
        true
    }

    /// What was proved must be shown to the other client by the next msync, whoever drops it meanwhile, if it was not now.
    fn note_shown<R: Request>(&mut self, judged: &Judged<R>) {
        for (page, state) in states(&judged.copies) {
            match state {
                // What has left the page cache was skipped: it was proved before.
                State::Verified | State::Newer | State::Skipped if judged.terms.settles => {
                    self.unshown.add(page.start, page.end);
                }
                State::Verified | State::Newer | State::Skipped => {}
                _ if judged.terms.settles => {}
                // The program was warned; the next msync looks again.
                _ => self.unshown.add(page.start, page.end),
            }
        }
    }

    /// What could not be compared, where the program is not told now.
    fn doubt_unverified<R: Request>(&mut self, judged: &Judged<R>) {
        let mut left = Ranges::new();
        left.add_all(judged.dirty.iter());
        for (page, state) in states(&judged.copies) {
            if matches!(state, State::Verified | State::Newer) {
                left.remove(page.start, page.end);
            }
        }
        self.owed.add_all(left.iter());
        self.untold.add_all(left.iter());
    }

    fn refuse<R: Request>(&mut self, judged: &Judged<R>, errno: Errno, told: &Ranges) {
        if judged.refused == 0 || self.errno == 0 {
            self.errno = errno.raw_os_error();
        }
        defect!(TellsAnErrorOnce => return);
        self.owed.add_all(judged.uncovered.iter());
        let settles = judged.terms.settles;
        self.refused_untold |= settles;
        if settles {
            self.untold_errno = errno.raw_os_error();
        }
        for (page, state) in states(&judged.copies) {
            let into = match state {
                State::Unread if told.has(page.start) => continue,
                State::Stale | State::Racing | State::Unchecked | State::Unread | State::Unseen => {
                    &mut self.refused
                }
                State::Uncertain | State::Gone | State::Refilled if settles => &mut self.untold,
                // What an error may be about is not known page by page.
                State::Verified | State::Newer if judged.facts.flush_error.is_some() => {
                    &mut self.refused
                }
                State::Uncertain
                | State::Gone
                | State::Refilled
                | State::Verified
                | State::Newer
                | State::Skipped => continue,
            };
            into.add(page.start, page.end);
        }
    }
}

/// The enforcement has ended with `outcome`, which the program is told. Says whether anything is owed otherwise than
/// before.
pub fn pay<R: Request>(
    target: &impl Target,
    judged: &Judged<R>,
    outcome: Result<(), Errno>,
) -> bool {
    let mut owes = judged.verify || outcome.is_err() || !judged.unshown.is_empty();
    target.with_debt(&mut |debt| owes |= debt.is_pending() || !debt.proving.is_empty());
    owes && pay_debt(target, judged, outcome)
}

#[inline(never)]
fn pay_debt<R: Request>(
    target: &impl Target,
    judged: &Judged<R>,
    outcome: Result<(), Errno>,
) -> bool {
    let (mut gone, mut told) = (Ranges::new(), Ranges::new());
    if let Err(errno) = outcome
        && !judged.terms.settles
    {
        // What msync fails for and cannot be compared any more, because it has left the page cache.
        target.with_debt(&mut |debt| gone.add_all(debt.untold.iter()));
        let is_gone = |state: State| state.is_doubtful() && state != State::Unread;
        add_pages(&judged.copies, &mut gone, is_gone);
        find_told(target, judged, errno, &gone, &mut told);
        gone.remove_all(&told);
    }
    let mut changed = false;
    target.with_debt(&mut |debt| changed = debt.pay(judged, outcome, &gone, &told));
    changed
}

/// What is pending is weighed, too.
#[inline(never)]
pub(crate) fn settle<R: Request>(target: &impl Target, judged: &mut Judged<R>) {
    let mut taken = Ranges::new();
    find_taken(target, judged, &mut taken);
    target.with_debt(&mut |debt| debt.settle(judged, &taken));
}

/// Adds what of the pages that an earlier msync has failed for was taken away by somebody else since: on a local
/// filesystem EIO may be the kernel's word for a collision with another's direct I/O (`dio_warn_stale_pagecache` in
/// mm/filemap.c), and the next such write takes the page.
fn find_taken<R: Request>(target: &impl Target, at: &Judged<R>, into: &mut Ranges) {
    if !at.terms.local_block {
        return;
    }
    let mut refused = Ranges::new();
    target.with_debt(&mut |debt| {
        if debt.errno == Errno::IO.raw_os_error() {
            refused.add_all(debt.refused.iter());
        }
    });
    let is = |stat: &CacheStat| stat.cached + stat.evicted == 0;
    add_removed(target, &refused, into, is);
}

/// Adds what of `pages` has left the page cache of a local filesystem in another way than by eviction, which leaves a
/// trace there: as `is` says of each.
fn add_removed(
    target: &impl Target,
    pages: &Ranges,
    into: &mut Ranges,
    is: impl Fn(&CacheStat) -> bool,
) {
    let size = sys::page_size();
    for range in pages.iter() {
        for start in (range.offset..range.end()).step_by(size) {
            let end = start + size as u64;
            if target.count(start, end).is_some_and(|stat| is(&stat)) {
                into.add(start, end);
            }
        }
    }
}

/// Those of the `gone` pages that the program need be told of no more than once: all, where nothing has failed; and
/// those that a direct write of somebody else's has overwritten.
fn find_told<R: Request>(
    target: &impl Target,
    judged: &Judged<R>,
    errno: Errno,
    gone: &Ranges,
    into: &mut Ranges,
) {
    let mut has_failed = judged.facts.cause.is_some() || judged.lost != 0;
    target.with_debt(&mut |debt| has_failed |= debt.untold_errno != 0 || debt.is_refused());
    if has_failed {
        if errno == Errno::IO && judged.terms.local_block {
            add_removed(target, gone, into, |stat| stat.evicted == 0);
        }
    } else if judged.verdicts.stale == 0 {
        into.add_all(gone.iter());
        add_pages(&judged.copies, into, |state| state == State::Unread);
    }
}

/// Adds the pages whose state `is` so.
fn add_pages<const N: usize>(copies: &Copies, into: &mut RangeList<N>, is: impl Fn(State) -> bool) {
    for (page, state) in states(copies) {
        if is(state) {
            into.add(page.start, page.end);
        }
    }
}

/// Each page that was copied, in bytes of the file, and what is known of it.
fn states(copies: &Copies) -> impl Iterator<Item = (Range<u64>, State)> + '_ {
    let size = sys::page_size() as u64;
    copies.states().enumerate().map(move |(page, state)| {
        let (start, _) = copies.place_of(page);
        (start..start + size, state)
    })
}
