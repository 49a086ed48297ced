//! The process is about to end, or to become another program.

use super::{Reporter, unsynced};
use crate::helper;
use crate::mappings::{self, file::File};
use crate::process;
use crate::stats;
use crate::sys::{self, signals::Blocked};
use keepmydata_records::Finding;

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    Exit,
    Exec,
}

/// Tells of pages that were never synced, then writes the summaries. On a thread of the program's;
/// async-signal-safe, as `_exit` and `execve` are. A vfork child shares its parent's memory and has
/// nothing to tell; a fork child only if it mapped or synced a file itself.
#[cold]
pub fn at_end(how: Boundary) {
    if !stats::any() || process::this().is_borrowed() {
        return;
    }
    let _quiet = Blocked::all();
    let tid = sys::gettid();
    let finding = match how {
        Boundary::Exit => Finding::ExitUnsynced,
        Boundary::Exec => Finding::ExecUnsynced,
    };
    // The helper has faults of its own.
    let faults = sys::thread::process_faults();
    let _ = helper::run(process::this(), |worker| {
        stats::for_each(|slot, key| {
            let held = mappings::lock().find(&key).map(File::hold);
            let Some(file) = held else { return };
            let reporter = Reporter {
                worker,
                slot,
                file: &file,
                tid,
                call: None,
            };
            if let Some(track) = slot.track() {
                let mut pages = unsynced::find(&reporter, &track, 0, usize::MAX);
                unsynced::tell(&reporter, &track, finding, &mut pages);
            }
        });
        stats::write(worker, tid, faults);
    });
}
