//! A store that races with msync in the same process is not covered by the promise, is no tear, and is reported at info.

use preload_tests::harness::{Outcome, Program, TearFs, kernel};
use preload_tests::{or_skip, page_size};

fn page() -> u64 {
    page_size() as u64
}

fn raced() -> u64 {
    5 * page()
}

/// A flush slow enough for a store to fall into it.
fn mount() -> TearFs {
    TearFs::mount(&["--mode", "honest", "--keep-cache", "--fsync-delay-ms", "30"])
}

fn run(fs: &TearFs, how: &str) -> Outcome {
    let settings = [
        ("KEEPMYDATA_LOG", "info"),
        ("KEEPMYDATA_DEADLINE_MS", "300"),
    ];
    Program::guest("racer")
        .arg(fs.path("f"))
        .arg(how)
        .under_shim(&settings)
        .expect_success(how)
}

/// Whether a `race` record names the page.
fn is_told(run: &Outcome) -> bool {
    let records = run.records();
    records.of("race").any(|record| {
        let ranges = record["dirty"].as_array().expect("dirty ranges");
        assert_eq!(record["level"], "info", "{record}");
        ranges.iter().any(|range| {
            let (start, len) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
            start <= raced() && raced() < start + len
        })
    })
}

#[test]
fn control_without_a_race_none_is_told() {
    or_skip!(TearFs::available());
    let run = run(&mount(), "quiet");
    assert!(!is_told(&run), "{}", run.log_text());
}

#[test]
fn a_racing_store_is_told_and_is_no_tear() {
    or_skip!(TearFs::available());
    let fs = mount();
    let run = run(&fs, "racing");
    let log = run.log_text();
    assert!(
        run.stdout.starts_with("msync 0\nmsync 0\n"),
        "{run:?}\n{log}"
    );
    // Without page tracking only what is dirty still when all is flushed.
    if kernel::page_tracking().is_ok() {
        assert!(is_told(&run), "{log}");
    }
    let records = run.records();
    assert_eq!(records.of("report").count(), 0, "{log}");
    for msync in records.of("msync") {
        assert_eq!(msync["verdicts"]["stale"], 0, "{msync}");
        assert_eq!(msync["verdicts"]["uncertain"], 0, "{msync}");
    }

    let stored = run.stdout.lines().last().unwrap_or_default().to_owned();
    let there = fs.final_bytes("f", raced(), 8);
    let there = u64::from_ne_bytes(there.try_into().expect("8 bytes"));
    assert_eq!(
        stored,
        format!("stored {there}"),
        "the msync after the race"
    );
}
