pub mod harness;
pub mod tearfs;
pub mod vm;
