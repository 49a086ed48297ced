//! `keepmydata doctor` on a kernel without cachestat (Linux 6.5) and PAGEMAP_SCAN (6.7): it says which
//! trackers remain, and why.

use preload_tests::harness::{Program, shim, target_directory};
use preload_tests::or_skip;
use preload_tests::vm::{Kernel, Machine};
use serde_json::{Value, json};
use std::fs::File;
use std::time::Duration;

/// What the doctor says of a directory, after `prefix` was put before the command.
fn examined(printed: &str, number: usize) -> Value {
    let lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    let line = lines
        .get(number)
        .unwrap_or_else(|| panic!("no answer {number}: {printed}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn names_the_trackers_that_remain_and_why() {
    let kernel = or_skip!(Kernel::find("6.1"));
    let machine = or_skip!(Machine::new(&kernel));
    let scratch = preload_tests::harness::Scratch::new();
    let image = scratch.path("disk");
    File::create(&image)
        .and_then(|file| file.set_len(256 << 20))
        .expect("image");
    let doctor = format!(
        "KEEPMYDATA_LIB='{}' '{}' doctor --json",
        shim().display(),
        env!("CARGO_BIN_EXE_keepmydata")
    );
    let job = format!(
        "mkfs.ext4 -q /dev/vda && mount /dev/vda /mnt || exit
        {doctor} /mnt | tr -d '\\n'; echo
        mkdir /run/fuse && '{}/debug/tearfs' --mode first-page /run/fuse >/run/ready &
        until grep -q ready /run/ready 2>/run/null; do sleep 0.1; done
        {doctor} /run/fuse | tr -d '\\n'; echo
        kill %1; wait",
        target_directory().display()
    );
    let (_, printed) = machine
        .disk(&image)
        .boot(&job)
        .finish(Duration::from_secs(300));

    let trackers = |found: &Value| found["follows"]["trackers"].clone();
    let limit = "dirty pages cannot be told from clean ones (no page tracking: Invalid argument, Linux \
                 6.7 has it; no cachestat: Function not implemented, Linux 6.5 has it): every msync \
                 treats all pages";
    let ext4 = examined(&printed, 0);
    assert_eq!(ext4["exit_code"], 0, "{ext4}");
    assert_eq!(
        ext4["kernel"]["release"]["value"],
        kernel.release(),
        "{ext4}"
    );
    assert_eq!(trackers(&ext4)["value"], json!(["whole"]), "{ext4}");
    assert_eq!(trackers(&ext4)["note"], "track=auto takes whole", "{ext4}");
    assert!(ext4["limits"].to_string().contains(limit), "{ext4}");
    let fuse = examined(&printed, 1);
    assert_eq!(fuse["verdict"], "cured", "{fuse}");
    assert_eq!(trackers(&fuse)["value"], json!(["whole"]), "{fuse}");
    assert!(fuse["limits"].to_string().contains(limit), "{fuse}");
}

/// The same in a container, where userfaultfd is forbidden.
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
