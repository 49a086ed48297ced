//! Findings: what the program does with its mappings that may lose data, at `info` (docs/findings.md). Below that level
//! nothing is counted (`stats::on`).
//!
//! Stores that were not synced are known from the marks of [`crate::dirty`]'s page table scan: this process's stores since the
//! last msync, page by page. A page counts only while the page cache calls it dirty: the program may have called fsync(2), which
//! the shim does not see. Where stores are not tracked (Linux before 6.7, `KEEPMYDATA_TRACK=cachestat` or `whole`), little is
//! found.

mod end;
mod holes;
mod sync;
mod truncate;
mod unmap;
mod unsynced;

pub use end::{Boundary, at_end};
pub use holes::mapped;
pub use sync::{Call, Scanned, after_watched, before_watched, begin, done, note_stored, served};
pub use truncate::{truncate_fd, truncate_path};
pub use unmap::before_unmap;

use crate::dirty::Ranges;
use crate::helper::{self, Worker};
use crate::log::{self, FileName};
use crate::mappings::{
    self,
    file::{File, Key},
};
use crate::process;
use crate::stats::{self, Slot};
use crate::sys::{self, signals::Blocked};
use keepmydata_records::{Finding, Level, event};

/// Who tells, and about what.
#[derive(Clone, Copy)]
pub struct Reporter<'a> {
    pub worker: &'a Worker,
    pub slot: &'a Slot,
    pub file: &'a File,
    /// The program's thread.
    pub tid: i32,
    /// The number of the msync.
    pub call: Option<u64>,
}

impl Reporter<'_> {
    /// Counts a finding and writes its record. Not under the table lock.
    fn tell(&self, finding: Finding, pages: &Ranges, message: &str) {
        self.slot.count(finding);
        let name = FileName::of(self.file);
        let process = self.worker.process();
        let mut record = log::record(process, Level::Info, self.tid, event::FINDING);
        name.fill(&mut record);
        record.code = finding.code().into();
        record.call = self.call;
        if !pages.is_empty() {
            record.dirty = pages.as_slice().into();
            record.dirty_pages = Some(pages.pages());
        }
        record.message = message.into();
        log::emit(self.worker, &record);
    }
}

/// Runs `work` on a helper thread for each file that is mapped in `[addr, end)`, and is looked at. Nothing in a vfork
/// child, or where there is no helper.
fn for_each_file(addr: usize, end: usize, work: impl FnMut(&Reporter<'_>)) {
    for_each_wanted(addr, end, |_| true, work);
}

/// The same for each file that is `wanted`.
fn for_each_wanted(
    addr: usize,
    end: usize,
    wanted: impl Fn(&Key) -> bool,
    mut work: impl FnMut(&Reporter<'_>),
) {
    let process = process::this();
    if process.is_borrowed() {
        return;
    }
    let _quiet = Blocked::all();
    let tid = sys::gettid();
    mappings::each_file(addr, end, |file| {
        if !wanted(&file.key) {
            return;
        }
        let _ = helper::run(process, |worker| {
            if let Some(slot) = stats::slot(file) {
                work(&Reporter {
                    worker,
                    slot,
                    file,
                    tid,
                    call: None,
                });
            }
        });
    });
}
