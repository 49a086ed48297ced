//! Values that lie in blocks of a pool, because they are too large for a stack that a signal handler may run on.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use keepmydata_sys::list::List;

/// Where blocks come from.
///
/// # Safety
/// What [`Home::take`] returns is valid for reads and writes of a [`Home::Block`], and the caller's alone until it
/// gives it back.
pub unsafe trait Home {
    /// As large, and aligned, as all that lies in one.
    type Block;

    /// A block, with any bytes in it; nothing when memory is out.
    fn take() -> Option<NonNull<Self::Block>>;

    /// Gives one back.
    ///
    /// # Safety
    /// It was taken, and nobody uses it any more.
    unsafe fn give(block: NonNull<Self::Block>);
}

/// What becomes of a `Before`, in the same block.
///
/// # Safety
/// `repr(C)`, with a `Before` as its first field; [`After::begin`] writes all others.
pub unsafe trait After<Before>: Sized {
    /// Writes all fields but the first.
    ///
    /// # Safety
    /// `at` is valid for writes.
    unsafe fn begin(at: *mut Self);
}

/// A value in a block, which goes back when it is dropped.
pub struct Pooled<T, H: Home>(NonNull<T>, PhantomData<H>);

impl<T, H: Home> Pooled<T, H> {
    const FITS: () = assert!(
        size_of::<T>() <= size_of::<H::Block>() && align_of::<T>() <= align_of::<H::Block>()
    );

    /// Puts `value` into a block; nothing when memory is out.
    pub fn new(value: T) -> Option<Pooled<T, H>> {
        let () = Self::FITS;
        let block = H::take()?.cast::<T>();
        // SAFETY: the block is large enough, and its taker's.
        unsafe { block.write(value) };
        Some(Pooled(block, PhantomData))
    }

    /// What comes after it.
    pub(crate) fn then<Next: After<T>>(self) -> Pooled<Next, H> {
        let () = Pooled::<Next, H>::FITS;
        let block = self.leave().cast::<Next>();
        // SAFETY: the block is large enough; its first field is what was there.
        unsafe { Next::begin(block.as_ptr()) };
        Pooled(block, PhantomData)
    }

    fn leave(self) -> NonNull<T> {
        let block = self.0;
        core::mem::forget(self);
        block
    }
}

impl<T, H: Home> Deref for Pooled<T, H> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written, and this value's own.
        unsafe { self.0.as_ref() }
    }
}

impl<T, H: Home> DerefMut for Pooled<T, H> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed by nobody else.
        unsafe { self.0.as_mut() }
    }
}

impl<T, H: Home> Drop for Pooled<T, H> {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: written, and used by nobody any more.
        unsafe {
            ptr::drop_in_place(self.0.as_ptr());
            H::give(self.0.cast());
        }
    }
}

/// Several of them, in an order.
pub struct PooledList<T, H: Home> {
    list: List<NonNull<()>, 4>,
    home: PhantomData<(T, H)>,
}

impl<T, H: Home> Default for PooledList<T, H> {
    fn default() -> PooledList<T, H> {
        PooledList::of(List::new())
    }
}

impl<T, H: Home> PooledList<T, H> {
    fn of(list: List<NonNull<()>, 4>) -> PooledList<T, H> {
        PooledList {
            list,
            home: PhantomData,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.as_slice().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number `at`, from 0.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.iter().nth(at)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.iter_mut().nth(at)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: written, and this list's own.
        let each = |at: &NonNull<()>| unsafe { at.cast::<T>().as_ref() };
        self.list.as_slice().iter().map(each)
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        // SAFETY: as above, borrowed by nobody else, and each is in the list once.
        let each = |at: &mut NonNull<()>| unsafe { at.cast::<T>().as_mut() };
        self.list.as_mut_slice().iter_mut().map(each)
    }

    /// Puts `value` before number `at`; gives it back when memory is out.
    pub fn insert(&mut self, at: usize, value: Pooled<T, H>) -> Result<(), Pooled<T, H>> {
        match self.list.insert(at, value.0.cast()) {
            true => {
                value.leave();
                Ok(())
            }
            false => Err(value),
        }
    }

    /// Puts what `make` makes before number `at`; false when memory is out, and then nothing is made.
    #[must_use]
    pub fn insert_with(&mut self, at: usize, make: impl FnOnce() -> T) -> bool {
        let () = Pooled::<T, H>::FITS;
        if !self.list.make_room() {
            return false;
        }
        let Some(block) = H::take() else {
            return false;
        };
        // SAFETY: the block is large enough, and its taker's.
        unsafe { block.cast::<T>().write(make()) };
        self.list.insert(at, block.cast())
    }

    /// Takes number `at`.
    pub fn remove(&mut self, at: usize) -> Option<Pooled<T, H>> {
        let found = *self.list.as_slice().get(at)?;
        self.list.remove(at..at + 1);
        Some(Pooled(found.cast(), PhantomData))
    }

    /// Has each become another value in its block.
    pub fn map<Next>(
        mut self,
        mut f: impl FnMut(Pooled<T, H>) -> Pooled<Next, H>,
    ) -> PooledList<Next, H> {
        // From here on nobody else refers to them.
        let mut list = core::mem::take(&mut self.list);
        for at in list.as_mut_slice() {
            *at = f(Pooled(at.cast(), PhantomData)).leave().cast();
        }
        PooledList::of(list)
    }
}

impl<T, H: Home> Drop for PooledList<T, H> {
    fn drop(&mut self) {
        for at in self.list.as_slice() {
            drop(Pooled::<T, H>(at.cast(), PhantomData));
        }
    }
}
