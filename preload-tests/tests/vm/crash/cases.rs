//! Filesystems, and programs to run on them.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use preload_tests::harness::{Flags, LoopFs, Program, command as keepmydata, installed, shim};

use super::random;

/// How a disk is made and mounted.
#[derive(Debug, PartialEq, Eq)]
pub struct Filesystem {
    pub name: &'static str,
    kind: &'static str,
    mib: u64,
    pub mount: &'static str,
}

pub const FILESYSTEMS: [Filesystem; 4] = [
    Filesystem {
        name: "ext4-ordered",
        kind: "ext4",
        mib: 128,
        mount: "-t ext4 -o data=ordered",
    },
    Filesystem {
        name: "ext4-writeback",
        kind: "ext4",
        mib: 128,
        mount: "-t ext4 -o data=writeback",
    },
    Filesystem {
        name: "xfs",
        kind: "xfs",
        mib: 320,
        mount: "-t xfs",
    },
    Filesystem {
        name: "btrfs",
        kind: "btrfs",
        mib: 256,
        mount: "-t btrfs",
    },
];

impl Filesystem {
    /// # Errors
    /// What is missing to make it.
    pub fn make(&self, image: &Path) -> Result<(), String> {
        let mkfs = format!("mkfs.{}", self.kind);
        installed(&mkfs)?;
        File::create(image)
            .and_then(|file| file.set_len(self.mib << 20))
            .map_err(|error| format!("image for {}: {error}", self.name))?;
        let output = Command::new(&mkfs).arg("-q").arg(image).output();
        let output = output.map_err(|error| format!("{mkfs}: {error}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Mounts an image of it here.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn mount_image(&self, image: &Path) -> Result<LoopFs, String> {
        if self.kind == "btrfs" {
            // Else the kernel, which has seen a newer image of the same filesystem, refuses this one.
            let _ = Command::new("btrfs")
                .args(["device", "scan", "--forget"])
                .output();
        }
        LoopFs::of_image(self.kind, image)
    }
}

/// A program that stores until the power is cut.
#[derive(Debug, PartialEq, Eq)]
pub struct Workload {
    pub name: &'static str,
    /// In the document.
    pub what: &'static str,
    /// `crash_store`'s way to ask for its stores to be kept; `None` is LMDB.
    how: Option<&'static str>,
    processes: u32,
    /// For the shim, beyond its defaults.
    settings: &'static [(&'static str, &'static str)],
    /// It never asks as it would have to: natively it must lose.
    pub is_control: bool,
}

const CONTROL: Workload = Workload {
    name: "",
    what: "",
    how: None,
    processes: 1,
    settings: &[("KEEPMYDATA_ASYNC", "sync"), ("KEEPMYDATA_MUNMAP", "sync")],
    is_control: true,
};

pub const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "seed",
        what: "the seed case (9,927 bytes at 4,442,856), then stores like it",
        how: Some("msync"),
        settings: &[],
        is_control: false,
        ..CONTROL
    },
    Workload {
        name: "doio",
        what: "the same with 2 processes on one file, which lock what they store",
        how: Some("msync"),
        processes: 2,
        settings: &[],
        is_control: false,
    },
    Workload {
        name: "lmdb",
        what: "LMDB with MDB_WRITEMAP, one value a transaction",
        settings: &[],
        is_control: false,
        ..CONTROL
    },
    Workload {
        name: "only-stores",
        what: "control: stores and unmaps, and takes that for enough",
        how: Some("munmap"),
        ..CONTROL
    },
    Workload {
        name: "ms-async",
        what: "control: msync with MS_ASYNC",
        how: Some("async"),
        ..CONTROL
    },
    Workload {
        name: "part",
        what: "control: stores in two mappings, msyncs a part of one, stores again, and unmaps",
        how: Some("part"),
        ..CONTROL
    },
];

/// Waits until the disk was given the data and asks for no flush: only a disk that loses what it was not
/// told to flush breaks what this program believes in.
pub const WRITTEN: Workload = Workload {
    name: "written",
    what: "control: sync_file_range",
    how: Some("written"),
    ..CONTROL
};

/// One program on one filesystem, a disk of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub filesystem: &'static Filesystem,
    pub workload: &'static Workload,
    pub way: Way,
}

/// How the program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Native,
    Shim,
    /// Linked statically.
    Supervised,
}

/// All, run this way.
pub fn cases(way: Way) -> impl Iterator<Item = Case> {
    FILESYSTEMS.iter().flat_map(move |filesystem| {
        WORKLOADS.iter().map(move |workload| Case {
            filesystem,
            workload,
            way,
        })
    })
}

impl Case {
    /// Whether a cut may lose what it was promised.
    pub fn may_lose(&self) -> bool {
        self.workload.is_control && self.way == Way::Native
    }

    /// For the shell: runs until the power is cut.
    pub fn store(&self, tag: usize, directory: &str, seed: u64) -> String {
        let mut command = String::new();
        if self.way != Way::Native {
            let settings = [("KEEPMYDATA_LOG", "warn")];
            for (name, value) in settings.iter().chain(self.workload.settings) {
                command += &format!("{name}={value} ");
            }
        }
        match self.way {
            Way::Native => {}
            Way::Shim => command += &format!("LD_PRELOAD={} ", shim().display()),
            Way::Supervised => command += &format!("{} -- ", keepmydata().display()),
        }
        let guest = |name: &str| guest(name, self.way);
        command
            + &match self.workload.how {
                Some(how) => format!(
                    "{} {tag} {directory}/file {seed} {} {how}",
                    guest("crash_store"),
                    self.workload.processes
                ),
                None => format!("{} {tag} {directory}/db {seed} store", guest("crash_lmdb")),
            }
    }

    /// For the shell: judges what is there by the promises on standard input.
    pub fn check(&self, tag: usize, directory: &str, seed: u64) -> String {
        match self.workload.how {
            Some(_) => format!(
                "{} {tag} {directory}/file {seed} {}",
                guest("crash_check", Way::Native),
                self.workload.processes
            ),
            None => {
                let lmdb = guest("crash_lmdb", Way::Native);
                format!("{lmdb} {tag} {directory}/db {seed} check")
            }
        }
    }

    /// No case stores what another does. The database goes on from life to life, the other programs begin
    /// anew.
    pub fn seed(&self, run: u64, life: u64) -> u64 {
        let name = self.to_string();
        let own = name
            .bytes()
            .fold(run, |seed, byte| random(seed, byte.into()));
        match self.workload.how {
            Some(_) => random(own, life),
            None => own,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.way {
            Way::Native => "native",
            Way::Shim => "shim",
            Way::Supervised => "supervised",
        };
        write!(f, "{} {} {how}", self.filesystem.name, self.workload.name)
    }
}

fn guest(name: &str, way: Way) -> String {
    let flags = match way {
        Way::Supervised => Flags::Static,
        _ => Flags::Hardened,
    };
    Program::guest_with(name, flags)
        .file()
        .display()
        .to_string()
}
