//! Debian's kernels, unpacked by `scripts/setup` and not installed, and what they run on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::target_directory;

/// What a machine is built of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// As the host's is, whose programs run on it.
    X86_64,
    /// It runs what was built for it, in a Debian of its own.
    Aarch64,
}

/// A kernel to boot, and its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    processor: Processor,
    release: String,
    directory: PathBuf,
}

impl Kernel {
    /// The newest kernel of a series (`6.1`) for the host's processor.
    ///
    /// # Errors
    /// With a reason, where none was unpacked.
    pub fn find(series: &str) -> Result<Self, String> {
        let is_of_series = |release: &str| {
            release.starts_with(&format!("{series}.")) && release.ends_with("-amd64")
        };
        Self::newest(Processor::X86_64, is_of_series)
            .ok_or_else(|| format!("no Linux {series} in {}", unpacked(KERNELS)))
    }

    /// Debian's kernel for AArch64 with pages of `kib` KiB, 4 or 16.
    ///
    /// # Errors
    /// With a reason, where none was unpacked.
    pub fn aarch64(kib: usize) -> Result<Self, String> {
        let has_such_pages = |release: &str| match kib {
            4 => release.ends_with("-arm64"),
            kib => release.ends_with(&format!("-arm64-{kib}k")),
        };
        Self::newest(Processor::Aarch64, has_such_pages).ok_or_else(|| {
            format!(
                "no Linux for AArch64 with pages of {kib} KiB in {}",
                unpacked(KERNELS)
            )
        })
    }

    fn newest(processor: Processor, is_wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let kernels = target_directory().join(KERNELS);
        let entries = fs::read_dir(&kernels).into_iter().flatten().flatten();
        let releases = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let release = releases.filter(|release| is_wanted(release)).max()?;
        Some(Self {
            processor,
            directory: kernels.join(&release),
            release,
        })
    }

    /// As `uname -r` says it.
    pub fn release(&self) -> &str {
        &self.release
    }

    pub fn processor(&self) -> Processor {
        self.processor
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

impl Processor {
    pub(super) fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The directory that is the root of such a machine.
    ///
    /// # Errors
    /// With a reason, where it was not unpacked.
    pub(super) fn root(self) -> Result<PathBuf, String> {
        match self {
            Self::X86_64 => Ok("/".into()),
            Self::Aarch64 => {
                let root = target_directory().join(ROOT);
                match root.join("bin/busybox").exists() {
                    true => Ok(root),
                    false => Err(format!("no Debian for AArch64 in {}", unpacked(ROOT))),
                }
            }
        }
    }

    /// Directories of the host's that such a machine sees besides its root, in the same place: the
    /// sources and what cargo builds.
    pub(super) fn shares(self) -> Vec<PathBuf> {
        if self == Self::X86_64 {
            return Vec::new();
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let mut shares = vec![sources.expect("directory of the workspace").to_owned()];
        let target = target_directory();
        if !target.starts_with(&shares[0]) {
            shares.push(target);
        }
        shares
    }
}

const KERNELS: &str = "vm/kernels";
const ROOT: &str = "vm/roots/aarch64";

/// For a reason.
fn unpacked(place: &str) -> String {
    let place = target_directory().join(place);
    format!("{}: scripts/setup unpacks Debian's", place.display())
}
