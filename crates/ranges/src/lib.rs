//! A list of byte ranges of a file.

#![warn(missing_docs)]

use keepmydata_records::ByteRange;
use keepmydata_sys::list::List;

/// Ranges that need no memory of their own, where the list does not say otherwise.
const FEW: usize = 64;
/// Ranges of the longest list.
const MOST: usize = if cfg!(test) { 512 } else { 1 << 18 };

/// Sorted, disjoint ranges in whole pages. Where there are too many ([`MOST`]) or memory is out,
/// neighbours are joined: the list then covers more, never less. All-zero is an empty one.
pub struct RangeList<const N: usize> {
    list: List<ByteRange, N, MOST>,
}

/// A list that lies in a structure of which there are many.
pub type FewRanges = RangeList<2>;

/// A list for a helper's stack, or a structure of which there are few.
pub type Ranges = RangeList<FEW>;

impl<const N: usize> Default for RangeList<N> {
    fn default() -> RangeList<N> {
        RangeList::new()
    }
}

impl<const N: usize> RangeList<N> {
    /// No range. By default 1 KiB: for a helper's stack; elsewhere see [`Ranges::init`].
    pub const fn new() -> RangeList<N> {
        RangeList { list: List::new() }
    }

    /// Makes the list at `at` an empty one, without a copy of it on the stack.
    ///
    /// # Safety
    /// `at` is valid for writes.
    pub unsafe fn init(at: *mut RangeList<N>) {
        // SAFETY: by contract.
        unsafe { List::init(&raw mut (*at).list) };
    }

    /// Empties the list; its memory stays.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// The ranges, from the first to the last.
    pub fn as_slice(&self) -> &[ByteRange] {
        self.list.as_slice()
    }

    /// The same, one by one.
    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        self.as_slice().iter().copied()
    }

    /// Whether the byte at `offset` is in a range.
    pub fn has(&self, offset: u64) -> bool {
        self.within(offset, offset + 1).next().is_some()
    }

    /// Whether all of `[start, end)` is in one range.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let part = ByteRange {
            offset: start,
            length: end - start,
        };
        self.within(start, end).next() == Some(part)
    }

    /// The parts of the ranges that lie in `[start, end)`: none where that ends before it starts.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = ByteRange> + '_ {
        let list = self.as_slice();
        let first = list.partition_point(|r| r.end() <= start);
        let past = list.partition_point(|r| r.offset < end).max(first);
        let past = if start < end { past } else { first };
        list[first..past].iter().map(move |r| {
            let offset = r.offset.max(start);
            let length = r.end().min(end) - offset;
            ByteRange { offset, length }
        })
    }

    /// What is in a range of both.
    pub fn common<'a, const M: usize>(
        &'a self,
        other: &'a RangeList<M>,
    ) -> impl Iterator<Item = ByteRange> + 'a {
        let others = other.as_slice().iter();
        others.flat_map(|range| self.within(range.offset, range.end()))
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether one more range would be joined with a neighbour, and what lies between them added.
    pub fn is_full(&self) -> bool {
        self.as_slice().len() == MOST
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.as_slice().iter().map(|r| r.length).sum()
    }

    /// Pages in all.
    pub fn pages(&self) -> u64 {
        self.bytes() / keepmydata_sys::page_size() as u64
    }

    /// Takes `[start, end)` away. Where that would split a range of a list that is full, it stays.
    #[inline(never)]
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let list = self.as_slice();
        let first = list.partition_point(|r| r.end() <= start);
        let last = first + list[first..].partition_point(|r| r.offset < end);
        if first == last {
            return;
        }
        let (low, high) = (list[first], list[last - 1]);
        let left = ByteRange {
            offset: low.offset,
            length: start.saturating_sub(low.offset),
        };
        let right = ByteRange {
            offset: end,
            length: high.end().saturating_sub(end),
        };
        let kept = usize::from(left.length > 0) + usize::from(right.length > 0);
        if kept > last - first {
            // Of one range two are left.
            if self.list.insert(last, right) {
                self.list.as_mut_slice()[first] = left;
            }
            return;
        }
        let list = self.list.as_mut_slice();
        if left.length > 0 {
            list[first] = left;
        }
        if right.length > 0 {
            list[first + kept - 1] = right;
        }
        self.list.remove(first + kept..last);
    }

    /// Takes all that `ranges` have away, as [`Ranges::remove`].
    #[inline(never)]
    pub fn remove_all<const M: usize>(&mut self, ranges: &RangeList<M>) {
        for range in ranges.as_slice() {
            self.remove(range.offset, range.end());
        }
    }

    /// Adds every one of `ranges`, as [`Ranges::add`].
    pub fn add_all(&mut self, ranges: impl IntoIterator<Item = ByteRange>) {
        for range in ranges {
            self.add(range.offset, range.end());
        }
    }

    /// Adds what `other` has not got of `range`.
    pub fn add_less<const M: usize>(&mut self, range: ByteRange, other: &RangeList<M>) {
        let mut start = range.offset;
        for has in other.within(range.offset, range.end()) {
            self.add(start, has.offset);
            start = has.end();
        }
        self.add(start, range.end());
    }

    /// Adds `[start, end)`, which may overlap ranges that are there.
    #[inline(never)]
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let list = self.as_slice();
        // What touches the new range is joined with it.
        let first = list.partition_point(|r| r.end() < start);
        let last = first + list[first..].partition_point(|r| r.offset <= end);
        let new = |start: u64, end: u64| ByteRange {
            offset: start,
            length: end - start,
        };
        if first < last {
            let joined = new(start.min(list[first].offset), end.max(list[last - 1].end()));
            self.list.as_mut_slice()[first] = joined;
            self.list.remove(first + 1..last);
        } else if !self.list.insert(first, new(start, end)) {
            // Full: grow a neighbour over the gap between.
            let list = self.as_slice();
            let neighbour = list[first.min(list.len() - 1)];
            let (low, high) = (neighbour.offset, neighbour.end());
            self.add(start.min(low), end.max(high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST_ADDS: usize = if cfg!(miri) { 100 } else { 1500 };

    /// The whole pages of a part of a page end before they start.
    #[test]
    fn nothing_lies_in_a_part_that_ends_before_it_starts() {
        let mut ranges = Ranges::new();
        ranges.add(0, 9 * 4096);
        assert_eq!(ranges.within(8 * 4096, 7 * 4096).next(), None);
        assert_eq!(ranges.within(4096, 4096).next(), None);
    }

    proptest! {
        #[test]
        fn removes_exactly_what_is_said(
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40),
        ) {
            let mut ranges = Ranges::new();
            let mut pages = std::collections::BTreeSet::new();
            for (adds, start, len) in steps {
                match adds {
                    true => ranges.add(start * 4096, (start + len) * 4096),
                    false => ranges.remove(start * 4096, (start + len) * 4096),
                }
                for page in start..start + len {
                    match adds {
                        true => pages.insert(page),
                        false => pages.remove(&page),
                    };
                }
            }
            for page in 0..100 {
                prop_assert_eq!(ranges.has(page * 4096), pages.contains(&page));
            }
            let list = ranges.as_slice();
            prop_assert!(list.windows(2).all(|p| p[0].offset + p[0].length < p[1].offset));
            prop_assert!(list.iter().all(|r| r.length > 0));
        }

        #[test]
        fn covers_what_was_added(adds in prop::collection::vec((0u64..5000, 1u64..4), 1..MOST_ADDS)) {
            let mut ranges = Ranges::new();
            for &(start, len) in &adds {
                ranges.add(start * 4096, (start + len) * 4096);
            }
            let list = ranges.as_slice();
            for pair in list.windows(2) {
                prop_assert!(pair[0].offset + pair[0].length < pair[1].offset);
            }
            for (start, len) in adds {
                prop_assert!(list.iter().any(|r| r.offset <= start * 4096
                    && (start + len) * 4096 <= r.offset + r.length));
            }
        }
    }
}
