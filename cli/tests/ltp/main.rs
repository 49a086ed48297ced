//! `keepmydata ltp`: with a miniature LTP, with the real kirk, and with the real LTP where LTPROOT
//! names one.

#[path = "../common/mod.rs"]
mod common;
mod tree;

use common::{stderr, stdout};
use preload_tests::harness::{TearFs, shim, wait_until};
use preload_tests::{or_skip, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tree::Tree;

/// The test bed's filesystem, as LTP's readers meet it: opens for reading go to the daemon.
fn bed(mode: &str) -> TearFs {
    TearFs::mount(&["--mode", mode, "--keep-cache", "--direct-io", "rdonly"])
}

fn assert_code(output: &Output, code: i32) {
    let (stdout, stderr) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
}

/// rwtest04 of the miniature: torn natively, cured by the shim, and told so in every form.
fn compares(tree: &Tree, arguments: &[&str]) {
    let bed = bed("first-page");
    let junit = tree.place.path("results.xml");
    let json = tree.place.path("results.json");
    let mut all = vec!["-s", "^rwtest04", "--compare", "--report"];
    let (junit_text, json_text) = (junit.to_str().unwrap(), json.to_str().unwrap());
    all.extend(["--junit", junit_text, "--json", json_text]);
    all.extend(arguments);
    let output = tree.ltp(&bed.dir(), &all);
    assert_code(&output, 1);

    let result = tree.result("rwtest04");
    assert_eq!(result["native"]["outcome"], "failed");
    assert_eq!(result["native"]["code"], 4);
    let comparison = &result["native"]["comparisons"][0];
    assert_eq!(comparison["offset"], 4_442_856);
    assert_eq!(comparison["length"], 9927);
    assert_eq!(comparison["first_bad"], 4_444_160);
    assert_eq!(result["shim"]["outcome"], "passed");
    assert_eq!(result["shim"]["comparisons"], json!([]));
    assert_eq!(result["difference"], "cured");
    // ltp_probe and doio; doio's child has the log of its own only.
    assert_eq!(result["shim"]["findings"]["processes"], 2);
    assert_eq!(result["shim"]["findings"]["msyncs"], 1);

    let text = stdout(&output);
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["rwtest04", "FAIL", "4", "pass", "cured", row[5]]);
    let pages: Vec<&str> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("108"))
        .map(str::trim)
        .collect();
    assert_eq!(pages.len(), 4, "{text}");
    assert!(pages[0].starts_with("1084  [4440064,4444160)  last 1304"));
    assert!(pages[1].ends_with("<- first bad byte"));
    assert!(text.contains("no log: the shim was not there"));

    let written: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(written["tests"][0], result);
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains(r#"tests="3" skipped="0" failures="2""#),
        "{junit}"
    );
    assert!(
        junit.contains(r#"<testsuite name="shim" tests="1" skipped="0" errors="0" failures="0">"#),
        "{junit}"
    );
    assert!(stderr(&output).contains("shim 1/1 rwtest04: pass ("));
    let left = fs::read_dir(bed.dir()).unwrap().count();
    assert_eq!(left, 0, "nothing is left on the filesystem under test");
}

#[test]
fn compares_with_runltp() {
    or_skip!(TearFs::available());
    compares(&Tree::new(), &[]);
}

#[test]
fn compares_with_the_real_kirk() {
    or_skip!(TearFs::available());
    let tree = Tree::new();
    or_skip!(tree.with_kirk());
    compares(&tree, &[]);
    let report = fs::read(tree.output().join("native/runner.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(
        report["results"][0]["test"]["retval"],
        json!(["4"]),
        "kirk ran it"
    );
}

/// An interrupted run leaves no test running, no file on the filesystem under test, and no doubt.
fn ends_when_interrupted(tree: &Tree) {
    let mut child = tree
        .command(&tree.work(), &["-s", "^hangs"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let limit = Duration::from_secs(60);
    wait_until("the test runs", limit, || tree.running().len() == 2);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let status = child.wait().unwrap();
    let mut text = String::new();
    child.stderr.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(text.ends_with("keepmydata: interrupted\n"), "{text}");
    assert_eq!(tree.running(), [""; 0]);
    assert_eq!(fs::read_dir(tree.work()).unwrap().count(), 0);
}

#[test]
fn ends_when_interrupted_with_runltp() {
    ends_when_interrupted(&Tree::new());
}

#[test]
fn ends_when_interrupted_with_the_real_kirk() {
    let tree = Tree::new();
    or_skip!(tree.with_kirk());
    ends_when_interrupted(&tree);
}

/// Natively on a filesystem that keeps nothing no data arrives; under the shim neither, but the log
/// says so before the program finds out.
#[test]
fn a_comparison_error_under_the_shim_is_foretold_and_explained() {
    or_skip!(TearFs::available());
    let tree = Tree::new();
    let bed = bed("black-hole");
    let output = tree.ltp(&bed.dir(), &["-s", "^rwtest04", "--report"]);
    assert_code(&output, 1);
    let result = tree.result("rwtest04");
    assert_eq!(result["native"], Value::Null);
    assert_eq!(result["shim"]["comparisons"][0]["foretold"], "stale");
    assert_eq!(result["shim"]["findings"]["stale_pages"], 4);
    assert_eq!(result["shim"]["findings"]["failed_syncs"], 1);

    let text = stdout(&output);
    assert!(text.contains("1 comparison error (shim, all foretold); 1 failed sync, 4 stale"));
    for page in ["1084", "1085", "1086", "1087"] {
        let row = text
            .lines()
            .find(|line| line.trim_start().starts_with(page));
        let row = row.unwrap_or_else(|| panic!("{page} in {text}"));
        assert!(
            row.contains(" msync #1 ") && row.contains("stale old"),
            "{row}"
        );
    }
    let event = |name: &str| {
        text.lines()
            .position(|line| line.starts_with("* ") && line.contains(name))
    };
    let (msync, read) = (event(" msync #1 ").unwrap(), event(" read ").unwrap());
    assert!(msync < read, "{text}");
    assert!(text.lines().nth(msync).unwrap().contains("= -1 EIO"));

    let again = common::keepmydata()
        .args(["ltp", "report"])
        .arg(tree.output())
        .output()
        .unwrap();
    assert_code(&again, 0);
    assert!(text.ends_with(&format!("{}\n", stdout(&again))), "{text}");
}

#[test]
fn programs_of_ltp_are_preloaded_and_shells_and_tools_are_not() {
    let tree = Tree::new();
    let bin = tree.root().join("testcases/bin");
    let output = tree.ltp(&tree.work(), &["-s", "^rwtest04"]);
    assert_code(&output, 0);
    let text = tree.printed("shim");
    for line in [
        "shell preloaded=0",
        "awk preloaded=0",
        "ltp_probe preloaded=1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // A program finds what it would find without us.
    assert!(
        text.contains(&format!("LTPROOT={}\n", tree.root().display())),
        "{text}"
    );
    assert!(text.contains(&format!("cwd={}\n", bin.display())), "{text}");
    assert!(text.contains(&format!(":{}:", bin.display())), "{text}");

    fs::remove_dir_all(tree.output()).unwrap();
    assert_code(&tree.ltp(&tree.work(), &["-s", "^rwtest04", "--native"]), 0);
    let text = tree.printed("native");
    assert!(text.contains("ltp_probe preloaded=0\n"), "{text}");
}

#[test]
fn every_way_to_end_is_told_apart() {
    let tree = Tree::new();
    // Natively too, so that a difference would show; the longest test ends by the time limit.
    let output = tree.ltp(&tree.work(), &["--compare", "--timeout", "2"]);
    assert_code(&output, 1);
    for (name, outcome, code) in [
        ("rwtest04", "passed", json!(0)),
        ("probe", "passed", json!(0)),
        ("relative", "passed", json!(0)),
        ("fails", "failed", json!(1)),
        ("skipped", "skipped", json!(32)),
        ("killed", "killed", json!(134)),
        ("missing", "broken", json!(127)),
        ("static", "passed", json!(0)),
        ("hangs", "timed-out", Value::Null),
    ] {
        let result = tree.result(name);
        for side in ["native", "shim"] {
            assert_eq!(result[side]["outcome"], outcome, "{name} {side}");
            assert_eq!(result[side]["code"], code, "{name} {side}");
        }
        assert_eq!(result["difference"], "same", "{name}");
    }
    assert_eq!(tree.running(), [""; 0], "nothing survives its test");
    assert_eq!(tree.result("relative")["shim"]["counts"]["passed"], 1);
    assert_eq!(tree.result("fails")["shim"]["counts"]["failed"], 1);
    assert_eq!(tree.result("relative")["shim"]["findings"]["processes"], 1);
    assert_eq!(tree.result("static")["shim"]["findings"]["processes"], 1);
    let text = stdout(&output);
    let row = text
        .lines()
        .find(|line| line.starts_with("static"))
        .unwrap();
    assert!(!row.ends_with("not reached"), "{row}");
    let refused = fs::read_to_string(tree.output().join("shim/not-preloaded")).unwrap();
    assert!(
        refused.starts_with("setuid_probe: ") && !refused.contains("static_probe"),
        "{refused}"
    );
    assert!(text.contains("natively 4 of 9 failed"), "{text}");
}

#[test]
fn what_is_missing_is_named_with_advice() {
    let tree = Tree::new();
    let run = |arguments: &[&str]| {
        let mut command = common::keepmydata();
        command
            .args(["ltp", "-f", "mini", "-d"])
            .arg(tree.work())
            .args(arguments)
            .env("KEEPMYDATA_LIB", shim())
            .env("PATH", "/usr/bin:/bin")
            .env("TMPDIR", tree.place.directory.path())
            .env_remove("LTPROOT");
        let output = command.output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, text) = run(&["--ltp", "/no/ltp"]);
    assert_eq!(code, Some(125));
    assert!(
        text.starts_with("keepmydata: --ltp: /no/ltp: No such file"),
        "{text}"
    );
    assert!(text.contains("--ltp DIR or LTPROOT"), "{text}");
    assert!(text.contains("pip install kirk"), "{text}");

    let root = tree.root();
    let ltp = ["--ltp", root.to_str().unwrap()];
    let with = |more: &[&str]| run(&[&ltp[..], more].concat());
    let (code, text) = with(&["-f", "none"]);
    assert_eq!(code, Some(125));
    assert!(
        text.contains("runtest/none: No such file or directory; there are: mini"),
        "{text}"
    );
    let (code, text) = with(&["-s", "nothing"]);
    assert_eq!(
        (code, &*text),
        (Some(125), "keepmydata: mini: no test matches\n")
    );
    fs::write(root.join("runltp"), tree::STUB).unwrap();
    let (code, text) = with(&[]);
    assert_eq!(code, Some(125));
    assert!(
        text.contains("only says that it was removed, and there is no kirk"),
        "{text}"
    );

    // A runner that runs nothing is no success.
    fs::write(
        root.join("runltp"),
        "#!/bin/sh\n# ltp-pan\necho no way; exit 0\n",
    )
    .unwrap();
    let (code, text) = with(&[]);
    assert_eq!(code, Some(125));
    assert!(
        text.contains("ran no test") && text.contains("\nno way"),
        "{text}"
    );
}

#[test]
fn the_script_is_thin() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/run-ltp");
    let text = fs::read_to_string(&script).unwrap();
    assert!(
        text.lines()
            .any(|line| line.ends_with("keepmydata\" ltp \"$@\"")),
        "{text}"
    );
    assert!(
        Command::new("bash")
            .arg("-n")
            .arg(&script)
            .status()
            .unwrap()
            .success()
    );
}

/// Tests of the real LTP that are quick, are about what the shim does, and want no loop device: one
/// that another test has left busy would look like a difference.
#[test]
fn the_real_ltp_sees_no_difference() {
    let Some(root) = std::env::var_os("LTPROOT") else {
        skip!("LTPROOT is not set: no real LTP");
    };
    let tree = Tree::new();
    let patterns =
        "^msync0[123]\\|^mmap0[1-9]\\|^munmap\\|^mremap\\|^mincore\\|^fdatasync0[12]\\|^fsync02";
    let output = common::keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .args([
            "ltp",
            "-f",
            "syscalls",
            "--compare",
            "-s",
            patterns,
            "--ltp",
        ])
        .arg(&root)
        .arg("-o")
        .arg(tree.output())
        .arg("-d")
        .arg(tree.work())
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(text.contains("; 0 differ\n"), "{text}{}", stderr(&output));
    let results = fs::read(tree.output().join("results.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    assert_ne!(results["ltp_version"], "unknown");
    assert!(results["tests"].as_array().unwrap().len() >= 20, "{text}");
}
