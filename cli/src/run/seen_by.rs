//! Whether the two mounts of `--seen-by` are there: the shim would find no file below them, and say nothing.

use super::reason;
use crate::failure::Failure;
use keepmydata_records::{SeenBy, Value};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const VARIABLE: &str = "KEEPMYDATA_SEEN_BY";

/// Looks at what the settings name, or else the environment.
///
/// # Errors
/// What is no directory, and why.
pub fn check(settings: &[(&'static str, OsString)]) -> Result<(), Failure> {
    let option = settings.iter().find(|(name, _)| *name == VARIABLE);
    let (from, text) = match option {
        Some((_, text)) => ("--seen-by", text.clone()),
        None => (VARIABLE, env::var_os(VARIABLE).unwrap_or_default()),
    };
    // A text that names no mounts is named by the shim.
    let Some(mounts) = SeenBy::parse(text.as_bytes()) else {
        return Ok(());
    };
    for mount in [mounts.own(), mounts.other()].into_iter().flatten() {
        let mount = Path::new(OsStr::from_bytes(mount));
        is_directory(mount).map_err(|error| {
            Failure::own(format!(
                "{from}: {}: {}",
                mount.display(),
                reason(&error.into())
            ))
        })?;
    }
    Ok(())
}

/// Asks no server that may not answer.
fn is_directory(path: &Path) -> Result<(), Errno> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    match FileType::from_raw_mode(found.stx_mode.into()) {
        FileType::Directory => Ok(()),
        _ => Err(Errno::NOTDIR),
    }
}
