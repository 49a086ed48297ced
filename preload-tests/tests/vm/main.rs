//! What only a whole machine shows: power cuts, persistent memory, an older kernel.

mod dax;
mod older_kernel;
mod crash;
mod power_cuts;
mod rig;
mod suite;
