//! Errors of msync are those of the kernel.

use preload_tests::harness::{Flags, LoopFs, Program, TearFs, Tmpfs};
use preload_tests::or_skip;

#[test]
fn errno_is_as_natively_on_the_test_bed() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    for flags in Flags::ALL {
        same_results(Program::guest_with("msync_errors", flags).arg(fs.path("f")));
    }
}

#[test]
fn errno_is_as_natively_on_ext4() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    same_results(Program::guest("msync_errors").arg(fs.path("f")));
}

#[test]
fn errno_is_as_natively_on_tmpfs() {
    let fs = or_skip!(Tmpfs::mount());
    same_results(Program::guest("msync_errors").arg(fs.path("f")));
}

fn same_results(guest: Program) {
    let native = guest.natively().expect_success("msync_errors natively");
    for case in [
        "misaligned: -1 EINVAL",
        "sync and async: -1 EINVAL",
        "unknown bits: -1 EINVAL",
        "hole in the middle: -1 ENOMEM",
        "wrap around: -1 ENOMEM",
        "locked, invalidate: -1 EBUSY",
        "length 0: 0 EXDEV", // success leaves errno alone
    ] {
        assert!(native.stdout.contains(case), "{case}: {native:?}");
    }
    let shimmed = guest
        .under_shim(&[])
        .expect_success("msync_errors under the shim");
    for (native, shimmed) in native.stdout.lines().zip(shimmed.stdout.lines()) {
        assert_eq!(native, shimmed);
    }
    assert_eq!(native.result(), shimmed.result());
}

/// What was stored before a call that the kernel refuses is still known to the next one: on a filesystem
/// that keeps nothing, that one must not return 0.
#[test]
fn a_refused_msync_forgets_nothing() {
    or_skip!(TearFs::available());
    for (mode, last) in [("honest", "0"), ("black-hole", "EIO")] {
        let fs = TearFs::mount(&["--mode", mode]);
        let guest = Program::guest("refused").arg(fs.path("f"));
        let run = guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", "200")]);
        let expected = format!("unaligned EINVAL\nboth EINVAL\nlocked EBUSY\nright {last}\n");
        assert_eq!(run.stdout, expected, "{mode}: {}", run.stderr);
    }
}

/// On ENOMEM the part that is mapped is still enforced: it is there after a power cut in
/// a mode in which the first write of a page is lost.
#[test]
fn mapped_part_around_a_hole_is_enforced() {
    or_skip!(TearFs::available());
    let lost_after_cut = |shimmed: bool| {
        let fs = TearFs::mount(&["--mode", "lossy-first"]);
        let guest = Program::guest("powercut")
            .arg(fs.path("f"))
            .arg(fs.control_socket())
            .arg("hole");
        let run = if shimmed {
            guest.under_shim(&[])
        } else {
            guest.natively()
        };
        let run = run.expect_success("powercut hole");
        assert!(run.stdout.contains("msync ENOMEM"), "{run:?}");
        // The first and the last page of the mapping, on either side of the hole.
        let last = (4 << 20) - 1;
        [0, last]
            .into_iter()
            .filter(|&at| fs.final_bytes("f", at, 1)[0] == 0)
            .count()
    };
    assert!(lost_after_cut(false) > 0, "natively nothing is lost");
    assert_eq!(lost_after_cut(true), 0);
}

/// A local filesystem gives the inode number of a file that was deleted to the next one: what an msync of the first has
/// failed for is no error of the second.
#[test]
fn an_error_is_not_told_of_another_file_with_the_same_inode_number() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let native = Program::guest("reborn").arg(fs.path("native")).natively();
    assert_eq!(native.stdout, "msync 0\nmsync 0\n", "{native:?}");
    let settings = [
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
    ];
    let run = Program::guest("reborn")
        .arg(fs.path("f"))
        .under_shim(&settings);
    assert_eq!(run.stdout, "msync EIO\nmsync 0\n", "{run:?}");
}

/// A FUSE daemon may do that, too, and there the kernel has nothing that tells the files apart. What the program makes is a
/// new file.
#[test]
fn an_error_is_not_told_of_a_file_that_the_program_makes_with_the_number_of_a_deleted_one() {
    or_skip!(TearFs::available());
    for (mode, call) in [
        ("black-hole", "msync"),
        ("eio-once", "munmap"),
        ("silent-eio", "munmap"),
    ] {
        for how in ["open", "creat", "fopen", "mkstemp"] {
            let run = |settings: Option<&[(&str, &str)]>| {
                // Only the first file's pages are misused.
                let fs = TearFs::mount(&[
                    "--mode",
                    mode,
                    "--glob",
                    "/f",
                    "--reuse-numbers",
                    "--writeback-cache",
                    "--keep-cache",
                ]);
                let guest = Program::guest("renumbered")
                    .arg(fs.path("f"))
                    .args([call, how]);
                match settings {
                    Some(settings) => guest.under_shim(settings),
                    None => guest.natively(),
                }
            };
            let native = run(None);
            assert_eq!(
                native.stdout, "the same number\nfsync 0\nmsync 0\nclose 0\n",
                "{native:?}"
            );
            let run = run(Some(&[("KEEPMYDATA_DEADLINE_MS", "50")]));
            assert!(
                call != "msync" || run.stderr.contains("msync -1"),
                "{run:?}"
            );
            assert_eq!(run.stdout, native.stdout, "{mode} {call} {how}: {run:?}");
        }
    }
}

/// Where there is no memory for the list of the files, msync says so, whatever it holds by then; it must not wait for itself.
#[test]
fn many_files_without_memory_are_enomem() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "twin-inode", "--keep-cache"]);
    let guest = Program::guest("crammed").arg(fs.path(""));
    let native = guest.natively().expect_success("crammed natively");
    assert!(!native.stdout.contains("ENOMEM"), "{native:?}");
    let run = guest
        .under_shim(&[])
        .expect_success("crammed under the shim");
    let last = run.stdout.lines().last();
    assert_eq!(last, Some("64: 0"), "{run:?}");
    for line in run.stdout.lines() {
        assert!(
            line.ends_with(": 0") || line.ends_with(": ENOMEM"),
            "{run:?}"
        );
    }
    assert!(run.stdout.contains("ENOMEM"), "nothing was out: {run:?}");
}
