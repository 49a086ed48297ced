//! The steps of an enforcement of one file, after its snapshot was taken.

use super::here::Here;
use super::invalidate::{self, Dropped};
use super::observer::{self, Event, Observer};
use super::request::{Ended, Flushed, Pooled, Proved, Refused, Snapshot};
use super::{entries, fail, prepare, reverify, told};
use crate::dirty::{self, Ranges, Tracker};
use crate::handles;
use crate::helper::Worker;
use crate::log::Timer;
use crate::mappings::{
    self, family,
    untold::{self, By, Whose},
};
use crate::reads;
use keepmydata_promise::{self as promise, Patience, Target, Told, Verdict};
use keepmydata_records::Level;
use rustix::io::Errno;

/// The flush after the real msync, which has returned `real`, on a helper thread.
pub fn flush(
    worker: &Worker,
    mut snapshot: Pooled<Snapshot>,
    real: Result<(), Errno>,
) -> Pooled<Flushed> {
    prepare::begin_late(worker, &mut snapshot);
    let here = Here::new(worker, &snapshot.file, snapshot.known.handle);
    // Noted at once, until it is known what it was about: another thread's sync may return before that.
    let whose = Whose::of(&snapshot.file.key);
    snapshot.was_untold = untold::peek(whose, By::Sync).is_some();
    let tells_once = snapshot.settles && here.tells_once();
    let settling = tells_once.then(|| untold::Flush::begin(whose));
    let flushed = promise::flush(&here, &Observer(worker), snapshot, real);
    if !flushed.verify && told::is_needed() {
        told::wait(&flushed.file);
    }
    if let Some(settling) = settling {
        settling.end(flushed.flush_failed);
    }
    flushed
}

/// The same where the flush is the real msync, too. The snapshot comes back where it has failed, or cannot be.
pub fn flush_alone(
    worker: &Worker,
    mut snapshot: Pooled<Snapshot>,
) -> Result<Pooled<Flushed>, Pooled<Snapshot>> {
    let handle = &snapshot.known.handle;
    if worker.borrow_handle(handle).is_none() && !handle.has_whole() {
        return Err(snapshot);
    }
    prepare::begin_late(worker, &mut snapshot);
    let here = Here::new(worker, &snapshot.file, snapshot.known.handle);
    promise::flush_alone(&here, &Observer(worker), snapshot)
}

/// The steps after the flush, on a helper thread.
pub fn conclude(
    worker: &Worker,
    flushed: Pooled<Flushed>,
    patience: &mut Patience,
) -> Pooled<Ended> {
    let here = &mut Here::new(worker, &flushed.file, flushed.known.handle);
    // Reading back past the page cache writes dirty pages back, and their count forgets them.
    let is_counted = !flushed.sees_stores;
    if is_counted && observer::wants_races() {
        look_for_races(here, &flushed);
    }
    let compared = promise::compare(here, &Observer(worker), flushed, patience);
    if !is_counted && observer::wants_races() {
        look_for_races(here, &compared);
    }
    if compared.facts.cause.is_some() {
        // The handle has seen an error that other open files of the program's have not.
        mappings::lock().mark_each(&here.file, |_, marks| marks.errseq_seen = 0);
        handles::unmap_whole(&here.file);
    }
    let mut ended = match promise::judge(here, compared) {
        Verdict::Proved(proved) => of_proved(here, proved),
        Verdict::Refused(refused) => of_refused(here, refused),
    };
    let told = pay(here, &ended);
    if !ended.verify && ended.facts.flush_error.is_some() {
        family::note((here.file.key.dev, here.file.key.ino));
    }
    note_untold(here, &ended);
    if ended.is_all_proved() && !ended.is_part {
        let wrote = ended.sees_stores && !ended.dirty.is_empty();
        dirty::attributes::renew(here.worker, &here.file, wrote);
    }
    if ended.is_all_proved_or_told() {
        let unseen = (!ended.sees_stores).then_some(&ended.dirty);
        dirty::forget_drop(here.worker, &here.file, unseen);
    }
    observer::ended(here.worker, &ended, told);
    let is_kept = ended.verify && reverify::keep(here, &mut ended);
    if !is_kept {
        ended.let_go_copies(here);
    }
    ended
}

fn of_proved(here: &Here<'_>, mut proved: Proved) -> Pooled<Ended> {
    let dropped = match proved.verify || invalidate::is_wanted(here, &proved) {
        true => let_go(here, &mut proved),
        false => Dropped::default(),
    };
    remember_success(here, &proved);
    let is_unsafe = proved.verdicts.uncertain > 0 || proved.verdicts.stale > 0;
    if is_unsafe {
        proved.gather_evidence(here);
    }
    let mut ended = proved.end();
    (ended.dropped_pages, ended.cached_pages) = (dropped.pages, dropped.left);
    ended
}

/// The witnesses, and what is to leave the page cache.
#[inline(never)]
fn let_go(here: &Here<'_>, proved: &mut Proved) -> Dropped {
    // What was locked in memory meanwhile may have been stored to unseen, and flushed: it must be found in the page cache.
    let sees_stores = proved.sees_stores && dirty::are_stores_seen(here.worker, &here.file);
    let is_counted = proved.verify && !sees_stores;
    let is_wanted = invalidate::is_wanted(here, proved);
    let is_dropped = is_wanted && !proved.known.was_clean;
    let mut unchanged = Ranges::new();
    if is_counted && is_dropped {
        // Who stores to one of these pages from here on must map it anew, and what is mapped stays in the page cache.
        entries::drop_mappings(here.worker, &here.file, &proved.dirty);
        proved.find_unchanged(here, &mut unchanged);
    }
    proved.let_go_witnesses(here);
    if !is_dropped {
        return match is_wanted {
            true => Dropped::NOTHING,
            false => Dropped::default(),
        };
    }
    let timer = Timer::at(Level::Info);
    let dropped = invalidate::drop_clean(here, proved, is_counted.then_some(&unchanged));
    observer::tell(here.worker, proved, Event::Dropped(timer, dropped));
    dropped
}

#[inline(never)]
fn of_refused(here: &Here<'_>, mut refused: Refused) -> Pooled<Ended> {
    // First: reading back through a direct descriptor writes dirty pages back, and a
    // filesystem that loses them would be given them, to be lost, once more.
    refused.gather_evidence(here);
    let is_reported = refused.settles && is_known(here, &refused.evidence.pages);
    let lost = fail::keep_dirty(here, &mut refused);
    let mut ended = refused.end();
    (ended.lost_pages, ended.is_reported) = (lost, is_reported && lost == 0);
    ended
}

/// Whether an earlier enforcement has failed for all of `pages`.
fn is_known(here: &Here<'_>, pages: &Ranges) -> bool {
    let table = mappings::lock_blocked();
    let known = &table.get(&here.file).debt.refused;
    !pages.is_empty()
        && pages
            .iter()
            .all(|range| known.covers(range.offset, range.end()))
}

fn remember_success(here: &Here<'_>, proved: &Proved) {
    let mut table = mappings::lock_blocked();
    let file = table.get_mut(&here.file);
    if !proved.is_part {
        // What was suspect has been read back, unless that was wanted and could not be.
        file.suspect &= proved.terms.is_verified && !proved.verify;
        (file.dropped, file.dropped_unseen) = (false, false);
    }
    file.fdatasync_ns = proved.flush_ns;
    reads::set_fresh(&here.file.key, proved.verify);
}

/// What is owed from here on. Returns what the msync says of earlier syncs: what they have failed for is as safe as this one
/// says for what it holds now, and for that alone.
fn pay(here: &Here<'_>, ended: &Ended) -> Told {
    let changed = promise::pay(here, ended, ended.result());
    let is_said = !ended.settles && ended.result().is_ok();
    if !changed && !is_said {
        return Told::default();
    }
    let key = here.file.key;
    let is_told_to_kin = is_said && !ended.verify && family::take((key.dev, key.ino));
    let (mut told, mut handle, mut is_forgotten) = (Told::default(), None, false);
    {
        let mut table = mappings::lock_blocked();
        if is_said {
            told = table.get_mut(&here.file).debt.take_told();
        }
        if changed || told != Told::default() {
            handle = table.settle_debt(&here.file);
            is_forgotten = table.will_be_forgotten(&here.file);
        }
    }
    told.failed |= is_told_to_kin;
    if is_forgotten {
        observer::forgets(here.worker, ended);
    }
    if let Some(handle) = handle {
        mappings::close_handle(here.worker, &handle);
    }
    told
}

/// A flush that failed and answers no call has told the shim alone: the program's next sync is to fail for it, unless all
/// of what it was about is proved. A call that fails has told the program.
fn note_untold(here: &Here<'_>, ended: &Ended) {
    let whose = Whose::of(&ended.file.key);
    if !here.tells_once() {
        return;
    }
    if !ended.settles {
        if ended.result().is_err() {
            let _ = untold::take(whose, By::Sync);
        }
    } else if let Some(errno) = ended.facts.flush_error {
        untold::note(whose, By::Sync, errno);
    } else if ended.facts.cause.is_some() && !ended.was_untold {
        let _ = untold::take(whose, By::Sync);
    }
}

/// Stores that raced with this msync: it promises nothing for them.
#[inline(never)]
fn look_for_races(here: &Here<'_>, at: &Snapshot) {
    let timer = Timer::start();
    let mut stored = Ranges::new();
    let query = here.query();
    // Where the marks are there for the findings, they say it exactly.
    let tracker = match dirty::wants_pagemap(here.file.traits) {
        true => Some(Tracker::Pagemap),
        false => at.known.tracker,
    };
    let asked = dirty::stored_since(&query, tracker, &mut stored)
        .or_else(|_| dirty::stored_since(&query, at.known.tracker, &mut stored));
    if asked.is_ok() && !stored.is_empty() {
        observer::tell(here.worker, at, Event::Raced(timer, &stored));
    }
}

/// The kernel did not take the call: what was stored is as it was.
pub fn give_up(worker: &Worker, snapshot: &mut Snapshot, errno: Errno) {
    let here = Here::new(worker, &snapshot.file, snapshot.known.handle);
    snapshot.copies.let_go(&here);
    if snapshot.verify {
        here.with_debt(&mut |debt| {
            debt.give_back();
            debt.unshown.add_all(snapshot.unshown.iter());
        });
    } else if snapshot.dirty_known && !snapshot.dirty.is_empty() {
        // What was stored is not known any more.
        mappings::lock().get_mut(&here.file).suspect = true;
    }
    observer::tell(worker, snapshot, Event::NotTaken(errno));
}
