//! Enforcement of one msync, from outside: the steps of the library's (src/enforce), with what can be had here.

use crate::call::{Began, Boxes, Call, Ended, Known, Pooled, Proved, Refused, Snapshot};
use crate::claim::{Claim, State};
use crate::file::File;
use crate::findings;
use crate::image::{Image, lock};
use crate::log::Log;
use crate::maps::Area;
use crate::marks;
use crate::report::{self, Watcher};
use crate::there::There;
use keepmydata_promise::cached_pages::{has_clean, unstable};
use keepmydata_promise::{self as promise, LARGEST, Patience, Target, Terms, Told, Verdict, Zero};
use keepmydata_ranges::Ranges;
use keepmydata_records::{Invalidate, Level, Settings, Track, Uncertain, Verify, event};
use keepmydata_sync::commit::Ticket;
use keepmydata_sys as sys;
use rustix::io::Errno;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

/// Whether msync of such a file is verified.
pub fn is_verified(settings: &Settings<'_>, file: &File) -> bool {
    let wanted = match settings.verify {
        Verify::On => true,
        Verify::Auto => !file.traits.local_block,
        Verify::Off => false,
    };
    wanted && !file.traits.dax
}

/// Whether stores to mappings of such a file are to be tracked page by page.
pub fn wants_marks(settings: &Settings<'_>, file: &File) -> bool {
    let wanted = match settings.track {
        Track::Pagemap => true,
        Track::Auto => is_verified(settings, file),
        Track::Cachestat | Track::Whole => false,
    };
    wanted && !file.traits.dax
}

/// Has the file of `call` take all steps.
pub fn enforce(log: &Log, call: Call, patience: &mut Patience) -> Result<Zero, Errno> {
    let claim = call.file.claim(&call.image);
    if let Ticket::Served(outcome) = claim.enter() {
        report::served(log, &call, outcome.map(drop));
        return outcome;
    }
    let file = call.file.clone();
    // Those of another image wait here.
    let turn = lock(&file.turn);
    let number = claim.begin().number;
    let (result, is_untold) = enforce_in_turn(log, call, &turn, patience);
    // Who waits is served by what was proved, or refused, or told of, and by nothing else.
    claim.leave(number, (!is_untold).then_some(result));
    result
}

/// The same in the turn of the file. Says, too, whether something is neither proved nor refused, and nobody was told of it.
pub fn enforce_in_turn(
    log: &Log,
    call: Call,
    _turn: &MutexGuard<'_, ()>,
    patience: &mut Patience,
) -> (Result<Zero, Errno>, bool) {
    let claim = call.file.claim(&call.image);
    // A mistake of the supervisor's must not leave the program waiting, nor tell it that all is well.
    let steps = || {
        // Others may have been made while it waited.
        let areas = call.image.maps.of_file(call.file.inode);
        steps(log, call, &claim, &areas, patience)
    };
    catch_unwind(AssertUnwindSafe(steps)).unwrap_or((Err(Errno::IO), false))
}

fn steps(
    log: &Log,
    call: Call,
    claim: &Claim,
    areas: &[Area],
    patience: &mut Patience,
) -> (Result<Zero, Errno>, bool) {
    let (image, file) = (call.image.clone(), call.file.clone());
    let settings = &log.settings;
    let terms = Terms {
        is_verified: is_verified(settings, &file),
        local_block: file.traits.local_block,
        settles: call.settles,
        uncertain_fails: settings.uncertain == Uncertain::Error,
        copy_budget: settings.copy_budget.0,
        seen_elsewhere: false,
    };
    let Some(request) = Pooled::new(call) else {
        return (Err(Errno::NOMEM), false);
    };
    let mut snapshot = Snapshot::begin::<Boxes>(request, terms);
    let began = Began::now();
    learn(settings, &mut snapshot, claim, areas);
    report::learnt(log, &snapshot, began);
    findings::before_flush(log, &snapshot, areas);
    let mut there = There {
        image: &image,
        file: &file,
        claim,
        areas,
        drops: snapshot.known.drops,
        dropped: snapshot.known.dropped,
        witnesses: RefCell::default(),
    };
    copy(log, &there, &mut snapshot);

    let watcher = Watcher(log);
    let flushed = promise::flush(&there, &watcher, snapshot, Ok(()));
    let compared = promise::compare(&mut there, &watcher, flushed, patience);
    let mut unchanged = Ranges::new();
    let mut ended = match promise::judge(&there, compared) {
        Verdict::Proved(proved) => of_proved(log, &there, proved, &mut unchanged),
        Verdict::Refused(refused) => of_refused(&there, refused),
    };
    note_absence(&there, &ended);
    promise::pay(&there, &ended, ended.result());
    note_clean(&there, &ended, &unchanged);
    let is_said = !ended.settles && ended.result().is_ok();
    let mut told = match is_said {
        true => lock(&claim.debt).take_told(),
        false => Told::default(),
    };
    // What is verified always is known page by page.
    told.failed &= !is_verified(settings, &file);
    report::ended(log, &ended, told);
    let result = ended.zero();
    // A local filesystem tells each open file.
    if let (true, Err(_), Some(errno)) = (ended.settles, result, ended.facts.flush_error)
        && !file.traits.local_block
    {
        file.unanswered
            .store(errno.raw_os_error(), Ordering::Relaxed);
    }
    let is_untold = ended.settles && result.is_ok() && ended.unknown_pages() > 0;
    ended.let_go_copies(&there);
    (result, is_untold)
}

/// What is dirty, and whether the page cache was dropped since the last enforcement.
fn learn(settings: &Settings<'_>, snapshot: &mut Snapshot, claim: &Claim, areas: &[Area]) {
    let (image, file) = (snapshot.image.clone(), snapshot.file.clone());
    let dirtied = image.dirtied();
    let answer = file.ask_probe(true);
    let mut state = lock(&claim.state);
    let seen = std::mem::replace(&mut state.seen_drops, answer.drops);
    // Where nobody could see it, it may have been.
    let mut dropped = seen != answer.drops || answer.unknown || state.stale;
    let suspect = state.suspect;
    snapshot.lost = state.lost;
    snapshot.terms.is_verified = (suspect || snapshot.terms.is_verified) && !file.traits.dax;
    snapshot.verify = snapshot.terms.is_verified;
    snapshot.dirty_known = true;
    let size = file.size().map_or(u64::MAX, sys::page_up);
    let exact = wants_marks(settings, &file) && !suspect && marks::are_had(&image);
    let mut unknown = Ranges::new();
    for area in areas {
        if !exact || !take_marks(&image, area, size, &mut state, &mut unknown, snapshot) {
            unknown.add(area.offset, area.end_offset());
        }
    }
    // Another thread may unmap meanwhile, and what it takes away has no marks.
    let now = image.maps.of_file(file.inode);
    if state.making > 0 {
        // A mapping that is being made may lie where one was that had marks.
        let areas = state.areas.clone();
        areas
            .iter()
            .for_each(|area| state.unmapped.add(area.offset, area.end_offset()));
    }
    if !snapshot.settles {
        state.has_mapped(snapshot.tid);
    }
    state.look(&now);
    let is_clean = state.is_clean(&image);
    state.clean_at = None;
    if is_clean {
        // Nothing was stored since all was proved: there was nothing to lose.
        state.unmapped.clear();
        dropped = false;
    } else {
        let unseen = state.unseen.values();
        unseen.for_each(|ranges| unknown.add_all(ranges.iter()));
    }
    unknown.add_all(state.unmapped.iter());
    state.unmapped.clear();
    let mut refused = Ranges::new();
    refused.add_all(lock(&claim.debt).refused.iter());
    let is_all = state.making == 0 && now == areas;
    let mapped = is_all.then_some((state.made, now));
    drop(state);
    // Nothing else is looked for there.
    let mut wanted = Ranges::new();
    wanted.add_all(unknown.iter());
    wanted.add_all(snapshot.dirty.iter());
    wanted.add_all(refused.iter());
    let mut cached = Ranges::new();
    if file.add_cached_of(&wanted, &mut cached).is_err() {
        cached.clear();
        cached.add(0, size);
    }
    refused.remove_all(&cached);
    file.lose(claim, &refused);
    if exact {
        let _ = marks::add_absent(&image, areas, &snapshot.dirty, &mut snapshot.absent);
        snapshot.gone.add_all(snapshot.absent.iter());
        snapshot.gone.remove_all(&cached);
    }
    let mut assumed = Ranges::new();
    for range in unknown.within(0, size) {
        match dropped {
            true => assumed.add(range.offset, range.end()),
            false => assumed.add_all(cached.within(range.offset, range.end())),
        }
    }
    // Where stores are seen, what is not in the page cache any more is missing if it was stored to.
    if !exact || !dropped || assumed.bytes() > LARGEST {
        assumed.remove_all(&snapshot.dirty);
        snapshot.assumed_dirty.add_all(assumed.iter());
    }
    snapshot.dirty.add_all(assumed.iter());
    snapshot.sees_stores = exact;
    let reason = match () {
        () if file.traits.dax => "not verified, nothing dropped: DAX, there is no page cache",
        () if snapshot.verify && snapshot.assumed_dirty.bytes() > LARGEST => {
            snapshot.verify = false;
            "not verified: too many pages that may be dirty"
        }
        () => "",
    };
    if snapshot.verify {
        let more = lock(&claim.debt).take(snapshot, dropped, image.number);
        if more && exact {
            snapshot.absent.clear();
            let mut absent = Ranges::new();
            let _ = marks::add_absent(&image, areas, &snapshot.dirty, &mut absent);
            snapshot.absent.add_all(absent.iter());
        }
    }
    let nothing_is_dirty = |stat| unstable(&stat) == 0;
    // The kernel looks at every cached page to tell.
    let was_clean =
        snapshot.dirty.is_empty() && (is_clean || file.count(0, 0).is_some_and(nothing_is_dirty));
    snapshot.known = Known {
        tracker: if exact { "pagemap" } else { "whole" },
        chosen: chosen(settings, &file, suspect, exact),
        reason,
        was_clean,
        dropped,
        drops: answer.drops,
        dirtied,
        mapped,
    };
}

fn chosen(settings: &Settings<'_>, file: &File, suspect: bool, exact: bool) -> &'static str {
    match settings.track {
        _ if suspect => "the last sync failed",
        _ if file.traits.dax => "DAX",
        Track::Auto if exact => "auto: what is verified must be known exactly",
        Track::Auto if !is_verified(settings, file) => "auto: nothing is verified",
        Track::Auto | Track::Pagemap if !exact => "the first choice is not available here",
        _ => "as set",
    }
}

/// Adds what was stored to through `area` since the last time. What is not tracked, is from here on, and added to
/// `unknown`; false where none of it can be.
fn take_marks(
    image: &Image,
    area: &Area,
    size: u64,
    state: &mut State,
    unknown: &mut Ranges,
    snapshot: &mut Snapshot,
) -> bool {
    let tracked = state
        .tracked
        .get(&area.start)
        .copied()
        .unwrap_or(area.start);
    let tracked = tracked.clamp(area.start, area.end);
    let part = Area {
        end: tracked,
        ..area.clone()
    };
    let is_tracked = tracked > area.start && marks::take(image, &part, &mut snapshot.dirty).is_ok();
    if !is_tracked {
        if let Some(end) = marks::register(image, area, size) {
            state.tracked.insert(area.start, end);
        }
        // Asked for what is in the page cache only now.
        unknown.add(area.offset, area.end_offset());
        return true;
    }
    let (inside, reach) = (marks::inside(area, size).end, marks::reach(area, size));
    if tracked < inside || reach.saturating_sub(tracked) > marks::BEYOND / 2 {
        // The file has grown.
        let rest = Area {
            start: tracked,
            end: reach,
            offset: part.end_offset(),
            ..area.clone()
        };
        if marks::protect(image, &rest) {
            state.tracked.insert(area.start, reach);
        }
        // What it has by now may have been stored to before that.
        let size = size.max(snapshot.file.size().unwrap_or(u64::MAX));
        let inside = marks::inside(area, size).end.max(tracked);
        unknown.add(
            part.end_offset(),
            area.offset + (inside - area.start) as u64,
        );
    }
    true
}

fn copy(log: &Log, there: &There<'_>, snapshot: &mut Snapshot) {
    if !snapshot.verify || snapshot.dirty.is_empty() {
        return;
    }
    let began = Began::now();
    there.file.plant_probe();
    let copied = promise::take(there, snapshot);
    if copied.is_err() {
        snapshot.copies.let_go(there);
        snapshot.verify = false;
        snapshot.known.reason = "not verified: out of memory for the copies";
    }
    let dropped_since = there.was_dropped();
    if dropped_since && !there.dropped {
        snapshot.doubt_what_is_assumed();
    }
    snapshot.refilled = there.dropped || dropped_since;
    if snapshot.copies.missed() > 0 {
        snapshot.known.reason =
            "not verified in part: too many ranges to map twice, or memory that cannot be read";
    }
    report::step(log, snapshot, event::COPY, began, copied, &|record, at| {
        record.dirty_pages = Some(at.copies.pages() as u64);
    });
}

fn of_proved(
    log: &Log,
    there: &There<'_>,
    mut proved: Proved,
    unchanged: &mut Ranges,
) -> Pooled<Ended> {
    // The marks tell more, and for less.
    if proved.verify && !proved.sees_stores {
        proved.find_unchanged(there, unchanged);
    }
    proved.let_go_witnesses(there);
    let began = Began::now();
    // What was read again meanwhile may be older than what is proved.
    let was_stale = lock(&there.claim.state).stale;
    let refilled = was_stale || proved.known.dropped || there.was_dropped();
    let wanted = log.settings.invalidate != Invalidate::Off
        && !there.file.traits.dax
        && (refilled || !proved.terms.settles && !proved.known.was_clean);
    let counts = log.has(Level::Info);
    let count = || counts.then(|| cached_pages(there.file)).flatten();
    let before = count();
    let is_gone = wanted
        && match refilled {
            true => drop_all_clean(log, there, &proved, unchanged),
            false => drop_clean(log, there, &proved, unchanged),
        };
    there.file.plant_probe();
    lock(&there.claim.state).stale = refilled && !is_gone;
    let left = count();
    let dropped = before
        .zip(left)
        .map(|(before, left)| before.saturating_sub(left));
    report::step(log, &proved, event::DROP, began, Ok(()), &|record, _| {
        record.dropped_pages = dropped;
        record.cached_pages = left;
    });
    // What was suspect has been read back, unless that was wanted and could not be.
    lock(&there.claim.state).suspect &= proved.terms.is_verified && !proved.verify;
    let is_unsafe = proved.verdicts.uncertain > 0 || proved.verdicts.stale > 0;
    if is_unsafe {
        proved.gather_evidence(there);
    }
    let mut ended = proved.end();
    (ended.dropped_pages, ended.cached_pages) = (dropped, left);
    ended
}

fn cached_pages(file: &File) -> Option<u64> {
    file.count(0, 0).map(|stat| stat.cached)
}

/// The same with the page that the probe keeps in the page cache. Says whether no clean page is left: one that two mappings
/// have stays.
fn drop_all_clean(log: &Log, there: &There<'_>, proved: &Proved, unchanged: &Ranges) -> bool {
    let page = sys::page_size() as u64;
    let is_clean = |offset, len| {
        there
            .file
            .count(offset, len)
            .is_none_or(|stat| has_clean(&stat))
    };
    there.file.step_aside();
    let aside = there.file.probed();
    let all_gone = drop_clean(log, there, proved, unchanged)
        && !match aside {
            // The first page, and what is behind the second.
            Some(aside) => is_clean(0, aside) || is_clean(aside + page, 0),
            None => is_clean(0, 0),
        };
    let Some(left) = there.file.step_back().filter(|_| all_gone) else {
        return all_gone;
    };
    let mut last = Ranges::new();
    last.add(left, left + page);
    there.drop_clean(&last, proved.sees_stores);
    !is_clean(left, page)
}

/// Of what is verified, and not tracked, only what has not changed since: another thread may have stored to the rest. Says
/// whether all that was clean was dropped, as far as the kernel lets us.
fn drop_clean(log: &Log, there: &There<'_>, proved: &Proved, unchanged: &Ranges) -> bool {
    let mut all = Ranges::new();
    let ranges = match log.settings.invalidate {
        _ if proved.verify && !proved.sees_stores => unchanged,
        Invalidate::Dirty => &proved.dirty,
        _ => {
            all.add(0, u64::MAX);
            &all
        }
    };
    // What another thread has stored and unmapped meanwhile is not proved, and has no entry that keeps it.
    let is_unseen = !lock(&there.claim.state).unseen.is_empty();
    if is_unseen || there.image.is_unmapping() || !is_mapped_as(there, &proved.known) {
        return false;
    }
    let _dropping = lock(&there.file.dropping);
    let Some(exposed) = there.file.exposed(there.claim) else {
        return false;
    };
    there.drop_clean(ranges, proved.sees_stores);
    there.file.doubt_what_others_unmapped(there.claim, &exposed);
    if !is_mapped_as(there, &proved.known) {
        lock(&there.claim.state).seen_drops = u64::MAX;
    }
    proved.sees_stores && log.settings.invalidate != Invalidate::Dirty
}

fn of_refused(there: &There<'_>, mut refused: Refused) -> Pooled<Ended> {
    refused.gather_evidence(there);
    refused.let_go_witnesses(there);
    let errno = refused.errno();
    let failed = refused.facts.flush_error.is_some();
    let lost = failed && may_have_dropped(there, errno);
    if failed && !refused.verify {
        // The next msync verifies it, whatever is mapped then: what the kernel has not written it calls clean from here on, and
        // may drop.
        let mut debt = lock(&there.claim.debt);
        debt.refused.add_all(refused.dirty.iter());
        debt.errno = errno.raw_os_error();
        debt.birth = there.image.number;
    }
    let mut state = lock(&there.claim.state);
    // EIO on a local filesystem may be the kernel's word for a collision with another's direct I/O, which is told once.
    state.suspect = !(there.file.traits.local_block && errno == Errno::IO);
    if lost && state.lost == 0 {
        state.lost = errno.raw_os_error();
    }
    drop(state);
    if failed && !refused.verify {
        // Of what others have stored, too.
        let lost = if lost { errno.raw_os_error() } else { 0 };
        // A local filesystem tells each open file.
        there
            .file
            .suspect(lost, lost != 0 || !there.file.traits.local_block);
    }
    let mut ended = refused.end();
    ended.lost_pages = u64::from(lost);
    ended
}

/// Whether the filesystem may have dropped pages that it could not write: it keeps none, or has found no block for them,
/// and they lie in holes ever after.
fn may_have_dropped(there: &There<'_>, errno: Errno) -> bool {
    let traits = there.file.traits;
    if traits.dax || traits.loses_unwritten {
        return traits.loses_unwritten && !traits.dax;
    }
    traits.may_have_dropped(there.file.handle().ok(), errno)
}

/// While there was no probe the page cache may have been dropped, and what was stored since the marks were taken with it: that
/// counts as a drop for the next msync, unless nothing was stored.
fn note_absence(there: &There<'_>, ended: &Ended) {
    let Some(before) = there.file.drops_before_absence() else {
        return;
    };
    let mut stored = Ranges::new();
    if ended.sees_stores && is_mapped_as(there, &ended.known) {
        there.add_stored(&mut stored);
        let mut state = lock(&there.claim.state);
        if stored.is_empty() && state.seen_drops == before {
            state.seen_drops = before + 1;
        }
    }
}

/// Notes what the process has made dirty by now, if nothing was stored since the msync began: as long as that is so, nothing
/// more is owed, whatever is unmapped or dropped.
fn note_clean(there: &There<'_>, ended: &Ended, unchanged: &Ranges) {
    // What is in doubt was told of; what is refused is in the debt.
    if !ended.verify || ended.result().is_err() {
        return;
    }
    let now = there.image.dirtied();
    let Some((_, mapped)) = &ended.known.mapped else {
        return;
    };
    let is_clean = match ended.sees_stores {
        // Nothing was dirty, and the process has made nothing dirty since.
        true if ended.known.was_clean && now.is_some() && now == ended.known.dirtied => true,
        true => {
            let size = there.file.size().unwrap_or(u64::MAX);
            let state = lock(&there.claim.state);
            mapped.iter().all(|area| {
                let tracked = state.tracked_inside(area, size);
                tracked.is_some_and(|inside| !marks::is_written(there.image, &inside))
            })
        }
        // Pages that were clean would have been made dirty, and those that were dirty are as they were.
        false => {
            now == ended.known.dirtied
                && ended.verdicts.newer == 0
                && unchanged.pages() >= ended.verdicts.verified
        }
    };
    // What was mapped or unmapped meanwhile was not looked at.
    let is_same = is_mapped_as(there, &ended.known);
    lock(&there.claim.state).clean_at = now.filter(|_| is_clean && is_same);
}

/// Whether nothing was mapped or unmapped of the file since the marks were taken.
fn is_mapped_as(there: &There<'_>, known: &Known) -> bool {
    let Some((made, areas)) = &known.mapped else {
        return false;
    };
    let state = lock(&there.claim.state);
    state.made == *made
        && state.making == 0
        && state.unmapped.is_empty()
        && there.image.maps.of_file(there.file.inode) == *areas
}
