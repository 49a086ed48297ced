//! What the protocols are built on: the shim's futexes and locks, or the model checker's.

#[cfg(loom)]
mod model;
#[cfg(not(loom))]
mod native;

#[cfg(loom)]
pub use model::*;
#[cfg(not(loom))]
pub use native::*;
