//! Record locks and leases of the program survive what the shim does.

use preload_tests::harness::{LoopFs, Program, assert_same_under_shim};
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
    locks("lease-later");
}
