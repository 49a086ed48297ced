//! Every flush point: what a call has promised is on the disk whatever the disk loses of what it was not
//! told to flush.

use preload_tests::harness::LoopFs;
use preload_tests::or_skip;
use preload_tests::vm::Kernel;

use crate::crash::{Case, FILESYSTEMS, WRITTEN, Way, cases, record, results, wishes};

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
        results::save("flushes", seed, [(&case, &found)].into_iter());
        if case.may_lose() != (found.broken > 0) {
            wrong.push(format!("{case}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn few_flush_points() {
    let wanted = |case: &Case| match (case.workload.name, case.way) {
        ("doio", Way::Shim) | ("part", _) => case.filesystem.name == "ext4-ordered",
        _ => false,
    };
    let cases = cases(Way::Shim).chain(cases(Way::Native)).filter(wanted);
    let written = Case {
        filesystem: &FILESYSTEMS[0],
        workload: &WRITTEN,
        way: Way::Native,
    };
    replay(cases.chain([written]).collect(), 1, 15, 20);
}

#[track_caller]
fn many(cases: impl Iterator<Item = Case>) {
    let cases = wishes::only(cases);
    // A machine for each filesystem: the slowest would hold up the others.
    for filesystem in &FILESYSTEMS {
        let on_it = cases.iter().filter(|case| case.filesystem == filesystem);
        let on_it: Vec<Case> = on_it.copied().collect();
        if !on_it.is_empty() {
            replay(on_it, wishes::seed(), 50, 200);
        }
    }
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_flush_points_under_the_shim() {
    many(cases(Way::Shim));
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_flush_points_natively() {
    many(cases(Way::Native).filter(Case::may_lose));
}
