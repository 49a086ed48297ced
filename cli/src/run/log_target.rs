//! Whether the shim will be able to write its log, before the program starts: the shim itself would
//! have nowhere to say that it cannot.

use super::reason;
use crate::failure::Failure;
use crate::sys;
use keepmydata_records::{LogFile, Value};
use rustix::fs::{Access, FileType, Mode, OFlags, access, open, stat};
use rustix::io::Errno;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const VARIABLE: &str = "KEEPMYDATA_LOG_FILE";

/// Looks at the log that the settings name, or else the environment. Makes no file. Returns the
/// writing end of a FIFO: if it were closed before the program opens the FIFO itself, the reader
/// would take that for the end.
///
/// # Errors
/// The log cannot be opened: why.
pub fn check(settings: &[(&'static str, OsString)]) -> Result<Option<OwnedFd>, Failure> {
    let option = settings.iter().find(|(name, _)| *name == VARIABLE);
    let (from, text) = match option {
        Some((_, text)) => ("--log-file", text.clone()),
        None => (VARIABLE, env::var_os(VARIABLE).unwrap_or_default()),
    };
    // The program will have the process id of this command. A text that is no path is named by the
    // shim, and the default holds.
    let Some(path) = path_of(&text, std::process::id()) else {
        return Ok(None);
    };
    try_open(&path).map_err(|error| {
        let why = match error {
            Errno::NXIO => "nobody reads it, or it is a socket".to_owned(),
            error => reason(&error.into()),
        };
        let path = path.display();
        Failure::own(format!("{from}: the log {path} cannot be opened: {why}"))
    })
}

fn path_of(text: &OsStr, pid: u32) -> Option<PathBuf> {
    // Each %p, of two bytes, becomes up to ten digits.
    let mut path = vec![0; 5 * text.len()];
    let path = LogFile::parse(text.as_bytes())?.path(pid, &mut path)?;
    Some(OsString::from_vec(path.to_vec()).into())
}

/// Opens the log as the shim does, except that nothing is created and no reader is waited for.
fn try_open(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let is_fifo =
        stat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
    // With nobody to hold it open, the try would send its reader away.
    if is_fifo && sys::adopts_orphans() {
        return Ok(None);
    }
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    match open(path, flags | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => Ok(is_fifo.then_some(file)),
        Err(Errno::NOENT) => can_be_made(path).map(|()| None),
        Err(error) => Err(error),
    }
}

/// Whether a file can be made under a name that nothing has, or that is a link to nothing.
fn can_be_made(path: &Path) -> Result<(), Errno> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Errno::ISDIR);
    }
    let directory = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let beside = directory(path);
    let made_in = match fs::read_link(path) {
        Ok(target) => directory(&beside.join(target)),
        Err(_) => beside,
    };
    access(made_in, Access::WRITE_OK | Access::EXEC_OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_one_that_the_program_will_have() {
        let path = |text: &str| path_of(OsStr::new(text), u32::MAX);
        assert_eq!(path(""), None);
        assert_eq!(path("stderr"), None);
        assert_eq!(path("%p%p"), Some("42949672954294967295".into()));
        assert_eq!(path("/tmp/%%.log"), Some("/tmp/%.log".into()));
    }
}
