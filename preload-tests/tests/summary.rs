//! The summary at the end of a process: its numbers are the kernel's, and it is there however the
//! process ends.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, installed, kernel};
use preload_tests::{or_skip, page_size};
use serde_json::{Value, json};

const INFO: (&str, &str) = ("KEEPMYDATA_LOG", "info");

fn summaries(run: &Outcome) -> Vec<Value> {
    run.records().of("summary").cloned().collect()
}

/// The numbers of the only summary with the path.
fn stats_of(run: &Outcome, file: &Path) -> Value {
    let all = summaries(run);
    let of_file: Vec<&Value> = all
        .iter()
        .filter(|record| record["path"] == file.to_str().expect("UTF-8"))
        .collect();
    assert_eq!(of_file.len(), 1, "{}", run.log_text());
    of_file[0]["stats"].clone()
}

fn process(run: &Outcome) -> Value {
    let all = summaries(run);
    let whole = all
        .iter()
        .filter(|record| record["message"] == "the process");
    let whole: Vec<&Value> = whole.collect();
    assert_eq!(whole.len(), 1, "{}", run.log_text());
    whole[0].clone()
}

/// `name number` lines.
fn numbers(text: &str) -> HashMap<String, u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, number)| (name.to_owned(), number.parse().expect("number")))
        .collect()
}

fn statistics(file: &Path, extra: &[&str], settings: &[(&str, &str)]) -> Outcome {
    let settings = [&[INFO], settings].concat();
    Program::guest("statistics")
        .arg(file)
        .args(extra)
        .under_shim(&settings)
        .expect_success("statistics")
}

/// The number of cached pages as a summary has it: without cachestat it has none.
fn cached(seen: u64) -> Value {
    kernel::cachestat().map_or(Value::Null, |()| json!(seen))
}

/// What the guest reads from smaps, mincore and pmap, and this test from fincore and vmtouch.
fn agrees(file: &Path, extra: &[&str], settings: &[(&str, &str)]) {
    let run = statistics(file, extra, settings);
    let kernel = numbers(&run.stdout);
    let stats = stats_of(&run, file);
    let case = format!("{extra:?} {settings:?}\n{}\n{stats}", run.stdout);
    assert_eq!(stats["mapped_bytes"], kernel["size"], "{case}");
    assert_eq!(stats["mapped_bytes"], (64 + 32) * page_size(), "{case}");
    assert_eq!(
        stats["resident_pages"],
        kernel["rss"] / page_size() as u64,
        "{case}"
    );
    assert_eq!(
        stats["dirty_pages"],
        kernel["dirty"] / page_size() as u64,
        "{case}"
    );
    assert!(kernel["rss"] > 0 && kernel["dirty"] > 0, "{case}");
    assert_eq!(stats["cached_pages"], cached(kernel["cached"]), "{case}");
    if extra.contains(&"pmap") {
        assert_eq!(kernel["pmap-rss"] * 1024, kernel["rss"], "{case}");
        assert_eq!(kernel["pmap-dirty"] * 1024, kernel["dirty"], "{case}");
    }

    let faults = &process(&run)["stats"];
    for (name, seen) in [("minor_faults", "minor"), ("major_faults", "major")] {
        let told = faults[name].as_u64().expect("number");
        let seen = kernel[seen];
        assert!((seen..seen + 1000).contains(&told), "{name} {told}: {case}");
    }
}

/// Pages of the file in the page cache, as another program tells.
fn other_tool(tool: &str, file: &Path) -> u64 {
    let mut command = match tool {
        "fincore" => {
            let mut command = Command::new("fincore");
            command.args(["--bytes", "--noheadings", "--raw", "--output", "PAGES"]);
            command
        }
        _ => {
            let mut command = Command::new("vmtouch");
            command.arg("-f");
            command
        }
    };
    let output = command.arg(file).output().expect(tool);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = match tool {
        "fincore" => text.trim(),
        // `Resident Pages: 3/64  12K/256K  4.69%`
        _ => text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Resident Pages: "))
            .and_then(|rest| rest.split('/').next())
            .expect("resident pages"),
    };
    number
        .parse()
        .unwrap_or_else(|_| panic!("{tool}: {text} {output:?}"))
}

#[test]
fn numbers_are_those_of_smaps_and_mincore() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for (i, settings) in [
        &[("KEEPMYDATA_VERIFY", "off")][..],
        &[("KEEPMYDATA_VERIFY", "on")],
        &[("KEEPMYDATA_INVALIDATE", "off")],
        &[("KEEPMYDATA_ENFORCE", "off")],
    ]
    .into_iter()
    .enumerate()
    {
        agrees(&fs.path(&format!("counted-{i}")), &[], settings);
        // Of the moment before the last munmap.
        let file = fs.path(&format!("unmapped-{i}"));
        let run = statistics(&file, &["unmap"], settings);
        let (kernel, stats) = (numbers(&run.stdout), stats_of(&run, &file));
        assert_eq!(
            stats["mapped_bytes"],
            32 * page_size(),
            "{}",
            run.log_text()
        );
        // What is verified is proved before it is unmapped.
        let dirty = u64::from(settings != [("KEEPMYDATA_VERIFY", "on")]);
        assert_eq!(stats["dirty_pages"], dirty, "{}", run.log_text());
        assert_eq!(
            stats["cached_pages"],
            cached(kernel["cached"]),
            "{}",
            run.log_text()
        );
    }
}

#[test]
fn numbers_are_those_of_pmap() {
    or_skip!(installed("pmap"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    agrees(&fs.path("counted"), &["pmap"], &[]);
}

#[test]
fn numbers_are_those_of_smaps_and_mincore_on_fuse() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    agrees(&fs.path("counted"), &[], &[]);
}

fn cached_pages_are_those_of(tool: &str) {
    or_skip!(installed(tool));
    or_skip!(kernel::cachestat());
    let fs = or_skip!(LoopFs::mount("ext4"));
    for invalidate in ["off", "file"] {
        let file = fs.path(invalidate);
        let run = statistics(&file, &[], &[("KEEPMYDATA_INVALIDATE", invalidate)]);
        let told = stats_of(&run, &file)["cached_pages"].as_u64();
        assert_eq!(told, Some(other_tool(tool, &file)), "{}", run.log_text());
    }
}

#[test]
fn cached_pages_are_those_of_fincore() {
    cached_pages_are_those_of("fincore");
}

#[test]
fn cached_pages_are_those_of_vmtouch() {
    cached_pages_are_those_of("vmtouch");
}

/// What the records of the msyncs say, added up; and time in each step.
#[test]
fn counts_and_times_are_those_of_the_msyncs() {
    or_skip!(TearFs::available());
    const DELAY_NS: u64 = 30_000_000;
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--fsync-delay-ms", "30"]);
    let file = fs.path("f");
    let run = Program::guest("threads")
        .arg(&file)
        .args(["4", "5", "ordered"])
        .under_shim(&[INFO])
        .expect_success("threads");
    let stats = stats_of(&run, &file);
    let records = run.records();
    let number = |value: &Value| value.as_u64().expect("number");
    let sum = |field: &str| records.of("msync").map(|m| number(&m[field])).sum::<u64>();
    assert_eq!(stats["msyncs"], 5);
    assert_eq!(stats["pages_flushed"], sum("dirty_pages"));
    assert_eq!(stats["pages_flushed"], 5 * 8);
    assert_eq!(stats["pages_verified"], 5 * 8);
    assert_eq!(stats["pages_healed"], 0);
    match kernel::cachestat() {
        Ok(()) => assert_eq!(stats["pages_dropped"], sum("dropped_pages")),
        Err(_) => assert_eq!(stats["pages_dropped"], 0),
    }
    let steps = [
        "dirty_ns",
        "copy_ns",
        "flush_ns",
        "fdatasync_ns",
        "verify_ns",
        "heal_ns",
        "drop_ns",
    ];
    let total = number(&stats["msync_ns"]);
    let of_steps: u64 = steps.iter().map(|step| number(&stats[*step])).sum();
    assert!(of_steps <= total, "{stats}");
    // msync and fdatasync are an FSYNC each.
    for step in ["flush_ns", "fdatasync_ns"] {
        assert!(number(&stats[step]) >= 5 * DELAY_NS, "{step}: {stats}");
    }
    assert!(total <= sum("duration_ns"), "{stats}");
    for step in ["dirty_ns", "copy_ns", "verify_ns", "drop_ns"] {
        assert!(number(&stats[step]) > 0, "{step}: {stats}");
    }
}

#[test]
fn healed_pages_are_counted() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "lossy-first", "--keep-cache"]);
    let file = fs.path("f");
    let run = Program::guest("seed").arg(&file).under_shim(&[INFO]);
    assert_eq!(run.code(), Some(0), "{}", run.log_text());
    let stats = stats_of(&run, &file);
    let healed = stats["pages_healed"].as_u64().expect("number");
    let flushed = stats["pages_flushed"].as_u64().expect("number");
    assert!(healed > 0 && healed <= flushed, "{}", run.log_text());
}

fn ends(fs: &LoopFs, name: &str, how: &str) -> Outcome {
    Program::guest("ends")
        .arg(fs.path(name))
        .arg(how)
        .env("ENDS", "inherited")
        .under_shim(&[INFO])
        .expect_success(how)
}

fn codes(run: &Outcome) -> Vec<String> {
    let records = run.records();
    let codes = records.0.iter().filter_map(|r| r["code"].as_str());
    codes.map(str::to_owned).collect()
}

/// The process has these findings, in this order; without page tracking none.
#[track_caller]
fn expect_findings(run: &Outcome, expected: &[&str]) {
    let expected = match kernel::page_tracking() {
        Ok(()) => expected,
        Err(_) => &[],
    };
    assert_eq!(codes(run), expected, "{}", run.log_text());
    let all = summaries(run);
    let of_process = all.iter().rfind(|r| r["message"] == "the process");
    let counts: serde_json::Map<_, _> = expected
        .iter()
        .map(|&code| (code.to_owned(), json!(1)))
        .collect();
    let told = &of_process.expect("a summary of the process")["findings"];
    assert_eq!(*told, Value::Object(counts), "{}", run.log_text());
}

#[test]
fn each_way_to_exit_has_a_summary() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for how in ["return", "exit", "_exit", "_Exit", "quick_exit"] {
        let run = ends(&fs, how, how);
        expect_findings(&run, &["KMD-L4"]);
        assert_eq!(stats_of(&run, &fs.path(how))["msyncs"], 0, "{how}");
    }
}

#[test]
fn each_way_to_execute_has_a_summary_and_passes_its_arguments_on() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for (how, environment) in [
        ("execl", "inherited"),
        ("execlp", "inherited"),
        ("execv", "inherited"),
        ("execvp", "inherited"),
        ("execle", "given"),
        ("execve", "given"),
        ("execvpe", "given"),
        ("fexecve", "given"),
    ] {
        let run = ends(&fs, how, how);
        assert_eq!(
            run.stdout,
            format!("1 2 3 4 5 6 7 8 9 {environment}\n"),
            "{how}"
        );
        expect_findings(&run, &["KMD-L5"]);
    }
    let run = ends(&fs, "fails", "exec-fails");
    assert_eq!(run.stdout, "execv ENOENT\n");
    expect_findings(&run, &["KMD-L5", "KMD-L4"]);
}

/// Children of fork and vfork have nothing to tell, but for one that syncs: it counts from zero.
#[test]
fn children_count_from_zero() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = ends(&fs, "f", "children");
    let all = summaries(&run);
    let of_file: Vec<&Value> = all.iter().filter(|r| r["path"].is_string()).collect();
    assert_eq!(of_file.len(), 2, "{}", run.log_text());
    assert_ne!(of_file[0]["pid"], of_file[1]["pid"]);
    for summary in of_file {
        assert_eq!(summary["stats"]["msyncs"], 1, "{summary}");
    }
    assert_eq!(codes(&run), [""; 0], "{}", run.log_text());
}

/// More files than are kept apart: what is mapped no more is added up.
#[test]
fn many_files_are_added_up() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    const FILES: u64 = 200;
    let run = Program::guest("ends")
        .arg(fs.path("f"))
        .args(["many", &FILES.to_string()])
        .under_shim(&[INFO])
        .expect_success("many");
    let all = summaries(&run);
    let msyncs = |r: &Value| r["stats"]["msyncs"].as_u64().unwrap_or(0);
    let apart = all.iter().filter(|r| r["path"].is_string()).count();
    assert_eq!(apart, 64);
    assert_eq!(
        all.iter().map(msyncs).sum::<u64>(),
        FILES,
        "{}",
        run.log_text()
    );
    let others = all.iter().find(|r| {
        let message = r["message"].as_str().unwrap_or_default();
        message.starts_with("other files")
    });
    assert_eq!(others.map(msyncs), Some(FILES - 64), "{}", run.log_text());
}

/// What was known of each file before the munmap that took them all.
#[test]
fn one_munmap_takes_many_files() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = Program::guest("manyfiles")
        .arg(fs.path("f"))
        .arg("20")
        .under_shim(&[("KEEPMYDATA_LOG", "info")])
        .expect_success("manyfiles");
    let records = run.records();
    let mapped: Vec<&Value> = records
        .of("summary")
        .filter(|record| !record["path"].is_null())
        .map(|record| &record["stats"]["mapped_bytes"])
        .collect();
    assert!(mapped.len() >= 20, "{}", run.log_text());
    assert!(
        mapped.iter().all(|bytes| **bytes == page_size()),
        "{mapped:?}"
    );
}
