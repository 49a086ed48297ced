//! The filesystems that clients run on.

use std::any::Any;
use std::path::PathBuf;

use preload_tests::harness::{LoopFs, StackedFs, TearFs, Tmpfs};

/// Local ones, the test bed, and those that other daemons serve.
pub const NAMES: [&str; 14] = [
    "ext4",
    "xfs",
    "btrfs",
    "tmpfs",
    "overlayfs",
    "honest",
    "volatile",
    "first-page",
    "bindfs",
    "sshfs",
    "mergerfs",
    "fuse-overlayfs",
    "rclone",
    "glusterfs",
];

/// A mounted one, until dropped.
pub struct Mounted {
    pub dir: PathBuf,
    _guard: Box<dyn Any>,
}

impl Mounted {
    fn new(dir: PathBuf, guard: impl Any) -> Self {
        let _guard = Box::new(guard);
        Self { dir, _guard }
    }
}

/// # Errors
/// Why this machine has no such filesystem (to skip the test).
pub fn mount(name: &str) -> Result<Mounted, String> {
    match name {
        "ext4" | "xfs" | "btrfs" => {
            let fs = LoopFs::mount_sized(name, 400, &[])?;
            Ok(Mounted::new(fs.dir(), fs))
        }
        "tmpfs" => {
            let fs = Tmpfs::mount()?;
            Ok(Mounted::new(fs.dir(), fs))
        }
        "honest" | "volatile" | "first-page" => {
            TearFs::available()?;
            let fs = TearFs::mount(&["--mode", name, "--direct-io", "none"]);
            Ok(Mounted::new(fs.dir(), fs))
        }
        _ => {
            let fs = StackedFs::mount(name)?;
            Ok(Mounted::new(fs.dir(), fs))
        }
    }
}
