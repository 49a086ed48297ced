//! Reads of tracked files: a record at trace, and `KEEPMYDATA_READ=fresh`; and reads into tracked mappings.
//!
//! A read gets here only when something is watched. One statx(2), which asks no server, tells which file it is, and a filter
//! without a lock passes on all that were never tracked.

use crate::dirty::eviction_probe;
use crate::log::{self, FileName, Timer};
use crate::mappings::{
    self,
    file::{File, Key},
};
use crate::sys;
use crate::sys::fd::fadvise;
use crate::{config, process};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use keepmydata_records::{Level, Read, event};
use libc::{c_int, iovec, off_t};
use rustix::fs::Advice;

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether any read must be looked at. Any context, before boot too.
#[inline]
pub fn watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// No read is looked at any more.
pub fn unwatch() {
    WATCHED.store(false, Ordering::Relaxed);
}

/// Into what memory a read goes.
#[derive(Clone, Copy)]
enum Buffer {
    /// At this address, so many bytes.
    One(usize, usize),
    /// An array of vectors, and their number.
    Vectors(*const iovec, c_int),
}

impl Buffer {
    /// Tells `each` of the address and the length of each part, until it returns false. The array may be anywhere: what the
    /// real call answers with EFAULT must not crash here, and counts as nothing.
    fn for_each(self, mut each: impl FnMut(usize, usize) -> bool) {
        let (iov, count) = match self {
            Buffer::One(at, len) => {
                each(at, len);
                return;
            }
            Buffer::Vectors(iov, count) => (iov, count),
        };
        for i in 0..count.clamp(0, 1024) as usize {
            // `struct iovec`: address and length.
            let mut vector = [0; size_of::<iovec>()];
            let from = (iov as usize).wrapping_add(i * vector.len());
            if sys::vm::read_own_memory(from, &mut vector) != Ok(vector.len()) {
                break;
            }
            let number = |bytes: Option<&[u8; size_of::<usize>()]>| {
                bytes.copied().map_or(0, usize::from_ne_bytes)
            };
            if !each(number(vector.first_chunk()), number(vector.last_chunk())) {
                break;
            }
        }
    }

    /// How much that is, in bytes.
    fn len(self) -> usize {
        let mut sum = 0usize;
        self.for_each(|_, len| {
            sum = sum.saturating_add(len);
            true
        });
        sum
    }
}

/// What a read asks for.
#[derive(Clone, Copy)]
pub struct Range {
    /// Where, or the descriptor's position.
    offset: Option<u64>,
    buffer: Buffer,
    /// Only what is cached (`RWF_NOWAIT`): what is dropped would never come.
    cached_only: bool,
}

impl Range {
    /// `len` bytes at the descriptor's position, into the memory at `buffer`.
    pub fn at_position(buffer: *mut c_void, len: usize) -> Range {
        Range {
            offset: None,
            buffer: Buffer::One(buffer as usize, len),
            cached_only: false,
        }
    }

    /// An `offset` of -1 is the position (preadv2(2)).
    pub fn at(offset: off_t, buffer: *mut c_void, len: usize) -> Range {
        Range {
            offset: u64::try_from(offset).ok(),
            ..Range::at_position(buffer, len)
        }
    }

    /// The same for an array of vectors, which is looked at only if the file is of interest.
    pub fn vectors(iov: *const iovec, count: c_int, offset: off_t) -> Range {
        Range {
            buffer: Buffer::Vectors(iov, count),
            ..Range::at(offset, null_mut(), 0)
        }
    }

    /// With the flags of preadv2(2).
    pub fn with_flags(self, flags: c_int) -> Range {
        Range {
            cached_only: flags & libc::RWF_NOWAIT != 0,
            ..self
        }
    }

    /// Tells `each` of the addresses of tracked mappings to which a read of `result` bytes has stored.
    #[cold]
    pub fn for_each_stored(self, result: isize, mut each: impl FnMut(usize, usize)) {
        let mut left = usize::try_from(result).unwrap_or(0);
        self.buffer.for_each(|start, len| {
            let len = len.min(left);
            if len > 0 && mappings::overlaps(start, len) {
                each(start, start.saturating_add(len));
            }
            left -= len;
            left > 0
        });
    }
}

/// A read that was looked at. What is public can be looked at where the thread may be cancelled at any
/// instruction: a method, or one of `Option`, may be a frame that cannot be unwound through.
#[derive(Clone, Copy)]
pub struct Seen {
    inode: (u64, u64),
    /// Whether something must not be found by it: [`refresh`] comes first.
    pub stale: bool,
    /// Whether [`after`] has anything to do.
    pub recorded: bool,
    timer: Timer,
}

/// Before the real read.
#[cold]
pub fn before(fd: c_int, range: Range) -> Seen {
    let fresh = config::settings().read == Read::Fresh && !range.cached_only;
    let traced = log::enabled(Level::Trace);
    let identified = match fresh || traced {
        true => identify(fd),
        false => None,
    };
    let (tracked, inode) = match identified {
        Some(inode) => (true, inode),
        None => (false, (0, 0)),
    };
    let recorded = tracked && traced;
    Seen {
        inode,
        stale: tracked && fresh && is_fresh(inode.0, inode.1),
        recorded,
        timer: Timer::when(recorded),
    }
}

/// Drops what a fresh read must not find. With all signals blocked.
#[cold]
pub fn refresh(fd: c_int, range: Range, seen: Seen) {
    let Some(offset) = range.offset.or_else(|| sys::fd::position(fd)) else {
        return;
    };
    // The kernel leaves pages that are only partly in the range.
    let start = sys::page_down(offset);
    let end = sys::page_up(offset.saturating_add(range.buffer.len() as u64));
    if start == end {
        return;
    }
    match asked::is(fd, seen.inode, start..end) {
        asked::Answer::Already => {}
        asked::Answer::Never => drop_range(fd, seen.inode, start..end),
        asked::Answer::NotSince(slot, times) => {
            drop_range(fd, seen.inode, start..end);
            asked::note(slot, times, start..end);
        }
    }
}

/// After the real read: the record, if one is wanted.
#[cold]
pub fn after(call: &str, fd: c_int, range: Range, result: isize, seen: Seen) {
    let offset = range.offset.or_else(|| {
        let moved = u64::try_from(result).unwrap_or(0);
        sys::fd::position(fd)?.checked_sub(moved)
    });
    let len = range.buffer.len();
    record(call, fd, seen.inode, offset, len, result, seen.timer);
}

/// A read of a tracked file: `offset` is where it began, if that is known.
#[cold]
fn record(
    call: &str,
    fd: c_int,
    (dev, ino): (u64, u64),
    offset: Option<u64>,
    len: usize,
    result: isize,
    timer: Timer,
) {
    let errno = (result < 0).then(log::errno_now);
    let name = name_of_inode(dev, ino);
    let mut record = log::record(process::this(), Level::Trace, sys::gettid(), event::READ);
    timer.stamp(&mut record);
    match &name {
        Some(name) => name.fill(&mut record),
        // Mapped once, and no more.
        None => {
            record.dev = Some(log::device(dev));
            record.ino = Some(ino);
        }
    }
    record.fd = Some(fd);
    record.offset = offset;
    record.length = Some(len as u64);
    record.result = Some(result as i64);
    record.errno = errno;
    record.message = call.into();
    log::emit_from_program(&record);
}

/// The name of a tracked file by what stat(2) tells, for a descriptor of whichever of its inodes; nothing if it
/// is tracked no more.
fn name_of_inode(dev: u64, ino: u64) -> Option<FileName> {
    let file = mappings::lock().of_inode(dev, ino).last().map(File::hold);
    file.map(|file| FileName::of(&file))
}

/// (device, inode) of a regular file; one statx(2) that asks no server. Nothing for a file that was never tracked.
fn identify(fd: c_int) -> Option<(u64, u64)> {
    let (dev, ino) = sys::fd::inode(fd)?;
    mappings::may_know(dev, ino).then_some((dev, ino))
}

/// Drops the clean pages of `range` from the page cache of the reading descriptor's inode, which
/// may be another inode than the mapped one. Dirty and mapped pages stay (posix_fadvise(2)).
fn drop_range(fd: c_int, inode: (u64, u64), range: core::ops::Range<u64>) {
    let drop = |range: core::ops::Range<u64>| {
        let len = core::num::NonZeroU64::new(range.end - range.start);
        sys::fd::of_program(fd, |fd| fadvise(fd, range.start, len, Advice::DontNeed));
    };
    eviction_probe::make_way(inode.0, inode.1, range.clone());
    drop(range.clone());
    eviction_probe::leave_last(inode.0, inode.1, &range, drop);
}

/// Files of which it is remembered that they were verified.
const FILES: usize = 64;

/// Recently verified files, by (device, inode); the oldest gives way.
struct FreshFiles {
    files: [(AtomicU64, AtomicU64); FILES],
    next: AtomicUsize,
}

static FRESH: FreshFiles = FreshFiles {
    files: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; FILES],
    next: AtomicUsize::new(0),
};

fn is_fresh(dev: u64, ino: u64) -> bool {
    slot_of(dev, ino).is_some()
}

fn slot_of(dev: u64, ino: u64) -> Option<usize> {
    FRESH.files.iter().position(|(d, i)| {
        i.load(Ordering::Acquire) == ino && d.load(Ordering::Relaxed) == dev && ino != 0
    })
}

/// The last sync of the file was verified, or failed: only in the first case may its cached pages
/// be dropped before a read. Wants the table lock.
pub fn set_fresh(key: &Key, verified: bool) {
    let slot = match (slot_of(key.dev, key.ino), verified) {
        (Some(slot), false) => {
            FRESH.files[slot].1.store(0, Ordering::Release);
            slot
        }
        (None, true) => {
            let slot = FRESH.next.fetch_add(1, Ordering::Relaxed) % FILES;
            let (dev, ino) = &FRESH.files[slot];
            ino.store(0, Ordering::Release);
            dev.store(key.dev, Ordering::Relaxed);
            ino.store(key.ino, Ordering::Release);
            if config::settings().read == Read::Fresh {
                WATCHED.store(true, Ordering::Relaxed);
            }
            slot
        }
        (Some(slot), true) => slot,
        (None, false) => return,
    };
    asked::forget(slot, key);
}

/// What the filesystem was asked for by reads since a file was last verified: once is enough, as it is natively for what
/// is cached.
mod asked {
    use super::{FILES, slot_of};
    use crate::mappings::{self, file::Key};
    use crate::process;
    use crate::sys;
    use core::cell::UnsafeCell;
    use core::ops::Range;
    use keepmydata_ranges::FewRanges;
    use libc::c_int;

    /// Of one file.
    struct Asked {
        /// The kernel's handle of the inode that was verified; 0 where it has no other. A read through another one is served
        /// from another page cache.
        handle: u64,
        /// Whether anybody can tell which inode a descriptor is of.
        is_known: bool,
        /// The process whose this is, by its birth: a fork child knows nothing.
        birth: u32,
        /// How often it was verified.
        times: u32,
        pages: FewRanges,
    }

    /// By the places of [`super::FRESH`].
    struct All(UnsafeCell<[Asked; FILES]>);

    // SAFETY: used under the table lock.
    unsafe impl Sync for All {}

    static ALL: All = All(UnsafeCell::new(
        [const {
            Asked {
                handle: 0,
                is_known: false,
                birth: 0,
                times: 0,
                pages: FewRanges::new(),
            }
        }; FILES],
    ));

    /// Separate ranges that are remembered, at the most.
    const MOST: usize = 4096;

    pub enum Answer {
        Already,
        /// In this place, which was verified so often.
        NotSince(usize, u32),
        /// Nobody can tell.
        Never,
    }

    /// # Safety
    /// The table lock is held until what is returned is used no more.
    #[allow(clippy::mut_from_ref, reason = "under the lock there is one")]
    unsafe fn at(slot: usize) -> &'static mut Asked {
        // SAFETY: by contract; nobody else has a reference.
        let asked = unsafe { &mut (&mut *ALL.0.get())[slot] };
        let birth = process::this().birth();
        if asked.birth != birth {
            // The parent may have been about to change it.
            core::mem::forget(core::mem::take(&mut asked.pages));
            (asked.birth, asked.is_known) = (birth, false);
        }
        asked
    }

    /// Whether the filesystem was asked for all of `range` since the inode was verified that `fd` is open on.
    pub fn is(fd: c_int, (dev, ino): (u64, u64), range: Range<u64>) -> Answer {
        let _lock = mappings::lock_blocked();
        let Some(slot) = slot_of(dev, ino) else {
            return Answer::Never;
        };
        // SAFETY: under the lock.
        let asked = unsafe { at(slot) };
        if !asked.is_known || asked.handle != 0 && sys::fd::inode_handle(fd) != asked.handle {
            Answer::Never
        } else if asked.pages.covers(range.start, range.end) {
            Answer::Already
        } else {
            Answer::NotSince(slot, asked.times)
        }
    }

    /// It is asked for `range` now; unless the file was verified again meanwhile.
    pub fn note(slot: usize, times: u32, range: Range<u64>) {
        let _lock = mappings::lock_blocked();
        // SAFETY: under the lock.
        let asked = unsafe { at(slot) };
        if asked.times == times && asked.is_known {
            if asked.pages.as_slice().len() >= MOST {
                asked.pages.clear();
            }
            asked.pages.add(range.start, range.end);
        }
    }

    /// The file of `key` was verified, or that has failed. Wants the table lock.
    pub fn forget(slot: usize, key: &Key) {
        // SAFETY: under the lock.
        let asked = unsafe { at(slot) };
        asked.times = asked.times.wrapping_add(1);
        asked.handle = key.handle;
        // Without a handle only what is on a device is known to be one inode.
        asked.is_known = key.handle != 0 || key.born != 0;
        asked.pages.clear();
    }
}

/// A file is tracked now: at trace, and where what is stored to it is owed, reads are of interest.
pub fn watch(is_owed: bool) {
    if process::is_open() && (is_owed || log::enabled(Level::Trace)) {
        WATCHED.store(true, Ordering::Relaxed);
    }
}
