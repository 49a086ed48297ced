//! `keepmydata diagnose`: the verdict on programs that fail, on the test bed.

mod common;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{Flags, Program, Scratch, TearFs, shim};
use preload_tests::or_skip;
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output};

fn diagnose(options: &[&str], program: &Program) -> Output {
    keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .arg("diagnose")
        .args(options)
        .arg("--")
        .arg(program.file())
        .args(program.arguments())
        .output()
        .unwrap()
}

fn found(options: &[&str], program: &Program) -> Value {
    let output = diagnose(&[&["--json"], options].concat(), program);
    assert_eq!(stderr(&output), "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["exit_code"], json!(output.status.code()));
    found
}

/// The verdict, with these words in its sentences, and records of these events that show it.
#[track_caller]
fn check(found: &Value, verdict: &str, words: &[&str], events: &[&str]) {
    let sentences = found["sentences"].to_string().replace("\\\"", "'");
    assert_eq!(found["verdict"], verdict, "{sentences}\n{}", passed(found));
    for words in words {
        assert!(sentences.contains(words), "{words:?} is not in {sentences}");
    }
    for event in events {
        let mut records = found["records"].as_array().unwrap().iter();
        assert!(
            records.any(|record| record["event"] == *event),
            "{event} in {found}"
        );
    }
}

/// `native 0/3 flush 3/3`.
fn passed(found: &Value) -> String {
    let settings = found["settings"].as_array().unwrap().iter();
    let shown =
        settings.map(|runs| format!("{} {}/{}; ", runs["name"], runs["passed"], runs["runs"]));
    shown.collect()
}

fn seed(fs: &TearFs) -> Program {
    Program::guest("seed").arg(fs.path("f"))
}

fn survives(fs: &TearFs, way: &str) -> Program {
    let program = Program::guest("survives").arg(fs.path("f"));
    program.arg(fs.control_socket()).arg(way)
}

#[test]
fn junit_has_a_case_for_each_setting() {
    or_skip!(TearFs::available());
    let bed = TearFs::mount(&["--mode", "first-page"]);
    let scratch = Scratch::new();
    let results = scratch.path("results.xml");
    let options = ["--runs", "1", "--junit", results.to_str().unwrap()];
    let output = diagnose(&options, &seed(&bed));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = fs::read_to_string(&results).unwrap();
    for part in [
        "name=\"passes natively\"",
        "The filesystem is at fault.",
        "name=\"natively\"",
        "0 of 1 passed: exit code 1: P3 ",
        "name=\"+ heal (the default)\"",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

/// Nothing can be preloaded into it: the command supervises it.
#[test]
fn so_it_is_for_a_static_program() {
    or_skip!(TearFs::available());
    let bed = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let program = Program::guest_with("seed", Flags::Static).arg(bed.path("f"));
    let found = found(&["--runs=2"], &program);
    check(&found, "filesystem", &[], &["msync"]);
    let records = found["records"].as_array().unwrap();
    assert!(
        records.iter().all(|record| record["supervised"] == true),
        "{found}"
    );
}

/// The seed case fails in each of these modes; what cures it, and what the verdict rests on.
#[test]
fn the_filesystem_is_at_fault() {
    or_skip!(TearFs::available());
    for (mode, words, events) in [
        (
            "first-page",
            "from 'flush the whole file' on all do",
            &[][..],
        ),
        (
            "one-page",
            "from '+ verify, and try once more' on all do",
            &["msync"],
        ),
        (
            "drop-tail",
            "pages were made dirty again and synced alone",
            &["report", "msync"],
        ),
        // Longer than a busy machine takes to look, and shorter than the shim waits.
        ("early-ack --delay-ms=1000", TIME, &["msync"]),
        ("black-hole", "No setting lets every run pass", &["report"]),
        ("twin-inode", "Readers got old data", &[]),
    ] {
        let mode_options = format!("--mode {mode} --keep-cache");
        let options: Vec<&str> = mode_options.split(' ').collect();
        let fs = TearFs::mount(&options);
        let found = found(&["--runs=1"], &seed(&fs));
        println!("{mode}: {}", passed(&found));
        // Where the shim is slow, the time may pass in one of its retries.
        let sentences = found["sentences"].to_string();
        let words = match words == TIME && !sentences.contains(TIME) {
            true => "ms had passed",
            false => words,
        };
        check(&found, "filesystem", &[words], events);
    }
}

const TIME: &str = "until it was given time";

#[test]
fn time_after_msync_is_told_to_help() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    let fs = TearFs::mount(&["--mode=early-ack", "--delay-ms=100"]);
    let found = found(&["--runs=1"], &seed(&fs));
    check(
        &found,
        "filesystem",
        &["So does waiting ('natively, 500 ms after msync')"],
        &[],
    );
}

/// Stores and syncs through the first client, and reads through the second.
fn elsewhere(fs: &TearFs, how: &[&str]) -> Program {
    let guest = Program::guest("elsewhere").arg(fs.path("f"));
    guest.arg(fs.second().join("f")).args(how)
}

/// The GlusterFS case: the test reads through another mount than it stores through, and is shown the data after a second.
#[test]
fn another_client_that_is_late_is_no_fault_of_the_test() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    for (coherence, how) in [
        ("propagation", &[][..]),
        ("attribute-cache", &[]),
        ("late-open", &["reopen"]),
    ] {
        let fs = TearFs::mount_twice(coherence, &["--coherence-ms=1000"]);
        let output = diagnose(&["--runs=3"], &elsewhere(&fs, how));
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{coherence}: {text}");
        let headline = "The other client of the filesystem, through which it reads, sees too late";
        let mut lines = text.lines().skip_while(|line| !line.starts_with(headline));
        assert!(lines.next().is_some(), "{text}");
        let [first, second] = [fs.dir(), fs.second()].map(|dir| dir.display().to_string());
        let clients = format!("It stores through {first} and reads through ");
        assert!(lines.next().unwrap().starts_with(&clients), "{text}");
        for words in [
            "once msync waits for it (KEEPMYDATA_SEEN_BY), it sees the new",
            "+ wait for the other client     3 of 3",
            &format!("doctor {first} --client {second}\n"),
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert!(!text.contains("holds what was synced"), "{text}");
        assert!(!text.contains(&format!("doctor {first}\n")), "{text}");
    }
}

/// A sync more, which the shim makes, takes longer than the other client caches: it is time that helps, and no setting.
#[test]
fn what_time_alone_shows_to_another_client_is_no_lie_of_the_filesystem() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    let fs = TearFs::mount_twice(
        "attribute-cache",
        &["--coherence-ms=1050", "--fsync-delay-ms=600"],
    );
    let found = found(&["--runs=2"], &elsewhere(&fs, &[]));
    println!("{}", passed(&found));
    let words = [
        "It stores through",
        "It passes where msync only returns later ('natively, 500 ms after msync'): the other client sees it later",
        "KEEPMYDATA_SEEN_BY has msync wait for it",
    ];
    check(&found, "client", &words, &[]);
}

/// What the test does wrong besides is not the other client's fault.
#[test]
fn a_late_client_does_not_excuse_the_program() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    for (how, words) in [
        ("part", "It syncs the wrong range"),
        ("async", "It relies on MS_ASYNC"),
    ] {
        // Later than strace(1) delays anything.
        let fs = TearFs::mount_twice("propagation", &["--coherence-ms=1000"]);
        let found = found(&["--runs=1"], &elsewhere(&fs, &[how]));
        let late = "Besides, the other client sees late what is synced";
        check(&found, "program", &[words, late], &[]);
    }
    // Nor does it make the filesystem's what a client that is not late shows.
    let fs = TearFs::mount_twice("coherent", &[]);
    let found = found(&["--runs=1"], &elsewhere(&fs, &["part"]));
    check(&found, "program", &["It syncs the wrong range"], &[]);
}

/// It promises nothing that it never asks for, whoever reads, and whatever the file is called.
#[test]
fn a_program_that_never_syncs_is_not_excused_by_a_late_client() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    for how in ["unlinked", "never"] {
        let fs = TearFs::mount_twice("propagation", &["--coherence-ms=1000"]);
        let found = found(&["--runs=1"], &elsewhere(&fs, &[how]));
        let words = ["not seen to call msync", "without having synced"];
        check(&found, "program", &words, &["finding"]);
    }
}

/// The shim does nothing for a program that writes and calls fsync: it is told of the other client, and whether time helps.
#[test]
fn a_program_without_msync_is_told_of_the_other_client() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    for (late, verdict, words) in [
        ("1000", "client", "It passes 'natively, 2 s after fsync'"),
        ("60000", "test", "not seen to call msync"),
    ] {
        let fs = TearFs::mount_twice("propagation", &[&format!("--coherence-ms={late}")]);
        let guest = elsewhere(&fs, &["fsync"]);
        let found = match late {
            // It waits for the old data first.
            "60000" => {
                let path = fs.path("f");
                fs::write(&path, [b'o'; 8192]).unwrap();
                found(&["--runs=1", "--timeout=20"], &guest)
            }
            _ => found(&["--runs=1"], &guest),
        };
        check(&found, verdict, &[words, "It stores through"], &[]);
        assert!(
            !found["sentences"].to_string().contains("acknowledged"),
            "{found}"
        );
    }
}

/// A mapping of the other client keeps its page there, whatever opens or waits.
#[test]
fn a_client_that_never_sees_it_is_told_of() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    let fs = TearFs::mount_twice("no-invalidation", &[]);
    let found = found(&["--runs=1"], &elsewhere(&fs, &["mapping"]));
    let words = ["its other client did not see within 2 s"];
    check(&found, "client", &words, &["report"]);
    let sentences = found["sentences"].to_string();
    assert!(!sentences.contains("left the page cache"), "{sentences}");
}

/// Late by more than half a second, and not watched by the shim.
#[test]
fn what_passes_only_after_two_seconds_is_the_filesystems() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    let fs = TearFs::mount(&["--mode=early-ack", "--delay-ms=1200"]);
    let program = seed(&fs);
    let mut command = keepmydata();
    command
        .env("KEEPMYDATA_LIB", shim())
        .env("KEEPMYDATA_FILES", "!*");
    command
        .args(["diagnose", "--json", "--runs=2", "--"])
        .arg(program.file());
    let output = command.args(program.arguments()).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let words = ["It passes 'natively, 2 s after msync', and under no setting of keepmydata"];
    check(&found, "filesystem", &words, &[]);
}

/// Two processes that each open the file again and again, without KEEP_CACHE.
#[test]
fn what_opens_drop_is_told_of_once_and_first() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=black-hole"]);
    let program = Program::guest("doio")
        .args(["-n", "2", "-t", "1"])
        .arg(fs.path("f"));
    let found = found(&["--runs=1", "--timeout=20"], &program);
    let sentences = found["sentences"].as_array().unwrap();
    let first = sentences[0].as_str().unwrap();
    println!("{found}");
    assert!(
        first.starts_with("Not all is known here: "),
        "{sentences:?}"
    );
    for words in [
        "kernel_cache (FOPEN_KEEP_CACHE)",
        "AUTO_INVAL_DATA (auto_cache) off",
        "one process alone",
    ] {
        assert!(first.contains(words), "{words:?} is not in {first}");
    }
    let told = found["sentences"].to_string();
    assert_eq!(told.matches("left the page cache").count(), 1, "{told}");
    assert!(!told.contains("holds what was synced"), "{told}");
}

#[test]
fn a_program_that_races_is_at_fault() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=volatile"]);
    let found = found(&[], &survives(&fs, "racing"));
    check(
        &found,
        "program",
        &["It races with its own msync"],
        &["race"],
    );
}

#[test]
fn a_program_that_relies_on_ms_async_is_at_fault() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=volatile"]);
    let found = found(&["--runs=2"], &survives(&fs, "async"));
    let words = [
        "It relies on MS_ASYNC",
        "from '+ MS_ASYNC and munmap sync too' on all do",
    ];
    check(&found, "program", &words, &["msync"]);
}

#[test]
fn a_program_that_syncs_the_wrong_range_is_at_fault() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=volatile"]);
    let found = found(&["--runs=2"], &survives(&fs, "part"));
    let words = [
        "It syncs the wrong range",
        "from 'flush the whole file' on all do",
    ];
    check(&found, "program", &words, &["finding"]);
}

#[test]
fn a_program_that_ignores_errors_is_at_fault() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=eio-once"]);
    let found = found(&["--runs=2"], &survives(&fs, "ignoring"));
    check(
        &found,
        "program",
        &["It ignores the errors of msync", "EIO"],
        &["msync"],
    );
}

#[test]
fn a_test_that_expects_what_is_wrong_is_at_fault() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=volatile"]);
    let found = found(&["--runs=2"], &survives(&fs, "wrong"));
    check(&found, "test", &["It fails whatever is done."], &[]);
}

#[test]
fn what_passes_needs_no_explanation() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=volatile"]);
    let program = survives(&fs, "right");
    let found = found(&["--runs=2"], &program);
    check(&found, "passes", &["Natively all 2 runs passed"], &[]);
    assert_eq!(diagnose(&["--runs=1"], &program).status.code(), Some(0));
}

/// Natively is without the shim, also for who has it preloaded everywhere.
#[test]
fn a_caller_who_preloads_the_shim_gets_the_same_verdict() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=one-page"]);
    let program = seed(&fs);
    let output = keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .env("LD_PRELOAD", shim())
        .args(["diagnose", "--json", "--runs=1", "--"])
        .arg(program.file())
        .args(program.arguments())
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["settings"][0]["passed"], 0, "{found}");
    assert_eq!(found["verdict"], "filesystem");
}

/// One in three fails, with nothing that msync has to do with.
#[test]
fn a_flaky_test_is_called_one() {
    let scratch = Scratch::new();
    let count = scratch.path("count");
    let script = r#"echo x >> "$1"; test $(($(wc -l < "$1") % 3)) != 0"#;
    let program = Program::new("sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(&count);
    let found = found(&[], &program);
    check(&found, "test", &["was not seen to call msync"], &[]);
}

#[test]
fn logs_are_kept_where_asked_and_nothing_else_is_left() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=first-page"]);
    let scratch = Scratch::new();
    let (logs, temporary) = (scratch.path("logs"), scratch.path("tmp"));
    fs::create_dir(&temporary).unwrap();
    let program = seed(&fs);
    let run = || {
        keepmydata()
            .env("KEEPMYDATA_LIB", shim())
            .env("TMPDIR", &temporary)
            .args(["diagnose", "--runs=2", "--keep-logs"])
            .arg(&logs)
            .arg(program.file())
            .args(program.arguments())
            .output()
            .unwrap()
    };
    let output = run();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert!(text.contains("\nThe filesystem is at fault.\n"), "{text}");
    assert!(
        text.contains(&format!("keepmydata doctor {}", fs.dir().display())),
        "{text}"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let kept = |path: &str| fs::read_to_string(logs.join(path)).unwrap();
    assert!(kept("native-2/stdout").contains("P1 [4444160,4448256) old"));
    let heal = fs::read_dir(logs.join("heal-1")).unwrap().flatten();
    let mut names = heal.map(|entry| entry.file_name().into_string().unwrap());
    assert!(names.any(|name| name.ends_with(".log")));

    let again = run();
    assert_eq!(again.status.code(), Some(125));
    assert!(stderr(&again).contains("exists; --keep-logs needs a directory without older logs"));
}

#[test]
fn a_run_that_takes_too_long_has_failed_and_is_gone() {
    let scratch = Scratch::new();
    let pids = scratch.path("pids");
    let script = r#"echo $$ >> "$1"; sleep 1000 & echo $! >> "$1"; wait"#;
    let program = Program::new("sh")
        .arg("-c")
        .arg(script)
        .arg("sh")
        .arg(&pids);
    let found = found(&["--runs=1", "--timeout=1"], &program);
    assert_eq!(found["verdict"], "test");
    assert!(found.to_string().contains("still running after 1 s"));
    // Of a zombie it is empty; the number may be another's by now.
    for pid in fs::read_to_string(&pids).unwrap().lines() {
        let running = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_of_run = running.contains("sleep\0") && running.contains("1000")
            || running.contains(pids.to_str().unwrap());
        assert!(!is_of_run, "{pid}: {running:?}");
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    for (arguments, code, why) in [
        (
            &["diagnose"][..],
            125,
            "the following required arguments were not provided",
        ),
        (
            &["diagnose", "--runs=0", "true"],
            125,
            "invalid value '0' for '--runs <N>'",
        ),
        (
            &["diagnose", "/no/program"],
            127,
            "/no/program: No such file or directory",
        ),
    ] {
        let mut command: Command = keepmydata();
        let output = command
            .env("KEEPMYDATA_LIB", shim())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
}
