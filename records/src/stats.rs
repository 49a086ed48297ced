//! The numbers of a summary.

use serde::{Deserialize, Serialize};

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// What is known of a file, or of the process, at its end. A number that is not known is
        /// absent.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Stats {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )*
        }

        impl Stats {
            /// Every number with its meaning, in the order of `docs/log.md`.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),+)),)*];

            /// The numbers that are there, by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let all = [$((stringify!($name), self.$name),)*];
                all.into_iter().filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

stats! {
    /// Bytes of the file that this process maps, each mapping counted; `Size` in /proc/PID/smaps.
    mapped_bytes,
    /// Pages in the page tables of these mappings; `Rss`.
    resident_pages,
    /// Those of them that are dirty; `Shared_Dirty` and `Private_Dirty`.
    dirty_pages,
    /// Pages of the file in the page cache, whoever brought them there; fincore(1).
    cached_pages,
    /// Page faults of the process without I/O, getrusage(2).
    minor_faults,
    /// Page faults of the process with I/O, getrusage(2).
    major_faults,
    /// Calls of msync for the file, of any kind.
    msyncs,
    /// Pages that were dirty when an msync began, and so were handed to the filesystem.
    pages_flushed,
    /// Pages that were read back and found right.
    pages_verified,
    /// Pages that were read back, found wrong, and found right after healing.
    pages_healed,
    /// Pages that an msync dropped from the page cache.
    pages_dropped,
    /// Time in all calls of msync that were enforced, ns.
    msync_ns,
    /// Of it: finding the dirty ranges.
    dirty_ns,
    /// Of it: copying the dirty pages aside.
    copy_ns,
    /// Of it: the real msync.
    flush_ns,
    /// Of it: fdatasync.
    fdatasync_ns,
    /// Of it: reading back and comparing.
    verify_ns,
    /// Of it: the rungs of healing, without the comparison after each.
    heal_ns,
    /// Of it: dropping clean pages.
    drop_ns,
}
