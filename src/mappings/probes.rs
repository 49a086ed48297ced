//! What is noted of a file's probes, which [`crate::dirty`] plants.

/// Mappings of one file that have a probe; more tell nothing that these do not.
pub const MOST: usize = 4;

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
}

/// The probes of one file; they want the table lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probes {
    /// The process that they belong to, by its birth.
    pub birth: u32,
    /// One was found dead and the one who asks has not been told.
    pub dropped: bool,
    pub all: [Probe; MOST],
}
