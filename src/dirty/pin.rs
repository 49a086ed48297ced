//! Pages that outlive their drop: what other threads store in the moment in which a call of the program's has the
//! kernel drop a file's page cache.
//!
//! On FUSE an open without KEEP_CACHE writes the dirty pages back and drops all of them. What a thread stores between
//! the last look at the marks and the drop is in pages that nobody has afterwards. A pipe keeps a page itself, not a
//! copy (vmsplice(2)): so what the page held last can still be read, and compared with what the filesystem holds. All
//! pages of the mappings are read in first, so that no thread finds one that is not in the pipe.

use super::Ranges;
use crate::helper::Worker;
use crate::mappings::{self, file::File};
use crate::sys::{self, vm, wipe};
use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::slice;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Pages that are kept, at the most: what a pipe takes of an unprivileged user (pipe(7)).
const MOST: usize = 256;
/// Mappings that they are in, at the most.
const PIECES: usize = 8;

/// Pages of one file. In the helper's descriptor table.
pub struct Pinned {
    pipe: OwnedFd,
    /// Where in the file, bytes, in the order in which they are in the pipe.
    pieces: [(u64, usize); PIECES],
    count: usize,
}

/// Keeps every page of the writable mappings of `file`; nothing where there are too many. On a
/// helper thread.
pub fn pin(worker: &Worker, file: &File) -> Option<Pinned> {
    let size = sys::page_up(sys::fd::size(worker.borrow_handle(&mappings::handle_of(file))?).ok()?);
    let mut places = [(0usize, 0u64, 0usize); PIECES];
    let (mut count, mut pages) = (0, 0);
    let mut known = Ranges::new();
    let mut fits = true;
    {
        let table = mappings::lock();
        table.for_each_of(file, 0, |entry| {
            let end = size.min(entry.offset + entry.len() as u64);
            if !entry.writable || end <= entry.offset || known.covers(entry.offset, end) {
                return true;
            }
            let len = (end - entry.offset) as usize;
            pages += len / sys::page_size();
            // Unmapped below.
            let duplicate = vm::duplicate(entry.start, len);
            fits = count < PIECES && pages <= MOST && duplicate.is_ok();
            if let Ok(at) = duplicate {
                if fits {
                    places[count] = (at as usize, entry.offset, len);
                    count += 1;
                    known.add(entry.offset, end);
                } else {
                    unmap(at as usize, len);
                }
            }
            fits
        });
    }
    let places = &places[..count];
    let pinned = if fits && count > 0 {
        keep(places)
    } else {
        None
    };
    for &(at, _, len) in places {
        unmap(at, len);
    }
    pinned
}

fn unmap(at: usize, len: usize) {
    // SAFETY: a duplicate of the shim's own.
    let _ = unsafe { rustix::mm::munmap(at as *mut c_void, len) };
}

fn keep(places: &[(usize, u64, usize)]) -> Option<Pinned> {
    let (read, write) = pipe().ok()?;
    let mut pieces = [(0, 0); PIECES];
    for (piece, &(at, offset, len)) in pieces.iter_mut().zip(places) {
        // The program's mapping may not be read.
        // SAFETY: the shim's own mapping.
        let _ = unsafe {
            rustix::mm::mprotect(at as *mut c_void, len, rustix::mm::MprotectFlags::READ)
        };
        vm::populate_read(at, len).ok()?;
        splice(&write, at, len).ok()?;
        *piece = (offset, len);
    }
    Some(Pinned {
        pipe: read,
        pieces,
        count: places.len(),
    })
}

/// A pipe with room for [`MOST`] pages: the end to read, and the one to write.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&ends.1, MOST * sys::page_size())?;
    Ok(ends)
}

/// Puts the pages at `at` into the pipe, not copies of them.
fn splice(pipe: &OwnedFd, mut at: usize, mut len: usize) -> Result<(), Errno> {
    while len > 0 {
        let vector = libc::iovec {
            iov_base: at as *mut c_void,
            iov_len: len,
        };
        let pipe = pipe.as_raw_fd() as usize;
        let arguments = [pipe, &raw const vector as usize, 1, 0, 0, 0];
        // Not rustix's vmsplice: that takes a slice, and the program's threads store to this memory.
        // SAFETY: the vector is live, and its memory is the shim's own mapping.
        let done = unsafe { sys::raw::syscall(libc::SYS_vmsplice, arguments)? };
        let done = NonZeroUsize::new(done).ok_or(Errno::AGAIN)?.get();
        at += done;
        len -= done.min(len);
    }
    Ok(())
}

impl Pinned {
    /// Whether the filesystem holds what every page held last. On a helper thread.
    pub fn is_held(&self, worker: &Worker, file: &File) -> bool {
        let handle = mappings::handle_of(file);
        let Some(fd) = worker.borrow_handle(&handle).filter(|_| handle.direct) else {
            return false;
        };
        let Ok(size) = sys::fd::size(fd) else {
            return false;
        };
        let room = 2 * MOST * sys::page_size();
        let Some(memory) = wipe::map(room) else {
            return false;
        };
        // SAFETY: mapped just now, of that size.
        let memory = unsafe { slice::from_raw_parts_mut(memory.as_ptr(), room) };
        let (page, held) = memory.split_at_mut(room / 2);
        let mut same = true;
        for &(offset, len) in &self.pieces[..self.count] {
            let valid = size.saturating_sub(offset).min(len as u64) as usize;
            same &= self.read(&mut page[..len]).is_ok()
                && sys::fd::read_back(fd, &mut held[..len], offset).is_ok_and(|read| read >= valid)
                && page[..valid] == held[..valid];
        }
        unmap(memory.as_mut_ptr() as usize, room);
        same
    }

    fn read(&self, mut into: &mut [u8]) -> Result<(), Errno> {
        while !into.is_empty() {
            let done = rustix::io::read(&self.pipe, &mut *into)?;
            if done == 0 {
                return Err(Errno::IO);
            }
            into = &mut into[done..];
        }
        Ok(())
    }
}
