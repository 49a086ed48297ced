//! ioctl: a program that tracks stores with a userfaultfd of its own comes first.

use crate::sys::kernel::userfaultfd::UFFDIO_REGISTER;
use crate::{dirty, mappings, real};
use core::ffi::{c_ulong, c_void};
use libc::c_int;

/// Hook for [`libc::ioctl`]. The C prototype takes the argument as a variable one, which every ABI that
/// Linux has passes as a third.
///
/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if request as u32 == UFFDIO_REGISTER && mappings::any() {
        let state = real::enter();
        dirty::give_way(argument as usize);
        real::leave(state);
    }
    // SAFETY: the caller's contract.
    unsafe { real::ioctl(fd, request, argument) }
}
