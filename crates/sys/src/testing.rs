//! What several tests here need.

use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

/// How a child of fork(2) ends that runs `child`, which makes system calls only and returns its exit code.
pub fn in_child(child: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: the child has one thread, calls nothing of the C library's, and ends here.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(child());
        }
        pid
    };
    let pid = Pid::from_raw(pid).expect("fork");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())
        .expect("waitpid")
        .expect("an end");
    status
}
