//! The 0 of an msync that promises something, and what it is made of: nothing else becomes one.

use crate::sys::vm::is_failure;
use crate::{config, next_fn};
use core::ffi::c_void;
use keepmydata_promise as promise;
use keepmydata_records::OnFailure;
use libc::{c_int, size_t};
use rustix::io::Errno;

/// What msync may return 0 for.
pub enum Zero {
    /// All that it promises is proved.
    Proved(promise::Zero),
    /// There is no file for which anything is promised.
    Passed(Passed),
}

/// The kernel's own 0.
#[derive(Clone, Copy)]
pub struct Passed(());

/// What the next msync in line has returned.
#[derive(Clone, Copy)]
pub struct Answer(c_int);

impl Answer {
    /// As a number.
    pub fn number(self) -> c_int {
        self.0
    }

    /// If it is 0.
    pub fn passed(self) -> Option<Passed> {
        (self.0 == 0).then_some(Passed(()))
    }
}

/// The next msync in line (msync(2)): its result, and errno.
pub fn next_msync(addr: *mut c_void, len: size_t, flags: c_int) -> Answer {
    Answer(next_fn::msync(addr, len, flags))
}

/// The same with errno as a value.
pub fn real_msync(addr: usize, len: size_t, flags: c_int) -> Result<Passed, Errno> {
    let answer = next_msync(addr as *mut c_void, len, flags);
    answer
        .passed()
        .ok_or_else(|| Errno::from_raw_os_error(next_fn::errno()))
}

/// What the program is told: the result of its call, and errno.
pub fn returned(outcome: Result<Zero, Errno>) -> c_int {
    let errno = match outcome {
        Ok(Zero::Proved(_) | Zero::Passed(_)) => return 0,
        Err(errno) => errno,
    };
    if config::settings().on_failure == OnFailure::Abort && is_failure(errno) {
        // The report is written.
        std::process::abort();
    }
    next_fn::set_errno(errno.raw_os_error());
    -1
}
