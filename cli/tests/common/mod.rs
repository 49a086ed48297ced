//! What the tests of the command share.

#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command under test, without settings of whoever runs the tests.
pub fn keepmydata() -> Command {
    keepmydata_environment(Command::new(env!("CARGO_BIN_EXE_keepmydata")))
}

/// A command that may run the one under test, without settings of whoever runs the tests.
pub fn keepmydata_environment(mut command: Command) -> Command {
    for option in keepmydata_records::OPTIONS {
        command.env_remove(option.env);
    }
    command
        .env_remove("LD_PRELOAD")
        .env_remove("KEEPMYDATA_LIB");
    command
}

/// Compiles `tests/guests/NAME.c` to `output`.
pub fn compile(name: &str, flags: &[&str], output: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(name);
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror"])
        .args(flags)
        .arg("-o")
        .args([output, &source.with_extension("c")])
        .status()
        .expect("cc must be installed");
    assert!(status.success(), "cc {name}: {status}");
}

/// A directory with a library that says hello, and with what a test puts there.
pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Place {
            directory: tempfile::tempdir().expect("temporary directory"),
        };
        // Another user must be able to run what is here.
        fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        compile("hello", &["-shared", "-fPIC"], &place.path("libhello.so"));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command, with the library.
    pub fn keepmydata(&self) -> Command {
        let mut command = keepmydata();
        command.env("KEEPMYDATA_LIB", self.path("libhello.so"));
        command
    }

    /// An executable file with these contents.
    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        let source = self.path(&format!("{name}.contents"));
        fs::write(&source, contents).unwrap();
        copy(&source, &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The guest `program`, compiled with these flags.
    pub fn program(&self, name: &str, flags: &[&str]) -> PathBuf {
        let path = self.path(name);
        compile("program", flags, &path);
        path
    }
}

/// Copies in another process. What this one writes itself, it cannot always execute: a thread that
/// forks meanwhile has the file open for writing in its child (ETXTBSY).
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// What `keepmydata doctor --json` says of a directory, in which it leaves nothing behind.
pub fn examine(directory: &Path) -> serde_json::Value {
    let list = || {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        // Processes come and go.
        let lasting = names.filter(|name| !name.to_string_lossy().starts_with(char::is_numeric));
        lasting.collect::<Vec<_>>()
    };
    let before = list();
    let output = keepmydata()
        .env("KEEPMYDATA_LIB", preload_tests::harness::shim())
        .args(["doctor", "--json"])
        .arg(directory)
        .output()
        .unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(list(), before);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["exit_code"], serde_json::json!(output.status.code()));
    found
}
