//! Step 3: fdatasync of the file, begun after everything was handed over.

use super::context::Context;
use super::report;
use crate::helper::Worker;
use crate::log::Timer;
use crate::mappings;
use crate::sys;
use keepmydata_records::{Level, event};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::mm::{MsyncFlags, msync};

/// fdatasync(2) through the handle; without one, msync of every mapping, which is the same for the
/// range that it maps.
pub fn fdatasync(worker: &Worker, context: &mut Context) {
    let timer = Timer::at(Level::Info);
    let begin = sys::monotonic_ns();
    let result = sync(worker, context, |handle| rustix::fs::fdatasync(handle));
    context.fdatasync_ns = sys::monotonic_ns() - begin;
    report::step(worker, context, event::FDATASYNC, timer, result);
    note(context, result);
}

/// fsync(2) through the handle: on FUSE another request than fdatasync's.
pub fn fsync(worker: &Worker, context: &mut Context) -> Result<(), Errno> {
    let timer = Timer::at(Level::Info);
    let result = sync(worker, context, |handle| rustix::fs::fsync(handle));
    report::step(worker, context, event::FSYNC, timer, result);
    result
}

/// By the handle, if there is one: another thread's exec may have ended the helper, and closed it.
fn sync(
    worker: &Worker,
    context: &Context,
    by_handle: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    match worker.borrow_handle(&context.handle).map(by_handle) {
        None | Some(Err(Errno::BADF)) => msync_mappings(context),
        Some(done) => done,
    }
}

fn note(context: &mut Context, result: Result<(), Errno>) {
    if let Err(errno) = result {
        context.fails(errno);
    }
}

fn msync_mappings(context: &Context) -> Result<(), Errno> {
    let mut result = Ok(());
    let mut from = 0;
    loop {
        let mut next = None;
        mappings::lock().for_each_of(&context.file, from, |entry| {
            next = entry.writable.then_some((entry.start, entry.len()));
            next.is_none()
        });
        let Some((start, len)) = next else {
            return result;
        };
        from = start + len;
        // SAFETY: msync changes no memory; where the mapping is gone by now, it syncs another's.
        let synced = unsafe { msync(start as *mut _, len, MsyncFlags::SYNC) };
        // Unmapped by another thread meanwhile.
        result = result.and(synced.or_else(|e| if e == Errno::NOMEM { Ok(()) } else { Err(e) }));
    }
}
