//! What cannot be cured is reported: EIO, the page table, the data kept; abort where that is set; and a retry that returns 0
//! has really written it.

use preload_tests::harness::{Program, TearFs, kernel};
use preload_tests::{or_skip, page_size, skip};
use serde_json::{Value, json};

const DEADLINE: (&str, &str) = ("KEEPMYDATA_DEADLINE_MS", "200");
const INFO: (&str, &str) = ("KEEPMYDATA_LOG", "info");
/// The seed case stores over four pages, of which the first is this.
const FIRST_PAGE: u64 = 1084;
const IN_FIRST: u64 = 1304;
const IN_LAST: u64 = 431;

fn store_at() -> u64 {
    (FIRST_PAGE + 1) * page_size() as u64 - IN_FIRST
}

fn stored() -> Vec<u8> {
    let length = IN_FIRST as usize + 2 * page_size() + IN_LAST as usize;
    (0..length)
        .map(|i| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i % 26])
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the guest prints with so many of its four pages dirty after the first msync.
fn retried(first: &str, dirty: u32) -> String {
    let dirty = kernel::cachestat().map_or("unknown".to_owned(), |()| dirty.to_string());
    format!("msync {first}\nmemory kept\ncached 4 dirty {dirty}\nmsync 0\n")
}

/// The page table of the seed case where nothing arrived (docs/promise.md).
fn check_page_table(report: &Value) {
    let rows = report["pages"].as_array().expect("a page table");
    let size = page_size() as u64;
    let store_at = store_at();
    let expected = [IN_FIRST, size, size, IN_LAST];
    assert_eq!(rows.len(), expected.len(), "{report}");
    for ((row, page), bytes) in rows.iter().zip(FIRST_PAGE..).zip(expected) {
        let start = page * size;
        let first_diff = start.max(store_at);
        let into = usize::try_from(first_diff - store_at).expect("offset");
        let before = if page == FIRST_PAGE + 3 { 0 } else { b'o' }; // the last one was a hole
        let named = json!({
            "page": page, "start": start, "end": start + size, "wrong_bytes": bytes,
            "verdict": "stale", "content": "old", "first_diff": first_diff,
            "expected_hex": hex(&stored()[into..into + 32]), "actual_hex": hex(&[before; 32]),
            "expected_hash": row["expected_hash"], "actual_hash": row["actual_hash"],
        });
        assert_eq!(*row, named);
        assert_ne!(row["expected_hash"], row["actual_hash"], "{row}");
        assert!(row["expected_hash"].is_string(), "{row}");
    }
}

fn failure_is_told_and_the_data_kept(mode: &str) {
    or_skip!(TearFs::available());
    for variant in [&["--keep-cache"][..], &["--auto-inval"], &[]] {
        let arguments = [&["--mode", mode], variant].concat();
        let fs = TearFs::mount(&arguments);
        let guest = |name: &str| {
            Program::guest("retry")
                .arg(fs.path(name))
                .arg(fs.control_socket())
        };
        let native = guest("native").natively().expect_success("natively");
        assert!(native.stdout.starts_with("msync 0\n"), "{native:?}");
        assert_ne!(
            fs.final_bytes("native", store_at(), stored().len()),
            stored(),
            "negative control: {mode} {variant:?}"
        );

        fs.control(json!({"op": "mode", "mode": mode}));
        let run = guest("shim")
            .under_shim(&[INFO, DEADLINE])
            .expect_success("under the shim");
        assert_eq!(
            run.stdout,
            retried("EIO", 4),
            "{mode} {variant:?}:\n{}",
            run.log_text()
        );
        assert_eq!(fs.final_bytes("shim", store_at(), stored().len()), stored());

        let records = run.records();
        let reports: Vec<_> = records.of("report").collect();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let report = reports[0];
        assert_eq!(report["level"], "error", "{report}");
        assert_eq!(report["errno"], "EIO", "{report}");
        check_page_table(report);
    }
}

#[test]
fn black_hole() {
    failure_is_told_and_the_data_kept("black-hole");
}

#[test]
fn silent_eio() {
    failure_is_told_and_the_data_kept("silent-eio");
}

/// A sync that fails where nobody had asked for the dirty ranges before it: the pages that were not
/// written are found by reading back, and are dirty again.
#[test]
fn what_a_failed_flush_left_out_is_found_afterwards() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "eio-once", "--keep-cache"]);
    let guest = |name: &str| {
        Program::guest("retry")
            .arg(fs.path(name))
            .arg(fs.control_socket())
    };
    let native = guest("native").natively().expect_success("natively");
    assert_eq!(native.stdout, retried("EIO", 0), "negative control");
    assert_ne!(
        fs.final_bytes("native", store_at(), stored().len()),
        stored()
    );

    fs.control(json!({"op": "mode", "mode": "eio-once"}));
    let settings = [
        ("KEEPMYDATA_VERIFY", "off"),
        ("KEEPMYDATA_INVALIDATE", "off"),
        ("KEEPMYDATA_LOG", "error"),
    ];
    let run = guest("shim")
        .under_shim(&settings)
        .expect_success("under the shim");
    assert_eq!(run.stdout, retried("EIO", 4), "{}", run.log_text());
    assert_eq!(fs.final_bytes("shim", store_at(), stored().len()), stored());
    let records = run.records();
    let report = records.of("report").next().expect("a report");
    assert_eq!(report["errno"], "EIO", "{report}");
}

/// The same table for people, which is all that is printed by default.
#[test]
fn the_page_table_is_printed_as_text() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let run = Program::guest("seed")
        .arg(fs.path("f"))
        .under_shim(&[DEADLINE]);
    assert_eq!(run.stdout, "msync EIO\n", "{run:?}");
    let rows: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("    page "))
        .collect();
    assert_eq!(rows.len(), 4, "{run:?}");
    let (start, end) = (1087 * page_size(), 1088 * page_size());
    let last = format!("    page 1087 [{start},{end}) stale old wrong-bytes 431 ");
    assert!(rows[3].starts_with(&last), "{run:?}");
}

#[test]
fn abort_comes_after_the_report() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let seed = Program::guest("seed").arg(fs.path("f"));
    let told = seed.under_shim(&[INFO, DEADLINE]);
    assert_eq!((told.code(), told.signal()), (Some(3), None), "{told:?}");

    let aborted = seed.under_shim(&[INFO, DEADLINE, ("KEEPMYDATA_ON_FAILURE", "abort")]);
    assert_eq!(aborted.signal(), Some(6), "SIGABRT: {aborted:?}");
    let records = aborted.records();
    let report = records.of("report").next().expect("the report");
    check_page_table(report);
}

/// What msync has failed for in a file that is not mapped any more is remembered of so many files, and not in silence
/// forgotten of more.
#[test]
fn a_failure_that_cannot_be_remembered_is_said() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let run = |count: &str| {
        let guest = Program::guest("failing").arg(fs.path("")).arg(count);
        let run = guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", "1")]);
        assert_eq!(run.stdout, format!("{count} failed\n"));
        run.stderr.matches("for too many files").count()
    };
    assert_eq!(run("100"), 0);
    assert_eq!(run("1030"), 1);
}

/// `KEEPMYDATA_DEADLINE_MS` is for a call as a whole, whatever it is about. One file that cannot be healed takes all of
/// it: were it for each, many would take it many times.
#[test]
fn the_deadline_is_for_the_whole_call() {
    const COUNT: u64 = 32;
    const MS: u64 = 500;
    or_skip!(TearFs::available());
    let took = |count: u64, how: &str| {
        let fs = TearFs::mount(&["--mode", "black-hole"]);
        let guest = Program::guest("spread").arg(fs.path("f"));
        let guest = guest.arg(count.to_string()).arg(how);
        let run = guest.under_shim(&[("KEEPMYDATA_DEADLINE_MS", &MS.to_string())]);
        let run = run.expect_success("under the shim");
        ["msync EIO ", "unmap 0 "].map(|call| {
            let line = run.stdout.lines().find_map(|line| line.strip_prefix(call));
            let ms: u64 = line.and_then(|ms| ms.parse().ok()).expect(call);
            ms
        })
    };
    let alone = took(1, "files");
    assert!(alone.iter().all(|&ms| ms >= MS), "{alone:?}");
    for how in ["files", "parts"] {
        let all = took(COUNT, how);
        assert!(all.iter().all(|&ms| ms < COUNT * MS / 2), "{how}: {all:?}");
    }
}

/// A sealed mapping has no duplicate (mseal(2)); what it holds is seen through one that the shim makes of its handle.
/// That cannot be had where the handle's reads pass the page cache by, as FUSE daemons may decide: then nothing is known.
#[test]
fn a_sealed_mapping_is_compared() {
    or_skip!(TearFs::available());
    if !kernel::is_at_least(6, 10) {
        skip!("no mseal before Linux 6.10");
    }
    let run = |mode: &str, direct_io: &str| {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache", "--direct-io", direct_io]);
        let guest = Program::guest("sealed").arg(fs.path("f"));
        let run = guest.under_shim(&[DEADLINE, ("KEEPMYDATA_UNCERTAIN", "error")]);
        run.expect_success(mode).stdout
    };
    assert_eq!(run("honest", "none"), "msync 0\nmsync 0\naba\n");
    assert_eq!(run("black-hole", "none"), "msync EIO\nmsync EIO\naba\n");
    assert_eq!(run("honest", "rdonly"), "msync EIO\nmsync EIO\naba\n");
}
