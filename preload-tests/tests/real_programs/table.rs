//! The programs. Their scripts are in `preload-tests/programs`.

use std::path::Path;

use preload_tests::harness::{installed, target_directory};

/// A script over a program of the system.
pub struct Program {
    /// Of the test and of the script.
    pub name: &'static str,
    /// What is run, for the document.
    pub what: &'static str,
    /// Without any of these it is skipped; `python:NAME` is a module that `scripts/setup --programs`
    /// has pip install.
    needs: &'static [&'static str],
    pub script: &'static str,
    /// Why it differs under the shim, if it does.
    pub known: Option<&'static str>,
}

macro_rules! program {
    ($name:literal, $what:literal, $needs:expr) => {
        program!($name, $what, $needs, None)
    };
    ($name:literal, $what:literal, $needs:expr, $known:expr) => {
        Program {
            name: $name,
            what: $what,
            needs: &$needs,
            script: include_str!(concat!("../../programs/", $name, ".sh")),
            known: $known,
        }
    };
}

pub const PROGRAMS: &[Program] = &[
    program!(
        "chromium",
        "chromium --headless: a page and its DOM, with one profile, without sandboxes and in them",
        ["chromium"]
    ),
    program!(
        "firefox",
        "firefox --headless: a page drawn, twice with one profile, in its sandboxes",
        ["firefox-esr", "sqlite3"]
    ),
    program!(
        "memcached",
        "memcached with a memory file, restarted, with memory locked and not",
        ["memcached", "python3"]
    ),
    program!(
        "slapd",
        "slapd on MDB with writemap, kill -9",
        ["slapd", "slapcat", "ldapadd"]
    ),
    program!(
        "lmdb",
        "python-lmdb with writemap, 3 processes, kill -9",
        [
            "mdb_stat",
            "/usr/lib/python3/dist-packages/lmdb/__init__.py"
        ]
    ),
    program!("mdbx", "libmdbx with writemap, kill -9", ["python:mdbx"]),
    program!(
        "mariadb",
        "mariadbd: InnoDB, Aria and XA, kill -9",
        ["mariadbd", "mariadb-install-db"]
    ),
    program!("pdnsutil", "pdnsutil on its LMDB backend", ["pdnsutil"]),
    program!(
        "journal",
        "systemd-journal-remote, journalctl --verify",
        ["/lib/systemd/systemd-journal-remote", "journalctl"]
    ),
    program!(
        "berkeley",
        "Berkeley DB's load, dump, verify and recover, in an environment",
        ["db5.3_load"]
    ),
    program!(
        "java",
        "Java with mappings over 3 GiB, force",
        ["java", "javac"]
    ),
    program!("git_gc", "git gc, fsck, multi-pack index", ["git"]),
    program!("cargo_build", "cargo build, run and test", ["cargo"]),
    program!(
        "linkers",
        "ld.bfd, gold, lld and mold",
        ["gcc", "ld.gold", "ld.lld", "mold"]
    ),
    program!("mksquashfs", "mksquashfs, unsquashfs", ["mksquashfs"]),
    program!(
        "qemu",
        "QEMU with a file behind its memory",
        ["qemu-system-x86_64"]
    ),
    program!("perf", "perf stat, record, report", ["perf"]),
    program!("ltrace", "ltrace", ["ltrace", "gcc"]),
    program!(
        "tracers",
        "gdb attach, gcore, strace attach",
        ["gdb", "gcore", "strace", "gcc"]
    ),
    program!(
        "redis",
        "redis-server: RDB and AOF by fork children, kill -9",
        ["redis-server", "redis-cli"]
    ),
    program!(
        "php",
        "PHP with opcache in shared memory, in files and compiled",
        ["php"]
    ),
    program!(
        "ccache",
        "ccache with its cache of inodes, 6 at a time",
        ["ccache", "gcc"]
    ),
    program!(
        "init",
        "tini and dumb-init, in PID namespaces too",
        ["tini", "dumb-init", "gcc", "unshare"]
    ),
    program!("aria2", "aria2c into a mapped file", ["aria2c", "python3"]),
    program!(
        "cabinets",
        "Kyoto and Tokyo Cabinet, TDB, GDBM and RRDtool, by their own tools",
        [
            "kchashtest",
            "tchtest",
            "tdbtool",
            "gdbmtool",
            "gdbm_dump",
            "rrdtool"
        ]
    ),
    program!(
        "sandboxes",
        "bwrap and firejail with filters that kill, file and man in their own",
        ["bwrap", "firejail", "gcc", "file", "man"]
    ),
    program!(
        "others",
        "setpriv, sudo, su, bwrap, unshare, nsenter, chroot, script and the like",
        [
            "setpriv", "sudo", "su", "bwrap", "unshare", "nsenter", "script"
        ]
    ),
];

impl Program {
    /// # Panics
    /// If there is none of that name.
    pub fn named(name: &str) -> &'static Self {
        let found = PROGRAMS.iter().find(|program| program.name == name);
        found.unwrap_or_else(|| panic!("no program {name}"))
    }

    /// # Errors
    /// What is missing here (to skip the test).
    pub fn available(&self) -> Result<(), String> {
        for need in self.needs {
            match need.strip_prefix("python:") {
                Some(module) => {
                    let path = target_directory().join("programs/python").join(module);
                    if !path.exists() {
                        return Err(format!(
                            "no Python module {module}: scripts/setup --programs"
                        ));
                    }
                }
                None if need.starts_with('/') => {
                    if !Path::new(need).exists() {
                        return Err(format!("{need} is not installed"));
                    }
                }
                None => installed(need)?,
            }
        }
        Ok(())
    }
}
