//! The C ABI edge: one function per exported name, no logic.
//!
//! Each is: gate, the cheapest test that says "not ours", the real call. They are `C-unwind`
//! because `pthread_cancel` unwinds through them, and hold nothing that would have to be dropped
//! while the real call runs.
//!
//! Nothing here is compiled into the unit tests, whose own `mmap` must stay the C library's.

mod lock;
mod map;
mod read;
mod sync;

use crate::custodian::Worker;
use crate::{log, process, sys};
use keepmydata_records::{Level, event};

/// Warns where another library's functions come before these: mappings that are made through them
/// alone (libtcmalloc makes system calls of its own) are not seen. Called once, while booting.
pub fn check_order() {
    let hooks: [(&core::ffi::CStr, usize); 3] = [
        (c"mmap", map::mmap as *const () as usize),
        (c"munmap", map::munmap as *const () as usize),
        (c"msync", sync::msync as *const () as usize),
    ];
    let first = |name: &core::ffi::CStr| {
        // SAFETY: looks the name up; nothing is called.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
    };
    if !log::enabled(Level::Warn) || hooks.iter().all(|&(name, hook)| first(name) == hook) {
        return;
    }
    let process = process::this();
    let mut record = log::record(process, Level::Warn, sys::gettid(), event::FINDING);
    record.message = "another library's mmap, munmap or msync comes before keepmydata's: put \
                      libkeepmydata.so first in LD_PRELOAD, or mappings may not be seen"
        .into();
    log::emit(&Worker::without_descriptors(process), &record);
}
