//! A misbehaving filesystem, mounted for as long as it is looked at.

use crate::failure::Failure;
use crate::output;
use crate::run::reason;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Much longer than unmounting takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Unmounted and removed when dropped.
pub struct Mount {
    daemon: Child,
    point: PathBuf,
}

impl Mount {
    /// Mounts `tearfs` on a new directory and waits until it is ready.
    pub fn new(tearfs: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let name = format!("keepmydata-demo-{}", std::process::id());
        let point = std::env::temp_dir().join(name);
        fs::create_dir(&point).map_err(|error| Failure::of(point.display(), &error))?;
        let started = Command::new(tearfs)
            .args(arguments)
            .arg("--exit-with-stdin")
            .arg(&point)
            // Ctrl-C is not for it: while a program is on it, it stays.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let daemon = match started {
            Ok(daemon) => daemon,
            Err(error) => {
                let _ = fs::remove_dir(&point);
                return Err(Failure::of(tearfs.display(), &error));
            }
        };
        let mut mount = Mount { daemon, point };
        let mut line = String::new();
        if let Some(stdout) = mount.daemon.stdout.as_mut() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        if line.starts_with("ready ") {
            return Ok(mount);
        }
        drop(mount.daemon.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = mount.daemon.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let why = match said.trim() {
            "" => "it ended without a word",
            said => said,
        };
        let tearfs = tearfs.display();
        Err(Failure::own(format!("{tearfs} cannot be mounted: {why}")))
    }

    /// A path on the filesystem.
    pub fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The end of its standard input tells it to unmount.
        drop(self.daemon.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.daemon.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > deadline {
                let _ = self.daemon.kill();
                let _ = self.daemon.wait();
                let _ = Command::new("fusermount3")
                    .args(["-u", "-z"])
                    .arg(&self.point)
                    .status();
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Err(error) = fs::remove_dir_all(&self.point) {
            output::say(format_args!("{}: {}", self.point.display(), reason(&error)));
        }
    }
}
