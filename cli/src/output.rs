//! Where a command says what it found. A full disk ends none of them in the middle.

use crate::failure::Failure;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Prints on standard output. A reader that has gone is no error.
pub fn print(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.to_string().as_bytes());
    match printed.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of("standard output", &error))
        }
        _ => Ok(()),
    }
}

/// A line on standard error; where that cannot be written, there is nobody to tell.
pub fn say(message: impl Display) {
    let _ = io::stderr().write_all(format!("keepmydata: {message}\n").as_bytes());
}

/// A file that is written in the end, and opened before anything is run: so it shows early where that cannot be.
pub struct Target {
    path: PathBuf,
    file: File,
    /// Made here and still empty: removed when dropped.
    is_new: bool,
}

impl Target {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = File::options();
        let options = options.write(true).truncate(false);
        let opened = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                options.create(true).open(path).map(|file| (file, true))
            }
            opened => opened.map(|file| (file, false)),
        };
        let (file, is_new) = opened.map_err(|error| Failure::of(path.display(), &error))?;
        let path = path.to_owned();
        Ok(Target { path, file, is_new })
    }

    pub fn write(mut self, text: &str) -> Result<(), Failure> {
        self.is_new = false;
        // What is no regular file has no length.
        let _ = self.file.set_len(0);
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| Failure::of(self.path.display(), &error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}
