pub mod harness;
pub mod markdown;
pub mod tearfs;
pub mod vm;
