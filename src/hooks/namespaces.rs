//! unshare, setns: where the program's only thread goes, its helper must not stay behind.

use crate::{helper, next_fn};
use libc::c_int;

/// linux/sched.h; the `libc` crate does not have it.
const CLONE_NEWTIME: c_int = 0x80;

/// Hook for [`libc::unshare`].
///
/// # Safety
/// As unshare(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn unshare(flags: c_int) -> c_int {
    // These alone leave the thread where it is: some are for its children.
    let stays = libc::CLONE_FILES | libc::CLONE_SYSVSEM | libc::CLONE_NEWPID | CLONE_NEWTIME;
    if flags & !stays != 0 {
        helper::before_moving();
    }
    // SAFETY: the caller's contract.
    unsafe { next_fn::unshare(flags) }
}

/// Hook for [`libc::setns`].
///
/// # Safety
/// As setns(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn setns(fd: c_int, kind: c_int) -> c_int {
    // It is for its children.
    if kind != libc::CLONE_NEWPID {
        helper::before_moving();
    }
    // SAFETY: the caller's contract.
    unsafe { next_fn::setns(fd, kind) }
}
