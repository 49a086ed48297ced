//! The C ABI edge: one function per exported name, no logic.
//!
//! Each is: gate, the cheapest test that says "not ours", the real call. They are `C-unwind`
//! because `pthread_cancel` unwinds through them, and hold nothing that would have to be dropped
//! while the real call runs.
//!
//! Nothing here is compiled into the unit tests, whose own `mmap` must stay the C library's.

/// What calls a function once, at the most.
#[inline(always)]
fn once<R>(call: impl FnOnce() -> R) -> impl FnOnce() -> R {
    call
}

/// A hook: in its body `$real` is the call of the next function in line, with the program's arguments.
macro_rules! hook {
    ($(#[$about:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty, $real:ident => $body:block) => {
        $(#[$about])*
        ///
        /// # Safety
        /// As the C function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
            #[allow(unused_unsafe, reason = "some are safe")]
            // SAFETY: as the program has called this one, and once.
            let $real = $crate::hooks::once(move || unsafe { $crate::next_fn::$name($($arg),*) });
            $body
        }
    };
}

mod change;
mod end;
mod foreign;
mod fork;
mod ids;
mod ioctl;
mod lock;
mod map;
mod namespaces;
mod prctl;
mod read;
mod remove;
mod stdio;
mod sync;
mod truncate;

use crate::helper::Worker;
use crate::sys::strings::BeforeMain;
use crate::{log, next_fn, process, sys};
use core::ffi::c_void;
use keepmydata_records::{Level, event};

/// Called once, while booting.
pub fn boot(environment: &BeforeMain) {
    check_order();
    end::boot();
    foreign::boot(environment);
    fork::boot();
}

/// Warns where another library's functions come before these: mappings that are made through them
/// alone (libtcmalloc makes system calls of its own) are not seen.
fn check_order() {
    if !log::enabled(Level::Warn) {
        return;
    }
    // By library, not by address: references to the hooks are bound as everybody's are.
    let own = next_fn::library_of(check_order as *const c_void);
    let first = [c"mmap", c"munmap", c"msync"].map(|name| {
        // SAFETY: looks the name up; nothing is called.
        next_fn::library_of(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
    });
    if first.iter().all(|&library| library == own) {
        return;
    }
    let process = process::this();
    let mut record = log::record(process, Level::Warn, sys::gettid(), event::FINDING);
    record.message = "another library's mmap, munmap or msync comes before keepmydata's: put \
                      libkeepmydata.so first in LD_PRELOAD, or mappings may not be seen"
        .into();
    log::emit(&Worker::without_descriptors(process), &record);
}
