//! What the system has: programs and libraries that a test wants; see [`crate::or_skip`].

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether a program is in `PATH`.
///
/// # Errors
/// A sentence for a skip where it is not.
pub fn installed(program: &str) -> Result<(), String> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\" >/dev/null", "sh", program])
        .status()
        .expect("sh");
    match found.success() {
        true => Ok(()),
        false => Err(format!("{program} is not installed")),
    }
}

/// Where the system keeps library `name`, in one of these directories below its own ("" is those
/// themselves).
///
/// # Errors
/// A sentence for a skip where it does not.
pub fn library(directories: &[&str], name: &str) -> Result<PathBuf, String> {
    directories
        .iter()
        .flat_map(|directory| {
            [
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/usr/lib64",
                "/usr/lib",
            ]
            .map(|lib| Path::new(lib).join(directory).join(name))
        })
        .find(|path| path.exists())
        .ok_or_else(|| format!("{name} is not installed"))
}
