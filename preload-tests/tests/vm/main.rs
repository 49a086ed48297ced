//! What only a whole machine shows: power cuts, persistent memory, an older kernel.

mod crash;
mod dax;
mod flush_points;
mod judge;
mod older_kernel;
mod power_cuts;
mod results;
mod rig;
mod suite;
