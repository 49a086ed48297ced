//! `keepmydata doctor DIR`.

mod common;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{LoopFs, TearFs, Tmpfs};
use preload_tests::or_skip;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The findings on `directory` and the exit code; nothing is left behind.
fn doctor(directory: &Path) -> (Value, Option<i32>) {
    let list = || {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    let before = list();
    let output = keepmydata()
        .args(["doctor", "--json"])
        .arg(directory)
        .output()
        .unwrap();
    assert_eq!(list(), before);
    assert_eq!(stderr(&output), "");
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["exit_code"], json!(output.status.code()));
    (findings, output.status.code())
}

fn check_block_filesystem(kind: &str) {
    let fs = or_skip!(LoopFs::mount(kind));
    let (found, code) = doctor(&fs.path(""));
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["filesystem"]["type"]["value"], kind);
    assert_eq!(
        found["filesystem"]["backing_store"]["value"],
        "block device"
    );
    assert_eq!(found["filesystem"]["o_direct_reads"]["value"], true);
    assert_eq!(found["filesystem"]["fsync"]["value"], true);
    assert_eq!(found["follows"]["verification"]["value"], "on request");
}

#[test]
fn ext4() {
    check_block_filesystem("ext4");
}

#[test]
fn xfs() {
    check_block_filesystem("xfs");
}

#[test]
fn btrfs() {
    check_block_filesystem("btrfs");
}

#[test]
fn tmpfs_has_nothing_to_enforce() {
    let fs = or_skip!(Tmpfs::mount());
    let (found, code) = doctor(&fs.path(""));
    assert_eq!(code, Some(3), "{found}");
    assert_eq!(found["filesystem"]["backing_store"]["value"], "none");
    assert_eq!(found["follows"]["enforcement"]["value"], "none");
}

#[test]
fn fuse_is_verified() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let (found, code) = doctor(&fs.path(""));
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["filesystem"]["backing_store"]["value"], "other");
    assert_eq!(found["follows"]["verification"]["value"], "always");
    let trackers = &found["follows"]["trackers"];
    assert_eq!(trackers["value"], json!(["pagemap", "cachestat", "whole"]));
    assert_eq!(trackers["note"], "track=auto takes pagemap");
}

#[test]
fn a_filesystem_that_keeps_nothing_is_noticed() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let (found, code) = doctor(&fs.path(""));
    assert_eq!(code, Some(1), "{found}");
    let limits = found["limits"].to_string();
    assert!(limits.contains("gave back other bytes"), "{limits}");
}

#[test]
fn text_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let output = keepmydata()
        .arg("doctor")
        .arg(directory.path())
        .output()
        .unwrap();
    let text = stdout(&output);
    for part in [
        "\nkernel\n",
        "\nfilesystem\n",
        "\nfollows\n",
        "  backing store  ",
        "  fsync  ",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, why) in [
        (directory.path().join("none"), "No such file or directory"),
        (file, "Not a directory"),
    ] {
        let output = keepmydata().arg("doctor").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            stderr(&output),
            format!("keepmydata: {}: {why}\n", path.display())
        );
    }
}
