//! Lists that grow outside every allocator.

use super::wipe;
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::slice;

/// Items of the longest list.
pub const MOST: usize = if cfg!(test) { 512 } else { 1 << 18 };

/// A list with room for a `FEW` items in itself, and for more in a mapping of its own. All-zero is an
/// empty one.
pub struct List<T: Copy, const FEW: usize> {
    len: usize,
    few: [MaybeUninit<T>; FEW],
    /// The mapping, with room for so many items; null is none.
    more: *mut T,
    room: usize,
}

impl<T: Copy, const FEW: usize> List<T, FEW> {
    pub const fn new() -> List<T, FEW> {
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
    pub unsafe fn init(at: *mut List<T, FEW>) {
        // SAFETY: by contract; what is inside need not be initialised.
        unsafe {
            (&raw mut (*at).len).write(0);
            (&raw mut (*at).more).write(null_mut());
            (&raw mut (*at).room).write(0);
        }
    }

    fn start(&self) -> *const T {
        match self.more.is_null() {
            true => self.few.as_ptr().cast(),
            false => self.more,
        }
    }

    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the first `len` items are initialised.
        unsafe { slice::from_raw_parts(self.start(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and the list is borrowed for as long.
        unsafe { slice::from_raw_parts_mut(self.start().cast_mut(), self.len) }
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
        if room > MOST {
            return false;
        }
        let Some(memory) = wipe::map(room * size_of::<T>()) else {
            return false;
        };
        let memory = memory.cast::<T>().as_ptr();
        // SAFETY: mapped just now, of that size and page aligned; the items are initialised.
        unsafe { memory.copy_from_nonoverlapping(self.start(), self.len) };
        self.unmap();
        (self.more, self.room) = (memory, room);
        true
    }

    fn unmap(&mut self) {
        if let Some(more) = NonNull::new(self.more) {
            // SAFETY: the list's own mapping, of which nothing is borrowed.
            let _ = unsafe { rustix::mm::munmap(more.as_ptr().cast(), self.room * size_of::<T>()) };
        }
    }
}

impl<T: Copy, const FEW: usize> Drop for List<T, FEW> {
    fn drop(&mut self) {
        self.unmap();
    }
}
