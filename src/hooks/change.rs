//! Calls that change a file past its mappings, or may drop its page cache: open and creat, writes past the page cache,
//! copy_file_range. See [`before`] and [`removal`].

use super::prctl;
use crate::config;
use crate::dirty::eviction_probe;
use crate::dirty::removal::{self, Inode};
use crate::enforce::before::{self, Dropping};
use crate::enforce::told;
use crate::mappings::file::{MayDrop, may_writes_drop};
use crate::{next_fn, sys};
use core::ffi::c_void;
use core::ops::Range;
use libc::{c_char, c_int, c_uint, iovec, mode_t, off_t, size_t, ssize_t};
use rustix::io::Errno;

/// The file that `fd` is open on is about to be changed in `range`. Any context.
#[cold]
#[inline(never)]
pub fn before_fd(fd: c_int, range: Range<u64>) {
    let state = next_fn::enter();
    if let Some(inode) = removal::tracked_fd(fd) {
        before::changing(inode);
        removal::make_way(inode, &range);
        removal::changing(inode, range);
    }
    next_fn::leave(state);
}

/// What a call is about to do to a file.
pub struct Change {
    call: MayDrop,
    /// What it takes out.
    range: Range<u64>,
}

impl Change {
    /// What an open with `flags` does.
    pub fn opened_with(flags: c_int) -> Change {
        let range = truncated_by(flags);
        let reads = flags & libc::O_ACCMODE == libc::O_RDONLY;
        let call = match range.is_empty() {
            false => MayDrop::Truncate,
            true if reads => MayDrop::OpenToRead,
            true => MayDrop::Open,
        };
        Change { call, range }
    }

    /// What a truncation does that takes `range` out.
    pub fn truncated(range: Range<u64>) -> Change {
        let call = MayDrop::Truncate;
        Change { call, range }
    }
}

/// A call that may drop the page cache of a tracked file: from before it to after it.
pub struct Call {
    state: next_fn::Entered,
    dropping: Dropping,
}

impl Call {
    /// For the file at `path`, seen from `dir`; nothing where it is not tracked. All signals are blocked, and
    /// cancellation is put off, until [`Call::end`].
    #[cold]
    #[inline(never)]
    pub fn at_path(dir: c_int, path: *const c_char, what: Change) -> Option<Call> {
        Call::of(|| removal::tracked_path(dir, path), what)
    }

    /// The same for what `fd` is open on.
    #[cold]
    #[inline(never)]
    pub fn at_fd(fd: c_int, what: Change) -> Option<Call> {
        Call::of(|| removal::tracked_fd(fd), what)
    }

    fn of(inode: impl FnOnce() -> Option<Inode>, what: Change) -> Option<Call> {
        let state = next_fn::enter();
        let drops = |&inode: &Inode| !what.range.is_empty() || !removal::keeps_what_stays(inode);
        match inode().filter(drops) {
            Some(inode) => {
                let dropping = Dropping::begin(inode, what.call);
                removal::changing(inode, what.range);
                Some(Call { state, dropping })
            }
            None => {
                next_fn::leave(state);
                None
            }
        }
    }

    /// The call has changed `range`, and the rest of the page cache may be gone; nothing where it failed.
    #[cold]
    #[inline(never)]
    pub fn end(self, range: Option<Range<u64>>) {
        self.dropping.end(range);
        next_fn::leave(self.state);
    }
}

/// `range` of the inode was changed, and the rest of its page cache may be gone.
#[cold]
#[inline(never)]
fn after(inode: Inode, range: Range<u64>) {
    let state = next_fn::enter();
    removal::changed(inode, range);
    next_fn::leave(state);
}

/// All of what `fd` is open on may have been changed.
pub fn changed_fd(fd: c_int) {
    let state = next_fn::enter();
    let inode = removal::tracked_fd(fd);
    next_fn::leave(state);
    if let Some(inode) = inode {
        after(inode, 0..u64::MAX);
    }
}

/// After an open with `flags` of a tracked file: with O_TRUNC nothing of it is left, else only the page cache may
/// be gone.
pub fn opened(call: Option<Call>, flags: c_int, result: c_int) {
    match call {
        Some(call) => call.end((result >= 0).then(|| truncated_by(flags))),
        // There was no file of that name, or none that is tracked.
        None if creates(flags) && result >= 0 && removal::is_remembered() => created(result),
        None => {}
    }
}

fn creates(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

/// The program has made what `fd` is open on.
#[cold]
#[inline(never)]
fn created(fd: c_int) {
    let state = next_fn::enter();
    let errno = next_fn::errno();
    removal::created(fd);
    next_fn::set_errno(errno);
    next_fn::leave(state);
}

/// What an open with `flags` takes out.
fn truncated_by(flags: c_int) -> Range<u64> {
    match flags & libc::O_TRUNC != 0 {
        true => 0..u64::MAX,
        false => 0..0,
    }
}

/// The C prototypes take the mode as a variable argument, which every ABI that Linux has passes as the one after
/// the flags; without O_CREAT and O_TMPFILE it is never looked at.
macro_rules! opens {
    ($(fn $name:ident($($arg:ident: $type:ty),*) at $dir:expr, $path:expr, flags $flags:expr;)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name($($arg: $type),*) -> c_int, real => {
                if !before::is_needed() {
                    return real();
                }
                let call = Call::at_path($dir, $path, Change::opened_with($flags));
                let result = real();
                opened(call, $flags, result);
                result
            }
        }
    )*};
}

pub const CREAT: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;

opens! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) at libc::AT_FDCWD, path, flags flags;
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) at libc::AT_FDCWD, path, flags flags;
    fn __open(path: *const c_char, flags: c_int, mode: mode_t) at libc::AT_FDCWD, path, flags flags;
    fn __open64(path: *const c_char, flags: c_int, mode: mode_t) at libc::AT_FDCWD, path, flags flags;
    fn __open_2(path: *const c_char, flags: c_int) at libc::AT_FDCWD, path, flags flags;
    fn __open64_2(path: *const c_char, flags: c_int) at libc::AT_FDCWD, path, flags flags;
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) at dir, path, flags flags;
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) at dir, path, flags flags;
    fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) at dir, path, flags flags;
    fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) at dir, path, flags flags;
    fn creat(path: *const c_char, mode: mode_t) at libc::AT_FDCWD, path, flags CREAT;
    fn creat64(path: *const c_char, mode: mode_t) at libc::AT_FDCWD, path, flags CREAT;
}

/// Where a write puts its data.
#[derive(Clone, Copy)]
struct At {
    fd: c_int,
    /// Where that is -1, at the descriptor's position.
    offset: off_t,
    /// Whatever the offset says, at the end of the file (O_APPEND, RWF_APPEND): how long that was before, if it is known.
    end: Option<Option<u64>>,
}

impl At {
    /// By a call with `flags` (`RWF_*`), to a descriptor with the flags `set`.
    fn new(fd: c_int, offset: off_t, flags: c_int, set: Option<c_int>) -> At {
        let is_set = set.is_none_or(|set| set & libc::O_APPEND != 0);
        let appends = match flags & libc::RWF_NOAPPEND {
            0 => is_set || flags & libc::RWF_APPEND != 0,
            _ => false,
        };
        let size = || if offset < 0 { None } else { size(fd) };
        let end = appends.then(size);
        At { fd, offset, end }
    }

    /// Where `len` bytes go that are about to be written.
    fn target(self, len: usize) -> Range<u64> {
        let start = match u64::try_from(self.offset) {
            // Others may write to the end at the same time.
            _ if self.end.is_some() => None,
            Ok(start) => Some(start),
            Err(_) => sys::fd::position(self.fd),
        };
        start.map_or(0..u64::MAX, |start| start..start.saturating_add(len as u64))
    }

    /// Where `len` bytes were written, if that is known.
    fn written(self, len: u64) -> Option<Range<u64>> {
        let start = match (u64::try_from(self.offset), self.end) {
            // The position is where what was appended ends, too.
            (Err(_), _) => sys::fd::position(self.fd)?.checked_sub(len)?,
            (Ok(start), None) => start,
            (Ok(_), Some(end)) => end.filter(|&end| size(self.fd) == end.checked_add(len))?,
        };
        Some(start..start.saturating_add(len))
    }
}

fn size(fd: c_int) -> Option<u64> {
    sys::fd::of_program(fd, sys::fd::size)?.ok()
}

/// The program is about to write `len` bytes to what `fd` is open on.
#[cold]
#[inline(never)]
fn note_write(at: At, len: usize) {
    let state = next_fn::enter();
    if let Some(inode) = removal::tracked_fd(at.fd) {
        removal::changing(inode, at.target(len));
    }
    next_fn::leave(state);
}

/// `real` writes `len` bytes to what a descriptor is open on, at an offset, or, where that is -1, at the descriptor's position,
/// with flags (`RWF_*`). Apart, so that where nothing is verified a write needs no frame.
#[cold]
#[inline(never)]
fn writing(
    (fd, offset, flags): (c_int, off_t, c_int),
    len: usize,
    real: impl FnOnce() -> ssize_t,
) -> ssize_t {
    if prctl::is_strict() {
        return real();
    }
    let set = sys::fd::flags(fd);
    let direct = set.is_some_and(|set| set & libc::O_DIRECT != 0);
    let may_drop = !direct && may_writes_drop();
    let is_shown = !direct && config::has_other_client();
    let at = (direct || may_drop || is_shown || removal::is_awaited())
        .then(|| At::new(fd, offset, flags, set));
    if let Some(at) = at.filter(|_| direct) {
        before_fd(fd, at.target(len));
    }
    let writing = at.filter(|_| may_drop).and_then(|at| before_write(at, len));
    // After that: what is proved there counts as unchanged from then on.
    if let Some(at) = at.filter(|_| removal::is_awaited()) {
        note_write(at, len);
    }
    let result = real();
    if let Some(at) = at.filter(|_| direct) {
        wrote(at, result);
    }
    if let (Some((inode, marks_stay)), Some(at)) = (writing, at) {
        after_write(inode, marks_stay, at, result);
    }
    if let Some(at) = at.filter(|_| is_shown && result > 0) {
        note_written(at, result);
    }
    if eviction_probe::are_missing() && result > 0 {
        grew(fd);
    }
    result
}

/// `real` writes to what `fd` is open on, which nobody verifies: with `O_SYNC`, `O_DSYNC` or such `flags` of its own it also tells
/// what a sync would have been told.
#[cold]
#[inline(never)]
fn syncing(fd: c_int, flags: c_int, real: impl FnOnce() -> ssize_t) -> ssize_t {
    let result = real();
    let errno = next_fn::errno();
    if result < 0 && !is_refusal(Errno::from_raw_os_error(errno), flags) && !prctl::is_strict() {
        let state = next_fn::enter();
        let syncs = flags & (libc::RWF_SYNC | libc::RWF_DSYNC) != 0
            || sys::fd::flags(fd).is_some_and(|flags| flags & libc::O_DSYNC != 0);
        if syncs {
            told::sync_failed(fd);
        }
        next_fn::leave(state);
        next_fn::set_errno(errno);
    }
    result
}

/// Whether the kernel refuses a write like that for its arguments, or for what it would have to wait for: nothing is synced then.
fn is_refusal(errno: Errno, flags: c_int) -> bool {
    match errno {
        Errno::AGAIN => flags & libc::RWF_NOWAIT != 0,
        Errno::BADF | Errno::FAULT | Errno::FBIG | Errno::OPNOTSUPP | Errno::SPIPE => true,
        _ => !sys::vm::is_failure(errno),
    }
}

macro_rules! writes {
    ($(fn $name:ident($fd:ident $(, $arg:ident: $type:ty)*) at $offset:expr, $len:expr $(, syncs $flags:expr)?;)*) => {$(
        hook! {
            #[doc = concat!("Hook for `", stringify!($name), "`.")]
            fn $name($fd: c_int $(, $arg: $type)*) -> ssize_t, real => {
                if before::is_needed() {
                    writing(($fd, $offset, 0 $(| $flags)?), $len, real)
                } else if told::is_needed() {
                    syncing($fd, 0 $(| $flags)?, real)
                } else {
                    real()
                }
            }
        }
    )*};
}

/// `result` bytes were written. What may be anywhere has replaced nothing for certain.
#[cold]
#[inline(never)]
fn wrote(at: At, result: ssize_t) {
    let Ok(len) = u64::try_from(result) else {
        return;
    };
    let state = next_fn::enter();
    if let Some(inode) = removal::tracked_fd(at.fd) {
        removal::changed(inode, at.written(len).unwrap_or(0..0));
    }
    next_fn::leave(state);
}

/// The other client must be shown what was written through the page cache, too.
#[cold]
#[inline(never)]
fn note_written(at: At, result: ssize_t) {
    let state = next_fn::enter();
    if let Some(inode) = removal::tracked_fd(at.fd) {
        let len = u64::try_from(result).unwrap_or(0);
        removal::must_be_shown(inode, &at.written(len).unwrap_or(0..u64::MAX));
    }
    next_fn::leave(state);
}

/// The program is about to write: returns what it is, and what [`before::writing`] says, where that may
/// drop pages.
#[cold]
#[inline(never)]
fn before_write(at: At, len: usize) -> Option<(Inode, bool)> {
    let state = next_fn::enter();
    let inode = removal::tracked_fd(at.fd);
    let writing = inode.and_then(|inode| Some((inode, before::writing(inode)?)));
    if let Some((inode, _)) = writing {
        removal::make_way(inode, &at.target(len));
    }
    next_fn::leave(state);
    writing
}

/// The same as [`wrote`], where nobody knows whether that has gone past the page cache.
#[cold]
#[inline(never)]
fn after_write(inode: Inode, marks_stay: bool, at: At, result: ssize_t) {
    let Ok(len) = u64::try_from(result) else {
        return;
    };
    let state = next_fn::enter();
    if let Some(range) = at.written(len).filter(|_| len > 0) {
        removal::written(inode, range, marks_stay);
    }
    next_fn::leave(state);
}

/// What `fd` is open on may be longer now.
#[cold]
#[inline(never)]
pub fn grew(fd: c_int) {
    let state = next_fn::enter();
    if let Some(inode) = removal::tracked_fd(fd) {
        removal::grown(inode);
    }
    next_fn::leave(state);
}

/// Of a write whose parts nobody has added up.
const MANY: usize = usize::MAX;

writes! {
    fn write(fd, buf: *const c_void, count: size_t) at -1, count;
    fn __write(fd, buf: *const c_void, count: size_t) at -1, count;
    fn writev(fd, iov: *const iovec, count: c_int) at -1, MANY;
    fn pwrite(fd, buf: *const c_void, count: size_t, offset: off_t) at offset, count;
    fn pwrite64(fd, buf: *const c_void, count: size_t, offset: off_t) at offset, count;
    fn __pwrite64(fd, buf: *const c_void, count: size_t, offset: off_t) at offset, count;
    fn pwritev(fd, iov: *const iovec, count: c_int, offset: off_t) at offset, MANY;
    fn pwritev64(fd, iov: *const iovec, count: c_int, offset: off_t) at offset, MANY;
    fn pwritev2(fd, iov: *const iovec, count: c_int, offset: off_t, flags: c_int) at offset, MANY, syncs flags;
    fn pwritev64v2(fd, iov: *const iovec, count: c_int, offset: off_t, flags: c_int) at offset, MANY, syncs flags;
    fn sendfile(fd, from: c_int, offset: *mut off_t, count: size_t) at -1, count;
    fn sendfile64(fd, from: c_int, offset: *mut off_t, count: size_t) at -1, count;
}

hook! {
    /// Hook for `splice`.
    fn splice(
        from: c_int,
        from_offset: *mut off_t,
        to: c_int,
        to_offset: *mut off_t,
        len: size_t,
        flags: c_uint,
    ) -> ssize_t, real => {
        if !before::is_needed() {
            return match told::is_needed() {
                true => syncing(to, 0, real),
                false => real(),
            };
        }
        // Any pointer: the kernel answers a bad one.
        let mut offset = [0; size_of::<off_t>()];
        let offset = match sys::vm::read_own_memory(to_offset as usize, &mut offset) {
            Ok(n) if n == offset.len() => off_t::from_ne_bytes(offset),
            _ => -1,
        };
        writing((to, offset, 0), len, real)
    }
}

hook! {
    /// Hook for `copy_file_range`.
    fn copy_file_range(
        from: c_int,
        from_offset: *mut off_t,
        to: c_int,
        to_offset: *mut off_t,
        len: size_t,
        flags: c_uint,
    ) -> ssize_t, real => {
        if !before::is_needed() {
            return real();
        }
        before_fd(to, 0..u64::MAX);
        // What is copied from must be what was stored: the filesystem may copy it itself.
        before_fd(from, 0..0);
        let result = real();
        if result > 0 {
            // The kernel has moved the offset on.
            let start = match to_offset.is_null() {
                true => -1,
                false => {
                    // SAFETY: the call has just read and written it.
                    let end = unsafe { to_offset.read() };
                    end - result as off_t
                }
            };
            let (fd, offset) = (to, start);
            let end = None;
            wrote(At { fd, offset, end }, result);
        }
        result
    }
}
