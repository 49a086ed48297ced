//! What cargo and the C compiler build for: this machine, or one of another processor.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::guests::target_directory;
use super::installed;

const AARCH64: &str = "aarch64-unknown-linux-gnu";
const AARCH64_CC: &str = "aarch64-linux-gnu-gcc";

/// The host, or another target.
pub struct Target {
    /// As cargo calls it, and its C compiler.
    other: Option<(&'static str, &'static str)>,
}

impl Target {
    pub fn host() -> Self {
        Self { other: None }
    }

    /// AArch64.
    ///
    /// # Errors
    /// With a reason, where what builds for it is missing.
    pub fn aarch64() -> Result<Self, String> {
        installed(AARCH64_CC)?;
        let printed = Command::new("rustc")
            .args(["--print", "target-libdir", "--target", AARCH64])
            .stderr(Stdio::null())
            .output()
            .expect("rustc");
        let libraries = String::from_utf8_lossy(&printed.stdout);
        if !PathBuf::from(libraries.trim()).is_dir() {
            return Err(format!(
                "no Rust for {AARCH64}: rustup target add {AARCH64}"
            ));
        }
        Ok(Self {
            other: Some((AARCH64, AARCH64_CC)),
        })
    }

    /// `cargo COMMAND` for this target, as this workspace is built.
    pub fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([command, "--quiet", "--locked", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        cargo.arg("--target-dir").arg(target_directory());
        if let Some((triple, cc)) = self.other {
            cargo.args(["--target", triple]);
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", cc);
        }
        cargo
    }

    /// Where cargo puts what it builds: below it a directory for each profile.
    pub fn directory(&self) -> PathBuf {
        match self.other {
            Some((triple, _)) => target_directory().join(triple),
            None => target_directory(),
        }
    }

    pub(super) fn is_host(&self) -> bool {
        self.other.is_none()
    }

    pub(super) fn c_compiler(&self) -> &'static str {
        self.other.map_or("cc", |(_, cc)| cc)
    }

    /// The shim for this target, not optimised or optimised, brought up to date.
    ///
    /// # Panics
    /// If it does not build.
    pub fn shim(&self, release: bool) -> PathBuf {
        self.build("keepmydata", release);
        let profile = if release { "release" } else { "debug" };
        let library = self.directory().join(profile).join("libkeepmydata.so");
        assert!(library.exists(), "{} was not built", library.display());
        library
    }

    /// The command for this target, not optimised, brought up to date.
    ///
    /// # Panics
    /// As [`Target::shim`].
    pub fn command(&self) -> PathBuf {
        self.build("keepmydata-cli", false);
        self.directory().join("debug/keepmydata")
    }

    fn build(&self, package: &str, release: bool) {
        let status = self
            .cargo("build")
            .args(["--package", package])
            .args(release.then_some("--release"))
            .status()
            .expect("cargo");
        assert!(status.success(), "cargo build of {package}: {status}");
    }
}
