//! mmap, mmap64, munmap, mremap, remap_file_pages.

use crate::mappings::classify::is_shared_file;
use crate::{mappings, next_fn, track};
use core::ffi::c_void;
use libc::{c_int, off_t, size_t};

macro_rules! mmap {
    ($($name:ident)*) => {$(
        #[doc = concat!("Hook for [`libc::", stringify!($name), "`].")]
        ///
        /// # Safety
        /// As mmap(2).
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            addr: *mut c_void,
            len: size_t,
            prot: c_int,
            flags: c_int,
            fd: c_int,
            offset: off_t,
        ) -> *mut c_void {
            // SAFETY: as the program has called this one; once either way.
            unsafe {
                match is_shared_file(flags) || mappings::any() {
                    true => track::mmap(addr, len, prot, flags, fd, offset, next_fn::$name),
                    false => next_fn::$name(addr, len, prot, flags, fd, offset),
                }
            }
        }
    )*};
}

mmap! { mmap mmap64 }

hook! {
    /// Hook for [`libc::munmap`].
    fn munmap(addr: *mut c_void, len: size_t) -> c_int, real => {
        match mappings::any() {
            true => track::munmap(addr as usize, len, real),
            false => real(),
        }
    }
}

hook! {
    /// Hook for [`libc::mremap`]. The C prototype takes the new address as a variable argument, which
    /// every ABI that Linux has passes as a fifth one; without `MREMAP_FIXED` it is never looked at.
    fn mremap(
        old: *mut c_void,
        old_len: size_t,
        new_len: size_t,
        flags: c_int,
        new: *mut c_void,
    ) -> *mut c_void, real => {
        match mappings::any() {
            true => {
                let state = next_fn::enter();
                let result = track::mremap(old as usize, old_len, new_len, flags, new as usize, real);
                next_fn::leave(state);
                result
            }
            false => real(),
        }
    }
}

hook! {
    /// Hook for `remap_file_pages`.
    fn remap_file_pages(
        addr: *mut c_void,
        len: size_t,
        prot: c_int,
        page: size_t,
        flags: c_int,
    ) -> c_int, real => {
        match mappings::any() {
            true => {
                let state = next_fn::enter();
                let result = track::remap_file_pages(addr as usize, len, page, real);
                next_fn::leave(state);
                result
            }
            false => real(),
        }
    }
}
