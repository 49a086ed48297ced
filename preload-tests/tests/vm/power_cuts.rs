//! Power cuts: what a call has promised is there after the machine has stopped at any moment, and its
//! journal was replayed.

use preload_tests::or_skip;
use preload_tests::vm::Kernel;

use crate::crash::{Case, Found, Lives, cases};

fn judge(found: &[(Case, Found)]) {
    let mut wrong = Vec::new();
    for (case, found) in found {
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

/// Everything under the shim and, as controls, what natively must lose on ext4.
#[test]
fn few() {
    let kernel = or_skip!(Kernel::find("6.12"));
    let natively = |case: &Case| case.may_lose() && case.filesystem.name == "ext4-ordered";
    let cases = cases(true).chain(cases(false).filter(natively)).collect();
    let lives = or_skip!(Lives::new(cases, &kernel, 1));
    judge(&lives.cut(1));
}
