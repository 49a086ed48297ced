//! Results and errno of the hooked calls, interrupted and cancelled ones included.

use std::path::PathBuf;
use std::time::Instant;

use preload_tests::harness::{
    Flags, LoopFs, Program, TearFs, Tmpfs, assert_same, assert_same_under_shim, kernel,
};
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

/// Linux 6.17 moves several mappings at once, if no stores to them are tracked.
#[test]
fn several_mappings_are_moved_at_once() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = |how| Program::guest("moved").arg(fs.path("f")).arg(how);
    let native = guest("several").natively().expect_success("natively");
    let moves = native.stdout.contains("several: moved 0");
    assert_eq!(moves, kernel::is_at_least(6, 17), "{native:?}");
    if moves {
        assert_same_under_shim(&guest("several"));
    }
    assert_same_under_shim(&guest("refused"));
}

/// What is moved, made longer, or stays behind (MREMAP_DONTUNMAP), is in no doubt for that.
#[test]
fn moving_mappings_raises_no_doubt() {
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let several: &[_] = match kernel::is_at_least(6, 17) {
        true => &["several"],
        false => &[],
    };
    for options in [
        &["--mode", "honest"][..],
        &["--mode", "honest", "--keep-cache"],
    ] {
        let fs = TearFs::mount(options);
        for how in ["refused", "stays", "crowd", "resized"]
            .iter()
            .chain(several)
        {
            let guest = Program::guest("moved").arg(fs.path(how)).arg(how);
            let native = guest.natively().expect_success(how);
            let settings = [
                ("KEEPMYDATA_VERIFY", "on"),
                ("KEEPMYDATA_UNCERTAIN", "error"),
            ];
            let shimmed = guest.under_shim(&settings);
            assert_same(&native, &shimmed, how);
            assert!(!shimmed.log_text().contains("doubt"), "{how}: {shimmed:?}");
        }
    }
}

/// Nothing is made of MAP_SYNC where there is no DAX: refused as natively.
#[test]
fn map_sync_without_dax() {
    for kind in ["ext4", "xfs"] {
        let fs = or_skip!(LoopFs::mount(kind));
        let guest = Program::guest("dax").arg("calls").arg(fs.path("f"));
        let printed = guest.natively().expect_success("natively").stdout;
        let refused = "MAP_SYNC\n  DAX 0\n  mmap: EOPNOTSUPP\n";
        assert!(printed.contains(refused), "{kind}: {printed}");
        assert_same_under_shim(&guest);
    }
}

/// LTP's mlock04 did not return: its mapping may be written and not read.
#[test]
fn locking_in_memory() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("mlocks").arg(fs.path("f")));
}

#[test]
fn locking_in_memory_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    assert_same_under_shim(&Program::guest("mlocks").arg(fs.path("f")));
}

/// The shim locks a page of a file on FUSE, and lets go of it where the program may lock no more.
#[test]
fn locking_all_that_may_be() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("memlock").arg(fs.path("f"));
    let native = guest.natively().expect_success("natively");
    assert!(native.stdout.contains("all 0 0\nmore ENOMEM"), "{native:?}");
    assert_same_under_shim(&guest);
}

/// One userfaultfd for each mapping, says the kernel: it is the program's.
#[test]
fn a_program_tracks_its_own_stores() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("own_tracking").arg(fs.path("f")));
}

#[test]
fn a_program_tracks_its_own_stores_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let guest = Program::guest("own_tracking").arg(fs.path("f"));
    assert_same_under_shim(&guest);
    if kernel::page_tracking().is_ok() {
        let native = guest.natively();
        let tracked = "register 0\nprotect 0\nscan 0: 4 7\n";
        assert!(native.stdout.contains(tracked), "control: {native:?}");
    }
}

/// What was stored and then taken out of the file by the program is no loss, and not told as one.
#[test]
fn holes_punched_into_what_was_stored() {
    let ext4 = or_skip!(LoopFs::mount("ext4"));
    or_skip!(TearFs::available());
    let fuse = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    for how in ["madvise", "fallocate", "ftruncate"] {
        for file in [ext4.path(how), fuse.path(how)] {
            // FUSE drops the whole file with a truncation, what is left of it too.
            let drops_all = how == "ftruncate" && file.starts_with(fuse.dir());
            let guest = Program::guest("punched").arg(file).arg(how);
            assert_same_under_shim(&guest);
            if drops_all {
                continue;
            }
            for verify in ["on", "off"] {
                let settings = [("KEEPMYDATA_VERIFY", verify), ("KEEPMYDATA_LOG", "warn")];
                let run = guest.under_shim(&settings);
                assert_eq!(run.log_text(), "", "{how} {verify}");
            }
        }
    }
}

#[test]
fn reads_interrupted_by_signals() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("interrupted").arg(fs.path("f")));
}

/// Debug and release builds of the guest and of the shim.
fn cancellation(kind: &str) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for flags in [Flags::Hardened, Flags::Debug] {
        let guest = Program::guest_with("cancel", flags);
        let guest = guest.arg(fs.path("f")).arg(kind);
        assert_same_under_shim(&guest);
        assert_same_under_shim(&guest.debug_shim());
    }
}

#[test]
fn deferred_cancellation() {
    cancellation("deferred");
}

#[test]
fn asynchronous_cancellation() {
    cancellation("async");
}

/// The daemon answers a READ and an FSYNC after a while.
fn cancellation_while_blocked(kind: &str) {
    or_skip!(TearFs::available());
    let slow = ["--read-delay-ms", "300", "--fsync-delay-ms", "300"];
    let fs = TearFs::mount(&[&["--mode", "honest"][..], &slow].concat());
    let guest = |flags| {
        let guest = Program::guest_with("cancel", flags);
        guest.arg(fs.path("f")).arg(kind).arg("slow")
    };
    assert_same_under_shim(&guest(Flags::Hardened));
    assert_same_under_shim(&guest(Flags::Debug).debug_shim());
}

#[test]
fn deferred_cancellation_while_blocked() {
    cancellation_while_blocked("deferred");
}

#[test]
fn asynchronous_cancellation_while_blocked() {
    cancellation_while_blocked("async");
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

fn many(file: PathBuf, what: &str, count: u32) -> Program {
    let guest = Program::guest("many").arg(file).arg(what);
    guest.arg(count.to_string())
}

/// What a mapping grows by stays one mapping with it: mremap(2) refuses a range of two, and on FUSE what was split once
/// is never one again.
#[test]
fn a_mapping_that_grows_page_by_page_stays_one() {
    or_skip!(TearFs::available());
    let fuse = TearFs::mount(&["--mode", "honest"]);
    let block = or_skip!(LoopFs::mount("ext4"));
    for file in [fuse.path("f"), block.path("f")] {
        let guest = many(file, "grow", 100);
        let native = guest.natively().expect_success("natively");
        for settings in [&[][..], &[("KEEPMYDATA_VERIFY", "on")]] {
            let shimmed = guest.under_shim(settings);
            assert_same(&native, &shimmed, "grown");
            assert_eq!(shimmed.stderr, "");
        }
    }
}

/// A file that is mapped once more is looked through for what its page cache may lose then, all of its mappings: but only
/// where mmap drops the page cache. There the disease is still to be seen.
#[test]
fn mapping_a_file_many_times_takes_no_longer_each_time() {
    or_skip!(TearFs::available());
    let took = |arguments: &[&str], count: u32| {
        let fs = TearFs::mount(arguments);
        let guest = many(fs.path("f"), "windows", count);
        let native = guest.natively().expect_success("natively");
        let started = Instant::now();
        let shimmed = guest.under_shim(&[]);
        let took = started.elapsed();
        assert_same(&native, &shimmed, "windows");
        took
    };
    let drops = ["--mode", "honest", "--direct-io", "all"];
    let (dropping, keeping) = (took(&drops, 600), took(&["--mode", "honest"], 600));
    assert!(dropping > 3 * keeping, "{dropping:?}, and {keeping:?}");
}

/// Natively msync refuses it: there is no file to hand anything to.
#[test]
fn secret_memory_is_nobodys_data() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = many(fs.path("f"), "secret", 0);
    let native = guest.natively();
    or_skip!(match native.code() {
        Some(0) => Ok(()),
        _ => Err(format!("memfd_secret: {}", native.stderr)),
    });
    let shimmed = guest.under_shim(&[]);
    assert_same(&native, &shimmed, "secret");
    assert_eq!(shimmed.stderr, "");
}
