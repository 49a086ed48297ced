pub mod harness;
pub mod tearfs;
