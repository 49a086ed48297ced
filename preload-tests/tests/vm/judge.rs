//! The checkers of the power cuts find what is not there. No machine is needed for that.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use preload_tests::harness::{Program, Scratch, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs the guest until it was promised something `number` times, kills it, and returns the promises.
fn promises(program: &Program, number: usize) -> Vec<String> {
    let running = program.start_natively();
    let heard = || running.stdout().lines().count();
    wait_until("promises", LIMIT, || heard() >= number || running.ended());
    let said = running.kill().stdout;
    let whole = &said[..said.rfind('\n').expect("a line")];
    let lines = whole.lines().map(|line| line.strip_prefix("@0 kept "));
    lines
        .map(|line| line.expect("a promise").to_owned())
        .collect()
}

/// What the checker says of these promises, on one line.
fn judge(checker: &Program, promises: &[String], scratch: &Scratch) -> String {
    let list = scratch.path("promises");
    fs::write(&list, promises.join("\n") + "\n").expect("promises");
    let output = Command::new(checker.file())
        .args(checker.arguments())
        .stdin(File::open(list).expect("promises"))
        .output()
        .expect("the checker");
    String::from_utf8_lossy(&output.stdout).replace('\n', " / ")
}

fn overwrite(file: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(file).expect("file");
    file.write_all_at(bytes, offset).expect("write");
}

#[test]
fn one_wrong_byte_breaks_the_promise_that_covers_it() {
    let scratch = Scratch::new();
    let file = scratch.path("file");
    let arguments = |guest, last: &[&str]| {
        Program::guest(guest)
            .arg("0")
            .arg(&file)
            .args([&["7", "2"], last].concat())
    };
    let promises = promises(&arguments("crash_store", &["msync"]), 40);
    let count = promises.len();
    let check = |promises: &[String]| judge(&arguments("crash_check", &[]), promises, &scratch);
    assert_eq!(check(&promises), format!("@0 checked {count} 0 / "));
    // What nobody was told of is newer, and right.
    assert_eq!(check(&promises[..20]), "@0 checked 20 0 / ");

    let (offset, length) = last_range(&promises);
    overwrite(&file, offset + length / 2, &[0; 4]);
    let said = check(&promises);
    assert!(said.contains(&format!("[{offset}, +{length})")), "{said}");
    assert!(
        said.ends_with(&format!("@0 checked {count} 1 / ")),
        "{said}"
    );
    // Bytes that were never stored.
    overwrite(&file, 12_799_999, b"x");
    let said = check(&promises);
    assert!(said.contains("1 bytes that nothing promised"), "{said}");
}

#[test]
fn a_promise_of_other_bytes_is_refused() {
    let scratch = Scratch::new();
    let checker = Program::guest("crash_check").args(["0", "file", "7", "1"]);
    let line = "0 0 4442856 9927 0123456789abcdef".to_owned();
    assert_eq!(judge(&checker, &[line], &scratch), "");
}

fn last_range(promises: &[String]) -> (u64, u64) {
    let words: Vec<&str> = promises.last().expect("a promise").split(' ').collect();
    let number = |at: usize| words[at].parse().expect("a number");
    (number(2), number(3))
}

#[test]
fn a_transaction_that_is_gone_is_missed() {
    let scratch = Scratch::new();
    let (db, old) = (scratch.path("db"), scratch.path("old"));
    let guest = |directory: &Path, what: &str| {
        Program::guest("crash_lmdb")
            .arg("0")
            .arg(directory)
            .args(["7", what])
    };
    promises(&guest(&db, "store"), 10);
    fs::create_dir(&old).expect("directory");
    fs::copy(db.join("data.mdb"), old.join("data.mdb")).expect("copy");
    let second = promises(&guest(&db, "store"), 10);
    let check = |directory: &Path| judge(&guest(directory, "check"), &second, &scratch);
    let count = second.len();
    assert_eq!(check(&db), format!("@0 checked {count} 0 / "));
    let said = check(&old);
    assert!(said.contains("the last transactions are gone"), "{said}");
    assert!(
        said.ends_with(&format!("@0 checked {count} {count} / ")),
        "{said}"
    );

    overwrite(&db.join("data.mdb"), 0, &vec![0; 8 << 20]);
    let said = check(&db);
    assert!(
        said.ends_with(&format!("@0 checked {count} {count} / ")),
        "{said}"
    );
}
