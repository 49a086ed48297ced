//! Power cuts: what a call has promised is there after the machine has stopped at any moment, and its
//! journal was replayed.

use preload_tests::harness::library;
use preload_tests::or_skip;
use preload_tests::vm::Kernel;

use crate::crash::{Case, Lives, Way, cases, results, wishes};

/// Of the machine whose cuts are the document's.
const NEW: &str = "6.12";
const OLD: &str = "6.1";

#[track_caller]
fn judge(lives: &Lives) {
    let mut wrong = Vec::new();
    for (case, found) in lives.found() {
        println!(
            "{case}: {} cuts, {} promises, {} broken in {} cuts",
            found.cuts, found.promises, found.broken, found.losing_cuts
        );
        if case.may_lose() != (found.broken > 0) {
            wrong.push(format!("{case}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each program under the shim on each kind of filesystem, some supervised and, as controls, what natively must lose.
#[test]
fn few() {
    let kernel = or_skip!(Kernel::find(NEW));
    let shimmed = cases(Way::Shim).filter(|case| case.filesystem.name != "ext4-writeback");
    let natively = |case: &Case| case.may_lose() && case.filesystem.name == "ext4-ordered";
    let by_supervisor = supervised().filter(|case| case.filesystem.name == "ext4-ordered");
    let natively = cases(Way::Native).filter(natively);
    let cases = shimmed.chain(by_supervisor).chain(natively).collect();
    let mut lives = or_skip!(Lives::new(cases, &kernel, 1));
    lives.cut();
    lives.cut();
    lives.check();
    judge(&lives);
}

#[track_caller]
fn many(series: &str, cases: impl Iterator<Item = Case>, cuts: u64) {
    let kernel = or_skip!(Kernel::find(series));
    let cases = wishes::only(cases);
    if cases.is_empty() {
        return;
    }
    let seed = wishes::seed();
    println!("KEEPMYDATA_CRASH_SEED={seed}");
    let mut lives = or_skip!(Lives::new(cases, &kernel, seed));
    let part = format!("cuts-{series}");
    for _ in 0..wishes::cuts(cuts) {
        lives.cut();
        results::save(&part, seed, lives.found());
    }
    lives.check();
    results::save(&part, seed, lives.found());
    judge(&lives);
}

fn workloads() -> impl Iterator<Item = Case> {
    cases(Way::Shim).filter(|case| !case.workload.is_control)
}

/// Linked statically.
fn supervised() -> impl Iterator<Item = Case> {
    let has_lmdb = library(&[""], "liblmdb.a").is_ok();
    let wanted =
        move |case: &Case| !case.workload.is_control && (has_lmdb || case.workload.name != "lmdb");
    cases(Way::Supervised).filter(wanted)
}

fn controls() -> impl Iterator<Item = Case> {
    cases(Way::Shim).filter(|case| case.workload.is_control)
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_under_the_shim() {
    many(NEW, workloads(), 100);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_controls_under_the_shim() {
    many(NEW, controls(), 30);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_natively() {
    many(NEW, cases(Way::Native), 20);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_on_the_old_kernel() {
    many(OLD, workloads(), 20);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_controls_on_the_old_kernel() {
    many(OLD, controls(), 10);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_supervised() {
    many(NEW, supervised(), 20);
}

#[test]
#[ignore = "long: scripts/test --vm"]
fn many_supervised_on_the_old_kernel() {
    many(OLD, supervised(), 5);
}
