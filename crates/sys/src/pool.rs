//! Fixed-size memory blocks outside every allocator.
//!
//! Hooks run under allocators' locks, so the shim's tables cannot live in their memory. Blocks are
//! never given back to the kernel: a reader that holds no lock may still look at one.

use super::wipe::{Mapped, Memory};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

const CHUNK: usize = 256 * 1024;

/// Blocks for values of type `T`. Not synchronised: its owner's lock guards it. Each operation
/// publishes with a single store, so that a fork in the middle of one loses at most a block.
pub struct Pool<T, M = Mapped> {
    free: Cell<*mut Free>,
    fresh: Cell<*mut u8>,
    end: Cell<*mut u8>,
    _type: PhantomData<(T, M)>,
}

struct Free {
    /// An address, and atomic: a reader of the block's former use may look, and finds numbers there.
    next: AtomicUsize,
}

impl<T, M: Memory> Default for Pool<T, M> {
    fn default() -> Pool<T, M> {
        Pool::new()
    }
}

impl<T, M: Memory> Pool<T, M> {
    /// A pool without a block.
    pub const fn new() -> Pool<T, M> {
        Pool {
            free: Cell::new(null_mut()),
            fresh: Cell::new(null_mut()),
            end: Cell::new(null_mut()),
            _type: PhantomData,
        }
    }

    const STRIDE: usize = {
        assert!(align_of::<T>() <= 64 && size_of::<T>() >= size_of::<Free>());
        size_of::<T>().next_multiple_of(64)
    };

    /// A block that was in use before, if there is one. Its contents are arbitrary.
    pub fn recycled(&self) -> Option<NonNull<T>> {
        let block = NonNull::new(self.free.get())?;
        // SAFETY: every block on the list was given back whole and is unused.
        let next = unsafe { &block.as_ref().next };
        let next = next.load(Ordering::Relaxed);
        self.free.set(ptr::with_exposed_provenance_mut(next));
        Some(block.cast())
    }

    /// A block that was never in use (zeroed), or nothing when memory is out (`RLIMIT_AS`).
    pub fn fresh(&self) -> Option<NonNull<T>> {
        let left = self.end.get() as usize - self.fresh.get() as usize;
        if left < Self::STRIDE {
            let bytes = CHUNK.max(Self::STRIDE);
            let chunk = M::map(bytes)?;
            self.end.set(chunk.as_ptr().wrapping_add(bytes));
            self.fresh.set(chunk.as_ptr());
        }
        let block = self.fresh.get();
        self.fresh.set(block.wrapping_add(Self::STRIDE));
        NonNull::new(block.cast())
    }

    /// Puts `block` back.
    ///
    /// # Safety
    /// It came from this pool, and nobody uses it as a `T` any more (a lock-free reader may still
    /// look at its bytes and must notice).
    pub unsafe fn give(&self, block: NonNull<T>) {
        let free: NonNull<Free> = block.cast();
        // SAFETY: the block is large enough and aligned (STRIDE), and unused by contract.
        let next = unsafe { &free.as_ref().next };
        next.store(self.free.get().expose_provenance(), Ordering::Relaxed);
        self.free.set(free.as_ptr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_and_come_back() {
        let pool: Pool<[u64; 9]> = Pool::new();
        assert!(pool.recycled().is_none());
        // More than a chunk.
        let blocks: Vec<_> = (0..CHUNK as u64 / 128 + 2)
            .map(|n| {
                let block = pool.fresh().expect("memory");
                // SAFETY: a block of that size, which nobody else uses.
                unsafe {
                    assert_eq!(*block.as_ref(), [0; 9]);
                    block.write([n; 9]);
                }
                block
            })
            .collect();
        for (n, block) in blocks.iter().enumerate() {
            // SAFETY: written above.
            assert_eq!(unsafe { *block.as_ref() }, [n as u64; 9]);
        }
        for block in &blocks[..3] {
            // SAFETY: from this pool, and not used again.
            unsafe { pool.give(*block) };
        }
        let again: Vec<_> = std::iter::from_fn(|| pool.recycled()).collect();
        assert_eq!(again, [blocks[2], blocks[1], blocks[0]]);
    }
}
