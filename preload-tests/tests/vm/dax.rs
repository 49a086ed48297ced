//! Persistent memory: filesystems mounted with DAX, where a mapping is the medium itself.

mod calls;
mod cuts;
mod document;
mod memory;
