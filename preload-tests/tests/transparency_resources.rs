//! Programs that go to the limits of what there is.

use std::time::Duration;

use preload_tests::harness::{
    LoopFs, Program, TearFs, assert_same, assert_same_under_shim, seconds,
};
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

/// The shim's own memory lies where no program expects an address to be free.
#[test]
fn addresses_are_free() {
    resources(&["addresses"]);
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
/// shortens these. Without a log: they are many.
fn memory_is_flat(kind: &str, cycles_per_second: u64) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("resources")
        .arg(fs.path("f"))
        .arg(kind)
        .arg((seconds(10) * cycles_per_second).to_string())
        .timeout(Duration::from_secs(300));
    let native = guest.natively().expect_success("natively");
    for verify in ["off", "on"] {
        let shimmed = guest.under_shim(&[("KEEPMYDATA_VERIFY", verify)]);
        assert_same(&native, &shimmed, verify);
    }
}

#[test]
fn memory_is_flat_over_cycles_of_one_file() {
    memory_is_flat("cycles", 5_000);
}

#[test]
fn memory_is_flat_over_cycles_of_many_files() {
    memory_is_flat("files", 1_000);
}

/// As [`memory_is_flat`], at the length that leaves nothing to doubt.
#[test]
#[ignore = "takes ten minutes"]
fn memory_is_flat_over_a_million_cycles() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for kind in ["cycles", "files"] {
        let guest = Program::guest("resources")
            .arg(fs.path("f"))
            .args([kind, "1000000"])
            .timeout(Duration::from_secs(550));
        for verify in ["off", "on"] {
            let shimmed = guest.under_shim(&[("KEEPMYDATA_VERIFY", verify)]);
            assert_eq!(shimmed.stdout, "resident memory flat\n", "{shimmed:?}");
            println!("{kind}, verify {verify}: {}", shimmed.stderr.trim());
        }
    }
}

/// Of memory of the shim's, for one mapping of many of one file; docs/limitations.md names it.
#[test]
fn cost_of_a_mapping() {
    const MOST: i64 = 256;
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("resources")
        .arg(fs.path("f"))
        .args(["cost", "30000"])
        .timeout(Duration::from_secs(120));
    let bytes = |run: preload_tests::harness::Outcome| -> i64 {
        let run = run.expect_success("cost");
        run.stdout.trim().parse().expect("bytes a mapping")
    };
    let native = bytes(guest.natively());
    for track in ["pagemap", "cachestat"] {
        let shimmed = bytes(guest.under_shim(&[("KEEPMYDATA_TRACK", track)]));
        println!("{track}: {} bytes a mapping", shimmed - native);
        assert!(
            shimmed - native <= MOST,
            "{track}: {shimmed} with, {native} without"
        );
        assert!(shimmed > native, "the shim was not there");
    }
}

/// The shim's descriptors of files that one call unmaps go with them, however many these are; so do its
/// own mappings of their pages, where it has some (FUSE).
#[test]
fn one_call_unmaps_many_files() {
    let guest = Program::guest("manyfiles");
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&guest.clone().arg(fs.path("f")).arg("200"));
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    assert_same_under_shim(&guest.arg(fs.path("f")).arg("50"));
}

/// What waits for a second look: a later sync takes an earlier one's place, and all of it stays within
/// `KEEPMYDATA_COPY_BUDGET` (64 MiB).
#[test]
fn what_is_verified_again_takes_little_memory() {
    let fs = or_skip!(LoopFs::mount_sized("ext4", 256, &[]));
    let grown = |syncs: &str, files: &str| -> i64 {
        let guest = Program::guest("resources")
            .arg(fs.path("f"))
            .args(["syncs", syncs, files]);
        let settings = [
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_REVERIFY_MS", "600000"),
            ("KEEPMYDATA_LOG", "warn"),
        ];
        let run = guest.under_shim(&settings).expect_success("syncs");
        let left_out = run.records().of("reverify").count();
        println!(
            "{syncs} of {files} files: {} KiB, {left_out} left out",
            run.stdout.trim()
        );
        // 4 MiB each: 15 fit, with what is kept of each page beside its copy.
        let most: usize = files.parse().expect("a number");
        assert_eq!(left_out > 0, most > 15, "{}", run.log_text());
        run.stdout.trim().parse().expect("KiB")
    };
    assert!(grown("60", "1") < 16 << 10);
    assert!(grown("3", "8") < 48 << 10);
    assert!(grown("1", "30") < 80 << 10);
}

/// Where no helper can be made for want of processes, an msync is not verified; the next one is, if there are more then.
#[test]
fn a_helper_that_cannot_be_made_now_can_be_later() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let guest = Program::guest("resources");
    let guest = guest.arg(fs.path("f")).arg("processes");
    let run = guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
    assert_eq!(run.stdout, "msync 0\nmsync EIO\n", "{}", run.stderr);
}
