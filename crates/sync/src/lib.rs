//! The protocols between threads: a flush that several callers share ([`commit`]), and threads that do the work of others
//! ([`pool`]). They know nothing of files, and make no threads. All-zero is the initial state of the pool, so
//! that it may lie in memory that a fork child finds zeroed.
//!
//! # How it is checked
//!
//! The tests of this package run natively and under Miri. The package `keepmydata-models` compiles this source and these
//! tests with `cfg(loom)`: there [`port`] has the model checker's atomics, cells and locks, and a test tries every order of
//! the threads' steps, up to a number of preemptions, with every value that a load may give under the C11 memory model.
//! Where the source says `defect!(NAME => wrong; right)`, the shim has `right`; under the model checker a test may plant that
//! defect, and must find it.

#![warn(missing_docs)]

#[cfg(loom)]
pub mod defect;
#[macro_use]
mod defects;
pub mod commit;
pub mod pool;
pub mod port;
