//! unshare, setns: where the program's only thread goes, the custodian's must not stay behind.

use crate::{custodian, real};
use libc::c_int;

/// Hook for [`libc::unshare`].
///
/// # Safety
/// As unshare(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn unshare(flags: c_int) -> c_int {
    // These alone leave the thread where it is.
    if flags & !(libc::CLONE_FILES | libc::CLONE_SYSVSEM) != 0 {
        custodian::leave_if_alone();
    }
    // SAFETY: the caller's contract.
    unsafe { real::unshare(flags) }
}

/// Hook for [`libc::setns`].
///
/// # Safety
/// As setns(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setns(fd: c_int, kind: c_int) -> c_int {
    custodian::leave_if_alone();
    // SAFETY: the caller's contract.
    unsafe { real::setns(fd, kind) }
}
