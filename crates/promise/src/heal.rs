//! Step 5: what the filesystem does not hold is tried again, rung by rung, until a deadline.
//!
//! 1. *resync*: msync and fsync again, for as long as that makes progress (a daemon that applies a
//!    little with each FSYNC);
//! 2. *redirty*: each stale page is made dirty again and synced alone (a daemon that drops the first
//!    write of a page, or all but the first page of a request);
//! 3. *wait*, longer each time, then both again (a daemon that applies late).
//!
//! After a flush that failed what was not written is clean, and a sync alone would succeed by doing nothing:
//! then every page is made dirty again, each time.
//!
//! Pages that have left the page cache are waited for, too: the filesystem may apply them late. Another process's store there
//! never becomes what was copied; so each wait in vain makes the next one of that file shorter.
//!
//! Only the page cache's own content is ever sent again. The shim writes no byte: another process
//! may have stored newer ones.

use crate::comparison::{Comparison, Unsettled};
use crate::copies::State;
use crate::event::{Event, Observer};
use crate::flush::fsync;
use crate::pooled::{Home, Pooled};
use crate::snapshot;
use crate::stages::{Compared, Facts, Flushed, Request};
use crate::target::Target;
use crate::verify;
use keepmydata_ranges::Ranges;
use keepmydata_records::{Rung, Verdict, page_hash};
use keepmydata_sys as sys;
use rustix::io::Errno;

const FIRST_WAIT_NS: u64 = 1_000_000;
const LONGEST_WAIT_NS: u64 = 100_000_000;

/// How long what is wrong is tried again. The files of one call share it: each leaves less to those after it.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    left_ns: u64,
}

impl Patience {
    /// All of it, ns.
    pub const fn new(ns: u64) -> Patience {
        Patience { left_ns: ns }
    }

    fn spend(&mut self, ns: u64) {
        self.left_ns = self.left_ns.saturating_sub(ns);
    }
}

/// Steps 4 and 5, where the file is verified. What remains wrong is in the verdicts, and in the states of the copies.
/// Where there is no patience left, what is wrong is synced once more.
pub fn compare<R: Request, H: Home, T: Target>(
    target: &mut T,
    observer: &impl Observer<R>,
    flushed: Pooled<Flushed<R>, H>,
    patience: &mut Patience,
) -> Pooled<Compared<R>, H> {
    let mut compared = flushed.then::<Compared<R>>();
    let failed = compared.flush_failed;
    compared.facts = Facts {
        flush_error: failed,
        cause: failed,
        ..Facts::default()
    };
    if compared.verify {
        compare_copies(target, observer, &mut compared, patience);
    }
    compared
}

/// Not inlined: what is not compared takes little of a stack.
#[inline(never)]
fn compare_copies<R: Request, H: Home, T: Target>(
    target: &mut T,
    observer: &impl Observer<R>,
    compared: &mut Pooled<Compared<R>, H>,
    patience: &mut Patience,
) {
    if compared.facts.cause.is_some() {
        compared.facts.stands =
            defect!(ProvesWhatItKnowsOnly => false; !snapshot_all(target, compared));
    }
    let waits = compared.terms.waits_elsewhere() && compared.facts.cause.is_none();
    if compared.copies.pages() > 0 || waits {
        climb(target, observer, compared, patience);
        if defect!(TrustsWhatWasReadAgain => false; compared.refilled) {
            doubt(compared);
        }
        count(compared);
    }
}

fn count<R: Request>(c: &mut Compared<R>) {
    let mut facts = c.facts;
    for (page, state) in c.copies.states().enumerate() {
        let verdict = match state {
            State::Verified => Verdict::Verified,
            State::Newer => Verdict::Newer,
            // Bytes that nobody has touched since are not there after flush upon flush.
            State::Stale => Verdict::Stale,
            State::Racing if c.copies.copy(page).is_some() => {
                defect!(RacingIsNewer => Verdict::Newer; Verdict::Stale)
            }
            State::Racing
            | State::Uncertain
            | State::Gone
            | State::Unread
            | State::Refilled
            | State::Unseen => Verdict::Uncertain,
            State::Unchecked | State::Skipped => continue,
        };
        facts.unread_pages += u64::from(state == State::Unread);
        facts.unseen_pages += u64::from(state == State::Unseen);
        facts.verdicts.count(verdict);
    }
    facts.unseen_pages += facts.hidden_pages;
    facts.verdicts.uncertain += facts.hidden_pages;
    c.facts = facts;
}

/// What is right as copied may lack what was stored before the page cache was dropped, and so may what
/// is not there any more. Pages that nobody saw stored to lack nothing, where stores are seen.
fn doubt<R: Request>(c: &mut Compared<R>) {
    let snapshot = &mut c.flushed.snapshot;
    let sees_stores = snapshot.sees_stores;
    for page in 0..snapshot.copies.pages() {
        let (offset, _) = snapshot.copies.place_of(page);
        let doubtful = match snapshot.copies.state(page) {
            State::Verified | State::Newer => !sees_stores || !snapshot.assumed_dirty.has(offset),
            State::Skipped => !sees_stores,
            _ => false,
        };
        if doubtful {
            snapshot.copies.set_state(page, State::Refilled);
            c.facts.refilled_pages += 1;
        }
    }
}

/// After a flush that failed: whatever may have been dirty in the inode then, by whomever it was stored, must
/// be proved before msync returns 0. It is clean now, and in the page cache; so all of that is copied and
/// witnessed as what was known to be dirty is. False where it cannot be: then the error stands.
///
/// On a local filesystem it stands always: pages that it could not write may be gone.
fn snapshot_all<R: Request>(target: &impl Target, c: &mut Compared<R>) -> bool {
    let snapshot = &mut c.flushed.snapshot;
    if snapshot.terms.local_block || snapshot.refilled {
        return false;
    }
    // By the shim's own open, where a helper was ended and another has opened the file anew. What was copied before
    // that is all that there is.
    if target.was_dropped() {
        return false;
    }
    let mut others = Ranges::new();
    if target.add_all_cached(&mut others).is_err() {
        return false;
    }
    others.remove_all(&snapshot.dirty);
    snapshot.assumed_dirty.add_all(others.iter());
    snapshot.dirty.add_all(others.iter());
    snapshot.copies.let_go(target);
    if snapshot::take(target, snapshot).is_err() {
        snapshot.copies.let_go(target);
        return false;
    }
    snapshot.copies.missed() == 0
        && snapshot.copies.pages() as u64 == snapshot.dirty.pages()
        && !target.was_dropped()
}

fn climb<R: Request, T: Target>(
    target: &mut T,
    observer: &impl Observer<R>,
    c: &mut Compared<R>,
    patience: &mut Patience,
) {
    let left = check(target, observer, c);
    // A flush that failed may have dropped what it should have written: everything again.
    let first = match c.facts.flush_error {
        None if left.is_unseen_for_good() => None,
        // The filesystem holds everything: nothing is gained by writing again.
        None if left.is_unseen_only() => Some(Rung::Wait),
        // The caller is told, and nothing is gained by trying again meanwhile.
        Some(_) if c.terms.local_block => None,
        Some(_) => Some(Rung::Redirty),
        None => (left.total() > 0).then_some(Rung::Resync),
    };
    if let Some(first) = first {
        let started = target.now();
        let mut in_vain = 0;
        target.with_debt(&mut |debt| in_vain = debt.waits_in_vain);
        let deadlines = Deadlines {
            all: patience.left_ns,
            gone: patience.left_ns >> (in_vain * IN_VAIN).min(u64::BITS - 1),
        };
        climb_from(first, target, observer, c, left, deadlines);
        patience.spend(target.now() - started);
        if left.uncertain > 0 {
            let is_left = c.copies.states().any(|state| state == State::Uncertain);
            in_vain = if is_left {
                in_vain.saturating_add(1).min(u64::BITS)
            } else {
                0
            };
            target.with_debt(&mut |debt| debt.waits_in_vain = in_vain);
        }
    }
}

/// Each wait in vain takes so many bits off the next one.
const IN_VAIN: u32 = 3;

/// How long is tried, ns: by what is left.
#[derive(Clone, Copy)]
struct Deadlines {
    all: u64,
    /// Where that is only what has left the page cache.
    gone: u64,
}

impl Deadlines {
    fn of(&self, left: &Unsettled, flush_error: Option<Errno>) -> u64 {
        match flush_error {
            None if left.is_gone_only() => self.gone,
            _ => self.all,
        }
    }
}

/// Rung by rung, until nothing is `left`, or for as long as the `deadlines` say.
fn climb_from<R: Request, T: Target>(
    first: Rung,
    target: &mut T,
    observer: &impl Observer<R>,
    c: &mut Compared<R>,
    mut left: Unsettled,
    deadlines: Deadlines,
) {
    let started = target.now();
    let mut wait = FIRST_WAIT_NS;
    let mut next = Some(first);
    while let Some(rung) = next {
        let began = observer.begin();
        let done = match rung {
            Rung::Resync => resync(target, observer, c),
            Rung::Redirty => redirty(target, observer, c),
            Rung::Wait => {
                let deadline = deadlines.of(&left, c.facts.flush_error);
                target.sleep(wait.min(deadline.saturating_sub(target.now() - started)));
                wait = (wait * 2).min(LONGEST_WAIT_NS);
                match c.facts.flush_error {
                    Some(_) => redirty(target, observer, c),
                    None if left.is_unseen_only() => Ok(()),
                    None => resync(target, observer, c),
                }
            }
        };
        match done {
            Ok(()) => c.facts.rewritten = true,
            Err(errno) => {
                c.facts.rewritten = false;
                c.facts.fails(errno);
            }
        }
        let before = left;
        left = check(target, observer, c);
        let healed = Event::Healed {
            rung,
            before,
            after: left,
            result: done,
        };
        observer.tell(c, began, healed);
        if !before.is_unseen_only() && (left.total() < before.total() || left.total() == 0) {
            c.facts.healed = Some(rung);
        }
        if left.total() == 0 && (c.facts.flush_error.is_none() || c.facts.rewritten) {
            let proved = !c.facts.stands && are_all_proved(c);
            if defect!(SecondFlushEndsTheError => true; proved) {
                c.facts.flush_error = None;
            }
            return;
        }
        let deadline = deadlines.of(&left, c.facts.flush_error);
        let late = target.now() - started >= deadline;
        next = match rung {
            _ if late || left.is_unseen_for_good() => None,
            _ if left.is_unseen_only() && c.facts.flush_error.is_none() => Some(Rung::Wait),
            Rung::Resync if left.total() < before.total() => Some(Rung::Resync),
            Rung::Resync => Some(Rung::Redirty),
            Rung::Redirty if left.total() < before.total() => Some(Rung::Redirty),
            Rung::Redirty => Some(Rung::Wait),
            Rung::Wait if left.stale > 0 && wait >= 8 * FIRST_WAIT_NS => Some(Rung::Redirty),
            Rung::Wait => Some(Rung::Wait),
        };
    }
}

/// Whether every page that was copied is there.
fn are_all_proved<R: Request>(c: &Compared<R>) -> bool {
    let mut states = c.copies.states();
    states.all(|state| matches!(state, State::Verified | State::Newer | State::Skipped))
}

fn check<R: Request, T: Target>(
    target: &mut T,
    observer: &impl Observer<R>,
    c: &mut Compared<R>,
) -> Unsettled {
    let began = observer.begin();
    let unwritten = c.facts.flush_error.is_some() && !c.facts.rewritten;
    let snapshot = &mut c.flushed.snapshot;
    let checked = verify::check(&mut Comparison {
        target,
        dirty: &snapshot.dirty,
        of_others: &snapshot.of_others,
        copies: &mut snapshot.copies,
        local_block: snapshot.terms.local_block,
        unwritten,
        seen_elsewhere: snapshot.terms.waits_elsewhere() && !unwritten,
        unshown: &mut snapshot.unshown,
    });
    if let Err(errno) = checked {
        c.facts.unreadable = Some(errno);
        if errno == Errno::BADF {
            // Another thread's exec has ended the helper, and its descriptors are gone: that is no word of the
            // filesystem's.
            snapshot.copies.miss_unsettled();
            c.facts.stands = true;
        } else {
            c.facts.fails(errno);
        }
    }
    observer.tell(c, began, Event::Compared(checked.map(drop)));
    let left = checked.unwrap_or_default();
    c.facts.unseen_errno = left.unseen_errno;
    c.facts.hidden_pages = left.hidden as u64;
    left
}

/// msync of the witnesses, which are mappings of the file as any other, and fsync.
fn resync<R: Request>(
    target: &impl Target,
    observer: &impl Observer<R>,
    c: &Compared<R>,
) -> Result<(), Errno> {
    let mut result = Ok(());
    let mut i = 0;
    while let Some(piece) = c.copies.witnessed_piece(i) {
        result = result.and(target.msync(piece.witness, piece.len));
        i += 1;
        // One reaches the daemon as well as many where nothing is dirty.
        if result.is_err() || i >= 16 {
            break;
        }
    }
    fsync(target, observer, c).and(result)
}

/// Makes each stale page dirty again and syncs it alone; after a failed flush, every page, and syncs them
/// together: where one cannot be made dirty, that flush still counts.
fn redirty<R: Request>(
    target: &impl Target,
    observer: &impl Observer<R>,
    c: &mut Compared<R>,
) -> Result<(), Errno> {
    let failed = c.facts.flush_error;
    let all = failed.is_some();
    let left_out = failed.map_or(Ok(()), Err);
    let mut result = Ok(());
    let copies = &mut c.flushed.snapshot.copies;
    for page in 0..copies.pages() {
        let state = copies.state(page);
        let again = state == State::Stale
            || all && !matches!(state, State::Skipped | State::Uncertain | State::Gone);
        if !again {
            continue;
        }
        // What makes a page dirty maps it, and where it was dropped a moment ago that reads in what
        // the filesystem holds: a newcomer, which must not pass for the page that held the data.
        let Some(held) = copies.look(target, page).map(page_hash) else {
            result = result.and(left_out);
            continue;
        };
        let (_, at) = copies.place_of(page);
        if target.make_dirty(at).is_err() {
            result = result.and(left_out);
            continue;
        }
        if copies.look(target, page).map(page_hash) != Some(held) {
            copies.set_state(page, State::Uncertain);
            result = result.and(left_out);
            continue;
        }
        if !all {
            result = result.and(target.msync(at, sys::page_size()));
        }
    }
    fsync(target, observer, c).and(result)
}
