//! Before data is lost: what is owed of a verified file is synced and proved right before a call of the program's that takes
//! pages out of the page cache, or the mapping away through which they can be compared.
//!
//! ftruncate(2) on FUSE drops all pages of the file, also when the file grows (`fuse_do_setattr` in fs/fuse/dir.c); open(2) does
//! where the daemon does not say FOPEN_KEEP_CACHE; madvise(2), fallocate(2) and their kin drop what they are asked to. The
//! kernel writes dirty pages back first, to a filesystem that may lie about it; afterwards nobody can tell. What fails here is
//! returned by the next msync, not by the call (see [`keepmydata_promise::Debt`]).

use super::msync_call::MsyncCall;
use super::request::patience;
use super::ticket;
use crate::config;
use crate::dirty::pin::{Pinned, pin};
use crate::dirty::{self, eviction_probe, removal::Inode};
use crate::helper::{self, Worker};
use crate::mappings::{
    self,
    file::{File, Held, Key, MayDrop},
    leaving::Leaving,
    table::Entry,
};
use crate::process;
use crate::sys::{self, signals::Blocked};
use core::ops::Range;
use keepmydata_promise::Patience;
use keepmydata_records::Enforce;

/// Whether there is anything to be done for a call of the program's. Any context.
pub fn is_needed() -> bool {
    mappings::any_verified() && config::settings().enforce == Enforce::Full
}

/// The same in this process, which may be a vfork child: that one has nothing of its own.
fn is_possible() -> bool {
    is_needed() && !process::this().is_borrowed()
}

/// `[start, end)` is about to be unmapped, or mapped anew. The marks of stores go with the mapping: they are
/// noted with the file; what no other mapping has is proved now. Of no file that the caller has quiesced. What is returned
/// lives until the call has been made.
pub fn unmapping(start: usize, end: usize) -> Option<Leaving> {
    let leaving = (!sys::thread::is_single()).then(|| Leaving::begin(start, end));
    prove_uncovered(start, end);
    leaving
}

fn prove_uncovered(start: usize, end: usize) {
    defect!(ForgetsWhatIsUnmapped => return);
    if process::this().is_borrowed() {
        return leave_to_parent(start, end, true);
    }
    let patience = &mut patience();
    each(start, end, |entry| {
        let harvest = |worker: &mut Worker| {
            dirty::harvest(worker, entry);
            is_uncovered(entry, start, end)
        };
        let uncovered = match sys::thread::is_single() {
            true => helper::run(process::this(), harvest),
            false => undisturbed(entry, harvest),
        };
        if uncovered == Ok(true) {
            prove_part(entry.file, patience);
        }
    });
}

/// Pages of `[start, end)` are about to leave the page tables, and, where the call `evicts`, perhaps the page cache.
pub fn dropping(start: usize, end: usize, evicts: bool) {
    defect!(DropsPagesUnproved => return);
    if process::this().is_borrowed() {
        return leave_to_parent(start, end, evicts);
    }
    let patience = &mut patience();
    each(start, end, |entry| prove_owed(entry.file, patience));
}

/// The marks of `[start, end)` are about to go, because the mapping moves: they are noted with the file, which
/// the caller has quiesced.
pub fn moving(start: usize, end: usize) {
    defect!(ForgetsWhatMoves => return);
    if process::this().is_borrowed() {
        return leave_to_parent(start, end, false);
    }
    each(start, end, |entry| {
        let _ = helper::run(process::this(), |worker| dirty::harvest(worker, entry));
    });
}

/// Runs `harvest` of `entry` while no other thread's call drops the page cache of its file: it would find marks and a drop, and not
/// know that the stores were proved before that. Nor does an msync that is under way, if there are marks: it drops what
/// it has proved, and spares by its mark what was stored to since.
fn undisturbed(
    entry: &Entry<'_>,
    harvest: impl Fn(&mut Worker) -> bool,
) -> Result<bool, helper::Unavailable> {
    let file = entry.file;
    let calls = [
        MayDrop::OpenToRead,
        MayDrop::Open,
        MayDrop::Map,
        MayDrop::MapToRead,
    ];
    let drops = || {
        let table = mappings::lock();
        let expected = calls.into_iter().any(|call| table.drops(file, call));
        expected || table.is_known_to_drop(file, MayDrop::Truncate)
    };
    if !drops() {
        let at_once =
            |worker: &mut Worker| (!dirty::may_have_marks(worker, entry)).then(|| harvest(worker));
        if let Some(done) = helper::run(process::this(), at_once)? {
            return Ok(done);
        }
    }
    let ticket = quiesce(file);
    let done = helper::run(process::this(), harvest);
    ticket.end();
    done
}

/// The same where mappings in `[start, end)` may be several, which the kernel does not move at once if stores to them
/// are tracked (`vma_multi_allowed` in mm/mremap.c), or stay behind as well, empty (MREMAP_DONTUNMAP), which would
/// look as if what was stored there had been dropped. Nothing in it is tracked any more, until [`track`].
pub fn moving_untracked(start: usize, end: usize) {
    moving(start, end);
    let _quiet = Blocked::all();
    mappings::lock().split(start, end);
    dirty::forget(start, end);
}

/// What is in `[start, end)` was moved there, or stayed there, while it was not tracked, and other threads may have
/// stored to it: all of it that is cached may be dirty. To be called after [`track`].
pub fn assume_stored(start: usize, end: usize) {
    if !sys::thread::is_single() {
        each(start, end, |entry| {
            let _ = helper::run(process::this(), |worker| {
                dirty::assume_cached(worker, entry)
            });
        });
    }
}

/// `[start, end)` is mapped now because a mapping has moved or grown, and nobody can have stored to it there: from
/// here on stores are tracked.
pub fn track(start: usize, end: usize) {
    each(start, end, |entry| {
        let _ = helper::run(process::this(), |worker| {
            dirty::register_late(worker, entry)
        });
    });
}

/// A call has stored to `[start, end)`, and no mark tells of it: the pages get theirs now. With all signals blocked.
pub fn stored_unseen(start: usize, end: usize) {
    let (start, end) = (sys::page_down(start as u64), sys::page_up(end as u64));
    each_verified(start as usize, end as usize, |entry| {
        let mark = |_: &mut Worker| sys::vm::make_dirty(entry.start, entry.len());
        if helper::run(process::this(), mark) != Ok(Ok(())) {
            let mut stored = dirty::Ranges::new();
            stored.add(entry.offset, entry.offset + entry.len() as u64);
            mappings::lock().owe(entry.file, &stored, false);
        }
    });
}

/// The file, or the whole page cache of it, is about to be changed by the program.
pub fn changing((dev, ino): Inode) {
    defect!(ChangesFilesUnproved => return);
    if !is_possible() {
        return;
    }
    let _quiet = Blocked::all();
    let patience = &mut patience();
    mappings::each_of_inode(dev, ino, |file| prove_owed(file, patience));
}

/// What a `call` of the only thread is about to drop of the inode is no more than what is cached: what is owed of that is
/// proved, without a look at the mappings of what is not. Says whether that was all that is needed.
fn losing_cached((dev, ino): Inode, call: MayDrop) -> bool {
    defect!(ChangesFilesUnproved => return false);
    let mut done = is_possible() && !matches!(call, MayDrop::Truncate);
    if !done {
        return false;
    }
    let _quiet = Blocked::all();
    // A write tells by its probes what it has dropped.
    let may_step_aside =
        !matches!(call, MayDrop::Write) && mappings::lock().of_inode(dev, ino).count() == 1;
    mappings::each_of_inode(dev, ino, |file| {
        let drops = may_step_aside && mappings::lock().is_known_to_drop(file, call);
        let is_plain = done && is_verified(file) && !file.traits.local_block;
        let harvest = |worker: &mut Worker| dirty::harvest_cached(worker, file, drops);
        done = match is_plain.then(|| helper::run(process::this(), harvest)) {
            Some(Ok(Some(true))) => prove_as(file, true, &mut patience()),
            Some(Ok(Some(false))) => true,
            _ => false,
        };
    });
    done
}

/// A write(2) to the inode is about to be made. Unless writes are known not to go past the page cache (FOPEN_DIRECT_IO),
/// what is owed is proved. Says whether it must be looked at afterwards, and whether only what is cached was proved: then marks
/// stay. With all signals blocked.
pub fn writing(inode: Inode) -> Option<bool> {
    let may_drop = is_possible() && {
        let table = mappings::lock();
        let mut files = table.of_inode(inode.0, inode.1);
        files.any(|file| table.drops(file, MayDrop::Write))
    };
    may_drop.then(|| {
        let keeps_marks = sys::thread::is_single() && losing_cached(inode, MayDrop::Write);
        if !keeps_marks {
            changing(inode);
        }
        keeps_marks
    })
}

/// A call of the program's is under way that may drop the page cache of a file.
pub struct Dropping {
    inode: Inode,
    call: MayDrop,
    /// What it can drop was proved, and only that was looked at: marks stay.
    keeps_marks: bool,
    /// The kernel may have two inodes of one file.
    quiesced: [Option<(Quiesced, Option<Pinned>)>; 2],
}

impl Dropping {
    /// What is owed is proved. In a process of several threads no enforcement of the file runs until
    /// [`Dropping::end`]: it would find pages gone without knowing when and why. Signals are blocked until then: a
    /// handler may sync the file.
    pub fn begin(inode: Inode, call: MayDrop) -> Dropping {
        if is_possible() {
            mappings::each_of_inode(inode.0, inode.1, eviction_probe::age);
        }
        let mut dropping = Dropping {
            inode,
            call,
            keeps_marks: false,
            quiesced: [None, None],
        };
        if sys::thread::is_single() {
            dropping.keeps_marks = losing_cached(inode, call);
            if !dropping.keeps_marks {
                changing(inode);
            }
        } else if is_possible() {
            dropping.quiesce();
        }
        dropping
    }

    #[inline(never)]
    fn quiesce(&mut self) {
        let (mut free, patience) = (self.quiesced.iter_mut(), &mut patience());
        mappings::each_of_inode(self.inode.0, self.inode.1, |file| {
            if let Some(free) = free.next().filter(|_| is_verified(file)) {
                mappings::lock().count_dropping(file, true);
                let ticket = quiesce(file);
                let drops = mappings::lock().drops(file, self.call);
                let pinned = prove_and_pin(&ticket, drops, patience);
                *free = Some((ticket, pinned));
            }
        });
    }

    /// Whether no enforcement of `file` runs.
    pub fn has(&self, file: &File) -> bool {
        let mut files = self.quiesced.iter().flatten();
        files.any(|(quiesced, _)| *quiesced.file == *file)
    }

    /// The call is done; it has changed `range`, or failed.
    pub fn end(self, range: Option<Range<u64>>) {
        let alone = self.quiesced.iter().all(Option::is_none);
        if self.keeps_marks {
            mappings::each_of_inode(self.inode.0, self.inode.1, |file| {
                dirty::removal::opened_or_mapped(self.call, file);
            });
        } else if let Some(range) = range.as_ref().filter(|_| alone) {
            mappings::each_of_inode(self.inode.0, self.inode.1, |file| {
                dirty::removal::changed_by(self.call, file, range, None);
            });
        }
        for (quiesced, pinned) in self.quiesced.into_iter().flatten() {
            let file = &quiesced.file;
            if let Some(range) = &range {
                dirty::removal::changed_by(self.call, file, range, pinned.as_ref());
            }
            // Its descriptor is in the helper's table.
            let _ = helper::run(process::this(), |_| drop(pinned));
            mappings::lock().count_dropping(file, false);
            quiesced.end();
        }
    }
}

/// The same in a vfork child, which has no helper to look at marks or to prove anything with: its parent owes all of that
/// which is cached. Where pages are `lost` if no other mapping has them, nobody will know, and the parent's next msync says so.
#[cold]
fn leave_to_parent(start: usize, end: usize, lost: bool) {
    if !is_needed() {
        return;
    }
    let worker = Worker::without_descriptors(process::this());
    each_verified(start, end, |entry| {
        dirty::assume_cached(&worker, entry);
        if lost && is_uncovered(entry, start, end) {
            mappings::lock().doubt_owed(entry);
        }
    });
}

/// Runs `run` for every writable mapping of a verified file in `[start, end)`.
fn each(start: usize, end: usize, run: impl FnMut(&Entry<'_>)) {
    if is_possible() {
        each_verified(start, end, run);
    }
}

fn each_verified(start: usize, end: usize, mut run: impl FnMut(&Entry<'_>)) {
    let _quiet = Blocked::all();
    mappings::each(start, end, |entry| {
        if entry.writable && is_verified(entry.file) {
            run(entry);
        }
    });
}

/// The process is about to become another program, whose msync knows nothing of what is owed: what can be is proved. A fork
/// child that has opened nothing has nothing to prove with.
pub fn executing() {
    let patience = &mut patience();
    let generation = process::this().generation();
    each(0, usize::MAX, |entry| {
        let owes = |worker: &mut Worker| {
            let is_owed = {
                let table = mappings::lock();
                let state = table.get(entry.file);
                (state.handle.generation == generation).then(|| !state.debt.owed.is_empty())
            };
            is_owed.is_some_and(|owed| owed || dirty::may_be_dirty(worker, entry))
        };
        if helper::run_if_there(process::this(), owes) == Some(true) {
            prove(entry.file, patience);
        }
    });
}

/// Whether `file` is verified and not left out.
fn is_verified(file: &File) -> bool {
    let excluded = mappings::lock().get(file).excluded;
    !excluded && !file.traits.dax && dirty::is_verified(file.traits.local_block)
}

/// Whether something is owed in `entry` that is mapped nowhere else but in `[start, end)`, and in what other threads are
/// about to unmap. What is mapped elsewhere is read in there: what no mapping has in its page table can be evicted, and then
/// nobody can compare it.
fn is_uncovered(entry: &Entry<'_>, start: usize, end: usize) -> bool {
    let mut owed = dirty::Ranges::new();
    let table = mappings::lock();
    let debt = &table.get(entry.file).debt;
    let end_offset = entry.offset + entry.len() as u64;
    owed.add_all(debt.owed.within(entry.offset, end_offset));
    // An enforcement under way needs the mapping, too.
    owed.add_all(debt.proving.within(entry.offset, end_offset));
    let stays = |part: &Entry<'_>| part.writable && !table.is_leaving(part.start, part.end);
    table.for_each_of(entry.file, 0, |other| {
        for part in [other.clip(0, start), other.clip(end, usize::MAX)] {
            if let Some(part) = part.filter(stays) {
                dirty::hand_over(entry, &part, &mut owed);
            }
        }
        !owed.is_empty()
    });
    !owed.is_empty()
}

/// Proves what is owed of `file` if anything is.
fn prove_owed(file: &File, patience: &mut Patience) {
    if is_verified(file)
        && helper::run(process::this(), |worker| dirty::is_owed(worker, file)) == Ok(true)
    {
        prove(file, patience);
    }
}

/// An enforcement of `file` that answers no call and drops nothing.
fn prove(file: &File, patience: &mut Patience) {
    let _ = prove_as(file, false, patience);
}

/// The same of what is owed by now; what else was stored keeps its marks, and of thousands of mappings none is looked
/// through for them. Where that is not proved, and where a local filesystem drops what it could not write, of all.
fn prove_part(file: &File, patience: &mut Patience) {
    if file.traits.local_block || !prove_as(file, true, patience) {
        prove(file, patience);
    }
}

/// Says whether all was proved; a call that another thread's flush serves is, if that has proved it.
#[must_use]
fn prove_as(file: &File, is_part: bool, patience: &mut Patience) -> bool {
    let mut files = MsyncCall::of_file(process::this(), file, None, is_part);
    let served = files.enter();
    if files.is_empty() {
        return matches!(served, Some(Ok(_))) && files.complete().is_ok();
    }
    let Some(ended) = files.settle(patience) else {
        return false;
    };
    let has_proved = ended.has_proved();
    // Who waits is served by a proof of everything, and by nothing else: this answers no call, so it leaves to the next msync
    // what an earlier one has to tell.
    match ended.proves_all() {
        true => drop(ended.leave()),
        false => ended.abandon(),
    }
    has_proved
}

/// A new mapping of the file of `key` is there. Its thread does not come to store to it while another's call is about
/// to drop the page cache: it waits for that.
pub fn wait_for_dropping(key: &Key) {
    if !is_possible() {
        return;
    }
    let _quiet = Blocked::all();
    let found = {
        let table = mappings::lock();
        let found = table.find(key).filter(|file| table.is_dropping(file));
        found.map(File::hold)
    };
    if let Some(file) = found {
        quiesce(&file).end();
    }
}

/// How often what other threads have stored meanwhile is proved, too.
const AGAIN: usize = 8;
/// How often pages are kept anew, because somebody has stored to them before they were.
const PINS: usize = 3;

/// Proves what is owed of the file, until nobody has stored to it since: other threads come to rest when they sync
/// or open it. Once where stores are not seen.
fn prove_until_quiet(ticket: &Quiesced, patience: &mut Patience) {
    let is_owed = || {
        helper::run(process::this(), |worker| {
            dirty::is_owed(worker, &ticket.file)
        }) == Ok(true)
    };
    for _ in 0..AGAIN {
        if !is_owed() {
            return;
        }
        let files = MsyncCall::of_file(process::this(), &ticket.file, Some(ticket.number), false);
        drop(files.settle(patience));
        if !sees_stores(&ticket.file) {
            return;
        }
    }
}

/// Whether all stores to the file are seen.
fn sees_stores(file: &File) -> bool {
    helper::run(process::this(), |worker| {
        dirty::are_stores_seen(worker, file)
    }) == Ok(true)
}

/// The same, and keeps the pages of the file where the call `drops` them, if possible from when nothing was owed.
fn prove_and_pin(ticket: &Quiesced, drops: bool, patience: &mut Patience) -> Option<Pinned> {
    let mut pinned = None;
    for _ in 0..PINS {
        prove_until_quiet(ticket, patience);
        if !drops {
            break;
        }
        let again = |worker: &mut Worker| {
            // Not two at once: each takes what a user may have of pipes.
            drop(pinned.take());
            pinned = pin(worker, &ticket.file);
        };
        let _ = helper::run(process::this(), again);
        let is_known = pinned.as_ref().is_none_or(Pinned::knows_what_was_held);
        // Another process has, before they were pinned: what is is what was read in again.
        let is_dropped = |worker: &mut Worker| {
            eviction_probe::is_dropped(worker, &mut mappings::lock(), &ticket.file)
        };
        let is_whole = helper::run(process::this(), is_dropped) != Ok(true);
        if is_whole && (is_known || !sees_stores(&ticket.file)) {
            break;
        }
    }
    pinned
}

/// Keeps enforcements of a file out while its mappings change: they would look where nothing is any more.
pub struct Quiesced {
    file: Held,
    number: u32,
}

/// Waits until no enforcement of `file` is under way, and lets none begin before
/// [`Quiesced::end`]. With all signals blocked.
pub fn quiesce(file: &File) -> Quiesced {
    while ticket::enter(file).is_some() {}
    let number = ticket::begin(file).number;
    Quiesced {
        file: file.hold(),
        number,
    }
}

impl Quiesced {
    /// Lets those that wait go on.
    pub fn end(self) {
        ticket::abandon(&self.file, self.number);
    }
}
