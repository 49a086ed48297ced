//! The shim under test, and the command.

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::Target;
use super::guests::target_directory;

/// Path of `libkeepmydata.so`: what `KEEPMYDATA_LIB` names, else the release build
/// of the root package, brought up to date once a run.
///
/// # Panics
/// If it does not exist or does not build.
pub fn shim() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| given("KEEPMYDATA_LIB").unwrap_or_else(|| build("release")))
}

/// The same, not optimised: what `KEEPMYDATA_DEBUG_LIB` names, else the debug build.
///
/// # Panics
/// As [`shim`].
pub fn debug_shim() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| given("KEEPMYDATA_DEBUG_LIB").unwrap_or_else(|| build("debug")))
}

/// Path of `keepmydata`: what `KEEPMYDATA_COMMAND` names, else the debug build of the command, brought up to date once a
/// run.
///
/// # Panics
/// As [`shim`].
pub fn command() -> &'static PathBuf {
    static COMMAND: OnceLock<PathBuf> = OnceLock::new();
    COMMAND.get_or_init(|| {
        given("KEEPMYDATA_COMMAND").unwrap_or_else(|| {
            once("keepmydata", || drop(Target::host().command()));
            target_directory().join("debug/keepmydata")
        })
    })
}

fn given(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)?;
    let whole = std::fs::canonicalize(&path);
    Some(whole.unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

fn build(profile: &str) -> PathBuf {
    once(&format!("libkeepmydata.{profile}"), || {
        Target::host().shim(profile == "release");
    });
    target_directory().join(profile).join("libkeepmydata.so")
}

/// Builds it, if this run of the tests has not yet.
fn once(name: &str, build: impl FnOnce()) {
    let target = target_directory();
    // nextest runs every test in a process of its own but names the run.
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
    let stamp = target.join(format!("{name}.built"));
    let lock = File::create(target.join("libkeepmydata.lock")).expect("lock file");
    lock.lock().expect("lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == run) {
        return;
    }
    build();
    std::fs::write(&stamp, run).expect("stamp");
}
