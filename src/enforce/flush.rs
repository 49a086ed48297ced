//! Step 3: fdatasync of the file, begun after everything was handed over.

use super::context::Context;
use super::report;
use crate::custodian::Worker;
use crate::log::Timer;
use crate::mappings;
use crate::sys::vm;
use keepmydata_records::event;
use rustix::io::Errno;
use rustix::mm::{MsyncFlags, msync, munmap};

/// fdatasync(2) through the handle; without one, msync of every mapping, which is the same for the
/// range that it maps.
pub fn fdatasync(worker: &Worker, context: &mut Context) {
    let timer = Timer::start();
    let result = match worker.borrow_handle(&context.handle) {
        Some(handle) => rustix::fs::fdatasync(handle),
        None => msync_mappings(context),
    };
    report::step(worker, context, event::FDATASYNC, timer, result);
    note(context, result);
}

/// fsync(2) through the handle: on FUSE another request than fdatasync's.
pub fn fsync(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    let timer = Timer::start();
    let result = match worker.borrow_handle(&context.handle) {
        Some(handle) => rustix::fs::fsync(handle),
        None => msync_mappings(context),
    };
    report::step(worker, context, event::FSYNC, timer, result);
    result
}

fn note(context: &mut Context, result: Result<(), Errno>) {
    if let Err(errno) = result {
        context.flush_error.get_or_insert(errno);
    }
}

fn msync_mappings(context: &Context) -> Result<(), Errno> {
    let mut result = Ok(());
    let mut from = 0;
    loop {
        let mut next = None;
        mappings::lock().for_each_of(context.file, |entry| {
            if entry.writable && entry.start >= from {
                next = Some(entry);
            }
            next.is_none()
        });
        let Some(entry) = next else { return result };
        from = entry.end;
        // SAFETY: msync changes no memory; where the mapping is gone by now, it syncs another's.
        let synced = unsafe { msync(entry.start as *mut _, entry.len(), MsyncFlags::SYNC) };
        // Unmapped by another thread meanwhile.
        result = result.and(synced.or_else(|e| if e == Errno::NOMEM { Ok(()) } else { Err(e) }));
    }
}

/// Tells `each` of a duplicate of every writable mapping of the file (address, offset in the file,
/// bytes), made for the time of the call: the table lock cannot be held over I/O, and without it the
/// mapping itself may go.
pub fn for_each_duplicate(context: &Context, mut each: impl FnMut(usize, u64, usize)) {
    let mut from = 0;
    loop {
        let mut duplicate = None;
        {
            let table = mappings::lock();
            // SAFETY: held by the chain, and under the lock.
            let (low, high) = unsafe { (context.file.as_ref().low, context.file.as_ref().high) };
            table.for_each(low.max(from), high, |entry| {
                if entry.file != context.file || !entry.writable {
                    return true;
                }
                from = entry.end;
                // SAFETY: unmapped below.
                duplicate = unsafe { vm::duplicate(entry.start, entry.len()) }
                    .ok()
                    .map(|start| (start as usize, entry.offset, entry.len()));
                duplicate.is_none()
            });
        }
        let Some((start, offset, len)) = duplicate else {
            return;
        };
        each(start, offset, len);
        // SAFETY: the duplicate made above.
        let _ = unsafe { munmap(start as *mut _, len) };
    }
}
