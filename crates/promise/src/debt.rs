//! What a file owes: pages that were stored to and not proved yet.

use keepmydata_ranges::{FewRanges, Ranges};

/// What this process owes a file that is verified: pages that it may have stored to, and that nothing has
/// proved since. It belongs to the file, not to a mapping. All of it in whole pages; wants the table lock.
#[derive(Default)]
pub struct Debt {
    /// Taken from the marks of a mapping, and in no enforcement yet.
    pub owed: FewRanges,
    /// Those of what is owed that nobody saw stored to: cached pages of mappings that are not tracked.
    pub assumed_dirty: FewRanges,
    /// In the enforcement under way. A fork child that finds some has them to prove itself.
    pub proving: FewRanges,
    /// An msync has failed for these. What they hold is still in the page cache.
    pub refused: FewRanges,
    /// The same, and what they held has left the page cache: only a new store makes an end of it.
    pub lost: FewRanges,
    /// What that msync returned.
    pub errno: i32,
    /// What no msync has told of yet: an enforcement before another call of the program's found these pages
    /// gone, or failed for them and they are gone since. Storing anew is no end of that.
    pub untold: FewRanges,
    /// The errno of that failure; 0 where nobody knows whether they are safe.
    pub untold_errno: i32,
    /// Those of what is owed that the last msync has told of: owed since for what they hold, whoever drops them.
    pub told: FewRanges,
    /// Pages that were told of and are `owed` since for what they hold: an msync that returns 0 says so.
    pub told_pages: u64,
    /// Proved, or taken out or replaced by the program itself, and not shown to another client of the filesystem yet
    /// ([`Terms::seen_elsewhere`](crate::Terms)).
    pub unshown: FewRanges,
    /// A sync has failed where nothing is verified: what it was about nobody knows. An msync that returns 0 says so.
    pub failed: bool,
    /// Nobody was told of what is `refused` either.
    pub refused_untold: bool,
    /// How often in a row pages that had left the page cache were waited for in vain.
    pub waits_in_vain: u32,
    /// The process that has seen the page cache since, by its birth.
    pub birth: u32,
}

/// What an msync that returns 0 says of earlier syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// An msync has failed for so many pages that have left the page cache since.
    pub pages: u64,
    /// A sync has failed for nobody knows what.
    pub failed: bool,
}

impl Debt {
    /// An msync returns 0, and says this: no later one says it again.
    #[must_use]
    pub fn take_told(&mut self) -> Told {
        Told {
            pages: core::mem::take(&mut self.told_pages),
            failed: core::mem::take(&mut self.failed),
        }
    }

    /// Whether an msync must fail, whatever it finds.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty() || !self.lost.is_empty()
    }

    /// Whether there is something that the next msync must tell or fail for.
    pub fn is_pending(&self) -> bool {
        self.is_refused() || !self.untold.is_empty()
    }

    /// Whether there is something that the next msync must prove, tell or fail for.
    pub fn owes(&self) -> bool {
        self.is_pending() || !self.owed.is_empty()
    }

    /// Whether there is nothing to prove, tell or fail for.
    pub fn is_clear(&self) -> bool {
        !self.owes() && self.proving.is_empty() && !self.must_be_kept()
    }

    /// Whether there is something that a later msync of the file must say, whether it is mapped until then or not.
    pub fn must_be_said(&self) -> bool {
        self.is_pending() || self.told_pages > 0 || self.failed
    }

    /// How many pages the next msync would have to prove, tell of or fail for.
    pub fn pages(&self) -> u64 {
        let mut pages = Ranges::new();
        for some in [&self.owed, &self.untold, &self.refused, &self.lost] {
            pages.add_all(some.iter());
        }
        pages.pages()
    }

    /// Whether a later msync of the file must know of it, likewise.
    pub fn must_be_kept(&self) -> bool {
        self.must_be_said() || !self.unshown.is_empty()
    }

    /// Nobody has seen whether the page cache was dropped: what is in it proves nothing.
    pub fn mark_refused_unrecoverable(&mut self) {
        let mut all = Ranges::new();
        all.add_all(self.refused.iter());
        self.lose(&all);
        self.refused.clear();
    }

    /// `pages` have left the page cache: of those that an msync has failed for, what is in it from here on proves nothing.
    pub fn lose(&mut self, pages: &Ranges) {
        let mut lost = Ranges::new();
        lost.add_all(self.refused.common(pages));
        match self.refused_untold && !lost.is_empty() {
            true => {
                self.untold.add_all(lost.iter());
                self.untold_errno = self.errno;
            }
            false => self.lost.add_all(lost.iter()),
        }
        self.refused.remove_all(&lost);
    }

    /// What is owed has lost its last mapping: nobody sees whether it stays in the page cache until the next msync.
    pub fn doubt_owed(&mut self) {
        self.untold.add_all(self.owed.iter());
    }

    /// Notes that `pages` were stored to, or, where they are only `assumed_dirty`, may have been.
    pub fn owe(&mut self, pages: &Ranges, assumed_dirty: bool) {
        match assumed_dirty {
            true => pages
                .iter()
                .for_each(|range| self.assumed_dirty.add_less(range, &self.owed)),
            false => self.assumed_dirty.remove_all(pages),
        }
        self.owed.add_all(pages.iter());
    }

    /// The page cache was dropped, or nobody can tell. What was only assumed to be dirty was in it when that was noted, and may be
    /// gone from there since; but what the program was told of, and has not stored to since, lacks no more than it was told.
    pub fn doubt_what_is_assumed(&mut self) {
        let mut told = Ranges::new();
        told.add_all(self.assumed_dirty.common(&self.told));
        self.assumed_dirty.clear();
        self.assumed_dirty.add_all(told.iter());
    }

    /// `pages` were stored to: of what they held when an msync failed for them the program has been told. It may have
    /// been more than what was stored now.
    pub fn store_anew(&mut self, pages: &Ranges) {
        let mut anew = Ranges::new();
        anew.add_all(self.lost.common(pages));
        self.lost.remove_all(&anew);
        self.told_pages += anew.pages();
    }

    /// The program itself has changed `[start, end)` of the file, bytes: what an msync has failed for there, or was to
    /// tell of, is not there any more. What is there instead, if anything, is still to be proved.
    pub fn forgive(&mut self, start: u64, end: u64) {
        // Without a list of its own: this is called on the program's stack.
        for pages in [&mut self.refused, &mut self.lost, &mut self.untold] {
            for range in pages.within(start, end) {
                self.assumed_dirty.add_less(range, &self.owed);
                self.owed.add(range.offset, range.end());
            }
            pages.remove(start, end);
        }
    }

    /// Nothing was synced: what was being proved is owed as before.
    pub fn give_back(&mut self) {
        self.owed.add_all(self.proving.iter());
        self.proving.clear();
    }
}
