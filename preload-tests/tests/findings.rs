//! Findings (docs/findings.md): each has a minimal program that shows it, which with a second
//! argument does the right thing and shows nothing.

use std::path::Path;

use keepmydata_records::Finding;
use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, kernel};
use preload_tests::{or_skip, page_size};
use serde_json::Value;

const INFO: (&str, &str) = ("KEEPMYDATA_LOG", "info");
fn page() -> u64 {
    page_size() as u64
}

fn name(finding: Finding) -> String {
    format!("findings/l{}", finding as usize + 1)
}

fn run(finding: Finding, file: &Path, right: bool, settings: &[(&str, &str)]) -> Outcome {
    let guest = Program::guest(&name(finding)).arg(file);
    let guest = if right { guest.arg("right") } else { guest };
    let settings = [&[INFO], settings].concat();
    guest.under_shim(&settings).expect_success(finding.code())
}

/// The codes of the findings that were told, in their order, and the counts of the summary of the
/// process, which must agree.
fn codes(run: &Outcome) -> Vec<String> {
    let records = run.records();
    let told: Vec<String> = records
        .0
        .iter()
        .filter_map(|record| Some(record["code"].as_str()?.to_owned()))
        .collect();
    let mut counted = serde_json::Map::new();
    for code in &told {
        let count = counted.get(code).and_then(Value::as_u64).unwrap_or(0);
        counted.insert(code.clone(), (count + 1).into());
    }
    let whole = records
        .of("summary")
        .filter(|record| record["path"].is_null())
        .last()
        .unwrap_or_else(|| panic!("no summary: {}", run.log_text()));
    assert_eq!(
        whole["findings"],
        Value::Object(counted),
        "{}",
        run.log_text()
    );
    told
}

/// The pages that the only finding names, as ranges.
fn pages(run: &Outcome, finding: Finding) -> Vec<(u64, u64)> {
    let records = run.records();
    let mut found = records.0.iter().filter(|r| r["code"] == finding.code());
    let record = found.next().expect("the finding");
    let ranges = record["dirty"].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().expect("number");
    ranges
        .iter()
        .map(|range| (number(&range[0]), number(&range[1])))
        .collect()
}

/// On ext4, with each setting of the enforcement that matters. Where stores are not tracked, nothing is
/// found that needs it.
fn shows(finding: Finding, expected: &[(u64, u64)]) {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let is_seen = finding == Finding::BeyondEof || kernel::page_tracking().is_ok();
    for (i, settings) in [
        &[("KEEPMYDATA_VERIFY", "off")][..],
        &[("KEEPMYDATA_VERIFY", "on")],
        &[("KEEPMYDATA_ENFORCE", "off")],
    ]
    .into_iter()
    .enumerate()
    {
        let file = |what: &str| fs.path(&format!("{what}{i}"));
        let wrong = run(finding, &file("wrong"), false, settings);
        let told = codes(&wrong);
        let log = wrong.log_text();
        let of_this = told.iter().filter(|code| *code == finding.code()).count();
        assert_eq!(of_this, usize::from(is_seen), "{settings:?}: {log}");
        if is_seen {
            assert_eq!(pages(&wrong, finding), expected, "{settings:?}: {log}");
        }
        // What is wrong with the program in one way may be so in two, but only where nothing synced.
        let watched = settings.contains(&("KEEPMYDATA_ENFORCE", "off"));
        assert!(told.len() == of_this || watched, "{settings:?}: {log}");

        let right = run(finding, &file("right"), true, settings);
        let told = codes(&right);
        assert!(told.is_empty(), "{settings:?}: {}", right.log_text());
    }
}

#[test]
fn l2_pages_outside_the_range() {
    shows(Finding::OutsideRange, &[(page(), page())]);
}

#[test]
fn l3_unmapped_and_never_synced() {
    shows(Finding::UnmappedUnsynced, &[(0, page())]);
}

/// What an msync has failed for was not "never synced", and is reported once, however the mapping goes.
#[test]
fn what_an_msync_failed_for_is_told_once() {
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    for how in ["munmap", "exit", "truncate"] {
        let run = Program::guest("gives_up")
            .arg(fs.path(how))
            .arg(how)
            .under_shim(&[INFO, ("KEEPMYDATA_DEADLINE_MS", "50")])
            .expect_success(how);
        assert!(run.stdout.starts_with("msync EIO\n"), "{how}: {run:?}");
        assert!(codes(&run).is_empty(), "{how}: {}", run.log_text());
        let reports = run.records().of("report").count();
        assert_eq!(reports, 1, "{how}: {}", run.log_text());
    }
}

#[test]
fn l4_exited_and_never_synced() {
    shows(Finding::ExitUnsynced, &[(0, page())]);
}

#[test]
fn l5_executed_and_never_synced() {
    shows(Finding::ExecUnsynced, &[(0, page())]);
}

#[test]
fn l6_only_ms_async() {
    shows(Finding::AsyncOnly, &[(0, page())]);
}

#[test]
fn l7_beyond_the_end() {
    shows(Finding::BeyondEof, &[(page(), page())]);
}

#[test]
fn l8_truncated_below_a_dirty_page() {
    shows(Finding::TruncatedDirty, &[(page(), page())]);
}

#[test]
fn l9_redundant() {
    shows(Finding::Redundant, &[]);
}

#[test]
fn l11_a_store_into_a_hole() {
    shows(Finding::StoreIntoHole, &[(page(), page())]);
}

/// Where the kernel tells holes from allocated blocks that nobody has written; not on FUSE, where
/// only the daemon could say; and not where the shim has allocated them.
#[test]
fn l11_by_filesystem() {
    or_skip!(kernel::page_tracking());
    let code = Finding::StoreIntoHole.code();
    for kind in ["xfs", "btrfs"] {
        let fs = or_skip!(LoopFs::mount(kind));
        for (right, prealloc, expected) in [
            (false, "off", &[code][..]),
            (false, "on", &[]),
            (true, "off", &[]),
        ] {
            let file = fs.path(&format!("{right}{prealloc}"));
            let settings = [("KEEPMYDATA_PREALLOC", prealloc)];
            let run = run(Finding::StoreIntoHole, &file, right, &settings);
            let case = format!("{kind}, {right}, {prealloc}: {}", run.log_text());
            assert_eq!(codes(&run), expected, "{case}");
        }
    }
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let run = run(Finding::StoreIntoHole, &fs.path("f"), false, &[]);
    assert!(codes(&run).is_empty(), "{}", run.log_text());
}

/// The flush is slow enough for a store to fall into it.
#[test]
fn l1_a_race() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--fsync-delay-ms", "30"]);
    let wrong = run(Finding::Race, &fs.path("wrong"), false, &[]);
    if kernel::sees_dirty() {
        assert_eq!(codes(&wrong), ["KMD-L1"], "{}", wrong.log_text());
        assert_eq!(pages(&wrong, Finding::Race), [(0, page())]);
    } else {
        assert!(codes(&wrong).is_empty(), "{}", wrong.log_text());
    }
    let right = run(Finding::Race, &fs.path("right"), true, &[]);
    assert!(codes(&right).is_empty(), "{}", right.log_text());
}

/// On a filesystem whose first sync fails. Enforced, the failure is healed within the call.
#[test]
fn l10_success_after_failure() {
    or_skip!(TearFs::available());
    for (right, enforce, expected) in [
        (false, "off", &["KMD-L10"][..]),
        (true, "off", &[]),
        (false, "full", &[]),
    ] {
        let fs = TearFs::mount(&["--mode", "eio-once"]);
        let settings = [("KEEPMYDATA_ENFORCE", enforce)];
        let run = run(
            Finding::SuccessAfterFailure,
            &fs.path("f"),
            right,
            &settings,
        );
        let case = format!("right {right}, enforce {enforce}: {}", run.log_text());
        let expected = if kernel::sees_dirty() { expected } else { &[] };
        assert_eq!(codes(&run), expected, "{case}");
        let failed = run.records().of("msync").any(|r| r["result"] == -1);
        assert_eq!(failed, enforce == "off", "{case}");
    }
}

#[test]
fn below_info_and_for_excluded_files_nothing_is_told() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let shm = fs.path("db-shm");
    let run = run(
        Finding::ExitUnsynced,
        &shm,
        false,
        &[("KEEPMYDATA_FILES", "!*-shm")],
    );
    let records = run.records();
    assert!(records.of("start").count() == 1, "{}", run.log_text());
    assert_eq!(records.of("finding").count(), 0, "{}", run.log_text());
    assert_eq!(records.of("summary").count(), 0, "{}", run.log_text());

    let guest = Program::guest(&name(Finding::ExitUnsynced)).arg(fs.path("f"));
    let run = guest
        .under_shim(&[("KEEPMYDATA_LOG", "warn")])
        .expect_success("warn");
    assert_eq!(run.log_text(), "");
}

/// The documentation says of each program what its first line does, and leads to it.
#[test]
fn the_programs_are_those_of_the_documentation() {
    let text = include_str!("../../docs/findings.md");
    for &finding in Finding::ALL {
        let name = name(finding);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/{name}.c"));
        let source = std::fs::read_to_string(&path).expect("source of the guest");
        let comment = source.lines().next().unwrap_or_default();
        let says = comment.trim_start_matches("/* ").trim_end_matches(" */");
        let short = name.trim_start_matches("findings/");
        let heading = format!("\n## {}: ", finding.code());
        let section = text.split_once(&heading).expect("section").1;
        let shown = format!("\n[{short}.c](../preload-tests/guests/{name}.c): {says}\n");
        let at = section.find(&shown);
        let next = section.find("\n## ").unwrap_or(section.len());
        assert!(
            at.is_some_and(|at| at < next),
            "docs/findings.md lacks, in the section of {}:{shown}",
            finding.code()
        );
    }
}

/// Each of the files of one munmap, or of a mapping over them, has its finding.
#[test]
fn one_call_concerns_many_files() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    or_skip!(kernel::page_tracking());
    let run = Program::guest("manyfiles")
        .arg(fs.path("f"))
        .args(["20", "unsynced"])
        .under_shim(&[INFO])
        .expect_success("manyfiles");
    let records = run.records();
    let code = Finding::UnmappedUnsynced.code();
    let found = records.0.iter().filter(|record| record["code"] == code);
    assert_eq!(found.count(), 2 * 20, "{}", run.log_text());
}
