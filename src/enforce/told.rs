//! What calls of the program's other than msync were told of files that are not verified. A filesystem may tell an error once,
//! and nobody knows what it was about: the next msync of the file that returns 0 says so (`Debt::failed`).

use crate::config;
use crate::dirty;
use crate::mappings::{
    self,
    classify::{self, Candidate},
    family,
    file::{File, Handle, Key, Traits},
};
use crate::process::{PerProcess, Zeroed};
use crate::sys;
use crate::sys::lock::{self, Mutex};
use crate::sys::vm::is_failure;
use core::sync::atomic::{AtomicU32, Ordering};
use keepmydata_records::Enforce;
use libc::c_int;
use rustix::io::Errno;

/// Whether a filesystem may tell the program's calls what msync will not be told. Any context, before boot too.
#[inline]
pub fn is_needed() -> bool {
    mappings::any_tells_once() && config::settings().enforce == Enforce::Full
}

/// A file that is not verified, and of which something may be remembered.
pub struct Unverified {
    key: Key,
    traits: Traits,
}

impl Unverified {
    /// What `fd` is open on, if it is such a file, and not by `O_PATH`, which syncs nothing. With all signals blocked.
    pub fn of(fd: c_int) -> Option<Unverified> {
        if sys::fd::flags(fd)? & libc::O_PATH != 0 {
            return None;
        }
        let Candidate { key, mount, .. } = classify::candidate(fd, libc::PROT_NONE).ok()?;
        let is_watching = config::settings().enforce == Enforce::Off;
        if is_watching || !mappings::may_know(key.dev, key.ino) {
            return None;
        }
        let known = mappings::lock().find(&key).map(|file| file.traits);
        Unverified::new(key, known.or_else(|| classify::traits(fd, mount).ok())?)
    }

    fn new(key: Key, traits: Traits) -> Option<Unverified> {
        let is = !traits.dax && !dirty::is_verified(traits.local_block);
        is.then_some(Unverified { key, traits })
    }

    /// A call was told an error of it. Returns handles, which are to be closed.
    #[must_use]
    fn note(&self) -> [Option<Handle>; 2] {
        let mut table = mappings::lock();
        let Some(file) = table.find_or_add(self.key, self.traits) else {
            return [None; 2];
        };
        table.get_mut(&file).debt.failed = true;
        family::note((self.key.dev, self.key.ino));
        [table.settle_debt(&file), table.release(file)]
    }

    /// A call was told an error of it. With all signals blocked.
    pub fn failed(self) {
        close(&self.note());
    }
}

fn close(handles: &[Option<Handle>]) {
    if handles.iter().any(Option::is_some) {
        mappings::close(handles);
    }
}

/// A sync of the program's has failed for what `fd` is open on. With all signals blocked.
pub fn sync_failed(fd: c_int) {
    if let Some(file) = Unverified::of(fd) {
        file.failed();
    }
}

/// The kernel's msync of `[addr, addr + len)` has told the program `errno`, and nothing else was done. With all signals blocked.
#[cold]
pub fn msync_failed(addr: usize, len: usize, errno: Errno) {
    if !is_failure(errno) {
        return;
    }
    mappings::each(addr, addr.saturating_add(len), |entry| {
        if let Some(file) = Unverified::new(entry.file.key, entry.file.traits) {
            file.failed();
        }
    });
}

/// A sync that is under way; all-zero is none.
#[derive(Clone, Copy)]
struct Sync {
    dev: u64,
    ino: u64,
    number: u32,
}

/// Syncs that are looked at, at the most.
const MOST: usize = 32;

struct Syncs {
    all: Mutex<[Sync; MOST]>,
    numbers: AtomicU32,
    /// Counts those that have ended.
    ended: lock::Word,
}

// SAFETY: a lock that is open, and numbers.
unsafe impl Zeroed for Syncs {}

static OWN: PerProcess<Syncs> = PerProcess::new();

/// Called once, while booting, when there is memory for what is a process's own. Says whether there was enough.
pub fn boot() -> bool {
    OWN.boot()
}

/// A sync of the program's, from before to after it: an msync that ends meanwhile waits for what it is told. With all
/// signals blocked.
pub struct Call {
    file: Unverified,
    number: u32,
}

impl Call {
    /// Begins one of what `fd` is open on; nothing where that is no such file.
    pub fn begin(fd: c_int) -> Option<Call> {
        let file = Unverified::of(fd)?;
        let (dev, ino) = (file.key.dev, file.key.ino);
        let own = OWN.get();
        let mut all = own.all.lock();
        let number = own
            .numbers
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
            .max(1);
        if let Some(free) = all.iter_mut().find(|it| it.number == 0) {
            *free = Sync { dev, ino, number };
        }
        Some(Call { file, number })
    }

    /// It has ended.
    pub fn end(self, has_failed: bool) {
        let handles = match has_failed {
            true => self.file.note(),
            false => [None; 2],
        };
        let own = OWN.get();
        if let Some(it) = own
            .all
            .lock()
            .iter_mut()
            .find(|it| it.number == self.number)
        {
            it.number = 0;
        }
        own.ended.fetch_add(1, Ordering::Release);
        lock::wake_all(&own.ended);
        close(&handles);
    }
}

/// Waits for the syncs of `file` that are under way: what one of them is told, the flush that has ended before was not.
pub fn wait(file: &File) {
    let own = OWN.get();
    let last = own.numbers.load(Ordering::Acquire);
    loop {
        let ended = own.ended.load(Ordering::Acquire);
        let is = |it: &Sync| {
            let is_before = it.number != 0 && last.wrapping_sub(it.number) as i32 >= 0;
            is_before && (it.dev, it.ino) == (file.key.dev, file.key.ino)
        };
        if !own.all.lock().iter().any(is) {
            return;
        }
        lock::wait(&own.ended, ended);
    }
}
