//! Tests that cannot run here say so loudly and are counted.

use std::fs::OpenOptions;
use std::io::Write;

/// Prints `SKIPPED: test: reason` and appends the same line to the file that
/// `KEEPMYDATA_SKIPS_FILE` names, so that a script can count what did not run.
///
/// # Panics
/// If the file cannot be written: a skip must not be lost.
pub fn record_skip(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("KEEPMYDATA_SKIPS_FILE") {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Ends the test as skipped, with the reason. Not for failures.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        $crate::harness::record_skip(&test, &format!($($reason)*));
        return;
    }};
}

/// The value, or the test is skipped with the error as reason.
#[macro_export]
macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => $crate::skip!("{reason}"),
        }
    };
}
