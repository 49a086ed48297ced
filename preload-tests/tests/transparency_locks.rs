//! Record locks and leases of the program survive what the shim does.

use preload_tests::harness::{LoopFs, Program, assert_known_difference, assert_same_under_shim};
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
