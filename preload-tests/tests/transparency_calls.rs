//! Results and errno of the hooked calls, interrupted and cancelled ones included.

use preload_tests::harness::{Flags, LoopFs, Program, TearFs, Tmpfs, assert_same_under_shim};
use preload_tests::or_skip;

#[test]
fn reading_family() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for flags in Flags::ALL {
        assert_same_under_shim(&Program::guest_with("reads", flags).arg(fs.path("f")));
    }
}

#[test]
fn reading_family_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    assert_same_under_shim(&Program::guest("reads").arg(fs.path("f")));
}

#[test]
fn mapping_calls() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for flags in Flags::ALL {
        assert_same_under_shim(&Program::guest_with("mapcalls", flags).arg(fs.path("f")));
    }
}

#[test]
fn mapping_calls_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    assert_same_under_shim(&Program::guest("mapcalls").arg(fs.path("f")));
}

#[test]
fn reads_interrupted_by_signals() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("interrupted").arg(fs.path("f")));
}

#[test]
fn deferred_cancellation() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("cancel").arg(fs.path("f")).arg("deferred"));
}

#[test]
fn asynchronous_cancellation() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("cancel").arg(fs.path("f")).arg("async"));
}

/// A file without backing store is not even looked at: no record but the first.
#[test]
fn tmpfs_is_not_tracked() {
    let fs = or_skip!(Tmpfs::mount());
    let run = Program::guest("reads")
        .arg(fs.path("f"))
        .under_shim(&[("KEEPMYDATA_LOG", "info")])
        .expect_success("reads on tmpfs");
    let enforced = run.records().of("msync").count();
    assert_eq!(enforced, 0, "{}", run.log_text());
}
