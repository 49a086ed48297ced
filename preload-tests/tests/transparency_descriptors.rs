//! The program's descriptor table is its own.

use preload_tests::harness::{LoopFs, Program, assert_same, assert_same_under_shim};
use preload_tests::or_skip;

fn descriptors(arguments: &[&str]) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("descriptors").arg(fs.path("f"));
    assert_same_under_shim(&guest.args(arguments));
}

#[test]
fn numbers_and_list() {
    descriptors(&["numbers"]);
}

#[test]
fn count_until_emfile() {
    for limit in ["16", "17", "64", "1024"] {
        descriptors(&["limit", limit]);
    }
}

#[test]
fn close_range() {
    descriptors(&["close_range"]);
}

#[test]
fn closefrom() {
    descriptors(&["closefrom"]);
}

#[test]
fn dup2_over_every_number() {
    descriptors(&["dup2"]);
}

/// With the log on stderr, at its loudest, no byte of it reaches the file that has
/// become descriptor 2.
#[test]
fn database_opened_as_descriptor_2() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = |name| {
        Program::guest("descriptors")
            .arg(fs.path(name))
            .arg("stderr")
    };
    let native = guest("native").natively().expect_success("natively");
    let to_stderr = [("KEEPMYDATA_LOG", "trace"), ("KEEPMYDATA_LOG_FILE", "")];
    for settings in [&[][..], &to_stderr] {
        let shimmed = guest("shim").under_shim(settings);
        assert_same(&native, &shimmed, &format!("{settings:?}"));
        let database = std::fs::read(fs.path("shim")).expect("database");
        assert_eq!(database.len(), 65536);
        assert!(database.iter().all(|byte| matches!(byte, 0 | b'C')));
    }
}
