//! What another client of the filesystem is shown ([`Terms::seen_elsewhere`](crate::Terms)): the file as it is here, its size too.
//!
//! What was copied and is there must be there by that client as it was copied, or as it is now. All else, what the program has taken
//! out of the file, say, or written past the page cache, is read through both.

use crate::comparison::{Batch, Comparison, Unsettled};
use crate::copies::State;
use crate::target::{Part, Target};
use core::ops::Range;
use keepmydata_ranges::Ranges;
use keepmydata_sys as sys;
use rustix::io::Errno;

/// Looks for what the client must be shown, and adds to `left` what it is not shown.
pub fn look<T: Target>(
    c: &mut Comparison<'_, T>,
    size: u64,
    left: &mut Unsettled,
) -> Result<(), Errno> {
    let opened = c.target.open_elsewhere();
    if opened == Ok(false) {
        // It need not be shown.
        c.unshown.clear();
        c.copies.settle_unseen();
        left.unseen = 0;
        return Ok(());
    }
    // First: a client that shows another size is had to ask for it anew, and what lies beyond is not read.
    let there = opened.and_then(|_| c.target.size_elsewhere(size));
    // What lies beyond the end needs no memory and no read.
    c.unshown.remove(sys::page_up(size), u64::MAX);
    let unread = opened.ok().and_then(|_| look_at_copies(c, size));
    left.unseen_errno = there.err().or(unread);
    if there.is_ok() && !c.unshown.is_empty() {
        match compare(c, size) {
            Err(errno) if errno == Errno::INVAL => return Err(errno),
            done => left.unseen_errno = left.unseen_errno.or(done.err()),
        }
    }
    left.hidden = c.unshown.pages() as usize;
    left.unseen = c.copies.states().filter(|&s| s == State::Unseen).count();
    if left.hidden + left.unseen == 0 && !is_size(c, size, there) {
        left.hidden = 1;
    }
    Ok(())
}

/// Looks for what was copied and the filesystem holds. Returns why the client could not be asked.
fn look_at_copies<T: Target>(c: &mut Comparison<'_, T>, size: u64) -> Option<Errno> {
    let (mut page, mut failed) = (0, None);
    while page < c.copies.pages() {
        let mut batch = Batch::new();
        while page < c.copies.pages() && batch.room() > 0 {
            let count = unseen(c, page, batch.room());
            if count > 0 {
                let (offset, _) = c.copies.place_of(page);
                batch.add(page, count, offset);
            }
            page += count.max(1);
        }
        if batch.parts().is_empty() {
            break;
        }
        c.target
            .read_elsewhere(batch.parts_mut(), c.copies.buffer_mut());
        for part in batch.parts() {
            failed = failed.or(part.read.err());
            for n in 0..part.count {
                let before = n * sys::page_size();
                let offset = part.offset + before as u64;
                let valid = valid(size, offset, sys::page_size());
                let from = part.into + before;
                if part.read.is_ok_and(|read| read >= before + valid) {
                    settle(c, part.first + n, offset, &(from..from + valid));
                }
            }
        }
    }
    failed
}

/// How many pages from number `first` on the client has still to be shown, one after the other in the file: up to `most`.
fn unseen<T: Target>(c: &Comparison<'_, T>, first: usize, most: usize) -> usize {
    let (begin, _) = c.copies.place_of(first);
    let pages = first..c.copies.pages().min(first + most);
    let is_next = |page: &usize| {
        let at = begin + ((page - first) * sys::page_size()) as u64;
        c.copies.state(*page) == State::Unseen && c.copies.place_of(*page).0 == at
    };
    pages.take_while(is_next).count()
}

/// How many of `bytes` bytes from `offset` on a file of that size has.
fn valid(size: u64, offset: u64, bytes: usize) -> usize {
    size.saturating_sub(offset).min(bytes as u64) as usize
}

/// The client is shown what lies in the part `shown` of the buffer for page number `page`, at `offset`.
fn settle<T: Target>(c: &mut Comparison<'_, T>, page: usize, offset: u64, shown: &Range<usize>) {
    if c.copies.matches(page, shown) {
        c.copies.set_state(page, State::Verified);
    } else if c.copies.look(c.target, page).is_none() {
        // The client's open has taken it out of the page cache here, perhaps, and nobody can tell what was stored since. The
        // filesystem held it: both are read.
        c.copies.set_state(page, State::Newer);
        c.unshown.add(offset, offset + sys::page_size() as u64);
    } else if c.copies.is_as_new(page, shown) {
        c.copies.set_state(page, State::Newer);
    }
}

/// How long a new size may be on its way to this client.
const ARRIVES_NS: u64 = 1_000_000;

/// Whether the size that the client is shown is that of the file here, which was `size`; or one that it has had since, where
/// another process changes it all the time. Another client may have changed it, which the kernel does not know yet: nothing is
/// left that the page cache is needed for when it asks.
fn is_size<T: Target>(c: &Comparison<'_, T>, size: u64, there: Result<u64, Errno>) -> bool {
    let is_between = |now: Result<u64, Errno>| match (there, now) {
        (Ok(there), Ok(now)) => (size.min(now)..=size.max(now)).contains(&there),
        _ => false,
    };
    let is_known = || is_between(c.target.size());
    // It may be on its way here, where a write is not answered yet.
    let comes = || {
        c.target.sleep(ARRIVES_NS);
        is_known()
    };
    there.is_ok() && (is_known() || comes() || is_between(c.target.size_asked_anew()))
}

/// Pages that are compared at once.
const PAGES: usize = 128;

/// Takes from what is to be shown the pages that the client is shown as they are here.
fn compare<T: Target>(c: &mut Comparison<'_, T>, size: u64) -> Result<(), Errno> {
    let page = sys::page_size();
    let room = PAGES.min(c.unshown.pages() as usize) * page;
    let mut region = c.target.memory(3 * room).ok_or(Errno::NOMEM)?;
    let (mut shown, mut at, mut done) = (Ranges::new(), 0, Ok(()));
    while done.is_ok()
        && let Some(batch) = next_batch(c.unshown, &mut at, room)
    {
        let buffer = region.numbers_mut(0, 3 * room);
        done = compare_batch(c.target, size, batch, buffer, &mut shown);
    }
    c.target.take_back(region);
    c.unshown.remove_all(&shown);
    done
}

/// Places that are read at once, one after the other in the buffer.
#[derive(Clone)]
struct Places {
    parts: [Part; PLACES],
    len: usize,
}

const PLACES: usize = 16;

impl Places {
    fn as_slice(&self) -> &[Part] {
        &self.parts[..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [Part] {
        &mut self.parts[..self.len]
    }

    /// Why one could not be read.
    fn error(&self) -> Option<Errno> {
        self.as_slice().iter().find_map(|part| part.read.err())
    }
}

/// Up to `room` bytes of what is to be shown, from `at` on.
fn next_batch(unshown: &Ranges, at: &mut u64, room: usize) -> Option<Places> {
    let parts = [Part::new(0, 0, 0, 0); PLACES];
    let (mut batch, mut into) = (Places { parts, len: 0 }, 0);
    for range in unshown.within(*at, u64::MAX) {
        let len = range.length.min((room - into) as u64) as usize;
        if len == 0 || batch.len == PLACES {
            break;
        }
        batch.parts[batch.len] = Part::new(0, len / sys::page_size(), range.offset, into);
        batch.len += 1;
        into += len;
        *at = range.offset + len as u64;
    }
    (into > 0).then_some(batch)
}

/// Adds what of the places the client is shown as it is here. Somebody may store to them all the time: each byte must be as it was
/// here before the client was asked, or after that.
fn compare_batch<T: Target>(
    target: &T,
    size: u64,
    mut before: Places,
    buffer: &mut [u8],
    shown: &mut Ranges,
) -> Result<(), Errno> {
    let room = buffer.len() / 3;
    let (here, rest) = buffer.split_at_mut(room);
    let (there, after) = rest.split_at_mut(room);
    let mut client = before.clone();
    let mut again = before.clone();
    target.read_back(before.as_mut_slice(), here, &mut false);
    target.read_elsewhere(client.as_mut_slice(), there);
    let same = |number: usize, from: usize, valid: usize| {
        let has = |part: &Part| part.read.is_ok_and(|read| read >= from - part.into + valid);
        has(&before.as_slice()[number]) && has(&client.as_slice()[number])
    };
    let is_equal = compare_pages(size, client.as_slice(), shown, |number, at| {
        same(number, at.start, at.len()) && here[at.clone()] == there[at]
    });
    if is_equal {
        return Ok(());
    }
    if let Some(errno) = before.error().or(client.error()) {
        return Err(errno);
    }
    target.read_back(again.as_mut_slice(), after, &mut false);
    compare_pages(size, client.as_slice(), shown, |number, at| {
        let mut bytes = there[at.clone()]
            .iter()
            .zip(&here[at.clone()])
            .zip(&after[at.clone()]);
        same(number, at.start, at.len())
            && bytes.all(|((there, old), new)| there == old || there == new)
    });
    Ok(())
}

/// Adds the pages of `parts` that are as `is_shown` says, by their part's number and their bytes in the buffer. Says whether all are.
fn compare_pages(
    size: u64,
    parts: &[Part],
    shown: &mut Ranges,
    mut is_shown: impl FnMut(usize, Range<usize>) -> bool,
) -> bool {
    let page = sys::page_size();
    let mut all = true;
    for (number, part) in parts.iter().enumerate() {
        for n in 0..part.count {
            let offset = part.offset + (n * page) as u64;
            let from = part.into + n * page;
            let is = is_shown(number, from..from + valid(size, offset, page));
            if is {
                shown.add(offset, offset + page as u64);
            }
            all &= is;
        }
    }
    all
}
