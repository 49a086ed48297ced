//! No false alarm: on filesystems that keep their word, a crowd of processes and threads storing
//! into the same pages gets no stale verdict and no EIO.

use std::path::Path;
use std::time::Duration;

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, kernel, seconds};
use preload_tests::or_skip;

fn for_seconds() -> u64 {
    let long = std::env::var("KEEPMYDATA_LONG").is_ok_and(|value| value == "1");
    if long { 60 } else { seconds(5) }
}

fn crowd(file: &Path) -> Program {
    let limit = for_seconds();
    Program::guest("crowd")
        .args(["4", "4"])
        .arg(limit.to_string())
        .arg(file)
        .timeout(Duration::from_secs(limit + 60))
}

/// Pages by verdict, over all msyncs of a run.
#[derive(Debug, Default)]
struct Counts {
    msyncs: u64,
    verified: u64,
    newer: u64,
    stale: u64,
    uncertain: u64,
}

fn count(run: &Outcome) -> Counts {
    let mut counts = Counts::default();
    for record in run.records().of("msync") {
        counts.msyncs += 1;
        let pages = |verdict: &str| record["verdicts"][verdict].as_u64().unwrap_or(0);
        counts.verified += pages("verified");
        counts.newer += pages("newer");
        counts.stale += pages("stale");
        counts.uncertain += pages("uncertain");
        assert_eq!(record["result"], 0, "{record}");
    }
    counts
}

/// Runs the crowd with verification on; the counts, after what must be zero was checked.
#[track_caller]
fn no_false_alarm(what: &str, file: &Path) -> Counts {
    let run = crowd(file)
        .under_shim(&[("KEEPMYDATA_LOG", "info"), ("KEEPMYDATA_VERIFY", "on")])
        .expect_success_without_log(what);
    let counts = count(&run);
    println!("{what}: {counts:?}");
    assert!(counts.verified > 0, "{what}: nothing was verified");
    assert_eq!(counts.stale, 0, "{what}: {counts:?}");
    let failures: Vec<_> = run
        .records()
        .0
        .into_iter()
        .filter(|record| record["level"] == "error")
        .collect();
    assert!(failures.is_empty(), "{what}: {failures:?}");
    counts
}

trait Success {
    fn expect_success_without_log(self, what: &str) -> Self;
}

impl Success for Outcome {
    /// The log of such a run is too long to be shown.
    #[track_caller]
    fn expect_success_without_log(self, what: &str) -> Self {
        assert!(self.status.success() && !self.timed_out, "{what}: {self:?}");
        self
    }
}

/// Without it "zero stale" would say nothing: where data is lost, the crowd and the log do say so.
#[test]
fn control_a_filesystem_that_lies_is_found_out() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let native = Program::guest("crowd")
        .args(["4", "4", "1"])
        .arg(fs.path("f"))
        .natively();
    assert_eq!(native.code(), Some(4), "{native:?}");
    let run = Program::guest("crowd")
        .args(["4", "4", "1"])
        .arg(fs.path("g"))
        .under_shim(&[
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_DEADLINE_MS", "200"),
        ]);
    assert_eq!(run.code(), Some(3), "{run:?}");
    let records = run.records();
    let stale = records
        .of("msync")
        .filter_map(|record| record["verdicts"]["stale"].as_u64());
    assert!(stale.sum::<u64>() > 0);
}

#[test]
fn tearfs_with_keep_cache() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let counts = no_false_alarm("tearfs, KEEP_CACHE", &fs.path("f"));
    assert_eq!(counts.uncertain, 0, "{counts:?}");
}

/// Each open of one process drops the pages of all: some are uncertain, none is called stale.
#[test]
fn tearfs_without_keep_cache() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    no_false_alarm("tearfs", &fs.path("f"));
}

#[test]
fn tearfs_with_auto_inval() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--auto-inval"]);
    no_false_alarm("tearfs, KEEP_CACHE and AUTO_INVAL_DATA", &fs.path("f"));
}

#[test]
fn ext4() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    no_false_alarm("ext4", &fs.path("f"));
}

#[test]
fn xfs() {
    let fs = or_skip!(LoopFs::mount("xfs"));
    no_false_alarm("xfs", &fs.path("f"));
}

#[test]
fn btrfs() {
    let fs = or_skip!(LoopFs::mount("btrfs"));
    no_false_alarm("btrfs", &fs.path("f"));
}

/// Natively msync fails for a store that collides with another process's direct write, and not again for that.
fn a_collision_is_told_once(kind: &str) {
    let fs = or_skip!(LoopFs::mount(kind));
    let guest = Program::guest("collide").arg(fs.path("f"));
    let native = guest.natively().expect_success("natively");
    assert!(native.stdout.ends_with("then 0 of 20\n"), "{native:?}");
    for uncertain in ["warn", "error"] {
        let settings = [
            ("KEEPMYDATA_VERIFY", "on"),
            ("KEEPMYDATA_UNCERTAIN", uncertain),
        ];
        let run = guest.under_shim(&settings).expect_success(uncertain);
        assert!(
            run.stdout.ends_with("then 0 of 20\n"),
            "{uncertain}: {run:?}"
        );
    }
}

#[test]
fn a_collision_with_direct_writes_is_told_once_on_ext4() {
    a_collision_is_told_once("ext4");
}

#[test]
fn a_collision_with_direct_writes_is_told_once_on_xfs() {
    a_collision_is_told_once("xfs");
}

/// Each open drops the page cache under the stores of the other threads. What they hold then is kept and compared, and
/// no thread maps or unmaps the file meanwhile. (Where they stored slowly, 9 runs of 20 had doubts: of pages that somebody
/// had stored to when they were kept, and of pages of mappings that were not in the table yet.)
#[test]
fn threads_that_open_map_and_unmap_their_file_raise_no_doubt() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest"]);
    for how in ["own", "shared"].into_iter().chain(["slowly"; 5]) {
        let guest = Program::guest("reopeners").arg(fs.path("f"));
        let run = guest.args(["8", "60", how]).under_shim(&[
            ("KEEPMYDATA_LOG", "warn"),
            ("KEEPMYDATA_UNCERTAIN", "error"),
        ]);
        assert_eq!(
            run.stdout,
            "0 of 480 failed, 0 in a row; then 0 of 20\n",
            "{how}: {}",
            run.log_text()
        );
    }
}

/// What can only be read through the page cache is dropped from it first, and then it is the disk that is read. Not
/// where another process has it mapped: there it stays, and proves nothing.
#[test]
fn what_is_read_back_through_the_page_cache_is_proved() {
    let kinds = [
        ("ext4", 128, "data=journal"),
        ("btrfs", 256, "compress-force=zstd"),
    ];
    for (kind, megabytes, option) in kinds {
        let fs = or_skip!(LoopFs::mount_sized(kind, megabytes, &[option]));
        let run = |how: &[&str]| {
            let guest = Program::guest("held").arg(fs.path("f")).args(how);
            guest.under_shim(&[
                ("KEEPMYDATA_VERIFY", "on"),
                ("KEEPMYDATA_UNCERTAIN", "error"),
                ("KEEPMYDATA_LOG", "info"),
            ])
        };
        let alone = run(&[]);
        let records = alone.records();
        let msync = records.of("msync").next().expect("a record");
        assert_eq!(msync["verdicts"]["verified"], 4, "{option}: {msync}");
        assert_eq!(msync["verdicts"]["uncertain"], 0, "{option}: {msync}");
        let held = run(&["held"]);
        assert_eq!(held.stdout, "msync EIO\n", "{option}: {held:?}");
    }
}

/// An exec ends the helper, with an msync of another thread under way: what that could not do is no error of the
/// filesystem's. (One exec of 300 was told as EBADF.)
#[test]
fn an_exec_beside_msync_is_no_failure() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--fsync-delay-ms", "8"]);
    let guest = Program::guest("execs").arg(fs.path("f")).arg("100");
    let run = guest
        .under_shim(&[("KEEPMYDATA_LOG", "error")])
        .expect_success("execs");
    assert!(!run.log_text().contains("EBADF"), "{}", run.log_text());
}

/// The shim opens the file anew where direct reads are refused, and where it cannot copy the handle of a parent process:
/// what it drops of the page cache was proved before. The next drop is another process's, and in doubt.
#[test]
fn what_the_shims_own_open_drops_raises_no_doubt() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let refusing = TearFs::mount(&["--mode", "honest", "--refuse-direct-reads"]);
    let plain = TearFs::mount(&["--mode", "honest"]);
    for (fs, who) in [(&refusing, "itself"), (&plain, "child")] {
        let run = |how: &[&str]| {
            let guest = Program::guest("again").arg(fs.path("f")).arg(who).args(how);
            Program::guest("under")
                .args(["seccomp", "pidfd_getfd", "EPERM"])
                .arg(guest.file())
                .args(guest.arguments())
                .under_shim(&[
                    ("KEEPMYDATA_UNCERTAIN", "error"),
                    ("KEEPMYDATA_DEADLINE_MS", "500"),
                ])
        };
        let alone = run(&[]);
        let output = (alone.stdout.as_str(), alone.stderr.as_str());
        assert_eq!(output, ("msync 0\nmsync 0\nmsync 0\n", ""), "{who}");
        let halved = run(&["halved"]);
        let told = "msync 0\nmsync 0\nmsync EIO\n";
        assert_eq!(halved.stdout, told, "{who}: {halved:?}");
    }
}

/// Each mapping with dirty pages takes one of the shim's. (From the 129th on they were in doubt.)
#[test]
fn hundreds_of_mappings_of_one_file_are_proved() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("spread")
        .arg(fs.path("f"))
        .args(["300", "parts"]);
    let run = guest.under_shim(&[("KEEPMYDATA_UNCERTAIN", "error")]);
    assert!(run.stdout.starts_with("msync 0 "), "{run:?}");
    assert_eq!(run.stderr, "");
}

/// After a sync that failed the file is to be read back although verification is off: where it cannot be, msync returns 0 and a line
/// says so, as of a file that is always verified.
#[test]
fn a_suspect_file_that_cannot_be_compared_is_doubted() {
    or_skip!(TearFs::available());
    for (verify, first) in [("on", "0"), ("off", "EIO")] {
        let fs = TearFs::mount(&["--mode", "eio-once", "--keep-cache"]);
        let guest = Program::guest("orphan").arg(fs.path("f"));
        let run = guest.under_shim(&[("KEEPMYDATA_VERIFY", verify)]);
        let expected = format!("msync {first}\nmsync 0\n");
        assert_eq!(run.stdout, expected, "{verify}: {run:?}");
        let why = "not verified: the file cannot be opened again";
        assert!(run.stderr.contains(why), "{verify}: {run:?}");
    }
}
