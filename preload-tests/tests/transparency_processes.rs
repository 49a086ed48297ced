//! fork, vfork, clone, posix_spawn at any moment: nothing hangs, every child's data
//! is stable.

use std::time::Duration;

use preload_tests::harness::{LoopFs, Program, TearFs, assert_same_under_shim, seconds};
use preload_tests::{or_skip, page_size};

#[test]
fn fork_storm() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let children = 200 * seconds(10).min(10);
    let guest = Program::guest("forkstorm")
        .arg(fs.path("f"))
        .args(["8", &children.to_string()])
        .timeout(Duration::from_secs(300));
    assert_same_under_shim(&guest);
}

/// What every child acknowledged survives a power cut.
#[test]
fn fork_storm_before_a_power_cut() {
    or_skip!(TearFs::available());
    const CHILDREN: u64 = 200;
    let fs = TearFs::mount(&["--mode", "volatile"]);
    Program::guest("forkstorm")
        .arg(fs.path("f"))
        .arg("4")
        .arg(CHILDREN.to_string())
        .timeout(Duration::from_secs(120))
        .under_shim(&[])
        .expect_success("forkstorm");
    fs.cut();
    for child in 0..CHILDREN {
        let expected = u8::try_from(1 + child % 100).expect("small");
        let byte = fs.final_bytes("f", child * page_size() as u64, 1)[0];
        assert_eq!(byte, expected, "page of child {child}");
    }
}

#[test]
fn every_way_to_make_a_process() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("children").arg(fs.path("f")));
}

/// The same, where an msync that is not enforced loses data.
#[test]
fn every_way_to_make_a_process_on_first_page() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    Program::guest("children")
        .arg(fs.path("f"))
        .under_shim(&[])
        .expect_success("children");
    fs.cut();
    for page in (0..10).chain(20..22) {
        let byte = fs.final_bytes("f", u64::from(page) * page_size() as u64, 1)[0];
        assert_eq!(byte, b'A' + page, "page {page}");
    }
}

/// A child's first msync, where the kernel does not count what is cached: that is asked of each mapping
/// instead. Under a shim whose locks notice that a thread waits for itself, too.
#[test]
fn every_way_to_make_a_process_without_cachestat() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let children = Program::guest("children").arg(fs.path("f"));
    let guest = Program::guest("under")
        .args(["seccomp", "cachestat", "ENOSYS"])
        .arg(children.file())
        .args(children.arguments());
    assert_same_under_shim(&guest);
    assert_same_under_shim(&guest.debug_shim());
}

/// A thread that has given up all system calls but read, write and exit goes on as it would natively: the shim makes
/// none in it. It does, and the kernel ends the program, where it cannot see the way in.
#[test]
fn strict_seccomp_mode() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let guest = |how: &str| Program::guest("strict").arg(fs.path(how)).arg(how);
    for how in ["prctl", "syscall", "seccomp", "thread", "refused"] {
        assert_same_under_shim(&guest(how));
        assert_same_under_shim(&guest(how).debug_shim());
    }
    assert_eq!(fs.final_bytes("thread", page_size() as u64, 1), b"t");
    let native = guest("instruction").natively();
    assert!(native.stdout.ends_with("alive\n"), "{native:?}");
    let unseen = guest("instruction").under_shim(&[]);
    assert_eq!(unseen.signal(), Some(libc::SIGKILL), "{unseen:?}");
}
