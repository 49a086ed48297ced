//! Errors that only the shim's own open file has received, from a filesystem that reports an error once. The program's call
//! that would have got it without the shim fails with it.

use super::file::Key;
use crate::process::{PerProcess, Zeroed};
use crate::sys::lock::{self, Mutex};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use rustix::io::Errno;

/// Which call of the program's is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum By {
    /// fsync(2), fdatasync(2) or msync(2).
    Sync,
    /// close(2).
    Close,
}

/// What such an error is about. Not the kernel's handle of the inode: a daemon that shows one file as two inodes tells an
/// error through either, and one may give a file another handle each time that the kernel asks for it.
#[derive(Clone, Copy)]
pub struct Whose {
    dev: u64,
    ino: u64,
    /// When it was made ([`Key::born`]); 0 where that is not known.
    born: u64,
}

impl Whose {
    /// The file of `key`.
    pub fn of(key: &Key) -> Whose {
        let Key { dev, ino, born, .. } = *key;
        Whose { dev, ino, born }
    }

    fn is(&self, other: &Whose) -> bool {
        let is_known = self.born != 0 && other.born != 0;
        (self.dev, self.ino) == (other.dev, other.ino) && (!is_known || self.born == other.born)
    }
}

/// In place of [`By::Close`]: what it is about is being closed, and nobody will be told.
const ENDING: u32 = 2;

/// The errno of a flush that is under way.
const UNDER_WAY: i32 = -1;

/// One error; all-zero is none.
#[derive(Clone, Copy)]
struct Untold {
    whose: Whose,
    errno: i32,
    by: u32,
}

impl Untold {
    fn is_of(&self, whose: &Whose, by: By) -> bool {
        self.errno > 0 && self.by == by as u32 && self.whose.is(whose)
    }
}

/// Errors that are kept, at the most.
const MOST: usize = 32;

/// Those of a process. A fork child is told nothing: its parent is.
struct List {
    all: Mutex<[Untold; MOST]>,
    /// Counts what is under way and ends.
    ended: lock::Word,
}

// SAFETY: a lock that is open, numbers, and a word.
unsafe impl Zeroed for List {}

static OWN: PerProcess<List> = PerProcess::new();
/// Whether there ever was one.
static ANY: AtomicBool = AtomicBool::new(false);

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// Flushes under way that answer no call.
static FLUSHES: AtomicUsize = AtomicUsize::new(0);

/// Whether there may be one. Any context, before boot too.
#[inline]
pub fn are_any() -> bool {
    ANY.load(Ordering::Acquire)
}

/// Whether there may be one, or may be soon: asked after a sync of the program's, whose error another thread's flush
/// may have got. Any context, before boot too.
#[inline]
pub fn may_be_any() -> bool {
    FLUSHES.load(Ordering::Acquire) > 0 || are_any()
}

/// Nothing is told any more.
pub fn shut() {
    ANY.store(false, Ordering::Relaxed);
}

/// A flush that answers no call, from before to after it. With all signals blocked.
pub struct Flush(Whose);

impl Flush {
    /// Begins one of a file.
    pub fn begin(whose: Whose) -> Flush {
        FLUSHES.fetch_add(1, Ordering::AcqRel);
        let mut all = OWN.get().all.lock();
        if let Some(free) = all.iter_mut().find(|it| it.errno == 0) {
            *free = Untold {
                whose,
                errno: UNDER_WAY,
                by: By::Sync as u32,
            };
        }
        Flush(whose)
    }

    /// It has ended with `error`.
    pub fn end(self, error: Option<Errno>) {
        let own = OWN.get();
        {
            let mut all = own.all.lock();
            let is = |it: &&mut Untold| it.errno == UNDER_WAY && it.whose.is(&self.0);
            if let Some(it) = all.iter_mut().find(is) {
                it.errno = 0;
            }
        }
        if let Some(errno) = error {
            note(self.0, By::Sync, errno);
        }
        FLUSHES.fetch_sub(1, Ordering::AcqRel);
        own.ended.fetch_add(1, Ordering::Release);
        lock::wake_all(&own.ended);
    }
}

/// Waits while such a flush of a file is under way. With all signals blocked.
pub fn wait(whose: Whose) {
    let own = OWN.get();
    loop {
        let ended = own.ended.load(Ordering::Acquire);
        let is = |it: &Untold| it.errno == UNDER_WAY && it.whose.is(&whose);
        if !own.all.lock().iter().any(is) {
            return;
        }
        lock::wait(&own.ended, ended);
    }
}

/// The shim was told of `errno` about a file. With all signals blocked.
pub fn note(whose: Whose, by: By, errno: Errno) {
    let mut all = OWN.get().all.lock();
    let at = all.iter().position(|it| it.is_of(&whose, by));
    let at = at.or_else(|| all.iter().position(|it| it.errno == 0));
    if let Some(free) = at.map(|at| &mut all[at]) {
        *free = Untold {
            whose,
            errno: errno.raw_os_error(),
            by: by as u32,
        };
        ANY.store(true, Ordering::Release);
    }
}

/// What is to be told about a file. With all signals blocked.
pub fn peek(whose: Whose, by: By) -> Option<Errno> {
    find(whose, by, false)
}

/// The same: it is told now.
pub fn take(whose: Whose, by: By) -> Option<Errno> {
    find(whose, by, true)
}

/// What it is about is about to be closed without being told ([`end`]). With all signals blocked.
pub fn ending(whose: Whose) {
    let mut all = OWN.get().all.lock();
    if let Some(it) = all.iter_mut().find(|it| it.is_of(&whose, By::Close)) {
        it.by = ENDING;
    }
}

/// What was about to be closed so was `closed`, or was not. With all signals blocked.
pub fn end(closed: bool) {
    let mut all = OWN.get().all.lock();
    for it in all.iter_mut().filter(|it| it.by == ENDING) {
        it.by = By::Close as u32;
        if closed {
            it.errno = 0;
        }
    }
}

/// Whether there is one that such a call is to tell. With all signals blocked.
pub fn are_any_for(by: By) -> bool {
    let all = OWN.get().all.lock();
    all.iter().any(|it| it.errno > 0 && it.by == by as u32)
}

/// Nobody is told of a file any more.
pub fn forget(whose: Whose) {
    for by in [By::Sync, By::Close] {
        let _ = take(whose, by);
    }
}

fn find(whose: Whose, by: By, ends: bool) -> Option<Errno> {
    if !are_any() {
        return None;
    }
    let mut all = OWN.get().all.lock();
    let found = all.iter_mut().find(|it| it.is_of(&whose, by))?;
    let errno = Errno::from_raw_os_error(found.errno);
    if ends {
        found.errno = 0;
    }
    Some(errno)
}
