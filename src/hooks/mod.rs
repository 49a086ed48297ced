//! The C ABI edge: one function per exported name, no logic.
//!
//! Each is: gate, the cheapest test that says "not ours", the real call. They are `C-unwind`
//! because `pthread_cancel` unwinds through them, and hold nothing that would have to be dropped
//! while the real call runs.
//!
//! Nothing here is compiled into the unit tests, whose own `mmap` must stay the C library's.

mod map;
mod read;
mod sync;
