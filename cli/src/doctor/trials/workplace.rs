//! A directory on the filesystem that is looked at, removed with all it holds.

use crate::output::say;
use crate::run::reason;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the removal is tried: a daemon may still be closing what a child had open.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Workplace {
    path: PathBuf,
    files: AtomicU32,
}

impl Workplace {
    pub fn new(directory: &Path) -> io::Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(".keepmydata-doctor-")
            .tempdir_in(directory)?;
        Ok(Workplace {
            path: made.keep(),
            files: AtomicU32::new(0),
        })
    }

    /// A name that nothing has.
    pub fn file(&self) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("file-{number}"))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = fs::remove_dir_all(&self.path) {
            if Instant::now() > deadline {
                let path = self.path.display();
                say(format_args!("{path} is left behind: {}", reason(&error)));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
