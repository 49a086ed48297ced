//! What the shim and the command `keepmydata` share: the options ([`OPTIONS`], [`Settings`]) and
//! the event record ([`Record`]) with its two writers.
//!
//! # Who may call what
//!
//! The shim calls this crate from inside `mmap`, `msync` and `read`, that is with an allocator's
//! locks possibly held and possibly from a signal handler. Therefore nothing here that the shim
//! needs allocates, blocks, panics on any input, or reads the environment: parsing, glob matching,
//! formatting and both writers work on borrowed data and on buffers of the caller's
//! (`tests/no_alloc.rs` proves it with a counting allocator). Only reading records back
//! (`serde::Deserialize`) allocates; it is for programs that read logs.
#![forbid(unsafe_code)]

mod backing;
mod choice;
pub mod errno;
pub mod event;
mod finding;
pub mod flags;
mod globs;
mod hash;
mod json;
mod line;
mod options;
mod record;
mod scalar;
mod stats;
mod text;
mod time;
mod typo;
mod value;

pub use backing::Backing;
pub use errno::Errno;
pub use finding::{FINDINGS, Finding, FindingCounts};
pub use globs::Globs;
pub use hash::page_hash;
pub use json::write_json;
pub use line::LineBuf;
pub use options::{
    Async, BadValue, Enforce, Invalidate, LogFormat, LogLevel, Munmap, OPTIONS, OnFailure,
    OptionSpec, Prealloc, Preset, Read, Settings, Track, Uncertain, Verify,
};
pub use record::{ByteRange, Content, Level, PageRow, Record, Rung, Verdict, Verdicts};
pub use scalar::{Dev, HexBytes, HexU64, PathText};
pub use stats::Stats;
pub use text::write_text;
pub use time::Utc;
pub use typo::{meant, variable_meant};
pub use value::{Bytes, LogFile, Millis, SeenBy, Value, Values};

/// What the message of a report calls pages that the filesystem holds, and that its other client was not shown in time
/// (`KEEPMYDATA_SEEN_BY`).
pub const UNSEEN: &str = "not seen by the other client";

/// The same where that client cannot be asked: nobody is to see the file through it.
pub const NAMELESS: &str = "the file has no name any more";
