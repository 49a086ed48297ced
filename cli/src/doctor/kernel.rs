//! What the kernel offers, whatever the filesystem.

use super::report::Row;
use crate::run::reason;
use crate::sys;
use std::fs::File;
use std::io;

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
        let why = |error: io::Error| reason(&error);
        Kernel {
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            fuse: File::options()
                .read(true)
                .write(true)
                .open("/dev/fuse")
                .map(drop)
                .map_err(|error| format!("/dev/fuse: {}", reason(&error))),
            cachestat: File::open("/proc/self/exe")
                .and_then(sys::cachestat)
                .map(drop)
                .map_err(why),
            pagemap_scan: sys::pagemap_scan_exists().map_err(why),
            userfaultfd: sys::write_protect_async().map(drop).map_err(why),
        }
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
