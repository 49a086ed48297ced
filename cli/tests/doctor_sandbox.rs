//! `keepmydata doctor` in a container that forbids what a tracker needs. On an older kernel it is asked
//! by `preload-tests/tests/vm`.

use preload_tests::harness::{Program, shim};
use serde_json::Value;

#[test]
fn says_that_a_sandbox_forbids_a_tracker() {
    let scratch = preload_tests::harness::Scratch::new();
    let under = Program::guest("under");
    let output = std::process::Command::new(under.file())
        .args([
            "container",
            env!("CARGO_BIN_EXE_keepmydata"),
            "doctor",
            "--json",
        ])
        .arg(scratch.dir())
        .env("KEEPMYDATA_LIB", shim())
        .output()
        .expect("doctor");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let userfaultfd = &found["kernel"]["userfaultfd"];
    assert_eq!(userfaultfd["value"], false, "{found}");
    let why = "Operation not permitted, a sandbox or a setting forbids it";
    assert_eq!(userfaultfd["note"], why, "{found}");
}
