//! Lists that grow outside every allocator.

use super::wipe;
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::slice;

/// A list with room for a `FEW` items in itself, and for up to `MOST` in a mapping of its own.
/// All-zero is an empty one.
pub struct List<T: Copy, const FEW: usize, const MOST: usize = { 1 << 18 }> {
    len: usize,
    few: [MaybeUninit<T>; FEW],
    /// The mapping, with room for so many items; null is none.
    more: *mut T,
    room: usize,
}

impl<T: Copy, const FEW: usize, const MOST: usize> List<T, FEW, MOST> {
    /// An empty list.
    pub const fn new() -> List<T, FEW, MOST> {
        List {
            len: 0,
            few: [MaybeUninit::uninit(); FEW],
            more: null_mut(),
            room: 0,
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
            (&raw mut (*at).more).write(null_mut());
            (&raw mut (*at).room).write(0);
        }
    }

    /// The first item, live or not.
    fn start(&self) -> *const T {
        match self.more.is_null() {
            true => self.few.as_ptr().cast(),
            false => self.more,
        }
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the first `len` items are initialised.
        unsafe { slice::from_raw_parts(self.start(), self.len) }
    }

    /// The items, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let start = match self.more.is_null() {
            true => self.few.as_mut_ptr().cast(),
            false => self.more,
        };
        // SAFETY: the first `len` items are initialised, and the list is borrowed for as long.
        unsafe { slice::from_raw_parts_mut(start, self.len) }
    }

    /// Empties the list; its memory stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Puts `item` before item number `at`; false where there is no room, and none to be had.
    pub fn insert(&mut self, at: usize, item: T) -> bool {
        let room = if self.more.is_null() { FEW } else { self.room };
        if self.len == room && !self.grow(2 * room) {
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
        let room = room.max(4096 / size_of::<T>().max(1)).min(MOST.max(room));
        if room > MOST {
            return false;
        }
        let items = (self.start().cast(), self.len * size_of::<T>());
        // SAFETY: the items are initialised, and fit.
        let Some(memory) = (unsafe { moved(items, room * size_of::<T>()) }) else {
            return false;
        };
        self.unmap();
        (self.more, self.room) = (memory.cast().as_ptr(), room);
        true
    }

    fn unmap(&mut self) {
        if let Some(more) = NonNull::new(self.more) {
            // SAFETY: the list's own mapping, of which nothing is borrowed.
            unsafe { unmap(more.cast(), self.room * size_of::<T>()) };
        }
    }
}

/// A mapping of so many bytes, page aligned, that begins with what is at `from`.
///
/// # Safety
/// That is readable, and fits.
unsafe fn moved((from, len): (*const u8, usize), bytes: usize) -> Option<NonNull<u8>> {
    let memory = wipe::map(bytes)?;
    // SAFETY: by contract.
    unsafe { memory.as_ptr().copy_from_nonoverlapping(from, len) };
    Some(memory)
}

/// # Safety
/// A mapping that nobody uses any more.
#[cold]
unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: by contract.
    let _ = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
}

impl<T: Copy, const FEW: usize, const MOST: usize> Default for List<T, FEW, MOST> {
    fn default() -> Self {
        List::new()
    }
}

impl<T: Copy, const FEW: usize, const MOST: usize> Drop for List<T, FEW, MOST> {
    fn drop(&mut self) {
        self.unmap();
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
        let list = unsafe {
            List::init(place.as_mut_ptr());
            place.assume_init_mut()
        };
        assert!((0..100).all(|n| list.push(n)));
        assert!(list.as_slice().iter().copied().eq(0..100));
        // SAFETY: initialised above, and not used again.
        unsafe { place.assume_init_drop() };
    }
}
