//! unshare, setns: where the program's only thread goes, its helper must not stay behind.

use crate::helper;
use libc::c_int;

/// linux/sched.h; the `libc` crate does not have it.
const CLONE_NEWTIME: c_int = 0x80;

hook! {
    /// Hook for [`libc::unshare`].
    fn unshare(flags: c_int) -> c_int, real => {
        // These alone leave the thread where it is: some are for its children.
        let stays = libc::CLONE_FILES | libc::CLONE_SYSVSEM | libc::CLONE_NEWPID | CLONE_NEWTIME;
        if flags & !stays != 0 {
            helper::before_moving();
        }
        real()
    }
}

hook! {
    /// Hook for [`libc::setns`].
    fn setns(fd: c_int, kind: c_int) -> c_int, real => {
        before_setns(fd, kind);
        real()
    }
}

/// Before setns(2), by whichever function.
pub fn before_setns(fd: c_int, kind: c_int) {
    // It is for its children.
    if kind != libc::CLONE_NEWPID && !(kind == 0 && helper::is_for_children(fd)) {
        helper::before_moving();
    }
}
