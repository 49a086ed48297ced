//! Lists that grow outside every allocator.

use super::wipe::Region;
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;
use core::slice;

/// A list with room for a `FEW` items in itself, and for up to `MOST` in a mapping of its own.
/// All-zero is an empty one.
pub struct List<T: Copy, const FEW: usize, const MOST: usize = { 1 << 18 }> {
    len: usize,
    few: [MaybeUninit<T>; FEW],
    more: Option<Region>,
}

// So all-zero is none: the address of a region is the only value of its that is not zero for certain.
const _: () = assert!(size_of::<Option<Region>>() == size_of::<Region>());

impl<T: Copy, const FEW: usize, const MOST: usize> List<T, FEW, MOST> {
    /// An empty list.
    pub const fn new() -> List<T, FEW, MOST> {
        List {
            len: 0,
            few: [MaybeUninit::uninit(); FEW],
            more: None,
        }
    }

    /// Makes the list at `at` an empty one, without a copy of it on the stack.
    ///
    /// # Safety
    /// `at` is valid for writes.
    pub unsafe fn init(at: *mut List<T, FEW, MOST>) {
        // SAFETY: by contract; what is inside need not be initialised.
        unsafe {
            (&raw mut (*at).len).write(0);
            (&raw mut (*at).more).write(None);
        }
    }

    /// Items of a mapping of that many bytes.
    fn room_in(memory: &Region) -> usize {
        memory.size() / size_of::<T>().max(1)
    }

    /// Live ones first.
    fn slots(&self) -> &[MaybeUninit<T>] {
        match &self.more {
            None => &self.few,
            Some(memory) => memory.numbers(0, Self::room_in(memory)),
        }
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the first `len` items are there, and initialised.
        unsafe { slice::from_raw_parts(self.slots().as_ptr().cast(), self.len) }
    }

    /// The items, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let slots = match &mut self.more {
            None => &mut self.few[..],
            Some(memory) => memory.numbers_mut(0, Self::room_in(memory)),
        };
        // SAFETY: the first `len` items are there, and initialised, and the list is borrowed for as long.
        unsafe { slice::from_raw_parts_mut(slots.as_mut_ptr().cast(), self.len) }
    }

    /// Empties the list; its memory stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether there is room for one more item, or memory for it: [`List::insert`] succeeds then.
    pub fn make_room(&mut self) -> bool {
        let room = self.slots().len();
        self.len < room || self.grow(2 * room)
    }

    /// Puts `item` before item number `at`; false where there is no room, and no memory for more.
    pub fn insert(&mut self, at: usize, item: T) -> bool {
        if !self.make_room() {
            return false;
        }
        self.len += 1;
        let items = self.as_mut_slice();
        items.copy_within(at..items.len() - 1, at + 1);
        items[at] = item;
        true
    }

    /// Adds `item` at the end; false as for [`List::insert`].
    pub fn push(&mut self, item: T) -> bool {
        self.insert(self.len, item)
    }

    /// Takes a range of items away.
    pub fn remove(&mut self, range: Range<usize>) {
        let items = self.as_mut_slice();
        items.copy_within(range.end.., range.start);
        self.len -= range.len();
    }

    #[cold]
    fn grow(&mut self, room: usize) -> bool {
        // A page at least: that is what a mapping takes.
        let room = room
            .max(crate::page_size() / size_of::<T>().max(1))
            .min(MOST.max(room));
        if room > MOST {
            return false;
        }
        let Some(mut memory) = Region::new(room * size_of::<T>()) else {
            return false;
        };
        let items = &self.slots()[..self.len];
        memory.numbers_mut(0, self.len).copy_from_slice(items);
        self.more = Some(memory);
        true
    }
}

impl<T: Copy, const FEW: usize, const MOST: usize> Default for List<T, FEW, MOST> {
    fn default() -> Self {
        List::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: usize = if cfg!(miri) { 8 } else { 64 };
    const MOST_STEPS: usize = 4 * MOST;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize, u32),
        Remove(usize, usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (any::<usize>(), any::<u32>()).prop_map(|(at, item)| Step::Insert(at, item)),
            2 => (any::<usize>(), 0usize..4).prop_map(|(at, len)| Step::Remove(at, len)),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn list_is_a_vector_that_stops_growing(steps in prop::collection::vec(step(), 0..MOST_STEPS)) {
            let mut list: List<u32, 4, MOST> = List::new();
            let mut vector = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(at, item) => {
                        let at = at % (vector.len() + 1);
                        let full = vector.len() == MOST;
                        prop_assert_eq!(list.insert(at, item), !full);
                        if !full {
                            vector.insert(at, item);
                        }
                    }
                    Step::Remove(at, len) => {
                        let at = at % (vector.len() + 1);
                        let end = (at + len).min(vector.len());
                        list.remove(at..end);
                        vector.drain(at..end);
                    }
                    Step::Clear => {
                        list.clear();
                        vector.clear();
                    }
                }
                prop_assert_eq!(list.as_slice(), &vector[..]);
            }
        }
    }

    #[test]
    fn list_is_made_in_place() {
        let mut place = MaybeUninit::<List<u32, 4>>::uninit();
        // SAFETY: valid for writes; then it is an empty list.
        let mut list = unsafe {
            List::init(place.as_mut_ptr());
            place.assume_init()
        };
        assert!((0..100).all(|n| list.push(n)));
        assert!(list.as_slice().iter().copied().eq(0..100));
    }

    #[test]
    fn all_zero_is_empty() {
        // SAFETY: that is what this is about.
        let mut list: List<u32, 4> = unsafe { MaybeUninit::zeroed().assume_init() };
        assert!(list.as_slice().is_empty());
        assert!((0..10).all(|n| list.push(n)));
        assert_eq!(list.as_slice().len(), 10);
    }
}
