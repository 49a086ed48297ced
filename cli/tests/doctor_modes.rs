//! `keepmydata doctor` on every mode of the test bed: the verdict, the cause that it names, and that
//! it leaves nothing behind.

mod common;

use clap::ValueEnum;
use common::examine;
use preload_tests::harness::TearFs;
use preload_tests::or_skip;
use preload_tests::tearfs::modes::Mode;
use serde_json::Value;

/// A mode, the exit code, and words of the sentences.
const MODES: [(&str, u64, &[&str]); 14] = [
    ("honest", 0, &["all readers got the new data at once"]),
    ("volatile", 0, &["all readers got the new data at once"]),
    (
        "first-page",
        1,
        &[
            "old data in some pages and new data in others",
            "Syncing a second time helps",
            "applies a part of what it acknowledges at each sync",
        ],
    ),
    (
        "one-page",
        1,
        &[
            "Syncing a second time does not help; syncing 3 times more does",
            "applies a part of what it acknowledges at each sync",
        ],
    ),
    // Longer than a busy machine takes to look.
    (
        "stale-window --delay-ms=500",
        1,
        &[
            "plain readers saw old data for up to ",
            "second time does not help; waiting ",
            "serves readers data that it read before the store, until some time after the sync",
        ],
    ),
    (
        "stale-window --delay-ms=0",
        1,
        &[
            "Syncing a second time helps",
            "serves readers data that it read before the store, until the file is synced once more",
        ],
    ),
    (
        "early-ack --delay-ms=500",
        1,
        &[
            "plain readers saw old data for up to ",
            "second time does not help; waiting ",
            "applies writes after it has acknowledged FSYNC",
        ],
    ),
    (
        "drop-tail",
        1,
        &[
            "making the pages dirty again and syncing each alone does",
            "keeps only the first page of a write of several",
        ],
    ),
    (
        "lossy-first",
        1,
        &[
            "making the pages dirty again and syncing each alone does",
            "dropped the first write of the pages",
        ],
    ),
    (
        "reorder",
        2,
        &[
            "the data was there, and ",
            "later plain readers saw old data again",
            "applies an older write after a newer one",
            "KEEPMYDATA_REVERIFY_MS=",
        ],
    ),
    (
        "eio-once",
        1,
        &[
            "msync failed (Input/output error), the msync after it returned 0",
            "the kernel forgot the pages",
        ],
    ),
    (
        "silent-eio",
        2,
        &[
            "Syncing a second time does not help; waiting",
            "acknowledges data that it does not keep",
            "Only close(2) tells: it failed (Input/output error)",
            "msync fails (Input/output error) instead of returning 0",
        ],
    ),
    (
        "black-hole",
        2,
        &[
            "acknowledges data that it does not keep",
            "msync fails (Input/output error) instead of returning 0",
        ],
    ),
    // keepmydata does not reach what another process has of the other inode.
    (
        "twin-inode",
        2,
        &[
            "Readers past the page cache see all data",
            "two inodes",
            "a new open gets the new data, and another process still saw old data through",
            "another inode's page cache",
        ],
    ),
];

/// All modes at once: most of it is waiting.
fn check(options: &[&str]) {
    or_skip!(TearFs::available());
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = MODES
            .iter()
            .map(|(mode, code, words)| {
                scope.spawn(move || {
                    let mode = format!("--mode={mode}");
                    let arguments: Vec<&str> = mode.split(' ').chain(options.to_vec()).collect();
                    let fs = TearFs::mount(&arguments);
                    complaints(&mode, &examine(&fs.path("")), *code, words)
                })
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.flat_map(|found| found.expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn complaints(mode: &str, found: &Value, code: u64, words: &[&str]) -> Vec<String> {
    let sentences: Vec<&str> = found["sentences"]
        .as_array()
        .expect("sentences")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let text = sentences.join(" ");
    let mut wrong = Vec::new();
    if found["exit_code"] != code {
        let trials = &found["trials"];
        wrong.push(format!("{mode}: not {code}: {text}\n{trials}"));
    }
    for words in words {
        if !text.contains(words) {
            wrong.push(format!("{mode}: {words:?} is not in: {text}"));
        }
    }
    wrong
}

#[test]
fn each_mode_is_in_the_table() {
    for mode in Mode::value_variants() {
        let mut names = MODES.iter().filter_map(|row| row.0.split(' ').next());
        assert!(
            names.any(|name| name == mode.word()),
            "{} is not in MODES",
            mode.word()
        );
    }
}

#[test]
fn every_mode() {
    check(&[]);
}

#[test]
#[ignore = "takes as long as the one before, for another page cache"]
fn every_mode_with_keep_cache() {
    check(&["--keep-cache"]);
}

/// A daemon slower than the shim's deadline.
#[test]
fn a_deadline_that_is_too_short_is_named() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=early-ack", "--delay-ms=2600"]);
    let found = examine(&fs.path(""));
    let wrong = complaints("early-ack", &found, 1, &["with KEEPMYDATA_DEADLINE_MS=5"]);
    assert!(wrong.is_empty(), "{wrong:?}");
}
