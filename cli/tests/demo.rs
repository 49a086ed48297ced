//! `keepmydata demo`: the negative control, and the cure.

mod common;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{TearFs, shim};
use preload_tests::or_skip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The test bed's filesystem, which cargo builds beside the command.
fn tearfs() -> PathBuf {
    let tearfs = Path::new(env!("CARGO_BIN_EXE_keepmydata")).with_file_name("tearfs");
    assert!(
        tearfs.exists(),
        "build it first: cargo build -p preload-tests --bin tearfs"
    );
    tearfs
}

fn seed(directory: &Path) -> PathBuf {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../preload-tests/guests/seed.c"
    );
    let seed = directory.join("seed");
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&seed)
        .arg(source)
        .status()
        .unwrap();
    assert!(status.success());
    seed
}

#[test]
fn torn_without_and_whole_with_it() {
    or_skip!(TearFs::available());
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .env("KEEPMYDATA_ENFORCE", "off")
        .env("TMPDIR", &temporary)
        .arg("demo")
        .arg("--tearfs")
        .arg(tearfs())
        .arg("--guest")
        .arg(seed(directory.path()))
        .output()
        .unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| matches!(words.first(), Some(&("P0" | "P1" | "P2" | "P3"))))
        .collect();
    assert_eq!(
        rows,
        [
            ["P0", "[4440064,4444160)", "new", "new"],
            ["P1", "[4444160,4448256)", "old", "new"],
            ["P2", "[4448256,4452352)", "old", "new"],
            ["P3", "[4452352,4456448)", "old", "new"],
        ]
    );
    assert_eq!(
        std::fs::read_dir(&temporary).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn what_is_missing_is_named() {
    let output = keepmydata()
        .args(["demo", "--tearfs", "/no/tearfs", "--guest", "/no/guest"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).starts_with("keepmydata: /no/tearfs: No such file or directory"));
}

/// Of programs that no library can be preloaded into.
#[test]
fn so_are_a_static_guest_and_one_in_go() {
    or_skip!(TearFs::available());
    for kind in ["--static", "--go"] {
        if kind == "--go" {
            or_skip!(preload_tests::harness::installed("go"));
        }
        let output = keepmydata()
            .args(["demo", kind, "--tearfs"])
            .arg(tearfs())
            .output()
            .unwrap();
        let text = stdout(&output);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{kind}: {text}{}",
            stderr(&output)
        );
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| matches!(words.first(), Some(&("P1" | "P2" | "P3"))))
            .map(|words| words[words.len() - 2..].to_vec())
            .collect();
        assert_eq!(rows, [["old", "new"]; 3], "{kind}: {text}");
    }
}
