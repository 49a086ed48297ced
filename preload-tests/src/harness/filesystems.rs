//! Filesystems of the kernel's own to run guests on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::scratch::Scratch;
use crate::page_size;

/// ext4, xfs or btrfs in an image file, mounted until dropped. The loop device
/// frees itself with the mount (`LO_FLAGS_AUTOCLEAR`).
pub struct LoopFs {
    scratch: Scratch,
}

impl LoopFs {
    /// # Errors
    /// Why this machine has no such filesystem (to skip the test).
    pub fn mount(kind: &str) -> Result<Self, String> {
        let megabytes = match kind {
            "xfs" => 320,
            "btrfs" => 256,
            // Files of thousands of pages: 128 with pages of 4 KiB.
            _ => page_size() as u64 / 32,
        };
        Self::mount_sized(kind, megabytes, &[])
    }

    /// As [`LoopFs::mount`], with the size of the image and options of `mount`.
    ///
    /// # Errors
    /// Why this machine has no such filesystem (to skip the test).
    pub fn mount_sized(kind: &str, megabytes: u64, options: &[&str]) -> Result<Self, String> {
        let scratch = Scratch::new();
        let image = scratch.path("image");
        File::create(&image)
            .and_then(|file| file.set_len(megabytes << 20))
            .map_err(|error| format!("image for {kind}: {error}"))?;
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        let options = [&["loop"], options].concat().join(",");
        mount(kind, &options, &image, &scratch.path("mount"))?;
        Ok(Self { scratch })
    }

    /// Mounts what is in an image file.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn of_image(kind: &str, image: &Path) -> Result<Self, String> {
        let scratch = Scratch::new();
        mount(kind, "loop", image, &scratch.path("mount"))?;
        Ok(Self { scratch })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The mount point.
    pub fn dir(&self) -> PathBuf {
        self.scratch.path("mount")
    }
}

/// A tmpfs, mounted until dropped.
pub struct Tmpfs {
    scratch: Scratch,
}

impl Tmpfs {
    /// # Errors
    /// Why it cannot be mounted (to skip the test).
    pub fn mount() -> Result<Self, String> {
        let scratch = Scratch::new();
        mount(
            "tmpfs",
            "size=256m",
            Path::new("tmpfs"),
            &scratch.path("mount"),
        )?;
        Ok(Self { scratch })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The mount point.
    pub fn dir(&self) -> PathBuf {
        self.scratch.path("mount")
    }
}

pub(super) fn mount(kind: &str, options: &str, device: &Path, point: &Path) -> Result<(), String> {
    fs::create_dir(point).map_err(|error| format!("mount point: {error}"))?;
    run(Command::new("mount")
        .args(["-t", kind, "-o", options])
        .arg(device)
        .arg(point))
    .map(drop)
}

/// Of mkfs.ext4, for a disk that fills up: without a journal only the files' own data meet the full disk.
pub const EXT4_WITHOUT_JOURNAL: &[&str] = &[
    "-q",
    "-b",
    "4096",
    "-N",
    "256",
    "-m",
    "0",
    "-O",
    "^has_journal",
    "-E",
    "lazy_itable_init=0,nodiscard",
];

/// Runs a tool of the system on a path, and returns what it printed.
///
/// # Errors
/// What it said.
pub fn run_on(program: &str, arguments: &[&str], path: &Path) -> Result<String, String> {
    run(Command::new(program).args(arguments).arg(path))
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}: {}", output.status, message.trim()))
}
