//! What is right when msync returns, and not what a reader gets: from another page cache of the
//! same file, or later.

use std::time::Duration;

use preload_tests::harness::{Outcome, Program, Scratch, TearFs, kernel, wait_until};
use preload_tests::{or_skip, page_size};
use serde_json::{Value, json};

/// One file, two inodes, a page cache each: the reader's is stale.
#[test]
fn twin_inode_is_cured_by_fresh_reads() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "twin-inode", "--keep-cache"]);
    let seed = |name: &str| Program::guest("seed").arg(fs.path(name));
    let torn = |outcome: &Outcome| {
        outcome.code() == Some(1) && outcome.stdout.matches(" old\n").count() == 4
    };
    let native = seed("native").natively();
    assert!(torn(&native), "negative control: {native:?}");
    let pass = seed("pass").under_shim(&[("KEEPMYDATA_READ", "pass")]);
    assert!(torn(&pass), "control with READ=pass: {pass:?}");
    seed("fresh").under_shim(&[]).expect_success("READ=fresh");
}

/// Stores go to the file, not to the mapping that is synced: that one may be for reading only.
#[test]
fn an_msync_of_a_mapping_for_reading_is_about_the_stores_through_others() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    for how in ["mapped", "unmapped"] {
        for (mode, expected) in [("honest", "msync 0\n"), ("black-hole", "msync EIO\n")] {
            let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
            let guest = |name| Program::guest("sync_reader").arg(fs.path(name)).arg(how);
            let native = guest("native").natively();
            assert_eq!(
                native.stdout, "msync 0\n",
                "control, {mode}, {how}: {native:?}"
            );
            let ours = guest("shim").under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
            assert_eq!(ours.stdout, expected, "{mode}, {how}: {ours:?}");
        }
    }
}

/// A second sync that failed: the reader's cache may hold the only good copy, and stays.
#[test]
fn after_a_failed_sync_reads_drop_nothing() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&[
        "--mode",
        "black-hole",
        "--direct-io",
        "none",
        "--keep-cache",
    ]);
    let run = Program::guest("retry")
        .arg(fs.path("f"))
        .arg(fs.control_socket())
        .under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
    let dirty = kernel::cachestat().map_or("unknown", |()| "4");
    let kept = format!("msync EIO\nmemory kept\ncached 4 dirty {dirty}\n");
    assert!(run.stdout.starts_with(&kept), "{run:?}");
}

/// O_DIRECT is taken when the file is opened and refused when it is read: data is read back through
/// the page cache, and what is wrong is found all the same.
#[test]
fn where_direct_reads_are_refused_data_is_read_back_otherwise() {
    or_skip!(TearFs::available());
    for (mode, code) in [("honest", 0), ("first-page", 0), ("black-hole", 3)] {
        let fs = TearFs::mount(&["--mode", mode, "--refuse-direct-reads"]);
        let run = Program::guest("seed").arg(fs.path("f")).under_shim(&[
            ("KEEPMYDATA_DEADLINE_MS", "300"),
            ("KEEPMYDATA_UNCERTAIN", "error"),
        ]);
        assert_eq!(
            run.code(),
            Some(code),
            "{mode}: {run:?}\n{}",
            run.log_text()
        );
    }
}

/// A flush failed: the page cache may hold the only good copy, and is not dropped to read past it. It is
/// written again first.
#[test]
fn where_direct_reads_are_refused_nothing_is_dropped_that_was_not_written() {
    or_skip!(TearFs::available());
    for (failures, said) in [("1", "msync 0\n"), ("1000", "msync EIO\n")] {
        let options = ["--mode", "eio-once", "--first", failures];
        let fs =
            TearFs::mount(&[&options[..], &["--refuse-direct-reads", "--keep-cache"]].concat());
        let run = Program::guest("retry")
            .arg(fs.path("f"))
            .arg(fs.control_socket())
            .under_shim(&[("KEEPMYDATA_DEADLINE_MS", "100")]);
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(run.stdout.starts_with(said), "{run:?}\n{}", run.log_text());
        assert_eq!(lines[1], "memory kept", "{run:?}");
        assert_eq!(lines[3], "msync 0", "{run:?}");
    }
}

fn second_page(fs: &TearFs) -> Vec<u8> {
    fs.final_bytes("f", page_size() as u64, page_size())
}

/// The older content comes back after everything was verified: only a second look finds it.
#[test]
fn reorder_is_found_by_the_second_look() {
    or_skip!(TearFs::available());
    let log = Scratch::new();
    let path = log.path("log");
    let settings = |reverify: &'static str| {
        [
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_LOG_FORMAT", "json"),
            ("KEEPMYDATA_LOG_FILE", path.to_str().expect("path")),
            ("KEEPMYDATA_REVERIFY_MS", reverify),
        ]
    };
    let fs = TearFs::mount(&["--mode", "reorder", "--delay-ms", "100", "--keep-cache"]);
    let limit = Duration::from_secs(20);
    let guest = Program::guest("linger").arg(fs.path("f"));
    let acknowledged = |running: &preload_tests::harness::Running| {
        wait_until("msync", limit, || running.stdout().contains('\n'));
        assert_eq!(running.stdout(), "msync 0\n");
        fs.control(json!({"op": "settle"}));
    };

    let native = guest.start_natively();
    acknowledged(&native);
    assert_eq!(
        second_page(&fs),
        vec![b'o'; page_size()],
        "negative control"
    );
    native.kill();

    let records = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let parsed = whole_lines.lines().map(serde_json::from_str);
        parsed.map(|record| record.expect("JSON")).collect()
    };
    let shimmed = guest.start_under_shim(&settings("300"));
    acknowledged(&shimmed);
    assert_eq!(
        second_page(&fs),
        vec![b'o'; page_size()],
        "nothing can cure it"
    );
    wait_until("the second look", limit, || {
        records().iter().any(|record| record["event"] == "reverify")
    });
    shimmed.kill();
    let records = records();
    let second = records
        .iter()
        .find(|record| record["event"] == "reverify")
        .expect("there");
    assert_eq!(second["level"], "error", "{second}");
    assert_eq!(second["verdicts"]["stale"], 1, "{second}");
    assert_eq!(second["pages"][0]["page"], 1, "{second}");
    assert_eq!(second["pages"][0]["verdict"], "stale", "{second}");
}

/// What the program itself has put in the place of verified data is no older write that was applied late.
#[test]
fn what_the_program_changed_is_not_accused_by_the_second_look() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let look = |how: &str| -> Value {
        let log = Scratch::new();
        let path = log.path("log");
        let running = Program::guest("overtaken")
            .arg(fs.path(how))
            .arg(how)
            .start_under_shim(&[
                ("KEEPMYDATA_LOG", "debug"),
                ("KEEPMYDATA_LOG_FORMAT", "json"),
                ("KEEPMYDATA_LOG_FILE", path.to_str().expect("path")),
                ("KEEPMYDATA_REVERIFY_MS", "500"),
            ]);
        let mut found = None;
        wait_until(how, Duration::from_secs(20), || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let records = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            found = records
                .into_iter()
                .find(|record: &Value| record["event"] == "reverify");
            found.is_some()
        });
        assert_eq!(running.stdout(), "done\n", "{how}");
        running.kill();
        let found = found.expect("there");
        assert_eq!(found["verdicts"]["stale"], 0, "{how}: {found}");
        found["verdicts"]["verified"].clone()
    };
    assert_eq!(look("nothing"), 2);
    for how in ["direct", "pwrite", "write", "writev", "punch", "remove"] {
        assert_ne!(look(how), 0, "{how}: the other page is as before");
    }
    for how in ["copy", "truncate", "open"] {
        look(how);
    }
}

/// One thread's msync takes the marks of what others have stored meanwhile.
#[test]
fn what_another_threads_msync_took_is_not_accused_by_the_second_look() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let mut verified = 0;
    for _ in 0..20 {
        let run = Program::guest("overtaken")
            .arg(fs.path("threads"))
            .arg("threads")
            .under_shim(&[("KEEPMYDATA_LOG", "debug"), ("KEEPMYDATA_REVERIFY_MS", "1")])
            .expect_success("threads");
        for record in run.records().of("reverify") {
            assert_eq!(record["verdicts"]["stale"], 0, "{record}");
            verified += record["verdicts"]["verified"].as_u64().expect("a number");
        }
    }
    assert!(verified > 0, "nothing was looked at");
}
