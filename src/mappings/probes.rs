//! What is noted of a file's probes, which [`crate::dirty`] plants.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Mappings of one file that have a probe; more tell nothing that these do not.
pub const PLANTED: usize = 4;
/// Probes of a file: one that moves is in two places for a moment.
pub const MOST: usize = PLANTED + 1;

/// One page of a mapping of the program's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe {
    /// Where the shim has the page; 0 is none.
    pub addr: usize,
    /// Where the program has it.
    pub source: usize,
    /// Where in the file it is, bytes.
    pub offset: u64,
    /// Whether it has been faulted in.
    pub lives: bool,
    /// Planted since the last call of the program's began that may drop the page cache: it tells nothing of that.
    pub is_new: bool,
}

/// The probes of one file; they want the table lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probes {
    /// The process that they belong to, by its birth.
    pub birth: u32,
    /// One was found dead and the one who asks has not been told.
    pub dropped: bool,
    /// There is none, because the file was empty.
    pub missing: bool,
    pub all: [Probe; MOST],
}

/// Files without a probe because they were empty.
static MISSING: AtomicUsize = AtomicUsize::new(0);

/// Whether some file has none. Any context.
pub fn are_missing() -> bool {
    MISSING.load(Ordering::Relaxed) > 0
}

impl Probes {
    /// Notes whether there is none although there should be one.
    pub fn note_missing(&mut self, missing: bool) {
        match (self.missing, missing) {
            (false, true) => MISSING.fetch_add(1, Ordering::Relaxed),
            (true, false) => MISSING.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.missing = missing;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.iter().all(|probe| probe.addr == 0)
    }
}
