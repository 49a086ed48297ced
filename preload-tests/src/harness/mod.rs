//! What the tests share: guests and how to run them, filesystems to run them on,
//! and the log records that the shim wrote meanwhile.
//!
//! A test runs the same [`Program`] natively and under the shim:
//!
//! ```no_run
//! use preload_tests::harness::{Program, TearFs};
//!
//! let fs = TearFs::mount(&["--mode", "first-page"]);
//! let seed = Program::guest("seed").arg(fs.path("f"));
//! assert_eq!(seed.natively().code(), Some(1));
//! assert_eq!(seed.under_shim(&[]).code(), Some(0));
//! ```
//!
//! Everything a test makes lies in a [`Scratch`] directory. Guards clean up when
//! dropped; should the test process die, its janitor does (see `scratch`).

mod filesystems;
mod guests;
mod installed;
pub mod kernel;
mod library;
mod looks;
mod patience;
mod program;
mod records;
mod scratch;
mod skips;
mod stacked;
pub mod strace;
mod target;
mod tearfs;
mod transparent;

pub use filesystems::{EXT4_WITHOUT_JOURNAL, LoopFs, Tmpfs, run_on};
pub use guests::{Flags, compile_all, go_guest, go_library, target_directory};
pub use installed::{installed, library};
pub use library::{command, debug_shim, shim};
pub use looks::Looks;
pub use patience::patience;
pub use program::{Conversation, Outcome, Program, Running};
pub use records::Records;
pub(crate) use scratch::Group;
pub use scratch::{Scratch, wait_until};
pub use skips::record_skip;
pub use stacked::StackedFs;
pub use target::Target;
pub use tearfs::TearFs;
pub use transparent::{assert_known_difference, assert_same, assert_same_under_shim};

/// Whether tests write the documents that tell what they found (`KEEPMYDATA_WRITE_DOCS=1`).
pub fn writes_documents() -> bool {
    std::env::var("KEEPMYDATA_WRITE_DOCS").is_ok_and(|value| value == "1")
}

/// Seconds that a test of endurance runs: `normal`, or less if
/// `KEEPMYDATA_TEST_SECONDS` says so, or three times as many if that is 30 or more.
///
/// # Panics
/// If the variable is set to something other than a number.
pub fn seconds(normal: u64) -> u64 {
    match std::env::var("KEEPMYDATA_TEST_SECONDS") {
        Ok(value) => {
            let limit = value.parse().expect("KEEPMYDATA_TEST_SECONDS: a number");
            match limit {
                30.. => (3 * normal).min(limit),
                _ => normal.min(limit),
            }
        }
        Err(_) => normal,
    }
}
