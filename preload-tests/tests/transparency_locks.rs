//! Record locks and leases of the program survive what the shim does; and its threads come to their end, that wait for the C
//! library's locks.

use std::time::Duration;

use preload_tests::harness::{
    LoopFs, Program, TearFs, assert_known_difference, assert_same_under_shim,
};
use preload_tests::or_skip;

fn locks(kind: &str) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("locks").arg(fs.path("f")).arg(kind));
}

#[test]
fn posix_record_locks() {
    locks("posix");
}

#[test]
fn ofd_locks() {
    locks("ofd");
}

#[test]
fn lease_taken_before_mmap() {
    locks("lease");
}

#[test]
fn lease_taken_after_mmap() {
    // The handle is an open file description of the file, and a write lease wants to be alone.
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_known_difference(
        &Program::guest("locks").arg(fs.path("f")).arg("lease-later"),
        &[
            ("F_SETLEASE 0 0", "F_SETLEASE -1 EAGAIN"),
            ("lease write", "lease none"),
        ],
    );
}

/// An open by stdio waits for fflush(NULL), which waits for a stream that a thread has locked, which waits for its msync: and
/// that does not wait for the open.
#[test]
fn an_msync_with_a_stream_locked_returns_beside_fflush_and_fopen() {
    or_skip!(TearFs::available());
    for how in ["fopen", "freopen"] {
        let fs = TearFs::mount(&["--mode", "honest"]);
        let guest = Program::guest("stdio_chain")
            .arg(fs.path("f"))
            .arg(fs.path("other"))
            .arg(how)
            .timeout(Duration::from_secs(10));
        let native = guest.natively();
        assert_eq!(native.stdout, "msync 0\n", "{how}: {native:?}");
        let run = guest.under_shim(&[]);
        assert_eq!(run.stdout, native.stdout, "{how}: {run:?}");
    }
}
