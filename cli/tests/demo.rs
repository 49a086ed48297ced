//! `keepmydata demo`: the negative control, and the cure.

mod common;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{TearFs, shim};
use preload_tests::or_skip;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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

/// `keepmydata demo` with this test's tools, which makes its files in `temporary`.
fn demo(temporary: &Path, seed: &Path) -> Command {
    let mut command = keepmydata();
    command
        .env("KEEPMYDATA_LIB", shim())
        .env("TMPDIR", temporary)
        .arg("demo")
        .arg("--tearfs")
        .arg(tearfs())
        .arg("--guest")
        .arg(seed);
    command
}

#[test]
fn torn_without_and_whole_with_it() {
    or_skip!(TearFs::available());
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = demo(&temporary, &seed(directory.path()))
        .env("KEEPMYDATA_ENFORCE", "off")
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

/// Ctrl-C at any time: the program and the filesystem get the signal too, as they are of one group.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    or_skip!(TearFs::available());
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let seed = seed(directory.path());
    for ms in (0..80).step_by(4) {
        let child = demo(&temporary, &seed)
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        std::thread::sleep(Duration::from_millis(ms));
        kill_process_group(group, Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let left = std::fs::read_dir(&temporary).unwrap().count();
        assert_eq!(left, 0, "after {ms} ms: {}", stderr(&output));
        // Before it notes signals, they end it.
        if output.status.code() == Some(130) {
            assert_eq!(stderr(&output), "keepmydata: interrupted\n");
        }
    }
}

#[test]
fn what_is_no_guest_or_no_filesystem_is_named() {
    or_skip!(TearFs::available());
    let tearfs = tearfs();
    for (tearfs, guest, why) in [
        (tearfs.as_path(), "/bin/true", "true prints no pages; "),
        (
            Path::new("/bin/true"),
            "/bin/true",
            "true cannot be mounted: it ended without a word\n",
        ),
    ] {
        let mut command = keepmydata();
        let command = command.env("KEEPMYDATA_LIB", shim()).arg("demo");
        let command = command.arg("--tearfs").arg(tearfs);
        let output = command.args(["--guest", guest]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let said = stderr(&output);
        assert!(said.contains(why), "{said}");
    }
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
