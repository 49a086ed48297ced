//! Every flush point: what a call has promised is on the disk whatever the disk loses of what it was not
//! told to flush.

use preload_tests::harness::LoopFs;
use preload_tests::or_skip;
use preload_tests::vm::Kernel;

use crate::crash::{Case, cases, record, results, wishes};

/// Replays what the machine of these cases wrote.
#[track_caller]
fn replay(cases: Vec<Case>, seed: u64, promises: usize, samples: u64) {
    let kernel = or_skip!(Kernel::find("6.12"));
    // Images are mounted here.
    drop(or_skip!(LoopFs::mount("ext4")));
    println!("KEEPMYDATA_CRASH_SEED={seed}");
    let mut wrong = Vec::new();
    for logged in or_skip!(record(cases, &kernel, seed, promises)) {
        let case = logged.case;
        let found = logged.judge(samples);
        println!(
            "{case}: {} points, {} promises, {} broken in {} points",
            found.cuts, found.promises, found.broken, found.losing_cuts
        );
        results::save("flushes", [(&case, &found)].into_iter());
        if case.may_lose() != (found.broken > 0) {
            wrong.push(format!("{case}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn few_flush_points() {
    let wanted = |case: &Case| match (case.workload.name, case.shimmed) {
        ("doio", true) | ("part", _) => case.filesystem.name == "ext4-ordered",
        _ => false,
    };
    let cases = cases(true).chain(cases(false)).filter(wanted).collect();
    replay(cases, 1, 15, 20);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_flush_points() {
    let cases = wishes::only(cases(true).chain(cases(false).filter(Case::may_lose)));
    if !cases.is_empty() {
        replay(cases, wishes::seed(), 50, 200);
    }
}
