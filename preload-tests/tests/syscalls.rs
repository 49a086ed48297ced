//! What the kernel sees of one msync, through strace.

use std::path::Path;

use preload_tests::harness::{LoopFs, Program, Scratch, TearFs, Tmpfs, kernel};
use preload_tests::or_skip;

const TRACED: &str = "trace=msync,fdatasync,fsync,madvise,fadvise64,write,exit_group";

/// One system call of the guest, completed (`resumed` parts joined).
#[derive(Debug)]
struct Call {
    text: String,
}

impl Call {
    fn is(&self, name: &str, parts: &[&str]) -> bool {
        self.text.starts_with(&format!("{name}(")) && parts.iter().all(|p| self.text.contains(p))
    }
}

/// Runs the guest under strace and returns its system calls in order of completion.
fn strace(guest: Program, log: &Path, shimmed: bool) -> (Vec<Call>, String) {
    let log = log.to_str().expect("path in UTF-8");
    let guest = guest
        .where_only_threads()
        .traced_by(["strace", "-f", "-qq", "-e", TRACED, "-o", log]);
    let run = if shimmed {
        guest.under_shim(&[])
    } else {
        guest.natively()
    };
    let run = run.expect_success("guest under strace");
    let text = std::fs::read_to_string(log).expect("log of strace");
    (completed(&text), run.stdout)
}

fn completed(log: &str) -> Vec<Call> {
    let mut begun = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let (thread, call) = line.trim_start().split_once(' ').expect("pid and call");
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start);
        } else if let Some((_, end)) = call
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"))
        {
            let start = begun.remove(thread).unwrap_or_default();
            calls.push(Call {
                text: format!("{start}{end}"),
            });
        } else {
            calls.push(Call {
                text: call.to_owned(),
            });
        }
    }
    calls
}

fn position(calls: &[Call], what: &str, name: &str, parts: &[&str]) -> usize {
    calls
        .iter()
        .position(|call| call.is(name, parts))
        .unwrap_or_else(|| panic!("no {what} in {calls:#?}"))
}

/// `kept`: pages of the file that the shim keeps in the page cache.
fn one_msync_is_enforced(guest: Program, kept: u32) {
    let scratch = Scratch::new();
    let (calls, stdout) = strace(guest.clone(), &scratch.path("shim"), true);
    let returned = position(&calls, "marker", "write", &["msync returned"]);
    let calls = &calls[..returned];
    let full = ["1048576", "MS_SYNC", "= 0"];
    let msync = position(calls, "msync of the full mapping", "msync", &full);
    let after = |name, parts: &[&str]| {
        msync + position(&calls[msync..], &format!("{name} after msync"), name, parts)
    };
    let fdatasync = after("fdatasync", &["= 0"]);
    let madvise = after("madvise", &["MADV_DONTNEED", "= 0"]);
    let fadvise = after("fadvise64", &["POSIX_FADV_DONTNEED", "= 0"]);
    assert!(
        fdatasync < madvise && madvise < fadvise,
        "fdatasync, madvise, fadvise64 in order: {calls:#?}"
    );
    let cached = stdout.lines().last().unwrap_or_default();
    let expected = match kernel::cachestat() {
        Ok(()) => format!("cached {kept} dirty 0 writeback 0"),
        Err(_) => format!("cached {kept}"),
    };
    assert_eq!(cached, expected, "{calls:#?}");

    let (calls, stdout) = strace(guest, &scratch.path("native"), false);
    let returned = position(&calls, "marker", "write", &["msync returned"]);
    for name in ["fdatasync", "madvise", "fadvise64"] {
        assert!(
            !calls[..returned].iter().any(|call| call.is(name, &[])),
            "control: {name} natively: {calls:#?}"
        );
    }
    assert!(
        stdout.contains("cached") && !stdout.contains("cached 0 "),
        "control: pages stay cached natively: {stdout}"
    );
}

fn has_strace() -> Result<(), String> {
    std::process::Command::new("strace")
        .arg("-V")
        .output()
        .map(drop)
        .map_err(|error| format!("strace: {error}"))
}

#[test]
fn msync_on_ext4_is_enforced_and_leaves_nothing_cached() {
    or_skip!(has_strace());
    let fs = or_skip!(LoopFs::mount("ext4"));
    one_msync_is_enforced(Program::guest("syncdrop").arg(fs.path("f")), 0);
}

#[test]
fn msync_on_the_test_bed_is_enforced_and_leaves_one_page_cached() {
    or_skip!(has_strace());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    one_msync_is_enforced(Program::guest("syncdrop").arg(fs.path("f")), 1);
}

/// No backing store: msync is the real call and nothing else.
#[test]
fn msync_on_tmpfs_passes_through() {
    or_skip!(has_strace());
    let fs = or_skip!(Tmpfs::mount());
    let scratch = Scratch::new();
    let guest = Program::guest("syncdrop").arg(fs.path("f"));
    let (calls, _) = strace(guest, &scratch.path("log"), true);
    position(&calls, "msync", "msync", &["1048576"]);
    for (name, part) in [
        ("fdatasync", ""),
        ("fsync", ""),
        ("madvise", "MADV_DONTNEED"),
        ("fadvise64", ""),
    ] {
        if let Some(call) = calls.iter().find(|call| call.is(name, &[part])) {
            panic!("{call:?} for a file on tmpfs: {calls:#?}");
        }
    }
    if calls.iter().filter(|call| call.is("msync", &[])).count() != 1 {
        panic!("more than the one msync: {calls:#?}");
    }
}
