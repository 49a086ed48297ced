//! The defects that the source can be given.

/// Each is at one place of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A caller is served by the flush that runs already.
    ServedByTheRunningFlush,
    /// The end of a flush wakes one of those who wait for it.
    WakesOneOfAll,
    /// A waiter sleeps on a number that it reads after it has let the lock go.
    SleepsOnWhatItSeesLate,
    /// A job is queued without a change of the word that workers sleep on.
    ForgetsTheNewsOfAJob,
    /// What a job wrote need not be seen by who waits for it.
    ResultIsNotReleased,
    /// The queue keeps the address of its last job when that is taken.
    JobStaysQueued,
    /// An order does not wait for workers that are being made.
    OrderMissesWhoIsHired,
    /// Who gives an order does not wait until it has been carried out.
    OrderDoesNotWait,
    /// A pool whose workers leave still takes jobs.
    TakesJobsWhileLeaving,
}

static PLANTED: std::sync::OnceLock<Defect> = std::sync::OnceLock::new();

/// Has this process run with `defect` from here on.
///
/// # Panics
/// If it has another.
pub fn plant(defect: Defect) {
    assert_eq!(*PLANTED.get_or_init(|| defect), defect);
}

pub(crate) fn is_planted(defect: Defect) -> bool {
    PLANTED.get() == Some(&defect)
}
