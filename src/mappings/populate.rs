//! Pages that must be there before mlock(2) looks for them.
//!
//! Measured on Linux 6.18: where a mapping is write-protected by userfaultfd and a page of it was
//! never touched, mlock does not return (`__get_user_pages` faults and looks again for ever; only
//! SIGKILL ends it). After `MADV_POPULATE_READ` it does. mlock reads the pages in anyway. A mapping
//! that may be written and not read (`PROT_WRITE` alone, LTP's mlock04) refuses that; its pages are
//! read through /proc/self/mem, which does not ask.

use super::lock;
use crate::sys::signals::Blocked;
use crate::sys::vm;
use crate::{custodian, process, sys};
use rustix::io::Errno;

/// Reads in the tracked mappings of `[addr, addr + len)`. Errors are the real call's to report.
#[cold]
pub fn range(addr: usize, len: usize) {
    let end = addr.saturating_add(sys::page_up(len as u64) as usize);
    let mut at = sys::page_down(addr as u64) as usize;
    loop {
        let mut next = None;
        // Not populated under the lock: that may wait for the filesystem.
        let generation = process::this().generation();
        lock().for_each(at, end, |entry| {
            if entry.marks.registered == generation {
                next = Some(entry);
            }
            next.is_none()
        });
        let Some(entry) = next else { return };
        populate(entry.start, entry.len());
        at = entry.end;
    }
}

fn populate(start: usize, len: usize) {
    if vm::populate_read(start, len) != Err(Errno::INVAL) {
        return;
    }
    let _quiet = Blocked::all();
    let _ = custodian::run(process::this(), |_| {
        for page in (start..start + len).step_by(sys::page_size()) {
            let _ = vm::read_through_proc(page, &mut [0]);
        }
    });
}
