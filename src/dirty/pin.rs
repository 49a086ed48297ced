//! Pages that outlive their drop: what other threads store in the very moment in which a call of the program's makes
//! the kernel drop a file's page cache.
//!
//! On FUSE an open without KEEP_CACHE writes the dirty pages back and drops all of them. What a thread stores between
//! the last look at the marks and the drop would be gone. A pipe keeps a page itself, not a copy (vmsplice(2)), so what the
//! page held last can still be read, and compared with what the filesystem holds. All pages of the mappings are read in
//! first, so that each that a thread stores to is in the pipe.
//!
//! Threads go on storing to the page that is read in after the drop, and reading past the page cache hands that to the
//! filesystem. So each byte may be as the page held it last, or new; but not as the filesystem had it before the stores that the
//! pipe has kept: which is what was proved, and for pages that a thread stores to all the time, what it is asked for.

use super::{Query, Ranges, pagemap};
use crate::helper::Worker;
use crate::mappings::{
    self,
    file::File,
    untold::{self, By, Whose},
};
use crate::sys::{
    self, vm,
    wipe::{Mapping, Region},
};
use core::num::NonZeroUsize;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Pages that are kept, at the most: what a pipe takes of an unprivileged user (pipe(7)).
const MOST: usize = 256;
/// Mappings that they are in, at the most.
const PIECES: usize = 8;

/// How often a page is looked at that seems to be as it was before.
const LOOKS: usize = 4;

/// Pages of one file. In the helper's descriptor table. It is moved about on the program's stack, which may be small.
pub struct Pinned {
    pipe: OwnedFd,
    pages: u16,
    /// Whether what the filesystem held of them was copied.
    is_copied: bool,
    /// [`PIECES`] times where in the file and how many bytes, in the order in which they are in the pipe; from [`HELD`] on what
    /// the filesystem held of them then, in the same order; then for each page, whether that is known.
    memory: Region,
}

/// Where what the filesystem held begins.
const HELD: usize = PIECES * size_of::<[u64; 2]>();

/// Keeps every page of the writable mappings of `file`; nothing where there are too many. On a
/// helper thread.
pub fn pin(worker: &Worker, file: &File) -> Option<Pinned> {
    let size = sys::page_up(sys::fd::size(worker.borrow_handle(&mappings::handle_of(file))?).ok()?);
    let mut places = [const { None }; PIECES];
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
            fits = false;
            if pages <= MOST
                && let Some(place) = places.get_mut(count)
                && let Ok(duplicate) = vm::duplicate(entry.start, len)
            {
                *place = Some((duplicate, entry.offset));
                count += 1;
                known.add(entry.offset, end);
                fits = true;
            }
            fits
        });
    }
    let mut pinned = (fits && count > 0)
        .then(|| keep(&mut places, pages))
        .flatten()?;
    pinned.copy(&places);
    // Asked now: what was stored until it was copied has its marks.
    let mut owed = Ranges::new();
    if super::add_owed(worker, file, &mut owed).is_err() {
        // Stores are not seen.
        owed.add(0, size);
    }
    pinned.note_held(worker, file, &owed);
    Some(pinned)
}

fn keep(places: &mut [Option<(Mapping, u64)>], count: usize) -> Option<Pinned> {
    let (read, write) = pipe().ok()?;
    let mut memory = Region::new(HELD + count * (sys::page_size() + 1))?;
    let pieces = memory.numbers_mut::<u64>(0, 2 * PIECES).chunks_exact_mut(2);
    for (piece, (pages, offset)) in pieces.zip(places.iter_mut().flatten()) {
        // The program's mapping may not be read.
        let _ = pages.make_readable();
        vm::populate_read(pages.start(), pages.len()).ok()?;
        splice(&write, pages).ok()?;
        piece.copy_from_slice(&[*offset, pages.len() as u64]);
    }
    Some(Pinned {
        pipe: read,
        pages: u16::try_from(count).ok()?,
        is_copied: false,
        memory,
    })
}

/// A pipe with room for [`MOST`] pages: the end to read, and the one to write.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let ends = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    fcntl_setpipe_size(&ends.1, MOST * sys::page_size())?;
    Ok(ends)
}

/// Puts the pages into the pipe, not copies of them.
fn splice(pipe: &OwnedFd, pages: &Mapping) -> Result<(), Errno> {
    let mut done = 0;
    while done < pages.len() {
        let (at, left) = (pages.start() + done, pages.len() - done);
        // Not rustix's vmsplice: that takes a slice, and the program's threads store to this memory.
        // SAFETY: the end of the pipe for writing, which `pipe` has made.
        let more = unsafe { sys::raw::sys_vmsplice(pipe.as_fd(), at, left, 0)? };
        done += NonZeroUsize::new(more).ok_or(Errno::AGAIN)?.get();
    }
    Ok(())
}

impl Pinned {
    fn pages(&self) -> usize {
        self.pages.into()
    }

    /// Where the pages are in the file, and how many bytes, in the order in which they are in the pipe.
    fn pieces(&self) -> impl Iterator<Item = (u64, usize)> {
        let pieces = self.memory.numbers::<u64>(0, 2 * PIECES);
        let pieces = pieces.as_chunks().0.iter();
        pieces
            .map(|&[offset, len]| (offset, len as usize))
            .take_while(|&(_, len)| len > 0)
    }

    /// Copies what the pages at `places` hold.
    fn copy(&mut self, places: &[Option<(Mapping, u64)>]) {
        let mut done = HELD;
        self.is_copied = places.iter().flatten().all(|(pages, _)| {
            let into = self.memory.numbers_mut(done, pages.len());
            done += pages.len();
            vm::read_own_memory(pages.start(), into) == Ok(pages.len())
        });
    }

    /// What the filesystem holds of all but what is `owed` was copied; that is read from it.
    fn note_held(&mut self, worker: &Worker, file: &File, owed: &Ranges) {
        if !self.is_copied {
            return;
        }
        let (size, pages) = (sys::page_size(), self.pages());
        let handle = mappings::handle_of(file);
        let direct = worker.borrow_handle(&handle).filter(|_| handle.direct);
        let mut page = 0;
        for piece in 0..PIECES {
            let piece = self.memory.numbers::<u64>(piece * size_of::<[u64; 2]>(), 2);
            let (start, len) = (piece[0], piece[1]);
            for offset in (start..start + len).step_by(size) {
                let held = self.memory.numbers_mut(HELD + page * size, size);
                let mut read = |fd| {
                    let read = sys::fd::read_back(fd, held, offset)?;
                    Ok::<_, Errno>(read == size || sys::fd::size(fd)? == offset + read as u64)
                };
                let is_known = !owed.has(offset) || direct.is_some_and(|fd| read(fd) == Ok(true));
                self.memory.numbers_mut(HELD + pages * size + page, 1)[0] = u8::from(is_known);
                page += 1;
            }
        }
    }

    /// Whether it is known of each what the filesystem held of it.
    pub fn knows_what_was_held(&self) -> bool {
        (0..self.pages()).all(|page| self.held(page).is_some())
    }

    /// What the filesystem held of page number `page` when it was put into the pipe.
    fn held(&self, page: usize) -> Option<&[u8]> {
        let size = sys::page_size();
        let known = self
            .memory
            .numbers::<u8>(HELD + self.pages() * size + page, 1)
            == [1];
        known.then(|| self.memory.numbers(HELD + page * size, size))
    }

    /// Adds the pages of which the filesystem may not hold what they held last. On a helper thread.
    ///
    /// Errors: that of fdatasync(2), without which what it holds proves nothing, and of reading back.
    pub fn find_lost(&self, worker: &Worker, file: &File, into: &mut Ranges) -> Result<(), Errno> {
        let handle = mappings::handle_of(file);
        let direct = worker.borrow_handle(&handle).filter(|_| handle.direct);
        let fd = direct.ok_or(Errno::BADF)?;
        rustix::fs::fdatasync(fd).inspect_err(|&errno| {
            if mappings::tells_once(file, &handle) {
                untold::note(Whose::of(&file.key), By::Sync, errno);
            }
        })?;
        let size = sys::fd::size(fd)?;
        let mut memory = Region::new(2 * MOST * sys::page_size()).ok_or(Errno::NOMEM)?;
        let half = memory.size() / 2;
        let (last, held) = memory.numbers_mut::<u8>(0, 2 * half).split_at_mut(half);
        // First what is there, then whether it was stored to since.
        let (mut differ, mut done) = (Ranges::new(), 0);
        for (offset, len) in self.pieces() {
            let valid = size.saturating_sub(offset).min(len as u64) as usize;
            self.read(&mut last[..len])?;
            if sys::fd::read_back(fd, &mut held[..len], offset)? < valid {
                return Err(Errno::IO);
            }
            for at in (0..valid).step_by(sys::page_size()) {
                let part = at..valid.min(at + sys::page_size());
                let (start, last) = (offset + at as u64, &last[part.clone()]);
                if last == &held[part.clone()] {
                    continue;
                }
                let before = self.held((done + at) / sys::page_size());
                let page = &mut held[at..at + sys::page_size()];
                let is_newer = before.is_some_and(|before| {
                    // A byte that is counted up comes round to what it was.
                    (0..LOOKS).any(|look| {
                        (look == 0 || sys::fd::read_back(fd, page, start).is_ok())
                            && is_newer(last, &page[..last.len()], before)
                    })
                });
                let end = start + sys::page_size() as u64;
                match is_newer {
                    true => differ.add(start, end),
                    false => into.add(start, end),
                }
            }
            done += len;
        }
        if !differ.is_empty() {
            let mut stored = Ranges::new();
            let query = Query::of(worker, file, handle);
            if pagemap::present_since(&query, &mut stored).is_err()
                || !super::are_stores_seen(worker, file)
            {
                // What was stored since is in the page cache again.
                stored.add_all(query.cached(sys::page_up(size)).iter());
            }
            differ.remove_all(&stored);
            into.add_all(differ.iter());
        }
        Ok(())
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

/// Whether a page that held `last` when it was dropped, and of which the filesystem had `before` before that, may have been
/// stored to since, so that it has `held` now: no byte of it is from before.
fn is_newer(last: &[u8], held: &[u8], before: &[u8]) -> bool {
    let mut bytes = last.iter().zip(held).zip(before);
    bytes.all(|((last, held), before)| held == last || held != before)
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn a_byte_from_before_is_a_loss_and_a_new_one_is_not() {
        // Proved, then stored to: the third byte; and after the drop: the fourth.
        assert!(is_newer(b"aabaa", b"aabca", b"aaaaa"));
        assert!(is_newer(b"aabaa", b"aacaa", b"aaaaa"));
        assert!(!is_newer(b"aabaa", b"aaaca", b"aaaaa"));
        assert!(!is_newer(b"bb", b"ba", b"aa"));
    }
}
