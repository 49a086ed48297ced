//! Programs that no preloaded library reaches, under the supervisor: static ones, with glibc and musl, and Go.

mod common;

use clap::ValueEnum;
use common::{compile, keepmydata_environment, stderr, stdout};
use preload_tests::harness::{
    Flags, LoopFs, Outcome, Program, Scratch, TearFs, go_guest, patience, shim, wait_until,
};
use preload_tests::or_skip;
use preload_tests::tearfs::modes::Mode;
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KEEPMYDATA: &str = env!("CARGO_BIN_EXE_keepmydata");

/// `program`, with the arguments of the command before it.
fn supervised(program: &Program, options: &[&str]) -> Program {
    program.by_command(KEEPMYDATA, options)
}

/// What becomes of the seed case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Whole,
    Torn,
    Eio,
}

impl Found {
    #[track_caller]
    fn of(outcome: &Outcome) -> Found {
        match outcome.code() {
            Some(0) => Found::Whole,
            Some(1) if outcome.stdout.starts_with("P0") => Found::Torn,
            Some(3) => Found::Eio,
            _ => panic!("neither whole nor torn: {outcome:?}"),
        }
    }
}

use Found::{Eio, Torn, Whole};

/// One has a test of its own; the lie of reorder comes after the msync, and twin-inode is about readers.
const OTHER_MODES: [&str; 3] = ["eio-once", "reorder", "twin-inode"];

/// A mode, and what becomes of the seed case in it natively and supervised.
const MODES: [(&str, Found, Found); 10] = [
    ("honest", Whole, Whole),
    ("volatile", Whole, Whole),
    ("first-page", Torn, Whole),
    ("one-page", Torn, Whole),
    ("stale-window", Torn, Whole),
    ("early-ack", Torn, Whole),
    ("drop-tail", Torn, Whole),
    ("lossy-first", Torn, Whole),
    ("black-hole", Torn, Eio),
    ("silent-eio", Torn, Eio),
];

fn modes<const N: usize>(names: [&str; N]) -> [(&'static str, Found, Found); N] {
    names.map(|name| *MODES.iter().find(|mode| mode.0 == name).expect("a mode"))
}

#[test]
fn each_mode_is_in_a_table() {
    let modes = MODES.iter().map(|mode| mode.0).chain(OTHER_MODES);
    let modes: HashSet<&str> = modes.collect();
    for mode in Mode::value_variants() {
        assert!(
            modes.contains(mode.word()),
            "{} is not in MODES",
            mode.word()
        );
    }
}

/// Runs the seed case in each mode; nothing is in doubt.
fn check_seed(seed: &Program, options: &[&str], modes: &[(&str, Found, Found)]) {
    or_skip!(TearFs::available());
    for &(mode, native, by_supervisor) in modes {
        for cache in [&["--keep-cache"][..], &["--auto-inval"], &[]] {
            let arguments = [&["--mode", mode][..], cache].concat();
            let what = format!("{arguments:?} {options:?}");
            let fs = TearFs::mount(&arguments);
            let outcome = seed.clone().arg(fs.path("native")).natively();
            assert_eq!(Found::of(&outcome), native, "{what}: {outcome:?}");
            let program = seed.clone().arg(fs.path("supervised"));
            let outcome = supervised(&program, options).natively();
            assert_eq!(Found::of(&outcome), by_supervisor, "{what}: {outcome:?}");
            assert!(!outcome.stderr.contains("doubt"), "{what}: {outcome:?}");
            assert_eq!(
                outcome.stderr.is_empty(),
                by_supervisor != Eio,
                "{what}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_static_program_is_torn_natively_and_whole_or_told_of_under_the_supervisor() {
    check_seed(&Program::guest_with("seed", Flags::Static), &[], &MODES);
}

#[test]
fn so_is_one_with_musl() {
    or_skip!(Flags::Musl.available());
    let modes = modes(["honest", "first-page", "stale-window", "black-hole"]);
    for flags in [Flags::StaticMusl, Flags::Musl] {
        check_seed(&Program::guest_with("seed", flags), &[], &modes);
    }
}

#[test]
fn so_is_one_in_go() {
    let seed = Program::new(or_skip!(go_guest("seed")));
    check_seed(&seed, &[], &MODES);
}

/// It has the C library, but asks the kernel itself: whoever starts it must say so.
#[test]
fn so_is_one_in_rust_that_makes_raw_system_calls() {
    let seed = Program::new(
        preload_tests::harness::target_directory()
            .join("debug")
            .join("raw-seed"),
    );
    check_seed(&seed, &["--reach=supervise"], &MODES);
    // The library sees nothing of it.
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let outcome = seed.arg(fs.path("preloaded")).under_shim(&[]);
    assert_eq!(Found::of(&outcome), Torn, "{outcome:?}");
}

/// Goroutines that the runtime interrupts by signals, and moves from thread to thread.
#[test]
fn goroutines_are_torn_natively_and_whole_or_told_of_under_the_supervisor() {
    let crowd = Program::new(or_skip!(go_guest("crowd")));
    let modes = modes(["honest", "one-page", "drop-tail", "black-hole"]);
    or_skip!(TearFs::available());
    for (mode, native, by_supervisor) in modes {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        let outcome = crowd.clone().arg(fs.path("native")).natively();
        assert_eq!(Found::of(&outcome), native, "{mode}: {outcome:?}");
        let program = crowd.clone().arg(fs.path("supervised"));
        // All of it is spent where nothing is kept.
        let deadline = match by_supervisor {
            Eio => "--deadline-ms=100",
            _ => "--deadline-ms=20000",
        };
        let outcome = supervised(&program, &[deadline]).natively();
        assert_eq!(Found::of(&outcome), by_supervisor, "{mode}: {outcome:?}");
        assert!(
            by_supervisor == Eio || outcome.stderr.is_empty(),
            "{mode}: {outcome:?}"
        );
    }
}

#[test]
fn so_is_one_with_the_library_mmap_go() {
    or_skip!(preload_tests::harness::go_library(
        "github.com/edsrzf/mmap-go"
    ));
    let library = Program::new(or_skip!(go_guest("library")));
    let modes = modes(["honest", "one-page", "drop-tail", "black-hole"]);
    check_seed(&library, &[], &modes);
}

/// As LTP's doio is run: processes that store, sync and read back parts of one file.
#[test]
fn up_to_four_processes_of_doio_find_no_bad_data() {
    or_skip!(TearFs::available());
    let doio = Program::guest_with("doio", Flags::Static);
    let run = |mode: &str, processes: u64, is_supervised: bool| {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        let program = doio
            .clone()
            .args(["-n", &processes.to_string(), "-t", "2", "-s", "3"]);
        let program = program.arg(fs.path("f"));
        match is_supervised {
            true => supervised(&program, &[]).natively(),
            false => program.natively(),
        }
    };
    for mode in ["honest", "one-page", "stale-window"] {
        for processes in 1..=4 {
            let outcome = run(mode, processes, true);
            assert_eq!(outcome.code(), Some(0), "{mode} {processes}: {outcome:?}");
            assert_eq!(outcome.stderr, "", "{mode} {processes}");
        }
    }
    let outcome = run("one-page", 4, false);
    assert!(outcome.stderr.contains("bad data"), "{outcome:?}");
}

/// LMDB, linked statically: what a commit has returned for is there, in what the filesystem holds.
#[test]
fn a_static_lmdb_keeps_its_commits() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::library(&[""], "liblmdb.a"));
    let lmdb = Program::guest_with("crash_lmdb", Flags::Static);
    for (is_supervised, expected) in [(false, 1), (true, 0)] {
        let fs = TearFs::mount(&["--mode", "drop-tail", "--keep-cache"]);
        let directory = fs.path("db");
        fs::create_dir(&directory).expect("a directory");
        let store = lmdb.clone().arg("t").arg(&directory).args(["7", "store"]);
        let store = match is_supervised {
            true => supervised(&store, &[]),
            false => store,
        };
        let running = store.start_natively();
        let is_enough = || running.stdout().lines().count() > 30;
        wait_until(
            "thirty commits",
            patience(Duration::from_secs(20)),
            is_enough,
        );
        let promises = running.kill().stdout;
        let scratch = Scratch::new();
        // Past the page cache.
        for name in ["data.mdb", "lock.mdb"] {
            let bytes = fs::read(directory.join(name)).expect("a file of LMDB's");
            fs::write(scratch.path(name), bytes).expect("a copy");
        }
        let whole = promises.rfind('\n').map_or(0, |end| end + 1);
        fs::write(scratch.path("promises"), &promises[..whole]).expect("what was promised");
        let check = Program::new("sh").args(["-c", "\"$@\" <promises", "sh"]);
        let check = check
            .arg(lmdb.file())
            .arg("t")
            .arg(scratch.dir())
            .args(["7", "check"]);
        let outcome = check.current_dir(scratch.dir()).natively();
        assert_eq!(
            outcome.code(),
            Some(expected),
            "{is_supervised}: {outcome:?}"
        );
    }
}

/// The library would reach it, and is not asked.
#[test]
fn so_is_a_dynamic_one_where_that_is_asked_for() {
    let seed = Program::guest("seed");
    let modes = modes(["honest", "one-page", "black-hole"]);
    check_seed(&seed, &["--reach=supervise"], &modes);
}

/// As where the kernel has no marks to give: pages that are cached count as stored to.
#[test]
fn so_it_is_without_marks() {
    let seed = Program::guest_with("seed", Flags::Static);
    let modes = modes(["honest", "one-page", "drop-tail", "black-hole"]);
    check_seed(&seed, &["--track=whole"], &modes);
}

/// All that a program inherits, or could notice.
#[test]
fn a_supervised_program_inherits_what_it_would_inherit() {
    let scratch = Scratch::new();
    let guest = scratch.path("inherited");
    compile("inherited", &["-static"], &guest);
    let with = |mut command: Command| {
        command
            .args(["a", "", "b c"])
            .env_clear()
            .env("Z", "1")
            .env("A", "2=3");
        let output = command.output().expect("started");
        assert_eq!(stderr(&output), "");
        (output.status, stdout(&output))
    };
    let mut command = keepmydata_environment(Command::new(KEEPMYDATA));
    command.arg("--").arg(&guest);
    assert_eq!(with(command), with(Command::new(&guest)));
}

#[test]
fn exit_code_signal_and_process_id_are_the_programs() {
    let busy = "/bin/busybox";
    let shell = Path::new(busy).exists();
    let run = |script: &str| {
        let mut command = keepmydata_environment(Command::new(KEEPMYDATA));
        match shell {
            true => command.args([busy, "sh"]),
            false => command.args(["--reach=supervise", "sh"]),
        };
        command.args(["-c", script]).stdout(Stdio::piped());
        let child = command.spawn().expect("started");
        (child.id(), child.wait_with_output().expect("an end"))
    };
    assert_eq!(run("exit 77").1.status.code(), Some(77));
    assert_eq!(run("kill -KILL $$").1.status.signal(), Some(libc::SIGKILL));
    assert_eq!(run("kill -TERM $$").1.status.signal(), Some(libc::SIGTERM));
    let (pid, output) = run("echo $$");
    assert_eq!(stdout(&output).trim(), pid.to_string());
    // A pipe ends with the program, not with the supervisor.
    assert_eq!(stdout(&run("echo a; sleep 0.1; echo b").1), "a\nb\n");
}

/// The filesystem can be unmounted as soon as the program has ended. Whoever else looks into /proc just then, as other tests
/// do, keeps the program's memory for that moment, and what is mapped there: not each time.
#[test]
fn nothing_is_held_when_the_program_has_ended() {
    or_skip!(TearFs::available());
    let seed = Program::guest_with("seed", Flags::Static);
    let mut at_once = 0;
    for _ in 0..10 {
        let fs = TearFs::mount(&["--mode", "honest"]);
        let program = seed.clone().arg(fs.path("f"));
        supervised(&program, &[]).natively().expect_success("seed");
        let unmounts = || {
            let status = Command::new("umount").arg(fs.dir()).status();
            status.expect("umount").success()
        };
        match unmounts() {
            true => at_once += 1,
            false => wait_until("the mount is free", Duration::from_secs(10), unmounts),
        }
    }
    assert!(at_once >= 5, "{at_once} of 10 at once");
}

/// The processes that run this command with `argument`.
fn supervisors(argument: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.next() == Some(KEEPMYDATA.as_bytes())
            && words.any(|word| word == argument.as_os_str().as_encoded_bytes())
    };
    pids.filter(has).collect()
}

/// The supervisor, of the two processes: the keeper is its child.
fn supervisor(argument: &Path) -> Option<i32> {
    let all = supervisors(argument);
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse::<i32>()
            .ok()
    };
    let parents: Vec<i32> = all.iter().filter_map(parent).collect();
    all.into_iter().find(|pid| parents.contains(pid))
}

fn kill(pid: i32) {
    // SAFETY: only numbers are passed.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

/// Without it nothing is proved: msync fails, and the program goes on.
#[test]
fn a_program_whose_supervisor_is_killed_is_told_so_and_ends_as_it_would() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let file = fs.path("f");
    let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
    let mut talk = supervised(&syncer, &[]).converse(false, &[]);
    let mut lines = Lines::of(&mut talk);
    assert_eq!(lines.ask("sync"), "0");
    let pid = supervisor(&file).expect("a supervisor");
    kill(pid);
    wait_until("its end", patience(Duration::from_secs(10)), || {
        supervisor(&file).is_none()
    });
    assert_eq!(lines.ask("sync"), "EIO");
    assert_eq!(lines.ask("map"), "0");
    drop(lines);
    assert!(talk.end(patience(Duration::from_secs(10))));
    wait_until(
        "the keeper's end",
        patience(Duration::from_secs(10)),
        || supervisors(&file).is_empty(),
    );
}

/// In whatever order they end, nothing is left.
#[test]
fn nothing_is_left_of_a_supervisor_whose_program_is_killed() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let file = fs.path("f");
    let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
    let mut talk = supervised(&syncer, &[]).converse(false, &[]);
    let mut lines = Lines::of(&mut talk);
    assert_eq!(lines.ask("sync"), "0");
    assert_eq!(supervisors(&file).len(), 2);
    drop(lines);
    drop(talk);
    wait_until("their end", patience(Duration::from_secs(10)), || {
        supervisors(&file).is_empty()
    });
}

/// Questions and answers, a line each.
struct Lines<'a> {
    talk: &'a mut preload_tests::harness::Conversation,
    answers: std::io::BufReader<std::process::ChildStdout>,
}

impl<'a> Lines<'a> {
    fn of(talk: &'a mut preload_tests::harness::Conversation) -> Lines<'a> {
        let answers = std::io::BufReader::new(talk.take_stdout().expect("stdout"));
        Lines { talk, answers }
    }

    fn ask(&mut self, question: &str) -> String {
        use std::io::{BufRead, Write};
        writeln!(self.talk.stdin(), "{question}").expect("the program reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }
}

/// What a static program on a file of its own answers, and what it has on standard error. At "evict" this process, which
/// nobody supervises, syncs the file and drops what nobody has mapped.
fn converse(
    fs: &TearFs,
    (name, is_supervised): (&str, bool),
    questions: &str,
) -> (Vec<String>, String) {
    let file = fs.path(name);
    let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
    let program = match is_supervised {
        true => supervised(&syncer, &[]),
        false => syncer,
    };
    let mut talk = program.converse(false, &[]);
    let mut lines = Lines::of(&mut talk);
    let mut answers = Vec::new();
    for question in questions.split_whitespace() {
        match question {
            "evict" => {
                let file = fs::File::open(&file).expect("the file");
                file.sync_all().expect("fsync");
                let (fd, all) = (
                    std::os::fd::AsRawFd::as_raw_fd(&file),
                    libc::POSIX_FADV_DONTNEED,
                );
                // SAFETY: only numbers are passed.
                assert_eq!(unsafe { libc::posix_fadvise(fd, 0, 0, all) }, 0);
            }
            question => answers.push(lines.ask(question)),
        }
    }
    drop(lines);
    let stderr = talk.stderr();
    assert!(talk.end(patience(Duration::from_secs(10))));
    (answers, stderr)
}

/// What was stored through a mapping that is gone is proved before the mapping is.
#[test]
fn what_is_unmapped_is_proved_before_anybody_can_drop_it() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let questions = "store unmap evict again msync";
    let (answers, _) = converse(&fs, ("native", false), questions);
    assert_eq!(answers, ["0", "0", "0", "0"]);
    let (answers, stderr) = converse(&fs, ("supervised", true), questions);
    assert_eq!(answers, ["0", "0", "0", "EIO"], "{stderr}");
}

/// Locked memory is not tracked, but whoever unmaps it waits until that was proved; what is not locked is tracked as before.
#[test]
fn what_is_unmapped_is_proved_after_memory_was_locked() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    for locks in ["lock", "pin"] {
        let questions = format!("{locks} second unmap evict again msync");
        let (answers, _) = converse(&fs, (&format!("{locks}-native"), false), &questions);
        assert_eq!(answers, ["0"; 5], "{locks}");
        let (answers, stderr) = converse(&fs, (locks, true), &questions);
        assert_eq!(answers, ["0", "0", "0", "0", "EIO"], "{locks}: {stderr}");
    }
}

/// Where nothing is verified by itself: once an fsync of the program's own or an msync has failed, msync does not return 0
/// for what that has lost, as it does natively.
#[test]
fn what_a_sync_has_failed_for_is_not_taken_for_synced() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "eio-once", "--keep-cache"]);
    let cases = [
        ("fsync", "store fsync msync"),
        ("msync", "store unmap again msync msync"),
    ];
    for (name, questions) in cases {
        let run = |name: &str, options: Option<&[&str]>| {
            let file = fs.path(name);
            let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
            let program = options.map_or(syncer.clone(), |options| supervised(&syncer, options));
            let mut talk = program.converse(false, &[]);
            let mut lines = Lines::of(&mut talk);
            let answers: Vec<String> = questions.split(' ').map(|word| lines.ask(word)).collect();
            drop(lines);
            assert!(talk.end(patience(Duration::from_secs(10))));
            let is_there = fs::read(file).expect("the file")[0] == 1;
            let [.., failed, last] = answers.as_slice() else {
                panic!("{answers:?}");
            };
            assert_eq!(failed, "EIO", "{name}: {answers:?}");
            (last.clone(), is_there)
        };
        assert_eq!(
            run(&format!("{name}-native"), None),
            ("0".to_owned(), false)
        );
        let (last, is_there) = run(name, Some(&["--verify=off"]));
        assert!(last == "EIO" || is_there, "{name}: {last}");
    }
}

/// On FUSE the kernel drops the page cache then.
#[test]
fn what_the_program_truncates_or_punches_is_proved_before_and_not_doubted() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    for (change, cache) in [
        ("grow", "--keep-cache"),
        ("punch", "--keep-cache"),
        ("grow", "--auto-inval"),
    ] {
        let fs = TearFs::mount(&["--mode", "black-hole", cache]);
        let questions = format!("store {change} msync");
        let (answers, _) = converse(&fs, ("native", false), &questions);
        assert_eq!(answers, ["0", "0", "0"], "{change}");
        let (answers, stderr) = converse(&fs, ("supervised", true), &questions);
        assert_eq!(answers, ["0", "0", "EIO"], "{change}: {stderr}");
        let fs = TearFs::mount(&["--mode", "honest", cache]);
        let questions = format!("store {change} store msync {change} msync store {change} sync");
        let (answers, stderr) = converse(&fs, ("f", true), &questions);
        assert!(
            answers.iter().all(|answer| answer == "0"),
            "{change}: {answers:?} {stderr}"
        );
        assert_eq!(stderr, "", "{change} {cache}");
    }
}

/// Nobody is asked about the write, which takes pages out of the page cache: where there may have been one, nothing is
/// proved.
#[test]
fn what_was_written_past_the_page_cache_is_not_taken_for_proved() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "lossy-first", "--keep-cache"]);
    let questions = "second direct second msync";
    let (answers, _) = converse(&fs, ("native", false), questions);
    assert_eq!(answers.last().map(String::as_str), Some("0"), "{answers:?}");
    let (answers, stderr) = converse(&fs, ("supervised", true), questions);
    let is_told =
        answers.last().is_some_and(|answer| answer == "EIO") || stderr.contains("not proved");
    assert!(is_told, "{answers:?} {stderr}");
}

/// The log has the same records as the library's.
#[test]
fn the_log_tells_what_was_done_and_by_whom() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let seed = Program::guest_with("seed", Flags::Static).arg(fs.path("f"));
    let scratch = Scratch::new();
    let log = format!("--log-file={}", scratch.path("%p.log").display());
    let outcome = supervised(&seed, &["--log=debug", "--log-format=json", &log]).natively();
    assert_eq!(Found::of(&outcome), Whole, "{outcome:?}");
    let logs: Vec<PathBuf> = fs::read_dir(scratch.dir())
        .expect("logs")
        .map(|entry| entry.expect("a log").path())
        .collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    let text = fs::read_to_string(&logs[0]).expect("a log");
    let records: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        records.iter().all(|record| record["supervised"] == true),
        "{text}"
    );
    let events: Vec<&str> = records
        .iter()
        .filter_map(|record| record["event"].as_str())
        .collect();
    for event in [
        "start",
        "dirty",
        "copy",
        "fdatasync",
        "verify",
        "heal",
        "drop",
        "msync",
        "summary",
    ] {
        assert!(events.contains(&event), "no {event}: {text}");
    }
    let summaries: Vec<_> = records
        .iter()
        .filter(|record| record["event"] == "summary")
        .collect();
    let [of_file, of_process] = summaries.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(
        of_file["path"],
        fs.path("f").to_string_lossy().as_ref(),
        "{text}"
    );
    for (number, expected) in [
        ("msyncs", 1),
        ("pages_flushed", 4),
        ("pages_verified", 4),
        ("pages_healed", 3),
    ] {
        assert_eq!(of_file["stats"][number], expected, "{number}: {text}");
    }
    assert!(of_file["stats"]["heal_ns"].as_u64() > Some(0), "{text}");
    assert_eq!(of_process["message"], "the process", "{text}");
    assert!(
        of_process["stats"]["minor_faults"].as_u64() > Some(0),
        "{text}"
    );
    let msync = records
        .iter()
        .find(|record| record["event"] == "msync")
        .expect("an msync");
    assert_eq!(msync["dirty_pages"], 4, "{text}");
    assert_eq!(msync["verdicts"]["verified"], 4, "{text}");
    assert_eq!(msync["tracker"], "pagemap", "{text}");
}

/// What can be known from outside of what a program does wrong is in its log and counted, and of the right one there is nothing.
#[test]
fn what_a_program_does_wrong_is_found_from_outside() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    let page = preload_tests::page_size() as u64;
    for (number, first) in [(2, page), (4, 0), (7, page)] {
        let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
        let code = format!("KMD-L{number}");
        let guest = Program::guest_with(&format!("findings/l{number}"), Flags::Static);
        for is_right in [false, true] {
            let program = guest
                .clone()
                .arg(fs.path(if is_right { "right" } else { "wrong" }));
            let program = if is_right {
                program.arg("right")
            } else {
                program
            };
            let scratch = Scratch::new();
            let log = format!("--log-file={}", scratch.path("log").display());
            let options = ["--log=info", "--log-format=json", &log];
            let run = supervised(&program, &options).natively();
            run.expect_success(&code);
            let text = fs::read_to_string(scratch.path("log")).expect("a log");
            let records: Vec<serde_json::Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect();
            let told: Vec<_> = records.iter().filter(|r| !r["code"].is_null()).collect();
            let of_process = records.iter().rfind(|record| record["event"] == "summary");
            let counted = &of_process.expect("a summary")["findings"];
            match (is_right, told.as_slice()) {
                (true, []) => assert!(counted.is_null(), "{text}"),
                (false, [one]) => {
                    assert_eq!(one["code"], code.as_str(), "{text}");
                    assert_eq!(one["dirty"], serde_json::json!([[first, page]]), "{text}");
                    assert_eq!(*counted, serde_json::json!({ code.as_str(): 1 }), "{text}");
                }
                _ => panic!("{code} {is_right}: {text}"),
            }
        }
    }
}

/// A shell that starts a static program, one that the library is preloaded into, and a static one again: each is enforced,
/// and once.
#[test]
fn in_a_tree_of_both_kinds_each_program_is_enforced_once() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let (by_hand, loaded) = (
        Program::guest_with("seed", Flags::Static),
        Program::guest("seed"),
    );
    let scratch = Scratch::new();
    let script = format!(
        "{static_} {f}1 && LD_PRELOAD={library} {dynamic} {f}2 && {dynamic} {f}3 && exec {static_} {f}4",
        static_ = by_hand.file().display(),
        dynamic = loaded.file().display(),
        library = shim().display(),
        f = fs.path("f").display(),
    );
    let native = Program::new("/bin/sh").args(["-c", &script]).natively();
    assert_eq!(native.code(), Some(1), "{native:?}");
    let shell = Program::new("/bin/sh").args(["-c", &script]);
    let shell = shell
        .env("KEEPMYDATA_LOG", "info")
        .env("KEEPMYDATA_LOG_FORMAT", "json")
        .env("KEEPMYDATA_LOG_FILE", scratch.path("log"));
    let outcome = supervised(&shell, &["--reach=supervise"]).natively();
    assert_eq!(outcome.code(), Some(0), "{outcome:?}");
    let text = fs::read_to_string(scratch.path("log")).expect("a log");
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let msyncs: Vec<serde_json::Value> = records
        .filter(|record: &serde_json::Value| record["event"] == "msync")
        .collect();
    let of = |name: &str| {
        let path = fs.path(name).to_string_lossy().into_owned();
        let own = msyncs
            .iter()
            .filter(|record| record["path"] == path.as_str());
        own.map(|record| record["supervised"] == true)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ["f1", "f2", "f3", "f4"].map(of),
        [[true], [false], [true], [true]],
        "{text}"
    );
}

/// Threads, forks and vforks, each of which stores and syncs: what comes out is what comes out natively.
#[test]
fn threads_and_forks_are_what_they_are_natively() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let cases: [(&str, &[&str]); 5] = [
        ("threads", &["8", "20", "ordered"]),
        ("children", &[]),
        ("locks", &["posix"]),
        ("descriptors", &["numbers"]),
        ("mapcalls", &[]),
    ];
    for (guest, arguments) in cases {
        let program = Program::guest_with(guest, Flags::Static);
        let program = program.arg(fs.path("f")).args(arguments);
        let native = program.natively().expect_success(guest);
        let _ = fs::remove_file(fs.path("f"));
        let under = supervised(&program, &[]).natively().expect_success(guest);
        let _ = fs::remove_file(fs.path("f"));
        assert_eq!(
            without_addresses(&under.stdout),
            without_addresses(&native.stdout),
            "{guest}"
        );
    }
    let storm = Program::guest_with("forkstorm", Flags::Static);
    let storm = storm.arg(fs.path("storm")).args(["4", "200"]);
    supervised(&storm, &[])
        .natively()
        .expect_success("forkstorm");
}

/// On an honest filesystem nothing fails, however many threads, children and signals there are.
#[test]
fn many_threads_children_and_signals_end_as_they_do_natively() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let children = (100 * preload_tests::harness::seconds(1))
        .min(2000)
        .to_string();
    let cases = [
        ["200", "0", "0", "restart"],
        ["0", &children, "0", "restart"],
        ["16", "50", "1000", "restart"],
        ["16", "50", "1000", "interrupt"],
    ];
    for arguments in cases {
        let tempest = Program::guest_with("tempest", Flags::Static);
        let tempest = tempest.arg(fs.path("f")).args(arguments);
        let native = tempest.natively().expect_success("natively");
        let under = supervised(&tempest, &[]).natively();
        let told = |outcome: &Outcome| (outcome.code(), outcome.signal(), outcome.stdout.clone());
        assert_eq!(told(&under), told(&native), "{arguments:?}: {under:?}");
    }
}

/// Whoever of program, supervisor and keeper is killed, or stopped for a while, and when: all come to an end.
#[test]
fn whoever_is_killed_or_stopped_nothing_hangs_and_nothing_is_left() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    for round in 0..(10 * preload_tests::harness::seconds(1)).min(200) {
        let file = fs.path(&format!("f{round}"));
        let tempest = Program::guest_with("tempest", Flags::Static).arg(&file);
        let tempest = tempest.args(["6", "15", "200", "restart"]);
        let running = supervised(&tempest, &[]).start_natively();
        // Another moment each time.
        std::thread::sleep(Duration::from_millis(round * 37 % 250));
        let (beside, all) = (supervisors(&file), processes_with(&file));
        let victims = match round % 4 {
            0 => all,
            1 => beside[..beside.len().min(1)].to_vec(),
            2 => beside[beside.len().saturating_sub(1)..].to_vec(),
            _ => [beside, all].concat(),
        };
        let signal = |number| {
            for &pid in &victims {
                // SAFETY: only numbers are passed. Who has ended meanwhile gets nothing.
                unsafe { libc::kill(pid, number) };
            }
        };
        for _ in 0..3 {
            signal(libc::SIGSTOP);
            std::thread::sleep(Duration::from_millis(round % 9));
            signal(libc::SIGCONT);
        }
        signal(libc::SIGKILL);
        let outcome = running.wait(patience(Duration::from_secs(30)));
        assert!(!outcome.timed_out, "round {round}: {outcome:?}");
        wait_until("all ends", patience(Duration::from_secs(20)), || {
            processes_with(&file).is_empty() && supervisors(&file).is_empty()
        });
    }
}

fn without_addresses(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']);
    words.filter(|word| !word.contains("0x")).collect()
}

/// Signals all the time, by handlers with SA_RESTART, and in the middle of it a stop.
#[test]
fn signals_and_stops_do_no_harm() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let signals = Program::guest_with("signals", Flags::Static);
    let signals = signals.arg(fs.path("f")).args(["2", "handler", "1000"]);
    let running = supervised(&signals, &[]).start_natively();
    let outcome = running.wait(patience(Duration::from_secs(60)));
    assert!(
        !outcome.timed_out && outcome.code() == Some(0),
        "{outcome:?}"
    );

    let file = fs.path("g");
    let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
    let mut talk = supervised(&syncer, &[]).converse(false, &[]);
    let mut lines = Lines::of(&mut talk);
    for _ in 0..20 {
        let all = processes_with(&file);
        assert_eq!(lines.ask("sync"), "0");
        for pid in all {
            // SAFETY: only numbers are passed.
            unsafe {
                libc::kill(pid, libc::SIGSTOP);
                libc::kill(pid, libc::SIGCONT);
            }
        }
        assert_eq!(lines.ask("map"), "0");
    }
    drop(lines);
    assert!(talk.end(patience(Duration::from_secs(10))));
}

/// The processes of the program that has `argument`, not the supervisor's.
fn processes_with(argument: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = supervisors(argument);
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        words.any(|word| word == argument.as_os_str().as_encoded_bytes()) && !own.contains(pid)
    };
    pids.filter(has).collect()
}

/// A shell at a terminal of its own.
struct Terminal {
    talk: preload_tests::harness::Conversation,
    shown: Arc<Mutex<Vec<u8>>>,
    seen: usize,
}

impl Terminal {
    fn new() -> Terminal {
        let shell = "PS1='@ ' TERM=dumb exec bash --norc --noprofile -i";
        let shell = Program::new("script").args(["-qec", shell, "/dev/null"]);
        let mut talk = shell.converse(false, &[]);
        let mut stdout = talk.take_stdout().expect("stdout");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let into = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = std::io::Read::read(&mut stdout, &mut bytes) {
                into.lock().expect("what is shown").extend(&bytes[..count]);
            }
        });
        let mut terminal = Terminal {
            talk,
            shown,
            seen: 0,
        };
        terminal.until("@ ");
        terminal.type_in("stty -echo\n", "@ ");
        terminal
    }

    /// What is shown until that is.
    fn until(&mut self, what: &str) -> String {
        let deadline = Instant::now() + patience(Duration::from_secs(20));
        let found = loop {
            let shown = self.shown.lock().expect("what is shown").clone();
            let text = String::from_utf8_lossy(&shown[self.seen..]).into_owned();
            if let Some(at) = text.find(what) {
                break text[..at + what.len()].to_owned();
            }
            assert!(Instant::now() < deadline, "no {what:?} after {text:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        self.seen += found.len();
        found
    }

    fn type_in(&mut self, keys: &str, then: &str) -> String {
        std::io::Write::write_all(self.talk.stdin(), keys.as_bytes()).expect("a terminal");
        self.until(then)
    }
}

/// The keys and commands of job control do what they do natively, and a terminal that goes away takes all with it.
#[test]
fn jobs_are_controlled_as_they_are_natively() {
    for program in ["script", "bash"] {
        or_skip!(preload_tests::harness::installed(program));
    }
    let scratch = Scratch::new();
    let syncer = Program::guest_with("syncer", Flags::Static);
    let session = |before: &str, name: &str| {
        let file = scratch.path(name);
        let begin = format!("{before}{} {}\n", syncer.file().display(), file.display());
        let mut terminal = Terminal::new();
        let sync = |terminal: &mut Terminal, begin: &str| {
            std::io::Write::write_all(terminal.talk.stdin(), begin.as_bytes()).expect("a terminal");
            // Not before it reads: the shell would.
            wait_until("it", patience(Duration::from_secs(20)), || file.exists());
            terminal.type_in("sync\n", "0\r\n");
            fs::remove_file(&file).expect("its file");
        };
        let mut shown = String::new();
        sync(&mut terminal, &begin);
        for keys in ["\x03", "echo [$?]\n"] {
            shown += &terminal.type_in(keys, "@ ");
        }
        sync(&mut terminal, &begin);
        for keys in ["\x1a", "jobs\n"] {
            shown += &terminal.type_in(keys, "@ ");
        }
        terminal.type_in("fg\n", "\n");
        shown += &terminal.type_in("sync\n", "0\r\n");
        for keys in ["\x1c", "echo [$?]\n"] {
            shown += &terminal.type_in(keys, "@ ");
        }
        sync(&mut terminal, &begin);
        terminal.type_in("\x1a", "@ ");
        let end = "kill -TERM %1; kill -CONT %1; wait %1; echo [$?]\n";
        terminal.type_in(end, "[143]");
        sync(&mut terminal, &begin);
        drop(terminal);
        let limit = patience(Duration::from_secs(20));
        wait_until("the end of all", limit, || {
            processes_with(&file).is_empty() && supervisors(&file).is_empty()
        });
        shown.replace(before, "").replace(name, "file")
    };
    let native = session("", "native");
    for part in ["[130]", "Stopped", "Quit", "[131]"] {
        assert!(native.contains(part), "{part}: {native}");
    }
    let before = format!("{KEEPMYDATA} --reach=supervise -- ");
    assert_eq!(session(&before, "supervised"), native);
}

/// A tracer has the program already: the supervisor does without marks.
#[test]
fn a_program_under_strace_is_supervised_all_the_same() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("strace"));
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let seed = Program::guest_with("seed", Flags::Static).arg(fs.path("f"));
    let traced = Program::new(KEEPMYDATA)
        .args(["--reach=supervise", "--", "strace", "-f", "-o", "/dev/null"])
        .arg(seed.file())
        .args(seed.arguments());
    let outcome = traced.natively();
    assert_eq!(Found::of(&outcome), Whole, "{outcome:?}");
}

/// A debugger comes, stays over msyncs and new mappings, which are not tracked then, and goes.
#[test]
fn a_debugger_attaches_and_leaves() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("gdb"));
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let file = fs.path("f");
    let syncer = Program::guest_with("syncer", Flags::Static).arg(&file);
    let is_it = |pid: &i32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe == syncer.file().canonicalize().expect("the guest"))
    };
    let mut talk = supervised(&syncer, &[]).converse(false, &[]);
    let mut lines = Lines::of(&mut talk);
    assert_eq!(lines.ask("sync"), "0");
    let pid = processes_with(&file).into_iter().find(is_it);
    let pid = pid.expect("the program");
    let mut debugger = Command::new("gdb")
        .args(["-q", "-nx", "-p", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gdb");
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains(&format!("TracerPid:\t{}\n", debugger.id()))
    };
    wait_until("gdb has attached", Duration::from_secs(20), tracer);
    let mut commands = debugger.stdin.take().expect("piped stdin");
    writeln!(
        commands,
        "break msync\ncommands\nsilent\ncontinue\nend\ncontinue"
    )
    .expect("gdb reads");
    for question in [
        "store", "msync", "unmap", "again", "second", "msync", "map", "sync",
    ] {
        assert_eq!(lines.ask(question), "0", "{question}");
    }
    // Its own breakpoint has it stop at the next, and then it leaves.
    let interrupt = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(interrupt, rustix::process::Signal::INT).expect("a signal");
    writeln!(commands, "delete\ndetach\nquit").expect("gdb reads");
    drop(commands);
    let left = debugger.wait().expect("gdb ends");
    assert!(left.success(), "{left}");
    for question in ["store", "msync", "unmap", "again", "second", "msync"] {
        assert_eq!(lines.ask(question), "0", "{question}");
    }
    drop(lines);
    let stderr = talk.stderr();
    assert!(!stderr.contains("doubt"), "{stderr}");
    assert!(talk.end(patience(Duration::from_secs(10))));
    let stored = fs::read(&file).expect("the file");
    assert_eq!(stored.len(), 4 * 4096);
}

/// What cannot be looked into is not proved, and that is said: here a process that is not dumpable, of an ordinary user.
#[test]
fn a_process_that_hides_is_told_of() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::installed("setpriv"));
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    // Where that user may read them.
    let scratch = Scratch::new();
    let copy = |from: &Path, name: &str| {
        let to = scratch.path(name);
        fs::copy(from, &to).expect("a copy");
        to
    };
    let syncer = copy(
        Program::guest_with("syncer", Flags::Static).file(),
        "syncer",
    );
    let keepmydata = copy(Path::new(KEEPMYDATA), "keepmydata");
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let run = |name: &str, words: &str, options: Option<&[&str]>| {
        let file = fs.path(name);
        fs::write(&file, "").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("its mode");
        let mut program = Program::new("sh")
            .args(["-c", &format!("printf '{words}' | \"$@\""), "sh"])
            .args(user);
        if let Some(options) = options {
            program = program.arg(&keepmydata).args(options).arg("--");
        }
        program.arg(&syncer).arg(file).natively()
    };
    let hide = "hide\nsync\n";
    let outcome = run("native", hide, None);
    assert_eq!(outcome.stdout, "0\n0\n", "{outcome:?}");
    let outcome = run("seen", "sync\n", Some(&[]));
    assert_eq!(outcome.stdout, "EIO\n", "{outcome:?}");
    let said = "cannot be inspected";
    let outcome = run("warn", hide, Some(&[]));
    assert_eq!(outcome.stdout, "0\n0\n", "{outcome:?}");
    assert_eq!(outcome.stderr.matches(said).count(), 1, "{outcome:?}");
    let outcome = run("error", hide, Some(&["--uncertain=error"]));
    assert_eq!(outcome.stdout, "0\nEIO\n", "{outcome:?}");
    assert_eq!(outcome.stderr.matches(said).count(), 1, "{outcome:?}");
}

/// The file of a process that has ended stays open for its children. Grandchildren are not found: it is opened for their
/// msync, and that may drop the page cache, of which nobody has a copy.
#[test]
fn what_was_inherited_from_a_process_that_ended_is_proved_or_in_doubt() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let syncer = Program::guest_with("syncer", Flags::Static);
    let run = |words: &str, name: &str, before: &[&str]| {
        Program::new("sh")
            .args(["-c", &format!("printf '{words}' | \"$@\" | cat"), "sh"])
            .args(before)
            .arg(syncer.file())
            .arg(fs.path(name))
            .natively()
    };
    let (child, grandchild) = ("fork\nsync\n", "leave\nsync\n");
    for (words, name) in [(child, "child"), (grandchild, "grandchild")] {
        assert_eq!(run(words, name, &[]).stdout, "0\n0\n");
    }
    let outcome = run(child, "inherited", &[KEEPMYDATA, "--"]);
    assert_eq!(outcome.stdout, "0\nEIO\n", "{outcome:?}");
    assert!(!outcome.stderr.contains("not proved"), "{outcome:?}");
    let outcome = run(grandchild, "warn", &[KEEPMYDATA, "--"]);
    // Where the page is still cached when it is opened, it is found wrong.
    match outcome.stdout.as_str() {
        "0\nEIO\n" => {}
        "0\n0\n" => assert!(outcome.stderr.contains("not proved"), "{outcome:?}"),
        other => panic!("{other:?}: {outcome:?}"),
    }
    let outcome = run(
        grandchild,
        "error",
        &[KEEPMYDATA, "--uncertain=error", "--"],
    );
    assert_eq!(outcome.stdout, "0\nEIO\n", "{outcome:?}");
}

/// /proc of another PID namespace tells of other processes.
#[test]
fn without_a_proc_of_its_own_it_does_not_begin() {
    or_skip!(preload_tests::harness::installed("unshare"));
    let run = |options: &[&str]| {
        Program::new("unshare")
            .args(options)
            .args([KEEPMYDATA, "--reach=supervise", "--", "true"])
            .natively()
    };
    let outcome = run(&["--fork", "--pid"]);
    assert_eq!(outcome.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("--mount-proc"), "{outcome:?}");
    let outcome = run(&["--fork", "--pid", "--mount-proc"]);
    assert_eq!(outcome.code(), Some(0), "{outcome:?}");
    assert_eq!(outcome.stderr, "", "{outcome:?}");
}

/// A sandbox that would end the supervisor is told of before the program begins.
#[test]
fn where_a_sandbox_would_end_the_supervisor_it_does_not_begin() {
    let seed = Program::guest_with("seed", Flags::Static).arg("/nowhere");
    let under = Program::guest("under").file().display().to_string();
    let under = [&under, "seccomp", "epoll_ctl", "kill"].map(str::to_owned);
    let outcome = supervised(&seed, &[]).by_prefix(&under).natively();
    assert_eq!(outcome.code(), Some(125), "{outcome:?}");
    let said = "ends whoever makes system call";
    assert!(outcome.stderr.contains(said), "{outcome:?}");
}

/// Settings that a supervisor has nothing for are named; what is the default, only where somebody asks for it.
#[test]
fn settings_without_effect_are_named() {
    let run = |options: &[&str], read: &str| {
        let program = supervised(
            &Program::new("true"),
            &[&["--reach=supervise"], options].concat(),
        );
        let outcome = program.env("KEEPMYDATA_READ", read).natively();
        outcome.expect_success("true").stderr
    };
    for (options, read, name) in [
        (&["--read=fresh"][..], "pass", "read=fresh"),
        (&[], "fresh", "read=fresh"),
        (&["--munmap=sync"], "pass", "munmap=sync"),
    ] {
        let said = run(options, read);
        let expected = format!("{name} has no effect on a supervised program");
        assert!(said.contains(&expected), "{options:?} {read}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(run(&["--read=pass"], "fresh"), "");
    assert_eq!(run(&[], "pass"), "");
}

/// Where msync is all that fdatasync does, the supervisor's flush is the only one; the first of each mapping is the kernel's,
/// too, and what the kernel refuses it refuses.
#[test]
fn on_a_local_filesystem_an_msync_is_flushed_once() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let flushes = || {
        use std::os::unix::fs::MetadataExt;
        let device = fs::metadata(fs.dir()).expect("the mount").dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
        let stat = stat.expect("counts of the device");
        let number = stat.split_whitespace().nth(15).expect("flushes");
        number.parse::<u64>().expect("a number")
    };
    let run = |name: &str, is_supervised: bool| {
        let syncer = Program::guest_with("syncer", Flags::Static).arg(fs.path(name));
        let program = match is_supervised {
            true => supervised(&syncer, &[]),
            false => syncer,
        };
        let mut talk = program.converse(false, &[]);
        let mut lines = Lines::of(&mut talk);
        for _ in 0..2 {
            assert_eq!(lines.ask("sync"), "0");
        }
        let before = flushes();
        for _ in 0..50 {
            assert_eq!(lines.ask("sync"), "0");
        }
        let made = flushes() - before;
        drop(lines);
        assert!(talk.end(patience(Duration::from_secs(10))));
        made
    };
    let (native, by_supervisor) = (run("native", false), run("supervised", true));
    assert!(native >= 50, "{native}");
    // The journal commits by itself now and then.
    assert!(
        by_supervisor < native + native / 2,
        "{by_supervisor} for {native}"
    );

    let errors = Program::guest_with("msync_errors", Flags::Static);
    let native = errors.clone().arg(fs.path("errors")).natively();
    let native = native.expect_success("msync_errors natively");
    assert!(native.stdout.contains("locked, invalidate: -1 EBUSY"));
    let outcome = supervised(&errors.arg(fs.path("errors")), &[]).natively();
    assert_eq!(outcome.stdout, native.stdout, "{outcome:?}");
}

/// What containers take away: the next mechanism takes its place, and a zero is the same proof.
#[test]
fn with_fewer_rights_the_next_mechanism_takes_over() {
    or_skip!(TearFs::available());
    or_skip!(preload_tests::harness::kernel::page_tracking());
    or_skip!(preload_tests::harness::installed("setpriv"));
    let under = Program::guest("under").file().display().to_string();
    let without = |capabilities: &str| {
        let sets = ["--bounding-set", "--inh-caps"];
        let options = sets.map(|set| format!("{set}={capabilities}"));
        [vec!["setpriv".to_owned()], options.to_vec()].concat()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let cases = [
        (words("setpriv --no-new-privs"), "pagemap"),
        (without("-sys_nice"), "pagemap"),
        (without("-sys_ptrace"), "pagemap"),
        (without("-all"), "pagemap"),
        (words(&format!("{under} container")), "whole"),
        (words(&format!("{under} seccomp ptrace EPERM")), "whole"),
        (words(&format!("{under} seccomp pidfd_open EPERM")), "whole"),
        (
            words(&format!("{under} seccomp pidfd_getfd EPERM")),
            "whole",
        ),
        (
            words(&format!("{under} seccomp userfaultfd ENOSYS")),
            "whole",
        ),
        (
            words(&format!("{under} seccomp process_madvise EPERM")),
            "pagemap",
        ),
        (
            words(&format!("{under} seccomp cachestat ENOSYS")),
            "pagemap",
        ),
        (words(&format!("{under} seccomp mincore EPERM")), "pagemap"),
        (words(&format!("{under} seccomp mincore kill")), "pagemap"),
        (words(&format!("{under} seccomp cachestat kill")), "pagemap"),
        (
            words(&format!("{under} seccomp process_madvise kill")),
            "pagemap",
        ),
        (
            words(&format!("{under} seccomp name_to_handle_at kill")),
            "pagemap",
        ),
        (words(&format!("{under} seccomp ptrace kill")), "whole"),
        (words(&format!("{under} seccomp userfaultfd kill")), "whole"),
        (words(&format!("{under} service")), "whole"),
    ];
    let seed = Program::guest_with("seed", Flags::Static);
    for (mode, expected) in [("one-page", Whole), ("black-hole", Eio)] {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        for (n, (command, tracker)) in cases.iter().enumerate() {
            let scratch = Scratch::new();
            let log = format!("--log-file={}", scratch.path("log").display());
            let options = ["--log=info", "--log-format=json", &log];
            let program = seed.clone().arg(fs.path(&format!("f{n}")));
            let outcome = supervised(&program, &options).by_prefix(command).natively();
            assert_eq!(
                Found::of(&outcome),
                expected,
                "{mode} {command:?}: {outcome:?}"
            );
            let text = fs::read_to_string(scratch.path("log")).expect("a log");
            let found = format!("\"tracker\":\"{tracker}\"");
            assert!(text.contains(&found), "{mode} {command:?}: {text}");
        }
    }
}
