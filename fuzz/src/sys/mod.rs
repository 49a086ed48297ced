//! What the table finds under that name in the shim.

#[path = "../../../crates/sys/src/pool.rs"]
pub mod pool;
pub mod wipe;
