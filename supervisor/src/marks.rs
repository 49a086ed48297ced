//! Which pages a process has stored to, exactly: a userfaultfd made in it, by which the supervisor has the kernel mark
//! stores (`WP_ASYNC`), and scans of its page tables (`PAGEMAP_SCAN`, Linux 6.7), which work across processes.

use crate::image::{Image, Userfaultfd, lock};
use crate::maps::{self, Area};
use keepmydata_promise::LARGEST;
use keepmydata_ranges::Ranges;
use keepmydata_sys::userfaultfd::{self, Find, Region};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::ops::Range;

/// Ranges that are looked at one by one.
const FEW: usize = 32;
/// Behind the end of the file, bytes.
pub const BEYOND: usize = 4 << 20;

/// Adds what of `area` was stored to since the last scan, and takes the marks away.
///
/// Errors: `EPERM` where its stores are not tracked, `ENOTTY` before Linux 6.7.
pub fn take(image: &Image, area: &Area, into: &mut Ranges) -> Result<(), Errno> {
    let all = area.start..area.end;
    each_run(image, all, Find::WrittenAndProtect, |run| {
        add(into, area, run)
    })
}

/// Adds what of `area`, whose stores are tracked, was stored to since the last scan, and leaves the marks; all of it where
/// that cannot be told.
pub fn look(image: &Image, area: &Area, into: &mut Ranges) {
    let all = area.start..area.end;
    if each_run(image, all, Find::Written, |run| add(into, area, run)).is_err() {
        into.add(area.offset, area.end_offset());
    }
}

/// Whether `area`, whose stores are tracked, was stored to since the last scan; yes where that cannot be told.
pub fn is_written(image: &Image, area: &Area) -> bool {
    let mut written = false;
    let scanned = each_run(image, area.start..area.end, Find::Written, |_| {
        written = true
    });
    written || scanned.is_err()
}

/// Adds those of the pages in `ranges` that no mapping of the image has a page table entry of. `areas` are its mappings of
/// the file. What is unmapped by now has no entries either, and that says nothing.
pub fn add_absent(
    image: &Image,
    areas: &[Area],
    ranges: &Ranges,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let mut areas = areas.to_vec();
    loop {
        let mut found = Ranges::new();
        find_in(image, &areas, ranges, Find::Absent, |start, end| {
            found.add(start, end)
        })?;
        if found.is_empty() {
            return Ok(());
        }
        find_in(image, &areas, ranges, Find::Present, |start, end| {
            found.remove(start, end)
        })?;
        let now = image.maps.shared().unwrap_or_default();
        let before = areas.len();
        areas.retain(|area| now.iter().any(|now| now.has(area)));
        if found.is_empty() || areas.len() == before {
            into.add_all(found.iter());
            return Ok(());
        }
    }
}

/// Adds those of the pages in `ranges` that a mapping of the image has a page table entry of.
pub fn add_present(
    image: &Image,
    areas: &[Area],
    ranges: &Ranges,
    into: &mut Ranges,
) -> Result<(), Errno> {
    let add = |start, end| into.add(start, end);
    find_in(image, areas, ranges, Find::Present, add)
}

fn find_in(
    image: &Image,
    areas: &[Area],
    ranges: &Ranges,
    find: Find,
    mut each: impl FnMut(u64, u64),
) -> Result<(), Errno> {
    for area in areas {
        let all = || ranges.within(area.offset, area.end_offset());
        if let (Some(first), Some(last)) = (all().next(), all().nth(FEW).and(all().last())) {
            // At once, and looked for in what is found.
            let hull = area.at(first.offset)..area.at(last.end());
            each_run(image, hull, find, |run| {
                let (start, end) = of_file(area, run);
                let found = ranges.within(start, end);
                found.for_each(|range| each(range.offset, range.end()));
            })?;
            continue;
        }
        for range in all() {
            let at = area.at(range.offset);
            each_run(image, at..at + range.length as usize, find, |run| {
                let (start, end) = of_file(area, run);
                each(start, end);
            })?;
        }
    }
    Ok(())
}

fn add(into: &mut Ranges, area: &Area, run: &Region) {
    let (start, end) = of_file(area, run);
    into.add(start, end);
}

fn of_file(area: &Area, run: &Region) -> (u64, u64) {
    let start = area.start as u64;
    (
        area.offset + (run.start - start),
        area.offset + (run.end - start),
    )
}

fn each_run(
    image: &Image,
    addresses: Range<usize>,
    find: Find,
    each: impl FnMut(&Region),
) -> Result<(), Errno> {
    let addresses = addresses.start as u64..addresses.end as u64;
    userfaultfd::each_run(image.pagemap(), addresses, find, each)
}

/// The part of `area` that is inside a file of `size` bytes.
pub fn inside(area: &Area, size: u64) -> Area {
    let len = keepmydata_sys::page_up(size).saturating_sub(area.offset);
    let end = area.end.min(area.start.saturating_add(len as usize));
    Area {
        end,
        ..area.clone()
    }
}

/// How far stores to `area`, a mapping of a file of `size` bytes, are tracked: some way behind the end of the file, so that what
/// is stored there once the file is longer is known.
pub fn reach(area: &Area, size: u64) -> usize {
    area.end.min(inside(area, size).end.saturating_add(BEYOND))
}

/// Has stores to `area`, a mapping of a file of `size` bytes, tracked from here on, and says how far. Of what is locked in
/// memory they are not: there a store to a page that is write-protected, and has left the page cache, does not return
/// (src/dirty/pagemap.rs). Whoever unmaps that waits for us all the same.
pub fn register(image: &Image, area: &Area, size: u64) -> Option<usize> {
    let made = lock(&image.userfaultfd);
    let Userfaultfd::Made(fd) = &*made else {
        return None;
    };
    let end = reach(area, size);
    let protected = end - area.start;
    let len = area.end - area.start;
    if is_locked(image, area) {
        let _ = userfaultfd::register(fd.as_fd(), area.start, len, 0);
        return None;
    }
    // Whoever unmaps or moves it waits for us from here on, also where its stores cannot be tracked.
    let is_registered = userfaultfd::register(fd.as_fd(), area.start, len, 0).is_ok();
    let part = Area {
        end,
        ..area.clone()
    };
    (protected as u64 <= LARGEST && is_registered && begin(image, fd.as_fd(), &part)).then_some(end)
}

/// Has stores to `part` of a mapping that is registered tracked, too.
pub fn protect(image: &Image, part: &Area) -> bool {
    let made = lock(&image.userfaultfd);
    match &*made {
        Userfaultfd::Made(fd) => !is_locked(image, part) && begin(image, fd.as_fd(), part),
        _ => false,
    }
}

/// Protects what is registered. The kernel does not while a thread waits for us that unmaps or moves something
/// (`mmap_changing` in fs/userfaultfd.c), but where that is a part of a scan.
fn begin(image: &Image, fd: BorrowedFd<'_>, part: &Area) -> bool {
    match userfaultfd::protect(fd, part.start, part.end - part.start) {
        Err(Errno::AGAIN) => take(image, part, &mut Ranges::new()).is_ok(),
        done => done.is_ok(),
    }
}

/// The image is about to lock `addresses` in memory; nothing is all, from here on.
pub fn note_locked(image: &Image, addresses: Option<Range<u64>>) {
    let mut locked = lock(&image.locked);
    match addresses {
        Some(range) => locked.ranges.add(range.start, range.end),
        None => locked.all = true,
    }
}

/// Whether a part of `area` is locked in memory, or may be.
pub fn is_locked(image: &Image, area: &Area) -> bool {
    let locked = lock(&image.locked);
    if locked.all {
        return true;
    }
    let (start, end) = (area.start as u64, area.end as u64);
    let is_named = locked.ranges.within(start, end).next().is_some();
    // What mremap(2) has moved has another address now.
    is_named || !locked.ranges.is_empty() && maps::is_locked(image.pid, area)
}

/// The mapping is a new one: what was locked at its addresses is gone.
pub fn note_new(image: &Image, area: &Area) {
    lock(&image.locked)
        .ranges
        .remove(area.start as u64, area.end as u64);
}

/// Has stores to `part`, which is tracked, leave no marks from here on; adds what was stored to until then.
pub fn unprotect(image: &Image, part: &Area, into: &mut Ranges) {
    if take(image, part, into).is_err() {
        into.add(part.offset, part.end_offset());
    }
    // Not unprotected: that fails while a thread that unmaps waits for us (`mmap_changing` in fs/userfaultfd.c).
    with(image, |fd| {
        let len = part.end - part.start;
        userfaultfd::unregister(fd, part.start, len);
        let _ = userfaultfd::register(fd, part.start, len, 0);
    });
}

/// Whether stores of the image could be tracked, once its userfaultfd is made.
pub fn may_be_had(image: &Image) -> bool {
    !matches!(*lock(&image.userfaultfd), Userfaultfd::Refused(_))
}

/// Whether they are.
pub fn are_had(image: &Image) -> bool {
    matches!(*lock(&image.userfaultfd), Userfaultfd::Made(_))
}

/// Notes that it cannot be made.
pub fn refuse(image: &Image, why: &'static str) {
    *lock(&image.userfaultfd) = Userfaultfd::Refused(why);
}

/// Makes it, where there is none, by `make`, which has a thread of the image's at a stop; `watch` is then to have
/// [`userfaultfd::read_event`] called when it is readable.
pub fn ensure(
    image: &Image,
    make: impl FnOnce() -> Result<OwnedFd, &'static str>,
    watch: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
) {
    let mut made = lock(&image.userfaultfd);
    if let Userfaultfd::None = *made {
        let enable = |fd: OwnedFd| {
            let enabled = userfaultfd::enable_with_events(fd.as_fd());
            let watched = enabled.and_then(|()| watch(fd.as_fd()));
            watched.map_err(|_| "the kernel has no WP_ASYNC")?;
            Ok(fd)
        };
        *made = match make().and_then(enable) {
            Ok(fd) => Userfaultfd::Made(fd),
            Err(why) => Userfaultfd::Refused(why),
        };
    }
}

/// Runs `run` with its descriptor, if there is one.
pub fn with(image: &Image, run: impl FnOnce(BorrowedFd<'_>)) {
    if let Userfaultfd::Made(fd) = &*lock(&image.userfaultfd) {
        run(fd.as_fd());
    }
}
