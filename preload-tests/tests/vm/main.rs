//! What only a whole machine shows: power cuts, persistent memory, an older kernel.

mod dax;
mod rig;
