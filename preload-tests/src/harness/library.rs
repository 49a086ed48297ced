//! The shim under test.

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::Target;
use super::guests::profile_directory;

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

fn given(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable)?;
    let whole = std::fs::canonicalize(&path);
    Some(whole.unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())))
}

fn build(profile: &str) -> PathBuf {
    let target = profile_directory();
    let target = target.parent().expect("target directory");
    let library = target.join(profile).join("libkeepmydata.so");
    // nextest runs every test in a process of its own but names the run.
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
    let stamp = target.join(format!("libkeepmydata.{profile}.built"));
    let lock = File::create(target.join("libkeepmydata.lock")).expect("lock file");
    lock.lock().expect("lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == run) {
        return library;
    }
    let library = Target::host().shim(profile == "release");
    std::fs::write(&stamp, run).expect("stamp");
    library
}
