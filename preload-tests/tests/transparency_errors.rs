//! The program's own writeback errors: what its fsync and fdatasync report on its own
//! descriptors is what they would have reported.

use preload_tests::harness::{Outcome, Program, TearFs, assert_same};
use preload_tests::or_skip;

const SETTINGS: [&[(&str, &str)]; 3] = [
    &[],
    &[("KEEPMYDATA_VERIFY", "off")],
    &[("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_LOG", "trace")],
];

/// Natively, and with each of the settings, on a test bed of its own each time: the
/// error comes once.
#[track_caller]
fn same_errors(mode: &str, how: &str) {
    let run = |settings: Option<&[(&str, &str)]>| -> Outcome {
        let fs = TearFs::mount(&["--mode", mode]);
        let guest = Program::guest("ownerrors").arg(fs.path("f")).arg(how);
        match settings {
            Some(settings) => guest.under_shim(settings),
            None => guest.natively(),
        }
    };
    let native = run(None).expect_success("natively");
    let failed = native.stdout.contains("EIO") || native.stderr.contains("msync: -1");
    assert_eq!(failed, mode == "eio-once", "control: {native:?}");
    for settings in SETTINGS {
        assert_same(
            &native,
            &run(Some(settings)),
            &format!("{how} {settings:?}"),
        );
    }
}

#[test]
fn error_that_fsync_is_the_first_to_see() {
    or_skip!(TearFs::available());
    same_errors("eio-once", "fsync");
}

/// The msync itself may report less: the shim sends the data again.
#[test]
fn error_that_msync_is_the_first_to_see() {
    or_skip!(TearFs::available());
    same_errors("eio-once", "msync");
}

#[test]
fn error_of_a_descriptor_that_is_not_mapped() {
    or_skip!(TearFs::available());
    same_errors("eio-once", "write");
}

#[test]
fn no_error_where_there_is_none() {
    or_skip!(TearFs::available());
    for how in ["fsync", "msync", "write"] {
        same_errors("volatile", how);
    }
}

/// Before munmap the shim flushes the file, and an error that the daemon tells once is told then. The program's own call
/// fails as it does natively.
#[test]
fn error_of_a_flush_before_munmap_is_told_by_the_programs_next_sync() {
    or_skip!(TearFs::available());
    let cases = [
        ("eio-once", "fsync"),
        ("eio-once", "fdatasync"),
        ("eio-once", "msync"),
        ("silent-eio", "close"),
    ];
    for (mode, how) in cases {
        let run = |settings: Option<&[(&str, &str)]>| {
            let fs = TearFs::mount(&["--mode", mode, "--writeback-cache", "--keep-cache"]);
            let guest = Program::guest("told").arg(fs.path("f")).arg(how);
            match settings {
                Some(settings) => guest.under_shim(settings),
                None => guest.natively(),
            }
        };
        let native = run(None).expect_success("natively");
        assert_eq!(native.stdout, format!("{how} EIO\n{how} 0\n"), "{mode}");
        let deadline = ("KEEPMYDATA_DEADLINE_MS", "100");
        for settings in [&[deadline][..], &[deadline, ("KEEPMYDATA_VERIFY", "off")]] {
            let run = run(Some(settings));
            let first = run.stdout.lines().next();
            assert_eq!(
                first,
                Some(&*format!("{how} EIO")),
                "{mode} {settings:?}: {run:?}"
            );
            if how != "msync" {
                assert_same(&native, &run, &format!("{mode} {how} {settings:?}"));
            }
        }
    }
}

/// What else syncs or closes tells of it where it does natively, and where it swallows it natively, it is gone.
#[test]
fn error_of_a_flush_before_munmap_is_told_by_what_tells_it_natively_and_by_nothing_else() {
    or_skip!(TearFs::available());
    let cases = [
        ("eio-once", "syncfs", "fsync", ["0", "0", "EIO"]),
        ("eio-once", "sync_file_range", "fsync", ["0", "0", "EIO"]),
        ("eio-once", "fclose", "fsync", ["0", "0", "EIO"]),
        ("eio-once", "dup2", "fsync", ["0", "0", "EIO"]),
        ("silent-eio", "fclose", "close", ["EIO", "0", "0"]),
        ("silent-eio", "fsync", "close", ["0", "0", "EIO"]),
        ("silent-eio", "syncfs", "close", ["0", "0", "EIO"]),
        ("silent-eio", "freopen", "close", ["0", "0", "0"]),
        ("silent-eio", "dup2", "close", ["0", "0", "0"]),
        ("silent-eio", "dup3", "close", ["0", "0", "0"]),
        ("silent-eio", "close_range", "close", ["0", "0", "0"]),
        ("silent-eio", "closefrom", "close", ["0", "0", "0"]),
    ];
    for (mode, how, other, expected) in cases {
        let run = |settings: Option<&[(&str, &str)]>| {
            let fs = TearFs::mount(&["--mode", mode, "--writeback-cache", "--keep-cache"]);
            let guest = Program::guest("told").arg(fs.path("f")).args([how, other]);
            match settings {
                Some(settings) => guest.under_shim(settings),
                None => guest.natively(),
            }
        };
        let native = run(None).expect_success("natively");
        let [first, second, third] = expected;
        let expected = format!("{how} {first}\n{how} {second}\n{other} {third}\n");
        assert_eq!(native.stdout, expected, "{mode}");
        let run = run(Some(&[("KEEPMYDATA_DEADLINE_MS", "50")]));
        assert_eq!(run.stdout, expected, "{mode} {how}: {run:?}");
    }
}

/// Where nothing is verified, and the filesystem tells an error once: to another call than msync, or to a child. The 0 of
/// the msync after it does not come without a word.
#[test]
fn msync_knows_of_an_error_that_another_call_was_told() {
    or_skip!(TearFs::available());
    for (mode, how) in [
        ("eio-once", "fsync"),
        ("eio-once", "O_SYNC"),
        ("eio-once", "RWF_DSYNC"),
        ("silent-eio", "close"),
        ("silent-eio", "fclose"),
        ("eio-once", "thread's fsync"),
        ("eio-once", "child's fsync"),
        ("eio-once", "vfork child's fsync"),
        ("eio-once", "vfork child's msync"),
    ] {
        let run = |mode, settings: Option<&[(&str, &str)]>| {
            let fs = TearFs::mount(&["--mode", mode, "--keep-cache", "--writeback-cache"]);
            let mut guest = Program::guest("toldonce").arg(fs.path("f")).arg(how);
            if how.starts_with("thread") {
                guest = guest.preload_after(Program::guest_library("slow_fsync"));
            }
            match settings {
                Some(settings) => guest.under_shim(settings),
                None => guest.natively(),
            }
        };
        let native = run(mode, None);
        assert_eq!(native.stdout, "call EIO\nmsync 0\n", "{how}: {native:?}");
        let settings = [("KEEPMYDATA_VERIFY", "off")];
        let shim = run(mode, Some(&settings));
        assert_eq!(shim.stdout, native.stdout, "{how}: {shim:?}");
        assert!(
            shim.stderr.contains("An earlier sync of it failed"),
            "{how}: {shim:?}"
        );
        let shim = run("honest", Some(&settings));
        let output = (&*shim.stdout, &*shim.stderr);
        assert_eq!(output, ("call 0\nmsync 0\n", ""), "{how}");
    }
}

/// A call that the kernel refuses for its arguments has synced nothing, and nothing is said of it afterwards.
#[test]
fn a_refused_call_is_no_failed_sync() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    for how in [
        "O_PATH fsync",
        "O_PATH fdatasync",
        "reader's O_SYNC",
        "O_SYNC of no memory",
        "O_SYNC with an unknown flag",
        "O_SYNC past RLIMIT_FSIZE",
    ] {
        let guest = || Program::guest("toldonce").arg(fs.path("f")).arg(how);
        let native = guest().natively();
        assert!(
            native.stdout.starts_with("call E") && native.stdout.ends_with("msync 0\n"),
            "{how}: {native:?}"
        );
        let shim = guest().under_shim(&[("KEEPMYDATA_VERIFY", "off")]);
        let output = (&*shim.stdout, &*shim.stderr);
        assert_eq!(output, (&*native.stdout, ""), "{how}");
    }
}
