//! How the command ends when it cannot do what it was asked.

use crate::sys;
use std::ffi::c_int;
use std::fmt::Display;
use std::io;

/// Bad usage, or the command itself failed: the library is missing, the filesystem cannot be mounted...
/// As env(1) and timeout(1) have it, since 1 to 3 are verdicts here, and any may be the program's own.
pub const OWN: c_int = 125;
/// The program exists but cannot be run, or not under the shim.
pub const CANNOT_RUN: c_int = 126;
/// The program does not exist.
pub const NOT_FOUND: c_int = 127;

/// One line for standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub code: c_int,
}

impl Failure {
    pub fn new(code: c_int, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure { message, code }
    }

    pub fn own(message: impl Into<String>) -> Self {
        Failure::new(OWN, message)
    }

    /// By a signal that [`crate::sys::note_interruptions`] notes. The code is the one that a shell has for the signal.
    pub fn interrupted() -> Self {
        let signal = sys::interruption().unwrap_or(libc::SIGINT);
        Failure::new(128 + signal, "interrupted")
    }

    /// `PATH: No such file or directory`: what it was about, and why it failed.
    pub fn of(what: impl Display, error: &io::Error) -> Self {
        Failure::own(format!("{what}: {}", reason(error)))
    }
}

/// The text of an error as the shell gives it, without Rust's "(os error 2)".
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
