//! Pages that this process stored to and never synced.

use super::Reporter;
use crate::dirty::{self, Ranges};
use crate::helper::Worker;
use crate::mappings::{self, table::Entry};
use crate::stats::Track;
use crate::sys::cachestat::Cached;
use keepmydata_records::Finding;

/// Adds what of the mapping `entry` was stored to since the last msync, or is owed from before it,
/// and is dirty in the page cache. Under the table lock, so that the mapping stays.
fn add(worker: &Worker, file: Cached<'_>, entry: &Entry<'_>, owed: &Ranges, into: &mut Ranges) {
    if !entry.writable {
        return;
    }
    dirty::for_each_written(worker, entry, entry.start, entry.end, |from, to| {
        let start = entry.offset + (from - entry.start) as u64;
        let _ = dirty::unstable(file, start, start + (to - from) as u64, into);
    });
    for range in owed.within(entry.offset, entry.offset + entry.len() as u64) {
        let _ = dirty::unstable(file, range.offset, range.end(), into);
    }
}

/// The same for every mapping of the reporter's file in `[start, end)`, but what an msync has failed for: the program was told.
/// Nothing without a handle.
pub fn find(reporter: &Reporter<'_>, track: &Track, start: usize, end: usize) -> Ranges {
    let mut found = Ranges::new();
    let table = mappings::lock();
    let handle = table.get(reporter.file).handle;
    if let Some(file) = reporter.worker.borrow_cached(&handle) {
        table.for_each(start, end, |entry| {
            if entry.file == reporter.file {
                add(reporter.worker, file, &entry, &track.owed, &mut found);
            }
            true
        });
    }
    found.remove_all(&table.get(reporter.file).debt.refused);
    found
}

/// Tells that `pages` were never synced: those that an msync with MS_ASYNC was called for as that.
pub fn tell(reporter: &Reporter<'_>, track: &Track, finding: Finding, pages: &mut Ranges) {
    let mut asynced = Ranges::new();
    asynced.add_all(pages.common(&track.asynced));
    pages.remove_all(&asynced);
    if !asynced.is_empty() {
        let message = match finding {
            Finding::UnmappedUnsynced => {
                "unmapped, and the only msync of these pages had MS_ASYNC, which starts nothing on \
                 Linux"
            }
            _ => {
                "the process ends, and the only msync of these pages had MS_ASYNC, which starts \
                 nothing on Linux"
            }
        };
        reporter.tell(Finding::AsyncOnly, &asynced, message);
    }
    if !pages.is_empty() {
        let message = match finding {
            Finding::UnmappedUnsynced => {
                "unmapped without an msync since these pages were stored to: from here on only \
                 fsync of a descriptor makes them stable"
            }
            Finding::ExecUnsynced => {
                "another program is executed, and these pages were stored to and never synced"
            }
            _ => "the process exits, and these pages were stored to and never synced",
        };
        reporter.tell(finding, pages, message);
    }
}
