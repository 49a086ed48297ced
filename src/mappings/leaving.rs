//! What calls of several threads are about to unmap. Pages that two of them map would otherwise be unmapped by each in the
//! belief that the other one still has them, and nobody could compare what was stored there.

use crate::process::Zeroed;
use crate::sys::lock::Mutex;

/// Calls that are told apart.
const MOST: usize = 8;

/// All-zero is "none". Under the table lock.
#[derive(Default)]
pub struct Ranges {
    all: [(usize, usize); MOST],
    /// Calls for which there was no room: they may unmap anything.
    more: usize,
}

// SAFETY: numbers, in a lock that is open.
unsafe impl Zeroed for Mutex<Ranges> {}

/// Where a call is noted; nothing where there was no room.
#[derive(Clone, Copy)]
pub struct Place(Option<usize>);

impl Ranges {
    pub fn add(&mut self, start: usize, end: usize) -> Place {
        let free = self.all.iter().position(|&(_, end)| end == 0);
        match free {
            Some(free) => self.all[free] = (start, end),
            None => self.more += 1,
        }
        Place(free)
    }

    pub fn remove(&mut self, place: Place) {
        match place.0 {
            Some(at) => self.all[at] = (0, 0),
            None => self.more = self.more.saturating_sub(1),
        }
    }

    pub fn overlap(&self, start: usize, end: usize) -> bool {
        let overlaps = |&(from, to): &(usize, usize)| from < end && start < to;
        self.more > 0 || self.all.iter().any(overlaps)
    }
}

/// A call that is about to unmap something, until it has, or has failed.
#[must_use]
pub struct Leaving(Place);

impl Leaving {
    /// It is about to unmap `[start, end)`.
    pub fn begin(start: usize, end: usize) -> Leaving {
        Leaving(super::lock().leave(start, end))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        super::lock().has_left(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn what_is_not_told_apart_may_be_anywhere() {
        let mut ranges = Ranges::default();
        assert!(!ranges.overlap(0, usize::MAX));
        let places: Vec<_> = (1..=9).map(|n| ranges.add(n * 10, n * 10 + 5)).collect();
        assert!(ranges.overlap(0, 1), "the ninth");
        ranges.remove(places[8]);
        assert!(!ranges.overlap(15, 20));
        assert!(ranges.overlap(14, 20) && ranges.overlap(80, 81));
        places[..8].iter().for_each(|&place| ranges.remove(place));
        assert!(!ranges.overlap(0, usize::MAX));
    }
}
