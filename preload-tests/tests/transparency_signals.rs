//! Hooks called from, interrupted by and left through signal handlers; small stacks.

use std::time::Duration;

use preload_tests::harness::{LoopFs, Program, assert_same_under_shim, patience, seconds};
use preload_tests::or_skip;

fn signals(kind: &str) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    // Runs three times: natively and twice under the shim.
    let each = patience(Duration::from_secs(seconds(10))).as_secs();
    // On a slow machine the next signal must not come before the handler has ended, ever again.
    let interval = patience(patience(Duration::from_millis(1)));
    let guest = Program::guest("signals")
        .arg(fs.path("f"))
        .arg(each.to_string())
        .arg(kind)
        .arg(interval.as_micros().to_string())
        .timeout(Duration::from_secs(each + 60));
    assert_same_under_shim(&guest);
}

#[test]
fn calls_from_a_1_khz_handler() {
    signals("handler");
}

#[test]
fn siglongjmp_out_of_hooks() {
    signals("jump");
}

#[test]
fn smallest_stacks() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("stacks").arg(fs.path("f")));
}
