//! Hooks called from, interrupted by and left through signal handlers; small stacks.

use std::time::Duration;

use preload_tests::harness::{LoopFs, Program, TearFs, assert_same_under_shim, patience, seconds};
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

#[test]
fn smallest_stacks_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    assert_same_under_shim(&Program::guest("stacks").arg(fs.path("f")));
}

/// What a call may take of the program's stack, bytes: half of what SIGSTKSZ leaves beside the kernel's frame is a handler's.
const DEPTH: usize = 3 * 1024;

fn takes_little_of_a_stack(path: impl Fn(&str) -> std::path::PathBuf) {
    for threads in [&[][..], &["thread"]] {
        let guest = Program::guest("depths")
            .args([path("f"), path("second")])
            .args(threads)
            // Else the loader takes as much at the first call of each.
            .env("LD_BIND_NOW", "1");
        let native = guest.natively().expect_success("natively");
        let ours = guest.under_shim(&[("KEEPMYDATA_VERIFY", "on")]);
        assert_eq!(ours.stdout, native.stdout, "{threads:?}: {ours:?}");
        for line in ours.stderr.lines() {
            let (call, depth) = line.split_once(' ').expect("a call and its depth");
            let depth: usize = depth.parse().expect("bytes");
            // Other processors' calls and frames are of other sizes.
            let is_little = depth < DEPTH || !cfg!(target_arch = "x86_64");
            assert!(is_little, "{threads:?}: {call} takes {depth}");
        }
    }
}

#[test]
fn calls_take_little_of_a_stack() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    takes_little_of_a_stack(|name| fs.path(name));
}

#[test]
fn calls_take_little_of_a_stack_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    takes_little_of_a_stack(|name| fs.path(name));
}
