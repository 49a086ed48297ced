//! The part of an enforcement that judges: what is owed, what is compared with what, and when an msync may return 0
//! (docs/proof.md).
//!
//! It does not know whose memory it is: that is its [`Target`]. No hook and no global is in here, and
//! nothing allocates. The steps, each of which uses up what the one before has made, are [`Snapshot::begin`] and
//! [`take`], [`flush()`], [`compare`], [`judge`].

#![warn(missing_docs)]

#[macro_use]
extern crate keepmydata_sys;

/// Mappings of more of a file are not tracked page by page, in bytes: each page costs 8 bytes of page table. Nor is so much
/// compared that is only assumed to be dirty.
pub const LARGEST: u64 = 16 << 30;

pub mod cached_pages;
mod comparison;
mod copies;
mod debt;
mod event;
mod evidence;
mod flush;
mod heal;
mod pooled;
pub mod readback;
mod settle;
mod shown;
mod snapshot;
mod stages;
mod target;
mod traits;
mod verdict;
mod verify;
pub mod words;

pub use comparison::{Comparison, NAMELESS, OTHERWISE_NAMED, Unsettled};
pub use copies::{BUFFER, Copies, State};
pub use debt::{Debt, Told};
pub use event::{Event, Observer};
pub use evidence::Evidence;
pub use flush::{flush, flush_alone};
pub use heal::{Patience, compare};
pub use pooled::{Home, Pooled, PooledList};
pub use settle::pay;
pub use snapshot::take;
pub use stages::{Compared, Facts, Flushed, Judged, Request, Snapshot, Terms};
pub use target::{Mapping, PARTS, Part, Target};
pub use traits::{Traits, filesystem};
pub use verdict::{Ended, Proved, Refused, Verdict, Zero, judge};
pub use verify::check;
