//! What is compared with what, and what is found.

use crate::copies::{BUFFER, Copies};
use crate::target::{PARTS, Part};
use keepmydata_ranges::Ranges;
use keepmydata_sys as sys;
use rustix::io::Errno;

/// What is compared with what.
pub struct Comparison<'a, T> {
    /// Whose memory it is.
    pub target: &'a mut T,
    /// What was dirty, bytes of the file.
    pub dirty: &'a Ranges,
    /// What of that this process has not stored to.
    pub of_others: &'a Ranges,
    /// Copies of that.
    pub copies: &'a mut Copies,
    /// On a block device of this machine.
    pub local_block: bool,
    /// What was flushed may not have been written: it is nowhere else than in the page cache.
    pub unwritten: bool,
    /// What the filesystem holds must be shown to another client of it, too.
    pub seen_elsewhere: bool,
    /// What else that client must be shown, as the filesystem holds it. What it has been shown is taken from it.
    pub unshown: &'a mut Ranges,
}

/// Why another client cannot be asked about a file that has no name any more. No filesystem answers so.
pub const NAMELESS: Errno = Errno::IDRM;
/// The same where it has another name, which nobody knows.
pub const OTHERWISE_NAMED: Errno = Errno::MLINK;

/// Pages not settled yet, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// As [`State::Stale`].
    pub stale: usize,
    /// As [`State::Racing`].
    pub racing: usize,
    /// As [`State::Uncertain`].
    pub uncertain: usize,
    /// As [`State::Unseen`].
    pub unseen: usize,
    /// Pages that were not copied, and another client is not shown; one for a size that it is not shown.
    pub hidden: usize,
    /// Why the other client could not be asked about one of these.
    pub unseen_errno: Option<Errno>,
}

impl Unsettled {
    /// All of them.
    pub fn total(&self) -> usize {
        self.stale + self.racing + self.uncertain + self.unseen + self.hidden
    }

    /// Whether the filesystem holds everything, and only its other client is not shown some of it.
    pub fn is_unseen_only(&self) -> bool {
        let unseen = self.unseen + self.hidden;
        unseen > 0 && unseen == self.total()
    }

    /// Whether all that is left has left the page cache: nothing can be written again, and only what the filesystem applies
    /// late can still turn out right.
    pub fn is_gone_only(&self) -> bool {
        self.uncertain > 0 && self.uncertain == self.total()
    }

    /// Whether it is no use to wait until the other client is shown something: the file has no name by which it could be
    /// asked.
    pub fn is_unseen_for_good(&self) -> bool {
        let for_good = [NAMELESS, OTHERWISE_NAMED].map(Some);
        self.is_unseen_only() && for_good.contains(&self.unseen_errno)
    }
}

/// Pages between two places that are read with them, at the most: to copy them takes less time than to ask once more.
const NEAR: u64 = 4;

/// Places to be read into the buffer at once.
pub struct Batch {
    parts: [Part; PARTS],
    len: usize,
    pages: usize,
}

impl Batch {
    pub fn new() -> Batch {
        Batch {
            parts: [Part::new(0, 0, 0, 0); PARTS],
            len: 0,
            pages: 0,
        }
    }

    /// Pages that the buffer still has room for; none when there is no room for a part.
    pub fn room(&self) -> usize {
        match self.len {
            PARTS => 0,
            _ => BUFFER / sys::page_size() - self.pages,
        }
    }

    /// Adds `count` pages, for which there is room.
    pub fn add(&mut self, first: usize, count: usize, offset: u64) {
        let gap = self.gap(offset).filter(|gap| gap + count <= self.room());
        self.pages += gap.unwrap_or(0);
        self.parts[self.len] = Part {
            joins: gap.is_some(),
            ..Part::new(first, count, offset, self.pages * sys::page_size())
        };
        self.len += 1;
        self.pages += count;
    }

    /// Pages between the last part and what lies at `offset` in the file; nothing where those are too many.
    fn gap(&self, offset: u64) -> Option<usize> {
        let last = self.parts().last()?;
        let bytes = offset.checked_sub(last.offset + last.bytes() as u64)?;
        let pages = bytes / sys::page_size() as u64;
        (pages <= NEAR).then_some(pages as usize)
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.len]
    }

    pub fn parts_mut(&mut self) -> &mut [Part] {
        &mut self.parts[..self.len]
    }
}
