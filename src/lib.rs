//! libkeepmydata.so: an `LD_PRELOAD` shim that makes msync(2) keep its promise, and reports exactly
//! what happened where the filesystem does not let it.
//!
//! # How a call flows
//!
//! `hooks` -> `track` (mapping calls) -> `enforce` (msync) -> `dirty` -> `mappings`, with `log` to report and
//! `helper` to do what needs a descriptor. Each module uses only those below it. What judges an msync is the crate
//! `keepmydata_promise`.
//!
//! # The order in which it boots
//!
//! The dynamic loader runs [`boot::boot`] before main: page size, next functions in line, settings,
//! the state that forks must not inherit, the log; then the gate opens. Until then, and where that state cannot be made,
//! every hook passes its call through.
//!
//! # The rules inside
//!
//! Hooks are called by allocators that hold their locks, from signal handlers, between `vfork` and
//! `exec`, and by threads that are about to be cancelled. So: no allocation, no lock but those of
//! [`sys::lock`] with all signals blocked, no errno touched, nothing to unwind across a real call,
//! no descriptor in the program's table. What needs one of these runs on the helper.
//!
//! `docs/limitations.md` lists what is not reached.

// What only the hooks call is unused where they are left out.
#![cfg_attr(test, allow(dead_code, unused_imports))]

#[macro_use]
extern crate keepmydata_sys;

mod boot;
mod config;
mod dirty;
mod enforce;
mod findings;
mod handles;
mod helper;
#[cfg(not(test))]
mod hooks;
mod log;
mod mappings;
#[cfg(not(test))]
mod mem;
mod next_fn;
mod prealloc;
mod process;
mod reads;
mod stats;
mod track;
mod unwind;

use keepmydata_sys as sys;
