//! The log: what each level shows, that JSON lines follow the documented schema, and
//! that text carries the same fields.

use std::collections::BTreeSet;
use std::path::Path;

use boon::{Compiler, Schemas};
use preload_tests::harness::{LoopFs, Outcome, Program, kernel};
use preload_tests::or_skip;
use serde_json::Value;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn syncdrop(fs: &LoopFs, settings: &[(&str, &str)]) -> Outcome {
    Program::guest("syncdrop")
        .arg(fs.path("f"))
        .under_shim(settings)
        .expect_success("syncdrop")
}

fn events(run: &Outcome) -> BTreeSet<String> {
    let records = run.records();
    let names = records.0.iter().map(|record| record["event"].as_str());
    names.map(|name| name.expect("event").to_owned()).collect()
}

#[test]
fn a_clean_run_prints_nothing() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = syncdrop(&fs, &[]);
    assert_eq!(run.stderr, "");
    assert_eq!(run.log_text(), "");
}

#[test]
fn each_level_shows_its_events() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let at = |level| events(&syncdrop(&fs, &[("KEEPMYDATA_LOG", level)]));
    let (info, debug, trace) = (at("info"), at("debug"), at("trace"));
    assert_eq!(at("warn"), BTreeSet::new());
    assert_eq!(info, ["msync", "start", "summary"].map(String::from).into());
    for step in ["dirty", "flush", "fdatasync", "drop"] {
        assert!(debug.contains(step), "{step} in {debug:?}");
    }
    assert!(debug.is_superset(&info) && trace.is_superset(&debug));
    assert!(trace.contains("mmap"), "{trace:?}");
    assert!(!debug.contains("mmap"), "{debug:?}");
}

/// Which tracker was asked, and why that one.
#[test]
fn the_choice_of_a_tracker_is_explained() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let choice = |settings: &[(&str, &str)]| {
        let debug = [("KEEPMYDATA_LOG", "debug")];
        let run = syncdrop(&fs, &[&debug, settings].concat());
        let records = run.records();
        let dirty = records.of("dirty").next().expect("dirty ranges");
        let text = |field: &str| dirty[field].as_str().expect("text").to_owned();
        (text("tracker"), text("message"))
    };
    let (counted, marked) = (kernel::cachestat(), kernel::page_tracking());
    let expected = |tracker: &Result<(), String>, name: &str, why: &str| match tracker {
        Ok(()) => (name.to_owned(), why.to_owned()),
        Err(_) => (
            "whole".to_owned(),
            "the first choice is not available here".to_owned(),
        ),
    };
    let auto = expected(&counted, "cachestat", "auto: nothing is verified");
    assert_eq!(choice(&[]), auto);
    let why = "auto: what is verified must be known exactly";
    let verified = choice(&[("KEEPMYDATA_VERIFY", "on")]);
    assert_eq!(verified, expected(&marked, "pagemap", why));
    let whole = choice(&[("KEEPMYDATA_TRACK", "whole")]);
    assert_eq!(whole, ("whole".to_owned(), "as set".to_owned()));
}

/// "How do I tell that it works?"
#[test]
fn first_line_says_who_and_with_what() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = syncdrop(&fs, &[("KEEPMYDATA_LOG", "info")]);
    let first = &run.records().0[0];
    assert_eq!(first["event"], "start", "{first}");
    let text = first.to_string();
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "version: {text}");
    let pagemap = kernel::page_tracking().map_or("", |()| "pagemap ");
    let cachestat = kernel::cachestat().map_or("", |()| "cachestat ");
    let trackers = format!("trackers available: {pagemap}{cachestat}whole;");
    assert!(text.contains(&trackers), "{trackers}: {text}");
}

#[test]
fn an_msync_is_described_in_full() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = syncdrop(&fs, &[("KEEPMYDATA_LOG", "info")]);
    let records = run.records();
    let msync = records.of("msync").next().expect("one msync");
    assert_eq!(msync["path"], fs.path("f").to_str().expect("UTF-8"));
    assert_eq!(msync["offset"], 0);
    assert_eq!(msync["length"], 1 << 20);
    assert_eq!(msync["flags"], "MS_SYNC");
    assert_eq!(msync["result"], 0);
    for field in [
        "time_ns",
        "pid",
        "tid",
        "dev",
        "ino",
        "addr",
        "duration_ns",
        "tracker",
        "dirty",
    ] {
        assert!(!msync[field].is_null(), "{field}: {msync}");
    }
    // The page cache is counted before and after the drop.
    let counted = kernel::cachestat().is_ok();
    assert_eq!(msync["dropped_pages"].is_u64(), counted, "{msync}");
}

#[test]
fn json_lines_follow_the_schema() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/log.schema.json");
    let mut schemas = Schemas::new();
    let schema = Compiler::new()
        .compile(path.to_str().expect("UTF-8"), &mut schemas)
        .unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    for level in LEVELS {
        for verify in ["off", "on"] {
            let settings = [("KEEPMYDATA_LOG", level), ("KEEPMYDATA_VERIFY", verify)];
            for record in syncdrop(&fs, &settings).records().0 {
                if let Err(error) = schemas.validate(&record, schema) {
                    panic!("{error:#}\n{record}");
                }
            }
        }
    }
}

/// How the text shows a field of the JSON record.
fn in_text(name: &str, value: &Value) -> String {
    let plain = value.as_str().map_or(value.to_string(), str::to_owned);
    match name {
        "time_ns" => "Z ".into(),
        "level" => format!(" {} ", plain.to_uppercase()),
        "pid" | "tid" => format!(" {name} "),
        "call" => " #".into(),
        "addr" => " addr 0x".into(),
        "new_addr" => " new-addr 0x".into(),
        "new_length" => format!(" new-length {plain}"),
        "fd" | "ino" | "offset" | "length" | "tracker" | "rung" => format!(" {name} {plain}"),
        "result" => format!(" = {plain}"),
        "duration_ns" => "s) ".into(),
        "dirty" | "dirty_pages" => " dirty ".into(),
        "dropped_pages" => " dropped ".into(),
        "cached_pages" => " cached ".into(),
        "reason" => format!(" reason: {plain}"),
        "message" => ": ".into(),
        "verdicts" => " (verified ".into(),
        "findings" => " findings ".into(),
        "stats" if value["msyncs"].is_u64() => " msyncs 1 ".into(),
        "stats" => " minor-faults ".into(),
        "event" | "code" | "path" | "dev" | "prot" | "flags" | "errno" | "verdict" => plain,
        other => panic!("a new field: how does the text show {other}?"),
    }
}

#[test]
fn text_carries_the_same_fields() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let trace = ("KEEPMYDATA_LOG", "trace");
    let json = syncdrop(&fs, &[trace]).records();
    let text = syncdrop(&fs, &[trace, ("KEEPMYDATA_LOG_FORMAT", "text")]).log_text();
    for record in &json.0 {
        let fields = record.as_object().expect("an object");
        let wanted: Vec<String> = fields.iter().map(|(n, v)| in_text(n, v)).collect();
        // Some line must show all of them.
        let shown = text.lines().any(|line| {
            let line = format!("{line} ");
            wanted.iter().all(|part| line.contains(part))
        });
        assert!(shown, "no line shows {wanted:?}\nof {record}\nin\n{text}");
    }
    assert!(!json.0.is_empty());
}
