//! What the program itself takes out of a file: madvise(2) with `MADV_REMOVE`, fallocate(2), and truncation.
//!
//! The pages that go so were stored to and leave the page cache, as those do that the kernel drops with
//! what was stored in them. These are no loss: their marks go too.

use super::pin::Pinned;
use super::{attributes, eviction_probe, pagemap};
use crate::config;
use crate::helper;
use crate::mappings::{
    self,
    file::{File, MayDrop},
    untold,
};
use crate::process;
use crate::sys::{self, cachestat::cachestat};
use core::ops::Range;
use keepmydata_records::Enforce;
use libc::{c_char, c_int, off_t};
use rustix::io::Errno;

/// A device and inode that may be those of a tracked file.
pub type Inode = (u64, u64);

/// The file that `fd` is open on, if it may be tracked.
pub fn tracked_fd(fd: c_int) -> Option<Inode> {
    tracked(sys::fd::inode(fd)?)
}

/// The file at `path`, which may be any pointer, seen from the directory `dir`, if it may be tracked.
pub fn tracked_path(dir: c_int, path: *const c_char) -> Option<Inode> {
    tracked(sys::fd::found_at(dir, path)?.inode)
}

fn tracked((dev, ino): Inode) -> Option<Inode> {
    mappings::may_know(dev, ino).then_some((dev, ino))
}

/// Whether fallocate(2) with `mode` takes pages out of the page cache.
pub fn takes_pages(mode: c_int) -> bool {
    mode & !(libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_UNSHARE_RANGE) != 0
}

/// What fallocate(2) takes out: to the end where the rest of the file moves.
pub fn taken(mode: c_int, offset: off_t, len: off_t) -> Range<u64> {
    let start = u64::try_from(offset).unwrap_or(0);
    let moves = mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0;
    let end = match moves {
        true => u64::MAX,
        false => start.saturating_add(u64::try_from(len).unwrap_or(0)),
    };
    start..end
}

/// fallocate(2) has done so.
pub fn allocated(inode: Inode, mode: c_int, offset: off_t, len: off_t) {
    changed(inode, taken(mode, offset, len));
}

/// Whether anything is remembered of files that are not mapped. Any context.
pub fn is_remembered() -> bool {
    mappings::file::are_kept() || untold::are_any()
}

/// The program has made the file that `fd` is open on: what is remembered of an inode with that number was about one
/// that is deleted. With all signals blocked.
pub fn created(fd: c_int) {
    let Some((dev, ino)) = tracked_fd(fd) else {
        return;
    };
    if sys::fd::of_program(fd, sys::fd::size) != Some(Ok(0)) {
        return;
    }
    if mappings::lock().forget_unmapped(dev, ino)
        && let Some(whose) = mappings::classify::whose(fd)
    {
        untold::forget(whose);
    }
}

/// The file may be longer now.
pub fn grown((dev, ino): Inode) {
    mappings::each_of_inode(dev, ino, |file| {
        if super::wants_registration(file.traits) {
            let _ = helper::run_if_there(process::this(), |worker| {
                pagemap::follow_growth(worker, file);
                replant(worker, file);
            });
        }
    });
}

/// Whether a call that takes a part of the inode out, or none, leaves all else in the page cache: local filesystems do.
pub fn keeps_what_stays((dev, ino): Inode) -> bool {
    mappings::lock()
        .of_inode(dev, ino)
        .all(|file| file.traits.local_block)
}

/// What is beyond the end of a file that was truncated to `size` bytes.
pub fn truncated(inode: Inode, size: off_t) {
    changed(inode, u64::try_from(size).unwrap_or(0)..u64::MAX);
}

/// `MADV_REMOVE` is about to take `[start, end)` out. With all signals blocked.
pub fn advising(start: usize, end: usize) {
    mappings::each(start, end, |entry| {
        let range = entry.offset..entry.offset + entry.len() as u64;
        make_way((entry.file.key.dev, entry.file.key.ino), &range);
        if is_awaited() {
            mappings::lock().change(entry.file, &range);
        }
    });
}

/// What `MADV_REMOVE` of `[start, end)` took out. With all signals blocked.
pub fn advised(start: usize, end: usize) {
    mappings::each(start, end, |entry| {
        let range = entry.offset..entry.offset + entry.len() as u64;
        changed_file(entry.file, &range);
    });
}

/// `MADV_PAGEOUT` of `[start, end)`, after all that was owed was proved: to take one page out of a folio of many the kernel
/// empties the entries of all (`split_folio`), and an eviction probe's with them. With all signals blocked.
pub fn paged_out(start: usize, end: usize) {
    mappings::each(start, end, |entry| {
        if !entry.file.traits.local_block {
            changed_file(entry.file, &(0..0));
        }
    });
}

/// The program has taken the bytes `range` out of the inode, or put others in their place, past its mappings; the
/// rest of the page cache may have gone with them. With all signals blocked.
pub fn changed((dev, ino): Inode, range: Range<u64>) {
    mappings::each_of_inode(dev, ino, |file| changed_file(file, &range));
}

/// The program has written the bytes `range` of the inode. Where they are not in the page cache now, the write has gone
/// past it (FOPEN_DIRECT_IO), and dropped what was there; or the kernel drops it when it learns of the new modification time,
/// which it does here. With all signals blocked.
pub fn written((dev, ino): Inode, range: Range<u64>, marks_stay: bool) {
    mappings::each_of_inode(dev, ino, |file| {
        if !mappings::lock().drops(file, MayDrop::Write) {
            return;
        }
        // In one trip to the helper.
        let _ = helper::run_if_there(process::this(), |worker| {
            let cached = is_cached(worker, file, &range);
            let is_renewed = attributes::renew_if_proved(worker, file, true);
            let dropped = match cached {
                _ if is_renewed => true,
                Some(cached) => !cached,
                None => return,
            };
            let mut table = mappings::lock();
            if dropped || !attributes::may_drop(&table, file) {
                table.note_drop(file, MayDrop::Write, dropped);
            }
            drop(table);
            if dropped {
                let known = Known {
                    marks_stay,
                    is_renewed,
                };
                take_marks_of(file, &range, None, known);
            }
        });
    });
}

/// Whether all of `range` is in the page cache; nothing where nobody can tell.
fn is_cached(worker: &helper::Worker, file: &File, range: &Range<u64>) -> Option<bool> {
    let handle = mappings::handle_of(file);
    let (start, end) = (sys::page_down(range.start), sys::page_up(range.end));
    let stat = cachestat(worker.borrow_cached(&handle)?, start, end - start).ok()?;
    Some(stat.cached * sys::page_size() as u64 >= end - start)
}

/// The program has written the bytes `range` of the inode, which another client of the filesystem must be shown. With all
/// signals blocked.
pub fn must_be_shown((dev, ino): Inode, range: &Range<u64>) {
    mappings::each_of_inode(dev, ino, |file| mappings::lock().must_be_shown(file, range));
}

/// Whether [`changing`] has anything to do.
pub fn is_awaited() -> bool {
    config::settings().reverify_ms.0 > 0
}

/// The program is about to do so. With all signals blocked.
pub fn changing((dev, ino): Inode, range: Range<u64>) {
    if !is_awaited() {
        return;
    }
    mappings::each_of_inode(dev, ino, |file| mappings::lock().change(file, &range));
}

/// What may have left the page cache with `range`. A folio of many pages leaves as a whole, and the marks of its
/// clean pages with it (`unmap_mapping_folio` in mm/memory.c); a dirty one stays on such filesystems. With one
/// thread nobody has stored anything since what was owed was proved.
fn widen(range: &Range<u64>, has_large_folios: bool) -> Range<u64> {
    if sys::thread::is_single() {
        return 0..u64::MAX;
    }
    if !has_large_folios || range.is_empty() {
        return range.clone();
    }
    let folio = sys::page_table_reach() as u64;
    let end = range.end.checked_next_multiple_of(folio);
    range.start & !(folio - 1)..end.unwrap_or(u64::MAX)
}

fn changed_file(file: &File, range: &Range<u64>) {
    take_marks_of(file, range, None, Known::default());
}

/// What need not be looked at after a change.
#[derive(Clone, Copy, Default)]
struct Known {
    /// All that was cached was proved before, and has no marks: those that there are stay, of what had left the page cache
    /// earlier.
    marks_stay: bool,
    /// The kernel has just learnt of the file's attributes.
    is_renewed: bool,
}

/// The file was opened or mapped once more, and all that this can have dropped was proved before ([`Known::marks_stay`]).
pub fn opened_or_mapped(call: MayDrop, file: &File) {
    let known = Known {
        marks_stay: true,
        ..Known::default()
    };
    take_marks_of(file, &(0..0), Some((call, None)), known);
}

/// The same by a call that may drop the page cache, which has kept all others of the file out; `pinned` are its pages
/// from before the call. Takes the marks of what has gone.
pub fn changed_by(call: MayDrop, file: &File, range: &Range<u64>, pinned: Option<&Pinned>) {
    take_marks_of(file, range, Some((call, pinned)), Known::default());
}

fn take_marks_of(
    file: &File,
    range: &Range<u64>,
    by: Option<(MayDrop, Option<&Pinned>)>,
    known: Known,
) {
    let (local_block, has_large_folios) = {
        let mut table = mappings::lock();
        table.change(file, range);
        table.must_be_shown(file, range);
        table.forgive(file, sys::page_up(range.start), sys::page_down(range.end));
        let local_block = file.traits.local_block;
        (local_block, local_block || table.get(file).handle.uncounted)
    };
    if !super::wants_registration(file.traits) {
        // It has no marks and no probes.
        return;
    }
    let gone = match known.marks_stay {
        true => range.clone(),
        false => widen(range, has_large_folios),
    };
    let follow = |worker: &helper::Worker| {
        if !(known.marks_stay && range.is_empty()) {
            pagemap::follow_growth(worker, file);
            pagemap::unmark_absent(worker, file, &gone);
        }
        // What was owed was proved before the call. If nobody has stored since, all of the page cache may
        // have gone, and nothing with it. Where stores are not seen, other threads may have.
        let nobody_stored = sys::thread::is_single()
            || super::are_stores_seen(worker, file) && !super::is_owed(worker, file);
        let all = !local_block && nobody_stored;
        let everything = 0..u64::MAX;
        // What another thread's call drops, that one sees to.
        let is_ours = by.is_some() || !mappings::lock().is_dropping(file);
        let dropped = match is_ours && !local_block {
            // One that moved meanwhile was found dead, and is not there any more.
            true if by.is_some() && eviction_probe::has_told(file) => Some(true),
            true => are_any_dead(worker, file, range, by.is_some()),
            false => None,
        };
        if let (Some(dropped), Some((call, _))) = (dropped, by) {
            mappings::lock().note_drop(file, call, dropped);
        }
        // Where nobody can tell, as the call is expected to.
        let expected = || by.map(|(call, _)| mappings::lock().drops(file, call));
        let dropped = dropped.or_else(expected).unwrap_or(false);
        let mut revived = false;
        if !all && dropped {
            // What has marks now was stored to around the call, by other threads: these pages are in doubt, and
            // none that is stored to from here on. At once: another process may drop the page cache while that is looked at.
            let mut gone = super::Ranges::new();
            pagemap::take_absent(worker, file, &everything, &mut gone);
            revived = eviction_probe::revive(worker, file, &everything);
            let pinned = by.and_then(|(_, pinned)| pinned);
            let mut stored = super::Ranges::new();
            let asked = pinned.map(|pinned| find_lost(worker, file, pinned, &gone, &mut stored));
            if asked != Some(Ok(())) {
                mappings::lock().change(file, &everything);
                stored.clear();
                if pagemap::take_marks(worker, file, &mut stored).is_err() {
                    // The next msync is to know.
                    eviction_probe::note_drop(file);
                    return;
                }
                stored.add_all(gone.iter());
            }
            if !stored.is_empty() {
                mappings::lock().doubt(file, &stored);
            }
        }
        let range = match all || dropped {
            true => &everything,
            false => range,
        };
        revived |= eviction_probe::revive(worker, file, range);
        let is_told = by.is_some() && (all || dropped) && eviction_probe::take_told(file);
        if (revived || is_told) && !local_block {
            mappings::lock().mark_refused_unrecoverable(file);
        }
        // A read or fstat(2) would drop the page cache next, and nobody would know what was stored by then.
        let maps = matches!(by, Some((MayDrop::Map | MayDrop::MapToRead, _)));
        let may_be_new = !maps && !known.is_renewed;
        if all && may_be_new && attributes::renew_if_proved(worker, file, by.is_none()) {
            if !known.marks_stay {
                pagemap::unmark_absent(worker, file, &everything);
            }
            eviction_probe::revive(worker, file, &everything);
        }
    };
    let _ = helper::run_if_there(process::this(), |worker| {
        follow(worker);
        replant(worker, file);
    });
}

/// Whether the eviction probes of `file` tell of a drop; nothing where it has none. A call that takes out `range` takes
/// those in it, which says nothing of the rest, unless it drops `all` of the page cache.
fn are_any_dead(
    worker: &helper::Worker,
    file: &File,
    range: &Range<u64>,
    all: bool,
) -> Option<bool> {
    let taken = match all {
        true => 0..0,
        false => sys::page_down(range.start)..range.end,
    };
    let others = eviction_probe::are_any_dead(worker, file, &taken, all);
    let is_all_taken = || {
        let size = super::size(worker, file);
        let table = mappings::lock();
        let mut taken_all = true;
        table.for_each_of(file, 0, |entry| {
            let end = size.min(entry.offset + entry.len() as u64);
            taken_all = !entry.writable
                || end <= entry.offset
                || taken.start <= entry.offset && end <= taken.end;
            taken_all
        });
        taken_all
    };
    others.or_else(|| {
        let any = eviction_probe::are_any_dead(worker, file, &(0..0), all)?;
        Some(any && (all || !is_all_taken()))
    })
}

/// The program is about to take the bytes `range` out of the inode, or to put others in their place, past its mappings:
/// other threads may store to the rest of it, and the eviction probes are to tell of that. With all signals blocked.
pub fn make_way((dev, ino): Inode, range: &Range<u64>) {
    if !range.is_empty() && !sys::thread::is_single() {
        eviction_probe::make_way(dev, ino, sys::page_down(range.start)..range.end);
    }
}

/// Adds what may have been stored to, and what the filesystem does not hold as the `pinned` pages held it last. The `gone` pages
/// were stored to, and have no marks any more.
fn find_lost(
    worker: &helper::Worker,
    file: &File,
    pinned: &Pinned,
    gone: &super::Ranges,
    into: &mut super::Ranges,
) -> Result<(), Errno> {
    let mut lost = super::Ranges::new();
    pinned.find_lost(worker, file, &mut lost)?;
    if !super::are_stores_seen(worker, file) {
        into.add_all(lost.iter());
    } else if !lost.is_empty() {
        let mut stored = super::Ranges::new();
        stored.add_all(gone.iter());
        let query = super::Query::of(worker, file, mappings::handle_of(file));
        pagemap::stored_since(&query, &mut stored)?;
        into.add_all(stored.common(&lost));
    }
    Ok(())
}

/// A file that was empty when it was mapped, or has become so, has no eviction probe.
fn replant(worker: &helper::Worker, file: &File) {
    let enforced = config::settings().enforce == Enforce::Full;
    if enforced && super::is_verified(file.traits.local_block) {
        match sys::thread::is_single() {
            true => super::ensure_probe(worker, file),
            // Another thread may have stored to what the file has grown by.
            false => eviction_probe::ensure(worker, file),
        }
    }
}
