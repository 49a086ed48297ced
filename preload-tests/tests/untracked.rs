//! Where the kernel says neither what was stored to nor what is dirty (Linux before 6.5, sandboxes): the
//! whole mapping counts as dirty, and the promise is the same.

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, assert_same};
use preload_tests::or_skip;

/// The program, with cachestat and userfaultfd denied.
fn blind(program: &Program) -> Program {
    let under = Program::guest("under");
    under
        .clone()
        .args(["seccomp", "cachestat", "ENOSYS"])
        .arg(under.file())
        .args(["seccomp", "userfaultfd", "ENOSYS"])
        .arg(program.file())
        .args(program.arguments())
}

/// A page that a thread goes on storing to is not what the filesystem holds, at any time.
#[test]
fn a_race_is_no_tear() {
    or_skip!(TearFs::available());
    for (mode, succeeds) in [("honest", true), ("black-hole", false)] {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache", "--fsync-delay-ms", "30"]);
        let racing = Program::guest("findings/l1").arg(fs.path("f"));
        let quiet = racing.clone().arg("right");
        let settings = [
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_DEADLINE_MS", "300"),
        ];
        let run = blind(if succeeds { &racing } else { &quiet }).under_shim(&settings);
        assert_eq!(run.status.success(), succeeds, "{mode}: {}", run.log_text());
        let records = run.records();
        let msync = records.of("msync").next().expect("an msync");
        assert_eq!(msync["tracker"], "whole", "{msync}");
    }
}

/// The page cache is dropped between a store and msync, on a filesystem that loses what it is handed
/// then; a later store brings the page back.
#[test]
fn a_dropped_page_cache_makes_all_uncertain() {
    or_skip!(TearFs::available());
    let halves = |fs: &TearFs| Program::guest("halves").arg(fs.path("f"));
    let lossy = || TearFs::mount(&["--mode", "lossy-first"]);
    let lost = "msync 0\nfirst half old\nsecond half new\n";
    assert_eq!(halves(&lossy()).natively().stdout, lost, "control");

    let warn = [("KEEPMYDATA_LOG", "warn")];
    let run = blind(&halves(&lossy())).under_shim(&warn);
    assert_eq!(run.stdout, lost, "{}", run.log_text());
    assert!(run.records().uncertain().contains(&5), "{}", run.log_text());
    let run = blind(&halves(&lossy())).under_shim(&[("KEEPMYDATA_UNCERTAIN", "error")]);
    assert!(run.stdout.starts_with("msync EIO\n"), "{run:?}");

    let kept = TearFs::mount(&["--mode", "lossy-first", "--keep-cache"]);
    let run = blind(&halves(&kept)).under_shim(&warn);
    assert_eq!(run.stdout, "msync 0\nfirst half new\nsecond half new\n");
    assert!(run.records().uncertain().is_empty(), "{}", run.log_text());
}

/// A terabyte of which five pages are stored to takes no time.
#[test]
fn a_sparse_terabyte_is_synced() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let sparse = Program::guest("resources").arg(fs.path("f")).arg("sparse");
    let native = sparse.natively().expect_success("natively");
    for verify in ["off", "on"] {
        let run = blind(&sparse).under_shim(&[("KEEPMYDATA_VERIFY", verify)]);
        assert_same(&native, &run, verify);
    }
}

/// A tracker that was asked for and is not there is said to be missing, at warn.
#[test]
fn a_tracker_that_is_not_there_is_named() {
    or_skip!(TearFs::available());
    for track in ["pagemap", "cachestat", "whole"] {
        let fs = TearFs::mount(&["--mode", "first-page"]);
        let seed = Program::guest("seed").arg(fs.path("f"));
        let settings = [("KEEPMYDATA_LOG", "warn"), ("KEEPMYDATA_TRACK", track)];
        let run = blind(&seed).under_shim(&settings).expect_success(track);
        let records = run.records();
        let said: Vec<&str> = records
            .of("start")
            .filter_map(|record| record["message"].as_str())
            .collect();
        let missing = format!(
            "KEEPMYDATA_TRACK={track}: not available here (an older kernel, or a sandbox); dirty pages \
             come from whole"
        );
        match track {
            "whole" => assert!(said.is_empty(), "{said:?}"),
            // Of the programs that deny the calls too, which are not denied all.
            _ => assert_eq!(said.last(), Some(&missing.as_str()), "{said:?}"),
        }
    }
}

/// KMD-L10 is told where the page cache's own count shows it, and of no program that stored again.
#[test]
fn a_success_after_a_failure_is_told_only_where_it_is_known() {
    or_skip!(TearFs::available());
    let told = |run: Outcome| {
        let records = run.records();
        records.of("finding").count()
    };
    let failing = || TearFs::mount(&["--mode", "eio-once"]);
    let counted = preload_tests::harness::kernel::cachestat().is_ok();
    for (right, expected) in [(false, usize::from(counted)), (true, 0)] {
        let settings = [
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_ENFORCE", "off"),
            ("KEEPMYDATA_TRACK", "cachestat"),
        ];
        let guest = |fs: &TearFs| {
            Program::guest("findings/l10")
                .arg(fs.path("f"))
                .args(right.then_some("right"))
        };
        let fs = failing();
        let run = guest(&fs).under_shim(&settings).expect_success("l10");
        assert_eq!(told(run), expected, "right {right}");
        let fs = failing();
        let run = blind(&guest(&fs))
            .under_shim(&settings)
            .expect_success("l10");
        assert_eq!(told(run), 0, "blind, right {right}");
    }
}
