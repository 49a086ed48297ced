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
    /// Where it stands in the file, bytes.
    offset: u64,
    lives: bool,
    /// How often the page cache was seen to have been dropped.
    drops: u64,
    /// There was none for a while, and nobody has asked for how long.
    was_away: bool,
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
        if self.addr == 0 {
            self.move_to(file, size, 0);
        }
    }

    /// The same on the second page, so that the first can leave the page cache; where there is no second page it is taken away.
    pub fn step_aside(&mut self, file: BorrowedFd<'_>, size: u64) {
        self.move_to(file, size, sys::page_size() as u64);
    }

    /// And back again: the first page is read anew. Says where it was.
    pub fn step_back(&mut self, file: BorrowedFd<'_>, size: u64) -> Option<u64> {
        let left = (self.addr != 0).then_some(self.offset);
        self.move_to(file, size, 0);
        left
    }

    fn move_to(&mut self, file: BorrowedFd<'_>, size: u64, offset: u64) {
        let new = if offset < size {
            plant(file, offset)
        } else {
            None
        };
        // Asked only now, when the other one lives: no moment is without.
        self.note_drop();
        let was_away = self.was_away;
        self.clear();
        if let Some(addr) = new {
            (self.addr, self.offset, self.lives) = (addr, offset, true);
            self.was_away = was_away;
        }
    }

    /// Counts a drop of the page cache, once.
    fn note_drop(&mut self) {
        if self.lives && !own::is_present(self.addr) {
            self.lives = false;
            self.drops += 1;
        }
    }

    /// What it tells. With `again` a dead one is brought to life: the next drop counts anew.
    pub fn ask(&mut self, again: bool) -> Answer {
        let unknown = !self.lives;
        self.note_drop();
        if self.addr != 0 && !self.lives && again {
            self.lives = vm::populate_read(self.addr, sys::page_size()).is_ok();
        }
        Answer {
            drops: self.drops,
            unknown,
        }
    }

    /// Where it stands in the file, bytes.
    pub fn offset(&self) -> Option<u64> {
        self.lives.then_some(self.offset)
    }

    /// Whether there was none for a while: what was dropped then counts as one drop. Asked once.
    pub fn take_absence(&mut self) -> bool {
        let was_away = std::mem::take(&mut self.was_away);
        self.drops += u64::from(was_away);
        was_away
    }

    /// Takes it away: it keeps its page in the page cache.
    pub fn clear(&mut self) {
        let addr = std::mem::take(&mut self.addr);
        self.was_away |= std::mem::take(&mut self.lives);
        if addr != 0 {
            own::unmap(addr, sys::page_size());
        }
    }
}

/// A mapping of the page at `offset`, which is read in and locked, if there is such a page.
fn plant(file: BorrowedFd<'_>, offset: u64) -> Option<usize> {
    let page = sys::page_size();
    // SAFETY: a new mapping, which nobody but the probe uses.
    let mapped = unsafe {
        let at = std::ptr::null_mut();
        mmap(at, page, ProtFlags::READ, MapFlags::SHARED, file, offset)
    };
    let addr = mapped.ok()?;
    // SAFETY: changes no byte.
    let _ = unsafe { madvise(addr, page, Advice::Random) };
    let addr = addr as usize;
    let _ = vm::populate_locked(addr, page);
    if own::is_present(addr) {
        return Some(addr);
    }
    own::unmap(addr, page);
    None
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    fn with(pages: u64, test: impl FnOnce(&File, u64, &mut Probe)) {
        let file = tempfile::tempfile().expect("a file");
        let size = pages * sys::page_size() as u64;
        file.set_len(size).expect("a size");
        let mut probe = Probe::default();
        probe.ensure(file.as_fd(), size);
        test(&file, size, &mut probe);
    }

    /// All that is cached goes.
    fn drop_pages(file: &File, size: u64) {
        file.set_len(0).expect("a size");
        file.set_len(size).expect("a size");
    }

    #[test]
    fn what_is_dropped_while_it_steps_aside_is_seen() {
        with(2, |file, size, probe| {
            probe.step_aside(file.as_fd(), size);
            assert_eq!(probe.offset(), Some(size / 2));
            assert!(!probe.take_absence());
            drop_pages(file, size);
            assert_eq!(probe.step_back(file.as_fd(), size), Some(size / 2));
            assert_eq!(probe.offset(), Some(0));
            let answer = probe.ask(true);
            assert!(answer.drops == 1 && !answer.unknown);
            assert!(!probe.take_absence());
        });
    }

    #[test]
    fn where_there_is_no_other_page_its_absence_counts_as_a_drop() {
        with(1, |file, size, probe| {
            probe.step_aside(file.as_fd(), size);
            drop_pages(file, size);
            assert_eq!(probe.step_back(file.as_fd(), size), None);
            assert_eq!(probe.ask(true).drops, 0);
            assert!(probe.take_absence() && !probe.take_absence());
            assert_eq!(probe.ask(true).drops, 1);
        });
    }
}
