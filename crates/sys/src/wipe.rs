//! Memory that a fork child finds zeroed.
//!
//! A lock that another thread held at the moment of the fork would stay taken in the child for ever, and the helper's threads do
//! not exist there. So what is true of one process only lies in pages marked `MADV_WIPEONFORK` (madvise(2), Linux 4.14): after
//! `fork`, `_Fork` and a raw `clone` they read as zero, without a handler that could be bypassed; after `vfork`, whose child
//! runs in the parent's memory, they stay.

use core::mem::{MaybeUninit, align_of, size_of};
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};
use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap,
};

/// Where the next mapping of the shim's ends, if there is room; 0 before the first. They lie below this library, 1/64 of
/// its address away (2 TiB on x86-64), and grow downwards: far from where the kernel puts the program's, as a program may
/// have left a hole there on purpose, to map into it with `MAP_FIXED` later, or to be told ENOMEM by msync(2); and where
/// no program expects an address to be free, as it is another one in each process, and splits no large part of what is.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Where the first one ends.
fn first() -> usize {
    let library = (&raw const NEXT).addr();
    (library - library / 64) & !(crate::page_size() - 1)
}

/// A place for `len` bytes, or 0 where the kernel is to find one.
fn hint(len: usize) -> usize {
    let place = |end: usize| {
        let start = match end {
            0 => first(),
            _ => end,
        }
        .checked_sub(len)?;
        (start >= first() / 2).then_some(start)
    };
    let next = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |end| {
        Some(place(end).unwrap_or(0))
    });
    next.ok().and_then(place).unwrap_or(0)
}

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
    Region::new(bytes).map(Region::leave)
}

/// Maps `bytes` of memory that a fork child finds zeroed. The flag says whether the kernel does the
/// wiping; where it does not (before Linux 4.14), an atfork handler must.
pub fn map_wiped(bytes: usize) -> Option<(NonNull<u8>, bool)> {
    let mut memory = Region::new(bytes)?;
    let wiped = memory.0.advise(0..bytes, Advice::LinuxWipeOnFork);
    Some((memory.leave(), wiped.is_ok()))
}

/// Maps `bytes` of zeroed memory that fork children share.
pub fn map_shared(bytes: usize) -> Option<NonNull<u8>> {
    Mapping::shared(bytes).map(Mapping::leave)
}

/// A mapping of the shim's own, unmapped when it is dropped. What is mapped there may be anything.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is its own, whichever thread has it; and with a reference it is not changed.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of addresses, for something to be mapped there ([`Mapping::start`]).
    pub fn reserve(len: usize) -> Option<Mapping> {
        Mapping::place(len, ProtFlags::empty())
    }

    /// `len` bytes of zeroed memory that fork children share, to be read and written.
    pub fn shared(len: usize) -> Option<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        Mapping::place_as(len, prot, MapFlags::SHARED)
    }

    fn place(len: usize, prot: ProtFlags) -> Option<Mapping> {
        Mapping::place_as(len, prot, MapFlags::PRIVATE)
    }

    fn place_as(len: usize, prot: ProtFlags, kind: MapFlags) -> Option<Mapping> {
        // A page stays free between two, so that the kernel does not join them.
        let step = crate::page_up(len as u64) as usize + crate::page_size();
        let flags = match cfg!(miri) {
            // Miri knows no other.
            true => kind,
            false => kind | MapFlags::NORESERVE,
        };
        let hint = core::ptr::without_provenance_mut(hint(step));
        // SAFETY: a fresh anonymous mapping; the address is a hint only.
        let start = unsafe { mmap_anonymous(hint, len, prot, flags) };
        let start = NonNull::new(start.ok()?.cast())?;
        Some(Mapping { start, len })
    }

    /// The mapping at `start`, of `len` bytes.
    ///
    /// # Safety
    /// [`Mapping::leave`] has left it, and nobody uses it.
    pub unsafe fn adopt(start: NonNull<u8>, len: usize) -> Mapping {
        Mapping { start, len }
    }

    /// Leaves the mapping, which stays.
    pub fn leave(self) -> NonNull<u8> {
        core::mem::ManuallyDrop::new(self).start
    }

    /// Its first byte.
    pub fn start(&self) -> usize {
        self.start.as_ptr().expose_provenance()
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Lets the process read what is mapped (mprotect(2)).
    pub fn make_readable(&mut self) -> Result<(), Errno> {
        self.protect(0..self.len, MprotectFlags::READ)
    }

    /// The same, and lets it write.
    pub fn make_writable(&mut self) -> Result<(), Errno> {
        self.protect(0..self.len, MprotectFlags::READ | MprotectFlags::WRITE)
    }

    /// Has nobody use the bytes in `range`, whole pages (mprotect(2)).
    pub fn forbid(&mut self, range: Range<usize>) -> Result<(), Errno> {
        self.protect(range, MprotectFlags::empty())
    }

    fn protect(&mut self, range: Range<usize>, flags: MprotectFlags) -> Result<(), Errno> {
        let (at, len) = self.place_of::<u8>(range.start, range.len());
        // SAFETY: inside the mapping, which is its own.
        unsafe { mprotect(self.start.as_ptr().wrapping_add(at).cast(), len, flags) }
    }

    /// Has the kernel read no neighbours of a page that is touched (madvise(2), `MADV_RANDOM`).
    pub fn expect_random(&mut self) {
        let _ = self.advise(0..self.len, Advice::Random);
    }

    /// Not in a fork child (madvise(2), `MADV_DONTFORK`).
    pub fn keep_from_children(&mut self) {
        let _ = self.advise(0..self.len, Advice::LinuxDontFork);
    }

    fn advise(&mut self, range: Range<usize>, advice: Advice) -> Result<(), Errno> {
        let (at, len) = self.place_of::<u8>(range.start, range.len());
        // SAFETY: inside the mapping, which is its own and borrowed by nobody else.
        unsafe { madvise(self.start.as_ptr().wrapping_add(at).cast(), len, advice) }
    }

    /// `count` values of a type from byte `at` on: those that lie inside; none where they are not aligned.
    fn place_of<T>(&self, at: usize, count: usize) -> (usize, usize) {
        let (size, align) = (size_of::<T>(), align_of::<T>());
        debug_assert!(at.is_multiple_of(align) && at + count * size <= self.len);
        match at.is_multiple_of(align) && at <= self.len {
            true => (at, count.min((self.len - at) / size)),
            false => (0, 0),
        }
    }
}

impl Drop for Mapping {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: the mapping is its own, and nobody has borrowed it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Numbers, of which any bytes are one. Neither they nor a copy of them is anybody's alone.
///
/// # Safety
/// So it is.
pub unsafe trait Number: Copy {}

// SAFETY: plain numbers.
unsafe impl Number for u8 {}
// SAFETY: plain numbers.
unsafe impl Number for u32 {}
// SAFETY: plain numbers.
unsafe impl Number for u64 {}
// SAFETY: plain numbers.
unsafe impl Number for usize {}
// SAFETY: need not be initialised.
unsafe impl<T: Copy> Number for MaybeUninit<T> {}

/// Memory of one's own, zeroed at first, to be read and written.
pub struct Region(Mapping);

impl Region {
    /// `len` bytes, or nothing where memory is out.
    pub fn new(len: usize) -> Option<Region> {
        Mapping::place(len, ProtFlags::READ | ProtFlags::WRITE).map(Region)
    }

    /// The memory at `start`, of `len` bytes.
    ///
    /// # Safety
    /// [`Region::leave`] has left it, and nobody uses it.
    pub unsafe fn adopt(start: NonNull<u8>, len: usize) -> Region {
        // SAFETY: by contract.
        Region(unsafe { Mapping::adopt(start, len) })
    }

    /// Leaves the memory, which stays.
    pub fn leave(self) -> NonNull<u8> {
        self.0.leave()
    }

    /// Not in a fork child (madvise(2), `MADV_DONTFORK`).
    pub fn keep_from_children(&mut self) {
        self.0.keep_from_children();
    }

    /// Its first byte.
    pub fn start(&self) -> usize {
        self.0.start()
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.0.len
    }

    /// The mapping, which is memory no more.
    pub fn into_mapping(self) -> Mapping {
        self.0
    }

    /// `count` numbers from byte `at` on. They lie inside, aligned; what does not is left out.
    pub fn numbers<T: Number>(&self, at: usize, count: usize) -> &[T] {
        let (at, count) = self.0.place_of::<T>(at, count);
        let start = self.0.start.as_ptr().wrapping_add(at);
        // SAFETY: inside, aligned, and initialised, as the mapping was zeroed.
        unsafe { slice::from_raw_parts(start.cast(), count) }
    }

    /// The same, to be changed.
    pub fn numbers_mut<T: Number>(&mut self, at: usize, count: usize) -> &mut [T] {
        let (at, count) = self.0.place_of::<T>(at, count);
        let start = self.0.start.as_ptr().wrapping_add(at);
        // SAFETY: as above, and `self` is borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(start.cast(), count) }
    }

    /// Gives the memory of the bytes in `range`, whole pages, back to the kernel: they read as zeros then.
    pub fn give_back(&mut self, range: Range<usize>) {
        let _ = self.0.advise(range, Advice::LinuxDontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_apart() {
        let bytes = crate::page_size();
        let mut pieces =
            [Region::new(bytes), Region::new(bytes)].map(|piece| piece.expect("memory"));
        for piece in &mut pieces {
            let piece = piece.numbers_mut::<u8>(0, bytes);
            assert!(piece.iter().all(|&byte| byte == 0));
            piece.fill(1);
        }
        assert!(pieces[0].start().abs_diff(pieces[1].start()) >= bytes);
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
        // SAFETY: left just now, of that size.
        let mut wiped = unsafe { Region::adopt(wiped, bytes) };
        let mut kept = Region::new(bytes).expect("memory");
        for memory in [&mut wiped, &mut kept] {
            memory.numbers_mut::<u8>(0, 1).fill(7);
        }
        let found = || (wiped.numbers::<u8>(0, 1)[0], kept.numbers::<u8>(0, 1)[0]);
        let status = crate::testing::in_child(|| i32::from(found() != (0, 7)));
        assert!(by_kernel, "MADV_WIPEONFORK, Linux 4.14");
        assert_eq!(status.exit_status(), Some(0));
        assert_eq!(found(), (7, 7), "of the parent");
    }
}
