//! Programs that go to the limits of what there is.

use std::time::Duration;

use preload_tests::harness::{LoopFs, Program, assert_same, assert_same_under_shim, seconds};
use preload_tests::or_skip;

fn resources(arguments: &[&str]) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("resources")
        .arg(fs.path("f"))
        .args(arguments)
        .timeout(Duration::from_secs(300));
    assert_same_under_shim(&guest);
}

/// Without `KEEPMYDATA_MUNMAP=sync`: each of them would then sync all the others.
#[test]
fn all_the_mappings_that_the_kernel_grants() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("resources")
        .arg(fs.path("f"))
        .arg("mappings")
        .timeout(Duration::from_secs(120));
    let native = guest.natively().expect_success("natively");
    assert_same(&native, &guest.under_shim(&[]), "");
}

#[test]
fn short_lived_threads() {
    resources(&["threads", "64"]);
}

#[test]
fn sparse_terabyte() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("resources")
        .arg(fs.path("f"))
        .arg("sparse")
        .timeout(Duration::from_secs(60));
    let native = guest.natively().expect_success("natively");
    for track in ["auto", "pagemap", "cachestat"] {
        let shimmed = guest.under_shim(&[("KEEPMYDATA_TRACK", track), ("KEEPMYDATA_VERIFY", "on")]);
        assert_same(&native, &shimmed, track);
    }
}

/// Cycles per second of allowed test time, so that `KEEPMYDATA_TEST_SECONDS` also
/// shortens these.
fn cycles(per_second: u64) -> String {
    (seconds(10) * per_second).to_string()
}

#[test]
fn memory_is_flat_over_cycles_of_one_file() {
    resources(&["cycles", &cycles(10_000)]);
}

#[test]
fn memory_is_flat_over_cycles_of_many_files() {
    resources(&["files", &cycles(1_000)]);
}
