//! Debian's kernels, unpacked by `scripts/setup` and not installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::target_directory;

/// A kernel to boot, and its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    release: String,
    directory: PathBuf,
}

impl Kernel {
    /// The newest kernel of a series (`6.1`).
    ///
    /// # Errors
    /// With a reason, where none was unpacked.
    pub fn find(series: &str) -> Result<Self, String> {
        let kernels = target_directory().join("vm/kernels");
        let prefix = format!("{series}.");
        let newest = fs::read_dir(&kernels)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|release| release.starts_with(&prefix))
            .max();
        match newest {
            Some(release) => Ok(Self {
                directory: kernels.join(&release),
                release,
            }),
            None => Err(format!(
                "no Linux {series} in {}: scripts/setup unpacks Debian's",
                kernels.display()
            )),
        }
    }

    /// As `uname -r` says it.
    pub fn release(&self) -> &str {
        &self.release
    }

    pub(super) fn image(&self) -> PathBuf {
        self.directory
            .join(format!("boot/vmlinuz-{}", self.release))
    }

    /// For `modprobe --dirname`.
    pub(super) fn modules(&self) -> &Path {
        &self.directory
    }
}
