//! Mappings that are locked in memory: their stores return, and their data is verified all the same.

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, assert_same, kernel};
use preload_tests::or_skip;
use std::path::PathBuf;
use std::time::Duration;

/// What `locked` can do before it stores to pages that have left the page cache.
const CASES: [&str; 10] = [
    "future",
    "flag",
    "moved",
    "unlocked",
    "guarded",
    "refused",
    "open",
    "punch",
    "cut",
    "cut myself",
];

fn locked(file: PathBuf, case: &str) -> Program {
    let guest = Program::guest("locked")
        .arg(file)
        .arg(case)
        .timeout(Duration::from_secs(20));
    match case {
        // Root may lock whatever it wants, unless this is taken away.
        "refused" => {
            let without = ["--inh-caps=-ipc_lock", "--bounding-set=-ipc_lock"];
            guest.traced_by([&["setpriv"][..], &without].concat())
        }
        _ => guest,
    }
}

fn all_return(path: impl Fn(&str) -> PathBuf, settings: &[&[(&str, &str)]]) {
    for case in CASES {
        let native = locked(path(&format!("{case} native")), case).natively();
        let native = native.expect_success("natively");
        let refused = native.stdout.contains("mlock -1");
        assert_eq!(refused, case == "refused", "{native:?}");
        for (number, settings) in settings.iter().enumerate() {
            let file = path(&format!("{case} {number}"));
            let shimmed = locked(file, case).under_shim(settings);
            assert_same(&native, &shimmed, &format!("{case} {settings:?}"));
        }
    }
}

#[test]
fn stores_return_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let watch = [("KEEPMYDATA_ENFORCE", "off"), ("KEEPMYDATA_LOG", "info")];
    let marks = [("KEEPMYDATA_TRACK", "pagemap")];
    all_return(|name| fs.path(name), &[&[], &watch, &marks]);
}

#[test]
fn stores_return_on_ext4() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let verify = [("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_LOG", "info")];
    all_return(|name| fs.path(name), &[&[], &verify]);
}

/// Which tracker the last msync used, and why.
fn tracker_and_reason(run: &Outcome) -> (String, String) {
    let records = run.records();
    let last = records.of("dirty").last().expect("dirty ranges");
    let text = |field: &str| last[field].as_str().expect("text").to_owned();
    (text("tracker"), text("message"))
}

/// Stores are tracked page by page again when the lock is gone, or was refused; while it is there, the whole
/// mapping counts as dirty.
#[test]
fn only_what_is_locked_is_not_tracked() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let why_locked = "a mapping of the file is locked in memory";
    let why_exact = "auto: what is verified must be known exactly";
    for (case, tracker, why) in [
        ("open", "whole", why_locked),
        ("future", "whole", why_locked),
        ("unlocked", "pagemap", why_exact),
        ("refused", "pagemap", why_exact),
    ] {
        let run = locked(fs.path(case), case).under_shim(&[("KEEPMYDATA_LOG", "debug")]);
        let seen = tracker_and_reason(&run);
        assert_eq!(seen, (tracker.to_owned(), why.to_owned()), "{case}");
    }
}

#[test]
fn a_filesystem_that_keeps_nothing_is_found_out() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    for case in ["open", "future", "flag"] {
        let run = locked(fs.path(case), case).under_shim(&[("KEEPMYDATA_DEADLINE_MS", "200")]);
        assert!(run.stdout.starts_with("msync EIO\n"), "{case}: {run:?}");
    }
}

/// mlock returns while another thread syncs the file: what is about to be locked is not registered again.
#[test]
fn locking_returns_beside_an_msync() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--auto-inval"]);
    let guest = Program::guest("lockers")
        .arg(fs.path("f"))
        .timeout(Duration::from_secs(30));
    let native = guest.natively().expect_success("natively");
    assert_eq!(native.stdout, "all returned\n");
    let run = guest.under_shim(&[]).expect_success("under the shim");
    assert_eq!(run.stdout, native.stdout, "{run:?}");
}
