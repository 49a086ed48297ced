//! What power cuts and replayed logs share: which filesystems and programs there are, the job of a
//! machine that runs them all at once, and what they came to.

mod cases;
pub mod document;
mod job;
mod lives;
mod replay;
pub mod results;
pub mod wishes;

pub use cases::{Case, FILESYSTEMS, WORKLOADS, WRITTEN, Way, cases};
pub use lives::{Found, Lives};
pub use replay::record;

/// splitmix64: number `index` of the sequence of `seed`.
pub fn random(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
