//! What is known of one enforcement, step by step. Each step's value is made from the one before, and used up by the
//! next; later steps can read it and not change it.
//!
//! The asker's request -> [`Snapshot`] -> [`Flushed`] -> [`Compared`] -> [`Judged`], which is
//! [`Proved`](crate::Proved) or [`Refused`](crate::Refused) -> [`Ended`](crate::Ended).

use crate::comparison::NAMELESS;
use crate::copies::Copies;
use crate::evidence::Evidence;
use crate::pooled::{After, Home, Pooled};
use crate::target::Target;
use core::ops::{Deref, DerefMut};
use keepmydata_ranges::Ranges;
use keepmydata_records::{Rung, Verdicts};
use rustix::io::Errno;

/// Who asks: what is known of the call and the file before all steps.
pub trait Request {
    /// What the asker notes while it takes the snapshot.
    type Known: Default;
}

/// By what a file is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The file is to be verified, because verification is on for such a file or its last sync failed, and it has a page cache.
    pub is_verified: bool,
    /// On a block device of this machine.
    pub local_block: bool,
    /// The enforcement answers no call: the program is told of failures by its next msync.
    pub settles: bool,
    /// What is neither proved nor refuted fails.
    pub uncertain_fails: bool,
    /// What the filesystem holds must be shown to another client of it, too, before an msync returns.
    pub seen_elsewhere: bool,
    /// Memory for copies, bytes.
    pub copy_budget: u64,
}

impl Terms {
    /// Whether this enforcement waits for the other client. What answers no msync leaves that to the next.
    pub fn waits_elsewhere(&self) -> bool {
        self.seen_elsewhere && !self.settles
    }
}

/// What was dirty before the flush, and, where it is verified, copies of that.
#[repr(C)]
pub struct Snapshot<R: Request> {
    request: R,
    /// What the asker has noted.
    pub known: R::Known,
    /// By what it is judged.
    pub terms: Terms,
    /// Whether it is compared.
    pub verify: bool,
    /// Whether the dirty ranges were asked for; where not, there may be some for the observer, which decide nothing.
    pub dirty_known: bool,
    /// Whether all pages that this process has stored to are known.
    pub sees_stores: bool,
    /// The page cache was dropped since the last sync, with what may have been stored by then.
    pub refilled: bool,
    /// The errno of an earlier sync that lost pages for good; 0 is none.
    pub lost: i32,
    /// The error of an earlier flush, which answered no call.
    pub untold: Option<Errno>,
    /// Dirty ranges, bytes of the file, whole pages: too many is allowed.
    pub dirty: Ranges,
    /// Those of them without a page table entry.
    pub absent: Ranges,
    /// Dirty pages that were dropped before this msync began.
    pub gone: Ranges,
    /// Ranges that are dirty for all that is known.
    pub assumed_dirty: Ranges,
    /// Those of them that are copied only because the other client must be shown them, and that this process has not stored to.
    pub of_others: Ranges,
    /// Copies of them.
    pub copies: Copies,
    /// What else is to be shown to another client of the filesystem as the filesystem holds it, or has not been yet: it was
    /// not copied, as this process has it proved or has stored nothing there.
    pub unshown: Ranges,
    /// A flush in place of the real msync has failed.
    pub failed: Option<Errno>,
}

// SAFETY: every field but the first is written.
unsafe impl<R: Request> After<R> for Snapshot<R> {
    unsafe fn begin(at: *mut Self) {
        // SAFETY: by contract.
        unsafe {
            (&raw mut (*at).known).write(R::Known::default());
            (&raw mut (*at).terms).write(Terms::default());
            (&raw mut (*at).verify).write(false);
            (&raw mut (*at).dirty_known).write(false);
            (&raw mut (*at).sees_stores).write(false);
            (&raw mut (*at).refilled).write(false);
            (&raw mut (*at).lost).write(0);
            (&raw mut (*at).untold).write(None);
            Ranges::init(&raw mut (*at).dirty);
            Ranges::init(&raw mut (*at).absent);
            Ranges::init(&raw mut (*at).gone);
            Ranges::init(&raw mut (*at).assumed_dirty);
            Ranges::init(&raw mut (*at).of_others);
            Copies::init(&raw mut (*at).copies);
            Ranges::init(&raw mut (*at).unshown);
            (&raw mut (*at).failed).write(None);
        }
    }
}

impl<R: Request> Deref for Snapshot<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.request
    }
}

impl<R: Request> DerefMut for Snapshot<R> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.request
    }
}

impl<R: Request> Snapshot<R> {
    /// The first step begins: nothing is known yet.
    pub fn begin<H: Home>(request: Pooled<R, H>, terms: Terms) -> Pooled<Snapshot<R>, H> {
        let mut snapshot = request.then::<Snapshot<R>>();
        snapshot.terms = terms;
        snapshot
    }

    /// The page cache was dropped while the snapshot was taken: what was only assumed to be dirty, and was there then, may
    /// lack what was stored to it.
    pub fn doubt_what_is_assumed(&mut self) {
        self.copies.lack(&self.assumed_dirty);
        self.assumed_dirty.clear();
    }

    /// Pages that are synced and cannot be compared, because something is missing here.
    pub fn unverified_pages(&self) -> u64 {
        match self.terms.is_verified {
            true if !self.verify => self.dirty_pages(),
            true => self.copies.missed() as u64,
            false => 0,
        }
    }

    /// How many pages are dirty.
    pub fn dirty_pages(&self) -> u64 {
        self.dirty.pages()
    }
}

/// Everything was handed to the filesystem, and a sync has ended.
#[repr(C)]
pub struct Flushed<R: Request> {
    pub(crate) snapshot: Snapshot<R>,
    /// How long it took, ns.
    pub flush_ns: u64,
    /// Its error, or that of a call in its place or before it.
    pub flush_failed: Option<Errno>,
    /// Whether the shim's own open file was told of an error: it is one that no earlier enforcement has dealt with.
    pub is_new_error: bool,
    /// What the program's own call has returned, where it was made.
    pub real: Result<(), Errno>,
}

// SAFETY: every field but the first is written.
unsafe impl<R: Request> After<Snapshot<R>> for Flushed<R> {
    unsafe fn begin(at: *mut Self) {
        // SAFETY: by contract.
        unsafe {
            (&raw mut (*at).flush_ns).write(0);
            (&raw mut (*at).flush_failed).write(None);
            (&raw mut (*at).is_new_error).write(false);
            (&raw mut (*at).real).write(Ok(()));
        }
    }
}

impl<R: Request> Deref for Flushed<R> {
    type Target = Snapshot<R>;

    fn deref(&self) -> &Snapshot<R> {
        &self.snapshot
    }
}

/// What the filesystem holds was compared with the copies, and healed as far as that could be.
#[repr(C)]
pub struct Compared<R: Request> {
    pub(crate) flushed: Flushed<R>,
    /// What was found.
    pub facts: Facts,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// The error of the first flush that failed, as long as what it was about is not proved.
    pub flush_error: Option<Errno>,
    /// Since then all that is known was made dirty again, and a flush has succeeded.
    pub rewritten: bool,
    /// That error stays: what it may be about is not known page by page.
    pub stands: bool,
    /// The error of the first flush that failed, whatever came after it.
    pub cause: Option<Errno>,
    /// Pages that are uncertain because the page cache was dropped alone.
    pub refilled_pages: u64,
    /// Pages that could only be compared with the page cache itself.
    pub unread_pages: u64,
    /// Pages that the filesystem holds, and its other client is not shown.
    pub unseen_pages: u64,
    /// Those of them that were not copied.
    pub hidden_pages: u64,
    /// Why that client could not be asked.
    pub unseen_errno: Option<Errno>,
    /// Pages by verdict.
    pub verdicts: Verdicts,
    /// The rung that cured the last pages, where any had to be cured.
    pub healed: Option<Rung>,
    /// Reading back has failed; `EBADF` where there is no handle any more.
    pub unreadable: Option<Errno>,
}

impl Facts {
    /// Pages that no other client can be shown any more, because the file has no name: they are told of, and msync does not fail
    /// for them.
    pub fn nameless_pages(&self) -> u64 {
        match self.unseen_errno {
            Some(NAMELESS) => self.unseen_pages,
            _ => 0,
        }
    }

    /// A flush failed.
    pub(crate) fn fails(&mut self, errno: Errno) {
        self.flush_error.get_or_insert(errno);
        self.cause.get_or_insert(errno);
    }
}

// SAFETY: every field but the first is written.
unsafe impl<R: Request> After<Flushed<R>> for Compared<R> {
    unsafe fn begin(at: *mut Self) {
        // SAFETY: by contract.
        unsafe { (&raw mut (*at).facts).write(Facts::default()) };
    }
}

impl<R: Request> Deref for Compared<R> {
    type Target = Flushed<R>;

    fn deref(&self) -> &Flushed<R> {
        &self.flushed
    }
}

/// What was compared is weighed against what is owed.
#[repr(C)]
pub struct Judged<R: Request> {
    pub(crate) compared: Compared<R>,
    /// Pages that are owed and not mapped, so that nobody can compare them.
    pub uncovered: Ranges,
    /// How many pages got which verdict, those that nobody can compare among them.
    pub verdicts: Verdicts,
    /// An earlier msync has failed for pages that are not proved yet, with this errno; 0 is none.
    pub refused: i32,
    /// How many pages that is about.
    pub refused_pages: u64,
    /// What a report shows, where it was gathered.
    pub evidence: Evidence,
}

// SAFETY: every field but the first is written.
unsafe impl<R: Request> After<Compared<R>> for Judged<R> {
    unsafe fn begin(at: *mut Self) {
        // SAFETY: by contract.
        unsafe {
            Ranges::init(&raw mut (*at).uncovered);
            (&raw mut (*at).verdicts).write(Verdicts::default());
            (&raw mut (*at).refused).write(0);
            (&raw mut (*at).refused_pages).write(0);
            Evidence::init(&raw mut (*at).evidence);
        }
    }
}

impl<R: Request> Deref for Judged<R> {
    type Target = Compared<R>;

    fn deref(&self) -> &Compared<R> {
        &self.compared
    }
}

impl<R: Request> Judged<R> {
    pub(crate) fn copies_mut(&mut self) -> &mut Copies {
        &mut self.compared.flushed.snapshot.copies
    }

    /// What was dirty, which is not known any more.
    pub(crate) fn take_dirty(&mut self) -> Ranges {
        core::mem::take(&mut self.compared.flushed.snapshot.dirty)
    }

    pub(crate) fn gather_evidence(&mut self, target: &impl Target) {
        let snapshot = &mut self.compared.flushed.snapshot;
        self.evidence.gather(target, &mut snapshot.copies);
        if self.compared.facts.hidden_pages > 0 {
            self.evidence.add_hidden(&snapshot.unshown);
        }
    }

    /// Pages that are neither proved nor refuted.
    pub fn unknown_pages(&self) -> u64 {
        self.verdicts.uncertain + self.unverified_pages()
    }

    /// Whether msync fails for what is not known. What answers no call has only doubts, which the next msync tells.
    fn fails_for_doubt(&self) -> bool {
        let may_be_known = self.unknown_pages() > self.facts.nameless_pages();
        self.terms.uncertain_fails && !self.terms.settles && may_be_known
    }

    /// What msync must say about the file.
    pub(crate) fn outcome(&self) -> Result<(), Errno> {
        if self.lost != 0 {
            Err(Errno::from_raw_os_error(self.lost))
        } else if let Some(errno) = self.facts.flush_error {
            Err(errno)
        } else if self.refused != 0 {
            Err(Errno::from_raw_os_error(self.refused))
        } else if let Some(errno) = self.untold {
            Err(errno)
        } else if self.verdicts.stale > 0 || self.fails_for_doubt() {
            Err(self.facts.cause.unwrap_or(Errno::IO))
        } else {
            Ok(())
        }
    }
}
