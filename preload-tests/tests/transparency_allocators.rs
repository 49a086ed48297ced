//! Allocators that call mmap and munmap while they hold their locks, preloaded in
//! front of the shim and behind it.

use std::time::Duration;

use preload_tests::harness::{
    LoopFs, Program, assert_same, assert_same_under_shim, library, seconds,
};
use preload_tests::or_skip;

macro_rules! allocators {
    ($($test:ident: $library:literal, in front $front:ident;)*) => {
        $(
            mod $test {
                use super::*;

                #[test]
                fn in_front_of_the_shim() {
                    let library = or_skip!(library(&[""], $library));
                    $front(|guest| guest.preload_before(&library));
                }

                #[test]
                fn behind_the_shim() {
                    let library = or_skip!(library(&[""], $library));
                    allocations(|guest| guest.preload_after(&library));
                }
            }
        )*
    };
}

allocators! {
    jemalloc: "libjemalloc.so.2", in front allocations;
    tcmalloc: "libtcmalloc_minimal.so.4", in front hidden;
    mimalloc: "libmimalloc.so.2", in front allocations;
}

#[test]
fn malloc_of_libc() {
    allocations(|guest| guest);
}

fn allocations(preload: impl Fn(Program) -> Program) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let each = seconds(5);
    let guest = Program::guest("allocations")
        .arg(fs.path("f"))
        .arg(each.to_string())
        .timeout(Duration::from_secs(each + 60));
    assert_same_under_shim(&preload(guest));
}

#[test]
fn malloc_of_the_program() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&Program::guest("own_malloc").arg(fs.path("f")));
}

/// A library with an mmap of its own, in front, hides every mapping (docs/limitations.md): the
/// program is the same, and the log says why nothing is enforced.
fn hidden(preload: impl Fn(Program) -> Program) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = preload(Program::guest("seed").arg(fs.path("f")));
    let native = guest.natively().expect_success("natively");
    let shimmed = guest.under_shim(&[("KEEPMYDATA_LOG", "warn")]);
    assert_same(&native, &shimmed, "in front");
    assert!(
        shimmed.log_text().contains("put libkeepmydata.so first"),
        "{shimmed:?}"
    );
}
