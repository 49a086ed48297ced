//! Eviction probe of a file: whether the kernel has dropped its page cache since that was last asked. The same as the
//! library's (src/dirty/eviction_probe.rs says why), on a mapping of the supervisor's: one page, which it has faulted
//! in and locked.

use crate::own;
use keepmydata_sys::{self as sys, vm};
use rustix::fd::BorrowedFd;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

/// One, or none yet.
#[derive(Default)]
pub struct Probe {
    /// 0 where there is none.
    addr: usize,
    lives: bool,
    /// How often the page cache was seen to have been dropped.
    drops: u64,
}

/// What it tells.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// How often the page cache was dropped, for all that is known.
    pub drops: u64,
    /// There is none that could have told.
    pub unknown: bool,
}

impl Probe {
    /// Plants one on the first page of the file, which has `size` bytes, if there is none: the page that is cut off last.
    pub fn ensure(&mut self, file: BorrowedFd<'_>, size: u64) {
        let page = sys::page_size();
        if self.addr != 0 || size == 0 {
            return;
        }
        // SAFETY: a new mapping, which nobody but this probe uses.
        let mapped = unsafe {
            let at = std::ptr::null_mut();
            mmap(at, page, ProtFlags::READ, MapFlags::SHARED, file, 0)
        };
        let Ok(addr) = mapped else { return };
        // SAFETY: changes no byte.
        let _ = unsafe { madvise(addr, page, Advice::Random) };
        self.addr = addr as usize;
        let _ = vm::populate_locked(self.addr, page);
        self.lives = own::is_present(self.addr);
        if !self.lives {
            self.clear();
        }
    }

    /// What it tells. With `again` a dead one is brought to life: the next drop counts anew.
    pub fn ask(&mut self, again: bool) -> Answer {
        let unknown = !self.lives;
        if self.lives && !own::is_present(self.addr) {
            self.lives = false;
            self.drops += 1;
        }
        if self.addr != 0 && !self.lives && again {
            self.lives = vm::populate_read(self.addr, sys::page_size()).is_ok();
        }
        Answer {
            drops: self.drops,
            unknown,
        }
    }

    pub fn lives(&self) -> bool {
        self.lives
    }

    /// Takes it away: it keeps its page in the page cache.
    pub fn clear(&mut self) {
        let addr = std::mem::take(&mut self.addr);
        self.lives = false;
        if addr != 0 {
            own::unmap(addr, sys::page_size());
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.clear();
    }
}
