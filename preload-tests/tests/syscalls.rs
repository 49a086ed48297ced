//! What the kernel sees of one msync, through strace.

use std::path::{Path, PathBuf};

use preload_tests::harness::strace::{completed, done_to, has_strace};
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
    let calls = completed(&text).into_iter().map(|text| Call { text });
    (calls.collect(), run.stdout)
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
    // Under a filter, here strace's, the library says to a supervisor that it is there.
    let is_word = |call: &&Call| call.is("msync", &["0x4b4d4430"]);
    let msyncs = calls.iter().filter(|call| call.is("msync", &[]));
    if msyncs.filter(|call| !is_word(call)).count() != 1 {
        panic!("more than the one msync: {calls:#?}");
    }
}

/// What is written at debug is all that the log changes, and what findings and statistics ask from info on is only asked.
/// `fresh` makes a filesystem for each run, and says where on it the guest's file is.
fn the_log_changes_nothing<Fs>(
    guest: &str,
    fresh: impl Fn() -> Result<Fs, String>,
    path: impl Fn(&Fs) -> PathBuf,
) {
    let scratch = Scratch::new();
    let done = |level| {
        let (fs, log) = (fresh()?, scratch.path(level));
        let path = path(&fs);
        let guest = Program::guest(guest).arg(&path);
        let (calls, outcome) = done_to(&guest, &path, &log, &[("KEEPMYDATA_LOG", level)]);
        let path = path.to_str().expect("path in UTF-8");
        let calls: Vec<_> = calls
            .iter()
            .map(|call| call.replace(path, "FILE"))
            .collect();
        Ok::<_, String>((calls, outcome.stdout))
    };
    let (silent, told) = or_skip!(done("off"));
    assert!(
        silent.iter().any(|call| call.starts_with("fdatasync(")),
        "control: it is traced: {silent:#?}"
    );
    for level in ["info", "debug"] {
        let (logged, said) = or_skip!(done(level));
        assert!(
            logged == silent,
            "{guest}: {} calls at {level}, and {} off: {:#?}",
            logged.len(),
            silent.len(),
            logged.iter().zip(&silent).find(|(one, other)| one != other),
        );
        assert_eq!(said, told, "{guest}: with the log at {level}, and off");
    }
}

#[test]
fn the_log_changes_nothing_on_ext4() {
    or_skip!(has_strace());
    for guest in ["syncdrop", "again"] {
        the_log_changes_nothing(guest, || LoopFs::mount("ext4"), |fs| fs.path("f"));
    }
}

#[test]
fn the_log_changes_nothing_where_pages_are_compared_and_healed() {
    or_skip!(has_strace());
    or_skip!(TearFs::available());
    for mode in ["honest", "first-page"] {
        for guest in ["syncdrop", "again"] {
            the_log_changes_nothing(
                guest,
                || Ok(TearFs::mount(&["--mode", mode])),
                |fs| fs.path("f"),
            );
        }
    }
}
