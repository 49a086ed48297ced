//! The test bed as two clients of one filesystem: what the second sees of what the first has synced, by the hand-written
//! guest `two_clients`, in each way in which the bed can keep them apart.

use std::fs;
use std::io::Write;

use preload_tests::harness::{Looks, Program, TearFs};
use preload_tests::or_skip;
use rustix::fs::{FlockOperation, fcntl_lock};

/// How long the guest looks, in seconds; longer than the bed's --coherence-ms.
const SECONDS: &str = "2.5";

/// By [`Looks::WAYS`].
fn check(coherence: &str, expected: [&str; 6], loses: bool) {
    or_skip!(TearFs::available());
    let late = format!("--coherence-ms={}", Looks::LATE_MS);
    let looks = Looks::of_quick(|| {
        let fs = TearFs::mount_twice(coherence, &[&late]);
        let guest = Program::guest("two_clients");
        guest.arg(fs.dir()).arg(fs.second()).arg(SECONDS).natively()
    });
    assert_eq!(looks.when(), expected, "{coherence}: {looks:?}");
    let lost = looks.number("lost").expect("a number");
    assert_eq!(lost > 0.0, loses, "{coherence}: {looks:?}");
}

#[test]
fn coherent() {
    check("coherent", ["now"; 6], false);
}

/// A mapping is not looked at the server for: it stays as it is until a reader finds the new mtime.
#[test]
fn attribute_cache() {
    let ways = ["later", "later", "now", "never", "later", "now"];
    check("attribute-cache", ways, false);
}

#[test]
fn close_to_open() {
    let ways = ["never", "now", "now", "never", "never", "now"];
    check("close-to-open", ways, false);
}

#[test]
fn on_lock() {
    let ways = ["never", "never", "now", "never", "now", "now"];
    check("on-lock", ways, false);
}

/// The guest has the file open before the other client reads it.
#[test]
fn on_open() {
    let ways = ["never", "never", "now", "never", "never", "now"];
    check("on-open", ways, false);
}

/// As some time after msync, and whoever looked before, in GlusterFS.
#[test]
fn late_open() {
    let ways = ["never", "later", "now", "never", "never", "now"];
    check("late-open", ways, false);
}

#[test]
fn recall() {
    let ways = ["never", "never", "now", "never", "never", "now"];
    check("recall", ways, false);
}

#[test]
fn no_invalidation() {
    let ways = ["never", "never", "now", "never", "never", "now"];
    check("no-invalidation", ways, true);
}

#[test]
fn propagation() {
    check("propagation", ["later"; 6], false);
}

#[test]
fn stale_writeback() {
    check("stale-writeback", ["now"; 6], true);
}

/// What the one client locks, the other finds locked, and gets when it is given up.
#[test]
fn record_locks_are_shared() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("coherent", &[]);
    fs::File::create(fs.path("f"))
        .and_then(|mut file| file.write_all(b"x"))
        .expect("file");
    let open = |path| fs::File::options().read(true).write(true).open(path);
    let first = open(fs.path("f")).expect("first");
    let second = open(fs.second().join("f")).expect("second");
    fcntl_lock(&first, FlockOperation::NonBlockingLockExclusive).expect("lock");
    let refused = fcntl_lock(&second, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(rustix::io::Errno::AGAIN));
    let waiting = std::thread::spawn(move || {
        fcntl_lock(&second, FlockOperation::LockExclusive).expect("lock at last");
        second
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!waiting.is_finished());
    // Its descriptor is closed: that gives the lock up.
    drop(first);
    drop(waiting.join().expect("no panic"));
}
