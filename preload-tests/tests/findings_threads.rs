//! What msync guarantees to whom (docs/threads.md): stores that happened before it. The same guest with
//! the hand-over that this takes, and without.

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, kernel};
use preload_tests::{or_skip, page_size};
use std::path::Path;

fn run(file: &Path, threads: u32, rounds: u32, how: &str) -> Outcome {
    Program::guest("threads")
        .arg(file)
        .args([threads.to_string(), rounds.to_string(), how.to_owned()])
        .under_shim(&[("KEEPMYDATA_LOG", "info")])
        .expect_success(how)
}

/// The pages that races named, without repetition.
fn raced(run: &Outcome) -> Vec<u64> {
    let records = run.records();
    let mut pages: Vec<u64> = records
        .of("race")
        .flat_map(|record| {
            assert_eq!(record["code"], "KMD-L1", "{record}");
            let ranges = record["dirty"].as_array().expect("ranges").clone();
            ranges.into_iter().flat_map(|range| {
                let (start, len) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
                let size = page_size() as u64;
                start / size..(start + len) / size
            })
        })
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// A flush slow enough for a store to fall into it.
fn slow() -> TearFs {
    TearFs::mount(&["--mode", "honest", "--keep-cache", "--fsync-delay-ms", "30"])
}

#[test]
fn ordered_stores_never_race() {
    or_skip!(TearFs::available());
    let fs = slow();
    for threads in [1, 8, 32] {
        let run = run(&fs.path("f"), threads, 10, "ordered");
        assert_eq!(run.stdout, "lost 0\n", "{threads} threads");
        assert_eq!(raced(&run), [0; 0], "{}", run.log_text());
        // Nor is anything else to be said of it.
        let codes = run
            .records()
            .0
            .iter()
            .filter(|r| r["code"].is_string())
            .count();
        assert_eq!(codes, 0, "{}", run.log_text());
    }
}

/// Where stores are tracked by page table marks only for the findings.
#[test]
fn ordered_stores_never_race_on_a_local_filesystem() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = run(&fs.path("f"), 16, 100, "ordered");
    assert_eq!(run.stdout, "lost 0\n");
    assert_eq!(raced(&run), [0; 0], "{}", run.log_text());
    assert_eq!(run.records().of("msync").count(), 100);
}

#[test]
fn stores_that_are_not_ordered_are_told() {
    or_skip!(TearFs::available());
    let fs = slow();
    let run = run(&fs.path("f"), 4, 5, "racing");
    let raced = raced(&run);
    // Two pages each, and each thread stores for as long as the flush runs.
    let is_seen = kernel::sees_dirty();
    let expected: Vec<u64> = if is_seen {
        (0..8).collect()
    } else {
        Vec::new()
    };
    assert_eq!(raced, expected, "{}", run.log_text());
    assert!(!run.stdout.contains("msync"), "{}", run.stdout);
}
