//! Where the files lie.

use std::path::PathBuf;

use preload_tests::harness::{LoopFs, TearFs, installed};

use crate::options::FsName;

/// A filesystem, mounted until dropped.
pub enum Filesystem {
    Loop(LoopFs),
    Fuse(TearFs),
}

/// Room for every contender's file.
const IMAGE_MIB: u64 = 4096;

impl Filesystem {
    /// # Errors
    /// Why this machine has no such filesystem.
    pub fn mount(name: FsName) -> Result<Filesystem, String> {
        if name == FsName::Fuse {
            TearFs::available()?;
            return Ok(Filesystem::Fuse(TearFs::mount(&["--mode", "honest"])));
        }
        installed(&format!("mkfs.{}", name.name()))?;
        LoopFs::mount_sized(name.name(), IMAGE_MIB, &[]).map(Filesystem::Loop)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Filesystem::Loop(fs) => fs.path(name),
            Filesystem::Fuse(fs) => fs.path(name),
        }
    }
}
