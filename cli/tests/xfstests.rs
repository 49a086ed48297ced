//! `scripts/run-xfstests`, with a miniature xfstests: the real one is the user's.

mod common;

use common::{Place, compile, stderr, stdout};
use preload_tests::harness::{installed, shim};
use preload_tests::{or_skip, skip};
use std::fs;
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/run-xfstests");

/// Runs one test, as the check of xfstests does: from its own directory, with results where it is told.
const CHECK: &str = r#"#!/bin/bash
here=$PWD
mkdir -p "$RESULT_BASE/generic"
grep -q libkeepmydata "/proc/$$/maps" && exit 9
mountpoint -q "$TEST_DIR" && [[ -b $TEST_DEV && -b $SCRATCH_DEV && -d $SCRATCH_MNT ]] || exit 8
case $1 in
generic/001) exit 0 ;;
generic/002) "$here/src/preloaded" ;;
generic/003) echo "no reason" >"$RESULT_BASE/generic/003.notrun" ;;
generic/004) exit 1 ;;
generic/005) sleep 60 ;;
esac
"#;

fn run(tree: &Place, arguments: &[&str]) -> Output {
    Command::new(SCRIPT)
        .args(arguments)
        .arg("-o")
        .arg(tree.path("output"))
        .env("XFSTESTS", tree.path("tree"))
        .env("KEEPMYDATA_LIB", shim())
        .output()
        .unwrap()
}

fn tree() -> Place {
    let tree = Place::new();
    for directory in ["tree", "tree/src", "tree/ltp"] {
        fs::create_dir(tree.path(directory)).unwrap();
    }
    tree.file("tree/check", CHECK.as_bytes());
    compile("preloaded", &[], &tree.path("tree/src/preloaded"));
    compile("preloaded", &[], &tree.path("tree/ltp/fsx"));
    tree
}

#[test]
fn programs_of_the_tests_are_preloaded_and_the_harness_is_not() {
    or_skip!(installed("mkfs.ext4"));
    or_skip!(installed("losetup"));
    if !rustix::process::geteuid().is_root() {
        skip!("loop devices need root");
    }
    let tree = tree();
    let output = run(
        &tree,
        &["--timeout", "2", "001", "002", "003", "004", "005"],
    );
    let text = stdout(&output);
    let rows: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("ext4"))
        .map(|line| {
            let words = line.split_whitespace().skip(1);
            let words = words.filter(|word| *word != "s" && word.parse::<f64>().is_err());
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let wanted = [
        "pass pass pass",
        "pass FAIL FAIL differs",
        "not run not run not run",
        "FAIL FAIL FAIL",
        "no end no end no end",
    ];
    assert_eq!(rows, wanted, "{text}{}", stderr(&output));
    assert!(text.contains("differ from native: 1"), "{text}");
    assert_eq!(output.status.code(), Some(1));

    // Nothing stays.
    let place = tree.path("output").display().to_string();
    let devices = Command::new("losetup").arg("--list").output().unwrap();
    assert!(!stdout(&devices).contains(&place));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&place));
}

#[test]
fn says_what_it_needs() {
    let output = Command::new(SCRIPT)
        .env("XFSTESTS", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("XFSTESTS"), "{}", stderr(&output));
}
