//! Where a proof is made, or refused: the only place.

use crate::copies::Copies;
use crate::pooled::{After, Home, Pooled};
use crate::settle;
use crate::stages::{Compared, Judged, Request};
use crate::target::Target;
use core::ops::Deref;
use keepmydata_ranges::Ranges;
use keepmydata_sys as sys;
use rustix::io::Errno;

/// Nothing is owed of the file any more, as far as it is verified: the only thing that becomes msync's 0.
pub struct Proved<R: Request, H: Home>(Pooled<Judged<R>, H>);

/// The program must be told of an error.
pub struct Refused<R: Request, H: Home> {
    judged: Pooled<Judged<R>, H>,
    errno: Errno,
}

/// The 0 that msync may return for a file. None is made but of a proof ([`Proved::end`]), or a copy of one that
/// a thread has, for those whose calls came before its flush began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zero(());

/// How an enforcement ends.
pub enum Verdict<R: Request, H: Home> {
    /// msync may return 0.
    Proved(Proved<R, H>),
    /// It must fail.
    Refused(Refused<R, H>),
}

/// Weighs what was compared against what is owed.
pub fn judge<R: Request, H: Home>(
    target: &impl Target,
    compared: Pooled<Compared<R>, H>,
) -> Verdict<R, H> {
    let mut judged = compared.then::<Judged<R>>();
    judged.verdicts = judged.facts.verdicts;
    if judged.verify {
        find_uncovered(target, &mut judged);
    }
    let mut is_pending = false;
    target.with_debt(&mut |debt| is_pending = debt.is_pending());
    if is_pending {
        settle::settle(target, &mut judged);
    }
    match judged.outcome() {
        Ok(()) => Verdict::Proved(Proved(judged)),
        Err(errno) => Verdict::Refused(Refused { judged, errno }),
    }
}

/// What is owed and has no mapping through which it could be compared.
#[inline(never)]
fn find_uncovered<R: Request>(target: &impl Target, judged: &mut Judged<R>) {
    if judged.dirty.is_empty() {
        return;
    }
    let end = target.size().map_or(u64::MAX, sys::page_up);
    let mut uncovered = Ranges::new();
    uncovered.add_all(judged.dirty.within(0, end));
    for piece in judged.copies.all_pieces() {
        uncovered.remove(piece.offset, piece.offset + piece.len as u64);
    }
    judged.verdicts.uncertain += uncovered.pages();
    judged.uncovered.add_all(uncovered.iter());
}

impl<R: Request, H: Home> Proved<R, H> {
    /// Adds the pages that are as they were when they were proved ([`Copies::find_unchanged`]).
    pub fn find_unchanged(&mut self, target: &impl Target, into: &mut Ranges) {
        self.0.copies_mut().find_unchanged(target, into);
    }

    /// See [`Copies::let_go_witnesses`].
    pub fn let_go_witnesses(&mut self, target: &impl Target) {
        self.0.copies_mut().let_go_witnesses(target);
    }

    /// Finds out what is not safe, for a report.
    #[inline(never)]
    pub fn gather_evidence(&mut self, target: &impl Target) {
        self.0.gather_evidence(target);
    }

    /// msync may return 0 for the file.
    pub fn end(self) -> Pooled<Ended<R>, H> {
        let mut ended = self.0.then::<Ended<R>>();
        ended.outcome = Ok(Zero(()));
        ended
    }
}

impl<R: Request, H: Home> Refused<R, H> {
    /// What msync must return.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// See [`Copies::let_go_witnesses`].
    pub fn let_go_witnesses(&mut self, target: &impl Target) {
        self.judged.copies_mut().let_go_witnesses(target);
    }

    /// Finds out what is not safe, for a report. It reads back, which writes dirty pages back: before pages are made
    /// dirty again.
    #[inline(never)]
    pub fn gather_evidence(&mut self, target: &impl Target) {
        self.judged.gather_evidence(target);
    }

    /// msync fails for the file.
    pub fn end(self) -> Pooled<Ended<R>, H> {
        let mut ended = self.judged.then::<Ended<R>>();
        ended.outcome = Err(self.errno);
        ended
    }
}

impl<R: Request, H: Home> Deref for Proved<R, H> {
    type Target = Judged<R>;

    fn deref(&self) -> &Judged<R> {
        &self.0
    }
}

impl<R: Request, H: Home> Deref for Refused<R, H> {
    type Target = Judged<R>;

    fn deref(&self) -> &Judged<R> {
        &self.judged
    }
}

/// All is done.
#[repr(C)]
pub struct Ended<R: Request> {
    judged: Judged<R>,
    outcome: Result<Zero, Errno>,
    /// How many pages have left the page cache; nothing where nobody wanted to know.
    pub dropped_pages: Option<u64>,
    /// How many are in it; likewise.
    pub cached_pages: Option<u64>,
    /// Pages that this sync has lost.
    pub lost_pages: u64,
    /// It answers no call, and has failed for nothing but what an earlier one has failed for: that was reported.
    pub is_reported: bool,
}

// SAFETY: every field but the first is written.
unsafe impl<R: Request> After<Judged<R>> for Ended<R> {
    unsafe fn begin(at: *mut Self) {
        // SAFETY: by contract.
        unsafe {
            (&raw mut (*at).outcome).write(Err(Errno::IO));
            (&raw mut (*at).dropped_pages).write(None);
            (&raw mut (*at).cached_pages).write(None);
            (&raw mut (*at).lost_pages).write(0);
            (&raw mut (*at).is_reported).write(false);
        }
    }
}

impl<R: Request> Deref for Ended<R> {
    type Target = Judged<R>;

    fn deref(&self) -> &Judged<R> {
        &self.judged
    }
}

impl<R: Request> Ended<R> {
    /// What msync returns for the file.
    pub fn zero(&self) -> Result<Zero, Errno> {
        self.outcome
    }

    /// What msync says about the file.
    pub fn result(&self) -> Result<(), Errno> {
        self.outcome.map(|_| ())
    }

    /// Whether msync says so because each page that was stored to before it is proved.
    pub fn is_all_proved(&self) -> bool {
        let open = self.unknown_pages() + self.verdicts.stale;
        self.verify && !self.refilled && self.outcome.is_ok() && open == 0
    }

    /// The same, or because the program was told of each page that is not: of what was stored by then nothing is left to be told,
    /// whoever drops it.
    pub fn is_all_proved_or_told(&self) -> bool {
        let is_told = self.sees_stores
            && self.verify
            && !self.terms.settles
            && self.verdicts.stale == 0
            && self.unverified_pages() == 0
            && self.uncovered.is_empty()
            && self.facts.cause.is_none();
        self.is_all_proved() || is_told
    }

    /// The copies, and what was dirty, for whoever looks at them again.
    pub fn take_copies(&mut self) -> (Copies, Ranges) {
        let copies = core::mem::take(self.judged.copies_mut());
        (copies, self.judged.take_dirty())
    }

    /// Lets the copies go.
    pub fn let_go_copies(&mut self, target: &impl Target) {
        self.judged.copies_mut().let_go(target);
    }
}
