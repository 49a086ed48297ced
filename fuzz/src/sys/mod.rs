//! What the table finds under that name in the shim.

#[path = "../../../src/sys/pool.rs"]
pub mod pool;
pub mod wipe;
