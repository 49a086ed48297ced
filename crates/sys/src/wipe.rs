//! Memory that a fork child finds zeroed.
//!
//! A lock that another thread held at the moment of the fork would stay taken in the child for
//! ever, and the helper's threads do not exist there. Whatever is true of one process only lies
//! in pages marked `MADV_WIPEONFORK` (madvise(2), Linux 4.14): after `fork`, `_Fork` and a raw
//! `clone` they read as zero, without a handler that could be bypassed; after `vfork`, whose child
//! runs in the parent's memory, they stay.

use core::mem::{align_of, size_of};
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Where the shim's mappings go, if there is room: far from where the kernel puts the program's. A
/// program may have left a hole there on purpose, to map into it with `MAP_FIXED` later, or to be
/// told ENOMEM by msync(2).
const FROM: usize = 0x2000_0000_0000;
const TO: usize = 0x3000_0000_0000;
static NEXT: AtomicUsize = AtomicUsize::new(FROM);

/// Where memory comes from that is never given back.
///
/// # Safety
/// What [`Memory::map`] returns is valid for reads and writes of that many bytes, for as long as anything that
/// asked for it is used, and nobody else's.
pub unsafe trait Memory {
    /// `bytes` of zeroed memory, aligned to a page, or nothing where it has run out.
    fn map(bytes: usize) -> Option<NonNull<u8>>;
}

/// Memory by [`map`].
pub struct Mapped;

// SAFETY: a mapping of its own, which stays.
unsafe impl Memory for Mapped {
    fn map(bytes: usize) -> Option<NonNull<u8>> {
        map(bytes)
    }
}

/// Maps `bytes` of zeroed memory outside every allocator, or nothing where the kernel refuses.
pub fn map(bytes: usize) -> Option<NonNull<u8>> {
    place(bytes, ProtFlags::READ | ProtFlags::WRITE)
}

/// Reserves `bytes` of addresses, for a mapping to be put there.
pub fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    place(bytes, ProtFlags::empty())
}

fn place(bytes: usize, prot: ProtFlags) -> Option<NonNull<u8>> {
    // A page stays free between two, so that the kernel does not join them.
    let step = crate::page_up(bytes as u64) as usize + crate::page_size();
    let mut hint = NEXT.fetch_add(step, Ordering::Relaxed);
    if hint.checked_add(step).is_none_or(|end| end > TO) {
        NEXT.store(FROM, Ordering::Relaxed);
        hint = 0;
    }
    let flags = match cfg!(miri) {
        // Miri knows no other.
        true => MapFlags::PRIVATE,
        false => MapFlags::PRIVATE | MapFlags::NORESERVE,
    };
    let hint = core::ptr::without_provenance_mut(hint);
    // SAFETY: a fresh anonymous mapping; the address is a hint only.
    let p = unsafe { mmap_anonymous(hint, bytes, prot, flags) };
    NonNull::new(p.ok()?.cast())
}

/// Maps `bytes` of memory that a fork child finds zeroed. The flag says whether the kernel does the
/// wiping; where it does not (before Linux 4.14), an atfork handler must.
pub fn map_wiped(bytes: usize) -> Option<(NonNull<u8>, bool)> {
    let p = map(bytes)?;
    // SAFETY: the range was mapped just now and belongs to this function.
    let wiped = unsafe { madvise(p.as_ptr().cast(), bytes, Advice::LinuxWipeOnFork) };
    Some((p, wiped.is_ok()))
}

/// Numbers, of which any bytes are one.
///
/// # Safety
/// So it is.
pub unsafe trait Number: Copy {}

// SAFETY: plain numbers.
unsafe impl Number for u8 {}
// SAFETY: plain numbers.
unsafe impl Number for u64 {}

/// Zeroed memory of one's own ([`map`]), unmapped when it is dropped.
pub struct Region {
    start: NonNull<u8>,
    len: usize,
}

impl Region {
    /// `len` bytes, or nothing where memory is out.
    pub fn new(len: usize) -> Option<Region> {
        let start = map(len)?;
        Some(Region { start, len })
    }

    /// The mapping at `start`, of `len` bytes.
    ///
    /// # Safety
    /// [`Region::leave`] has left it, and nobody uses it.
    pub unsafe fn adopt(start: NonNull<u8>, len: usize) -> Region {
        Region { start, len }
    }

    /// Leaves the mapping, which stays.
    pub fn leave(self) -> NonNull<u8> {
        let start = self.start;
        core::mem::forget(self);
        start
    }

    /// Not in a fork child (madvise(2), `MADV_DONTFORK`).
    pub fn keep_from_children(&mut self) {
        // SAFETY: the mapping is its own.
        let _ = unsafe { madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxDontFork) };
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// `count` numbers from byte `at` on. They lie inside, aligned; what does not is left out.
    pub fn numbers<T: Number>(&self, at: usize, count: usize) -> &[T] {
        let (at, count) = self.place::<T>(at, count);
        // SAFETY: inside, aligned, and initialised, as the mapping was zeroed.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(at).cast(), count) }
    }

    /// The same, to be changed.
    pub fn numbers_mut<T: Number>(&mut self, at: usize, count: usize) -> &mut [T] {
        let (at, count) = self.place::<T>(at, count);
        // SAFETY: as above, and `self` is borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().add(at).cast(), count) }
    }

    fn place<T>(&self, at: usize, count: usize) -> (usize, usize) {
        let (size, align) = (size_of::<T>(), align_of::<T>());
        debug_assert!(at.is_multiple_of(align) && at + count * size <= self.len);
        match at.is_multiple_of(align) && at <= self.len {
            true => (at, count.min((self.len - at) / size)),
            false => (0, 0),
        }
    }

    /// Gives the memory of the bytes in `range`, whole pages, back to the kernel: they read as zeros then.
    pub fn give_back(&mut self, range: Range<usize>) {
        let (at, len) = self.place::<u8>(range.start, range.len());
        // SAFETY: inside the mapping, private and anonymous, and `self` is borrowed by nobody else.
        let _ = unsafe {
            madvise(
                self.start.as_ptr().add(at).cast(),
                len,
                Advice::LinuxDontNeed,
            )
        };
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is its own, and nobody has borrowed it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitOptions, waitpid};

    #[test]
    fn memory_is_zeroed_and_apart() {
        let bytes = crate::page_size();
        let [a, b] = [map(bytes), map(bytes)].map(|piece| piece.expect("memory"));
        for piece in [a, b] {
            // SAFETY: mapped just now, of that size.
            let piece = unsafe { core::slice::from_raw_parts_mut(piece.as_ptr(), bytes) };
            assert!(piece.iter().all(|&byte| byte == 0));
            piece.fill(1);
        }
        assert!(a.as_ptr().addr().abs_diff(b.as_ptr().addr()) >= bytes);
        for piece in [a, b] {
            // SAFETY: not used again.
            unsafe { munmap(piece.as_ptr().cast(), bytes) }.expect("munmap");
        }
    }

    #[test]
    fn a_region_gives_what_lies_inside() {
        let page = crate::page_size();
        let mut region = Region::new(2 * page).expect("memory");
        region.numbers_mut::<u64>(page, 2).fill(7);
        region.numbers_mut::<u8>(0, 3).fill(1);
        assert_eq!(region.numbers::<u64>(page, 3), [7, 7, 0]);
        assert_eq!(region.numbers::<u8>(0, 4), [1, 1, 1, 0]);
        if !cfg!(miri) {
            region.give_back(0..page);
            assert_eq!(region.numbers::<u8>(0, 4), [0; 4]);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "fork(2)")]
    fn child_finds_zeroes_where_wiped_and_its_parents_bytes_elsewhere() {
        let bytes = crate::page_size();
        let (wiped, by_kernel) = map_wiped(bytes).expect("memory");
        let kept = map(bytes).expect("memory");
        // SAFETY: both mapped just now.
        unsafe {
            wiped.write(7);
            kept.write(7);
        }
        // SAFETY: the child only reads two bytes and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: mapped in the child too.
            let found = unsafe { (wiped.read(), kept.read()) };
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(found != (0, 7))) };
        }
        let child = rustix::process::Pid::from_raw(child).expect("fork");
        let (_, status) = waitpid(Some(child), WaitOptions::empty())
            .expect("waitpid")
            .expect("an end");
        assert!(by_kernel, "MADV_WIPEONFORK, Linux 4.14");
        assert_eq!(status.exit_status(), Some(0));
        // SAFETY: the parent's is as it was.
        assert_eq!(unsafe { wiped.read() }, 7);
        for piece in [wiped, kept] {
            // SAFETY: not used again.
            unsafe { munmap(piece.as_ptr().cast(), bytes) }.expect("munmap");
        }
    }
}
