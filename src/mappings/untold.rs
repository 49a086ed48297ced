//! Errors that the shim's own open file was told of, and nobody of the program's: a filesystem that tells an error once
//! has told it then. The program's call that would have got it without the shim fails with it.

use crate::process::{PerProcess, Zeroed};
use crate::sys::lock::Mutex;
use core::sync::atomic::{AtomicBool, Ordering};
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

/// One error; all-zero is none.
#[derive(Clone, Copy)]
struct Untold {
    inode: (u64, u64),
    errno: i32,
    by: u32,
}

/// Errors that are kept, at the most.
const MOST: usize = 32;

/// Those of a process. A fork child is told nothing: its parent is.
struct List {
    all: Mutex<[Untold; MOST]>,
}

// SAFETY: a lock that is open, and numbers.
unsafe impl Zeroed for List {}

static OWN: PerProcess<List> = PerProcess::new();
/// Whether there ever was one.
static ANY: AtomicBool = AtomicBool::new(false);

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// Whether there may be one. Any context, before boot too.
#[inline]
pub fn are_any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// The shim was told of `errno` about a (device, inode). With all signals blocked.
pub fn note(inode: (u64, u64), by: By, errno: Errno) {
    let mut all = OWN.get().all.lock();
    let is = |it: &Untold| it.errno == 0 || (it.inode, it.by) == (inode, by as u32);
    if let Some(free) = all.iter_mut().find(|it| is(it)) {
        *free = Untold {
            inode,
            errno: errno.raw_os_error(),
            by: by as u32,
        };
        ANY.store(true, Ordering::Release);
    }
}

/// What is to be told about a (device, inode). With all signals blocked.
pub fn peek(inode: (u64, u64), by: By) -> Option<Errno> {
    find(inode, by, false)
}

/// The same: it is told now.
pub fn take(inode: (u64, u64), by: By) -> Option<Errno> {
    find(inode, by, true)
}

fn find(inode: (u64, u64), by: By, ends: bool) -> Option<Errno> {
    if !are_any() {
        return None;
    }
    let mut all = OWN.get().all.lock();
    let is = |it: &&mut Untold| it.errno != 0 && (it.inode, it.by) == (inode, by as u32);
    let found = all.iter_mut().find(is)?;
    let errno = Errno::from_raw_os_error(found.errno);
    if ends {
        found.errno = 0;
    }
    Some(errno)
}
