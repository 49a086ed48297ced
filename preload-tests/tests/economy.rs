//! What need not be done is not done: shared flushes, unmaps of what is clean.

use preload_tests::harness::{Program, TearFs};
use preload_tests::or_skip;

/// A guest of the benchmark, given its one line by a shell.
fn one_round(guest: &str, line: &str) -> Program {
    Program::new("sh")
        .args(["-c", "echo \"$1\" | { shift; \"$@\"; }", "sh", line])
        .arg(Program::guest(guest).file())
}

fn count(fs: &TearFs, request: &str) -> usize {
    let log = fs.op_log();
    log.lines()
        .filter(|line| line.contains(&format!("{request} enter:")))
        .count()
}

/// Eight threads sync a page of their own each, all at once.
#[test]
fn threads_share_flushes() {
    or_skip!(TearFs::available());
    const MSYNCS: usize = 8 * 40;
    let settings = [
        ("KEEPMYDATA_VERIFY", "off"),
        ("KEEPMYDATA_INVALIDATE", "off"),
    ];
    // A flush takes long enough for the others to arrive.
    let fs = TearFs::mount(&["--mode", "honest", "--fsync-delay-ms", "5"]);
    one_round("bench_threads", "40")
        .arg(fs.path("f"))
        .args(["8", "msync"])
        .under_shim(&settings)
        .expect_success("under the shim");
    // A flush is the msync of one caller, which is an FSYNC to the daemon, and an fdatasync.
    let flushes = count(&fs, "Fsync") as f64 / 2.0;
    assert!(flushes > 0.0);
    let each = flushes / MSYNCS as f64;
    assert!(each <= 0.35, "{each} flushes an msync");
}
