//! Guests that no library can be preloaded into: compiled when they are asked for.

use crate::args::DemoKind;
use crate::failure::Failure;
use crate::run::reason;
use crate::sys;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sources, by file name.
const C: [(&str, &str); 2] = [
    (
        "seed.c",
        include_str!("../../../preload-tests/guests/seed.c"),
    ),
    (
        "guest.h",
        include_str!("../../../preload-tests/guests/guest.h"),
    ),
];
const GO: [(&str, &str); 1] = [(
    "seed.go",
    include_str!("../../../preload-tests/guests/go/seed.go"),
)];

/// The seed case as such a program, in `directory`.
///
/// # Errors
/// There is no compiler for it, or it refuses: what it says.
pub fn guest(kind: DemoKind, directory: &Path) -> Result<PathBuf, Failure> {
    let sources = if kind == DemoKind::Go { &GO[..] } else { &C };
    for (name, text) in sources {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| Failure::of(path.display(), &error))?;
    }
    let (compiler, arguments): (_, &[&str]) = match kind {
        DemoKind::Go => ("go", &["build", "-o", "seed", "seed.go"]),
        _ => (
            "cc",
            &["-O2", "-static", "-pthread", "-o", "seed", "seed.c"],
        ),
    };
    let output = Command::new(compiler)
        .args(arguments)
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOCACHE", directory.join("cache"))
        .current_dir(directory)
        .output()
        .map_err(|error| {
            Failure::own(format!("{compiler}, which this needs: {}", reason(&error)))
        })?;
    if sys::interrupted() {
        return Err(Failure::interrupted());
    }
    match output.status.success() {
        true => Ok(directory.join("seed")),
        false => Err(Failure::own(format!(
            "{compiler}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}
