//! What the kernel offers, whatever the filesystem.

use super::report::Row;
use crate::run::reason;
use crate::sys;
use rustix::fs::{major, minor};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

pub struct Kernel {
    release: String,
    machine: String,
    fuse: Result<(), String>,
    cachestat: Result<(), String>,
    pagemap_scan: Result<(), String>,
    userfaultfd: Result<(), String>,
}

impl Kernel {
    pub fn look() -> Self {
        let uname = rustix::system::uname();
        Kernel {
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            fuse: fuse_device(),
            cachestat: File::open("/proc/self/exe")
                .and_then(sys::cachestat)
                .map(drop)
                .map_err(|error| missing(&error, "6.5")),
            pagemap_scan: sys::pagemap_scan_exists().map_err(|error| missing(&error, "6.7")),
            userfaultfd: sys::write_protect_async()
                .map(drop)
                .map_err(|error| missing(&error, "6.7")),
        }
    }

    /// Why trackers other than `whole` are not there, or nothing where all are.
    pub fn lacks(&self) -> String {
        let mut lacks = Vec::new();
        if let Err(why) = self.userfaultfd.as_ref().and(self.pagemap_scan.as_ref()) {
            lacks.push(format!("no page tracking: {why}"));
        }
        if let Err(why) = &self.cachestat {
            lacks.push(format!("no cachestat: {why}"));
        }
        lacks.join("; ")
    }

    pub fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("release", self.release.as_str(), &*self.machine),
            Row::result("FUSE", &self.fuse),
            Row::result("cachestat", &self.cachestat),
            Row::result("PAGEMAP_SCAN", &self.pagemap_scan),
            match &self.userfaultfd {
                Ok(()) => Row::new("userfaultfd", true, "asynchronous write-protection"),
                Err(why) => Row::new("userfaultfd", false, why),
            },
        ]
    }
}

/// Why the kernel refuses what Linux has since `version`.
fn missing(error: &io::Error, version: &str) -> String {
    let why = reason(error);
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => format!("{why}, a sandbox or a setting forbids it"),
        // An unknown call, an unknown request or feature of one.
        _ => format!("{why}, Linux {version} has it"),
    }
}

/// Whether /dev/fuse can be opened, and is what it should be: container runtimes hide devices by
/// binding /dev/null over them.
fn fuse_device() -> Result<(), String> {
    let opened = File::options().read(true).write(true).open("/dev/fuse");
    let number = opened
        .and_then(|file| file.metadata())
        .map(|metadata| metadata.rdev())
        .map_err(|error| format!("/dev/fuse: {}", reason(&error)))?;
    match (major(number), minor(number)) {
        (10, 229) => Ok(()),
        _ => Err("/dev/fuse: not the FUSE device, something else is mounted over it".to_owned()),
    }
}
