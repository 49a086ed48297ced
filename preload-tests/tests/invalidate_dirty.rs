//! Exactly the dirty ranges leave the page cache with `KEEPMYDATA_INVALIDATE=dirty`, as mincore(2) sees
//! it; and nothing at all where nothing is dirty.

use std::collections::BTreeSet;
use std::path::Path;

use preload_tests::harness::{LoopFs, Outcome, Program, Scratch, TearFs, installed, kernel};
use preload_tests::{or_skip, page_size};

const PAGES: u64 = 4096;
/// Not the last page, which is the eviction probe's: it stays (src/dirty/eviction_probe.rs).
const DIRTY: [u64; 6] = [3, 17, 18, 200, 511, 1000];
/// The largest folio that the kernel makes, in pages: what one page table maps.
fn folio() -> u64 {
    page_size() as u64 / 8
}

fn run(file: &Path, dirty: &[u64], settings: &[(&str, &str)]) -> Outcome {
    let common = [
        ("KEEPMYDATA_LOG", "info"),
        ("KEEPMYDATA_INVALIDATE", "dirty"),
    ];
    let run = Program::guest("exact")
        .arg(file)
        .arg(PAGES.to_string())
        .args(dirty.iter().map(u64::to_string))
        .under_shim(&[&common, settings].concat())
        .expect_success("exact");
    // Negative control: before the msync every page was there.
    assert!(run.stdout.starts_with(&format!("cached {PAGES}\n")));
    run
}

/// The pages that are not in the page cache after the msync.
fn left(run: &Outcome) -> BTreeSet<u64> {
    let runs = run.stdout.lines().filter_map(|line| {
        let (first, last) = line.strip_prefix("left ")?.split_once(' ')?;
        let number = |text: &str| text.parse::<u64>().expect("number");
        Some(number(first)..=number(last))
    });
    runs.flatten().collect()
}

/// The dirty pages of the msync's record, and how many it says were dropped.
fn told(run: &Outcome) -> (BTreeSet<u64>, u64) {
    let records = run.records();
    let msync = records.of("msync").next().expect("one msync").clone();
    let ranges = msync["dirty"].as_array().cloned().unwrap_or_default();
    let pages = ranges.iter().flat_map(|range| {
        let (start, len) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
        let size = page_size() as u64;
        start / size..(start + len) / size
    });
    let dropped = msync["dropped_pages"].as_u64().unwrap_or(0);
    (pages.collect(), dropped)
}

/// Whether the dirty pages are known; else the whole mapping counts as dirty.
fn is_known(verify: &str) -> bool {
    match verify {
        "on" => kernel::page_tracking().is_ok(),
        _ => kernel::cachestat().is_ok(),
    }
}

fn exactly(file: &Path, verify: &str) {
    let run = run(file, &DIRTY, &[("KEEPMYDATA_VERIFY", verify)]);
    let (dirty, dropped) = told(&run);
    if !is_known(verify) {
        let left = left(&run);
        assert!(
            dirty.is_superset(&BTreeSet::from(DIRTY)),
            "{}",
            run.log_text()
        );
        assert!(
            left.is_superset(&BTreeSet::from(DIRTY)),
            "{}",
            run.log_text()
        );
        return;
    }
    assert_eq!(dirty, BTreeSet::from(DIRTY), "{}", run.log_text());
    assert_eq!(left(&run), dirty, "{}{}", run.stdout, run.log_text());
    assert_eq!(dropped, DIRTY.len() as u64);
    // The rest of the mapping was not even unmapped: it does not fault again.
    let mapped = format!("mapped {}\n", PAGES - DIRTY.len() as u64);
    assert!(run.stdout.ends_with(&mapped), "{}", run.stdout);
}

#[test]
fn exactly_the_dirty_pages_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    exactly(&fs.path("on"), "on");
    exactly(&fs.path("off"), "off");
}

/// Each by itself, also where there are more than a record tells of.
/// Stores to 32 GiB are not tracked: what is dirty is counted, and all else stays.
#[test]
fn exactly_the_dirty_pages_of_a_file_that_is_too_long_to_be_tracked() {
    or_skip!(TearFs::available());
    or_skip!(kernel::cachestat());
    let bed = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("bench_rounds");
    let run = Program::new("sh")
        .args(["-c", "echo '3 1 0' | \"$@\"", "sh"])
        .arg(guest.file())
        .arg(bed.path("f"))
        .args([&(32u64 << 30).to_string(), "msync", "sparse"])
        .under_shim(&[
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_INVALIDATE", "dirty"),
            ("KEEPMYDATA_VERIFY", "off"),
        ])
        .expect_success("bench_rounds");
    let records = run.records();
    let msync = records.of("msync").next().expect("one msync");
    assert_eq!(msync["dirty"].as_array().map(Vec::len), Some(3), "{msync}");
    assert_eq!(msync["dirty_pages"], 3, "{msync}");
    // What was read with them is there.
    assert!(msync["cached_pages"].as_u64() > Some(0), "{msync}");
}

#[test]
fn exactly_the_dirty_pages_where_they_are_many() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let every_third: Vec<u64> = (1..PAGES - 1).step_by(3).collect();
    for verify in ["on", "off"] {
        let settings = [("KEEPMYDATA_VERIFY", verify)];
        let run = run(&fs.path(verify), &every_third, &settings);
        let records = run.records();
        let msync = records.of("msync").next().expect("one msync");
        assert_eq!(msync["dirty_pages"], every_third.len(), "{msync}");
        if verify == "on" {
            assert_eq!(msync["verdicts"]["verified"], every_third.len(), "{msync}");
        }
        let dropped: BTreeSet<u64> = every_third.iter().copied().collect();
        assert_eq!(left(&run), dropped, "{verify}");
    }
}

/// Folios of many pages leave as a whole: no dirty page stays, and what else leaves is in the folio of
/// one, whether the tracker tells of folios or of pages.
#[test]
fn whole_folios_on_local_filesystems() {
    for kind in ["ext4", "xfs"] {
        let fs = or_skip!(LoopFs::mount(kind));
        for verify in ["off", "on"] {
            let settings = &[("KEEPMYDATA_VERIFY", verify)][..];
            let file = fs.path(verify);
            // In the first half only: the second must stay as it is, but for the folio of its end.
            let dirty = [3, 17, 18, 200];
            let run = run(&file, &dirty, settings);
            let left = left(&run);
            let case = format!("{kind} {settings:?} {}{}", run.stdout, run.log_text());
            let (told, dropped) = told(&run);
            assert!(told.is_superset(&BTreeSet::from(dirty)), "{case}");
            assert!(left.is_superset(&told), "{case}");
            if !is_known(verify) {
                continue;
            }
            assert!(left.iter().all(|page| page / folio() == 0), "{case}");
            assert_eq!(dropped, left.len() as u64, "{case}");
            if verify == "off" {
                assert_eq!(left, told, "{case}");
            }
        }
    }
}

#[test]
fn nothing_dirty_nothing_leaves() {
    or_skip!(kernel::cachestat());
    or_skip!(kernel::page_tracking());
    let fs = or_skip!(LoopFs::mount("ext4"));
    for verify in ["off", "on"] {
        for invalidate in ["dirty", "file"] {
            let settings = [
                ("KEEPMYDATA_VERIFY", verify),
                ("KEEPMYDATA_INVALIDATE", invalidate),
            ];
            // The guest's own writes are synced before it maps the file.
            let run = run(&fs.path(verify), &[], &settings);
            assert_eq!(left(&run), BTreeSet::new(), "{}", run.log_text());
            let (dirty, dropped) = told(&run);
            assert_eq!((dirty.len(), dropped), (0, 0), "{}", run.log_text());
        }
    }
}

/// One cachestat(2) finds that out, and there still is an fdatasync: of metadata, and of what other
/// processes write.
#[test]
fn nothing_dirty_costs_one_cachestat_and_one_fdatasync() {
    or_skip!(installed("strace"));
    or_skip!(kernel::cachestat());
    or_skip!(kernel::page_tracking());
    let fs = or_skip!(LoopFs::mount("ext4"));
    for verify in ["off", "on"] {
        let calls = |dirty: &[&str]| {
            let scratch = Scratch::new();
            let log = scratch.path("strace");
            Program::guest("exact")
                .arg(fs.path(verify))
                .arg(PAGES.to_string())
                .args(dirty)
                .where_only_threads()
                .traced_by(["strace", "-f", "-qq", "-o", log.to_str().expect("UTF-8")])
                .under_shim(&[("KEEPMYDATA_VERIFY", verify)])
                .expect_success("exact");
            let text = std::fs::read_to_string(&log).expect("log of strace");
            // By its number where strace is older than the call.
            [
                &["cachestat(", "syscall_0x1c3("][..],
                &["fdatasync("],
                &["fadvise64("],
            ]
            .map(|names| {
                let is_one = |line: &&str| names.iter().any(|name| line.contains(name));
                text.lines().filter(is_one).count()
            })
        };
        assert_eq!(calls(&[]), [1, 1, 0], "verify {verify}");
        let [_, syncs, drops] = calls(&["3"]);
        assert!(syncs == 1 && drops > 0, "control: verify {verify}");
    }
}
