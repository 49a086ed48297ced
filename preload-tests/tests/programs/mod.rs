//! Unmodified programs of the system, run by a shell script natively and under the
//! shim: the same output, the same exit code.

use std::fs;
use std::path::Path;
use std::time::Duration;

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, assert_same, installed};
use preload_tests::skip;

/// The shim as it comes, and reading back everything.
const SETTINGS: [Settings; 2] = [
    &[],
    &[
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_MUNMAP", "sync"),
        ("KEEPMYDATA_LOG", "error"),
    ],
];

/// Settings of one run.
pub type Settings = &'static [(&'static str, &'static str)];

/// Runs the script on ext4 and on the honest test bed. `needs` are the programs without
/// which it is skipped. The script runs with `sh -eu` in an empty directory, and prints
/// nothing that differs between two runs.
#[track_caller]
pub fn same_output(needs: &[&str], script: &str) {
    same_output_with(&SETTINGS, needs, script);
}

/// As [`same_output`], with these settings on ext4, and the last of them on the test bed.
#[track_caller]
pub fn same_output_with(all_settings: &[Settings], needs: &[&str], script: &str) {
    if let Some(missing) = needs.iter().find_map(|name| installed(name).err()) {
        skip!("{missing}");
    }
    match LoopFs::mount("ext4") {
        Ok(fs) => compare(&fs.dir(), script, all_settings, false),
        Err(reason) => skip!("no ext4: {reason}"),
    }
    match TearFs::available() {
        Ok(()) => {
            let fs = TearFs::mount(&["--mode", "honest", "--direct-io", "none"]);
            compare(
                &fs.dir(),
                script,
                &all_settings[all_settings.len() - 1..],
                true,
            );
        }
        Err(reason) => skip!("no test bed: {reason}"),
    }
}

/// Where each open by any process drops the file's page cache (`drops`), a page that one process has stored to and
/// another has dropped is in doubt, and the log says so.
#[track_caller]
fn compare(directory: &Path, script: &str, all_settings: &[Settings], drops: bool) {
    let native = run(directory, "0", script, None).expect_success("natively");
    for (number, settings) in (1..).zip(all_settings) {
        let shimmed = run(directory, &number.to_string(), script, Some(settings));
        let what = format!("in {} {settings:?}", directory.display());
        assert_same(&native, &shimmed, &what);
        let errors: Vec<String> = shimmed
            .records()
            .0
            .iter()
            .filter(|record| !(drops && record["event"] == "doubt"))
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors, [""; 0], "errors {what}");
    }
}

fn run(directory: &Path, name: &str, script: &str, settings: Option<Settings>) -> Outcome {
    let own = directory.join(name);
    fs::create_dir(&own).expect("directory of the run");
    let program = Program::new("sh")
        .args(["-euc", script])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("HOME", &own)
        .current_dir(&own)
        .timeout(Duration::from_secs(120));
    let outcome = match settings {
        Some(settings) => program.under_shim(settings),
        None => program.natively(),
    };
    // Room for the next run.
    let _ = fs::remove_dir_all(&own);
    outcome
}
