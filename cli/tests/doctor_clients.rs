//! `keepmydata doctor DIR --client DIR2` on two clients of the test bed, in each way in which it keeps them apart: the class
//! that it names is that of a hand-written probe in C (`two_clients`), which shares no code with it.

mod common;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{Looks, Program, TearFs, Tmpfs, shim, wait_until};
use preload_tests::or_skip;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A coherence of the bed, the verdict, the exit code, and words of the sentences.
const MODES: [(&str, &str, i32, &[&str]); 10] = [
    (
        "coherent",
        "at-once",
        0,
        &["with their first read", "lost none of 12 stores"],
    ),
    (
        "attribute-cache",
        "after-time",
        1,
        &[
            "(an attribute cache)",
            "A mapping that is held there still shows old data",
            "At once with: a drop of the reader's page cache (posix_fadvise); O_DIRECT",
            "attr_timeout",
            "readers on the second get the new data with their first read",
        ],
    ),
    (
        "close-to-open",
        "close-to-open",
        1,
        &[
            "a new open on the other sees the new data at once, a descriptor held open not within 10 s",
        ],
    ),
    (
        "late-open",
        "close-to-open",
        1,
        &[
            "a new open on the other sees the new data after ",
            "a descriptor held open not within 10 s",
            "readers on the second get the new data with their first read",
        ],
    ),
    (
        "on-lock",
        "on-lock",
        1,
        &["record lock (fcntl(2)); without one neither"],
    ),
    (
        "on-open",
        "never",
        2,
        &[
            "That is so where the writer had the file open before the other read it; where it opens it afterwards: at once.",
            "readers on the second get the new data with their first read",
        ],
    ),
    (
        "recall",
        "never",
        2,
        &[
            "That is so where the writer had the file open before the other read it; where it opens it afterwards: at once.",
            "readers on the second get the new data with their first read",
        ],
    ),
    (
        "no-invalidation",
        "never",
        2,
        &[
            "with O_DIRECT it is seen at once",
            "gone at the writer's next turn, though synced",
        ],
    ),
    (
        "propagation",
        "after-time",
        1,
        &[
            "the filesystem itself hands the data on late",
            "readers on the second get the new data with their first read",
        ],
    ),
    (
        "stale-writeback",
        "lost-update",
        2,
        &[
            "gone at the writer's next turn, though synced",
            "with their first read",
        ],
    ),
];

fn doctor(first: &Path, options: &[&str], second: &Path) -> Output {
    let mut command = keepmydata();
    command.env("KEEPMYDATA_LIB", shim()).arg("doctor");
    command.args(options).arg(first).arg("--client").arg(second);
    command.output().unwrap()
}

fn examine(first: &Path, second: &Path) -> Value {
    let output = doctor(first, &["--json"], second);
    assert_eq!(stderr(&output), "");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["exit_code"], json!(output.status.code()));
    for directory in [first, second] {
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "left behind");
    }
    found
}

/// All of the bed's ways at once: most of it is waiting.
#[test]
fn the_class_is_that_of_a_probe_by_hand() {
    or_skip!(TearFs::available());
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = MODES
            .iter()
            .map(|(coherence, verdict, code, words)| {
                scope.spawn(move || {
                    let late = "--coherence-ms=600";
                    let fs = TearFs::mount_twice(coherence, &[late]);
                    let found = examine(&fs.dir(), &fs.second());
                    let probe = Program::guest("two_clients");
                    let probe = probe.arg(fs.dir()).arg(fs.second()).arg("2.5").natively();
                    let class = Looks::of(&probe).class();
                    complaints(coherence, &found, (verdict, *code), words, class)
                })
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.flat_map(|found| found.expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong elsewhere is not taken for what the clients do: old data that comes back, a cache that is short, msyncs
/// that fail, and data that nobody has.
#[test]
fn what_is_not_between_the_clients_is_told_apart() {
    or_skip!(TearFs::available());
    let expected: [(&str, &[&str], &str, &[&str]); 4] = [
        (
            "coherent",
            &["--mode=reorder"],
            "lost-update",
            &["Old data came back"],
        ),
        (
            "attribute-cache",
            &["--coherence-ms=250"],
            "after-time",
            &["an attribute cache"],
        ),
        (
            "coherent",
            &["--mode=eio-once", "--every=10"],
            "at-once",
            &["trials could not be made: Input/output error"],
        ),
        (
            "coherent",
            &["--mode=black-hole"],
            "never",
            &[
                "msync breaks its promise, whoever reads",
                "not even their writer's mount had them",
            ],
        ),
    ];
    std::thread::scope(|scope| {
        for (coherence, options, verdict, words) in expected {
            scope.spawn(move || {
                let fs = TearFs::mount_twice(coherence, options);
                let found = examine(&fs.dir(), &fs.second());
                assert_eq!(found["verdict"], verdict, "{options:?}: {found}");
                let text = found["sentences"].to_string();
                for words in words {
                    assert!(
                        text.contains(words),
                        "{options:?}: {words:?} is not in: {text}"
                    );
                }
            });
        }
    });
}

fn complaints(
    coherence: &str,
    found: &Value,
    (verdict, code): (&str, i32),
    words: &[&str],
    probe: &str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if found["verdict"] != verdict || found["exit_code"] != code {
        wrong.push(format!("{coherence}: not {verdict}: {found}"));
    }
    if probe != verdict {
        wrong.push(format!("{coherence}: {verdict}, and {probe} to the probe"));
    }
    let text = found["sentences"].to_string();
    for words in words {
        if !text.contains(words) {
            wrong.push(format!("{coherence}: {words:?} is not in: {text}"));
        }
    }
    wrong
}

/// Want of memory shows readers the new data by chance.
#[test]
fn what_the_kernel_evicts_is_not_taken_for_what_the_client_does() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("no-invalidation", &[]);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            let evicts = Program::guest("evicts").arg(fs.second()).arg("6");
            let outcome = evicts.natively();
            assert_eq!(outcome.code(), Some(0), "{outcome:?}");
        });
        examine(&fs.dir(), &fs.second())
    });
    assert_eq!(found["verdict"], "never", "{found}");
    let tried = found["trials"]["tried"].to_string();
    assert!(tried.contains("\"evicted\":true"), "{tried}");
}

/// Of what a user reads, the first three lines say what it is.
#[test]
fn the_first_three_lines_say_it_and_junit_has_the_evidence() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("close-to-open", &[]);
    let results = tempfile::tempdir().unwrap();
    let results = results.path().join("results.xml");
    let junit = format!("--junit={}", results.display());
    let output = doctor(&fs.dir(), &[&junit], &fs.second());
    let text = stdout(&output);
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let (first, second) = (fs.dir(), fs.second());
    let clients = format!(
        "{} and {}: two clients of fuse.tearfs",
        first.display(),
        second.display()
    );
    assert_eq!(lines.next(), Some(clients.as_str()));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("Close-to-open: the other client sees")
    );
    assert!(
        lines
            .next()
            .unwrap()
            .contains("a descriptor held open not within 10 s")
    );
    let junit = fs::read_to_string(results).unwrap();
    for part in [
        "tests=\"1\" skipped=\"0\" failures=\"1\"",
        "the other client sees what msync has synced",
        "a held mapping ",
    ] {
        assert!(junit.contains(part), "{part:?} in {junit}");
    }
}

/// A second client that is mounted read-only sees what it sees.
#[test]
fn a_client_that_only_reads_is_examined() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("close-to-open", &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let script = "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\" && exec \"$3\" doctor --json \"$4\" --client \"$2\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([&fs.second(), elsewhere.path()])
        .args([Path::new(env!("CARGO_BIN_EXE_keepmydata")), &fs.dir()])
        .env("KEEPMYDATA_LIB", shim())
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert_eq!(
        found["verdict"],
        "close-to-open",
        "{found} {}",
        stderr(&output)
    );
    let text = found["sentences"].to_string();
    let why = "The second client can make no file there (Read-only file system)";
    assert!(text.contains(why), "{text}");
    let waits = "readers on the second get the new data with their first read";
    assert!(text.contains(waits), "{text}");
}

#[test]
fn what_are_no_two_clients_of_one_filesystem_is_said() {
    or_skip!(TearFs::available());
    let one = TearFs::mount_twice("coherent", &[]);
    let other = or_skip!(Tmpfs::mount());
    let found = examine(&one.dir(), &one.dir());
    assert_eq!(
        (&found["verdict"], &found["exit_code"]),
        (&json!("unknown"), &json!(3))
    );
    let text = found["sentences"].to_string();
    assert!(text.contains("they are one client"), "{text}");
    let found = examine(&one.dir(), &other.path(""));
    assert_eq!(found["exit_code"], 3);
    let text = found["sentences"].to_string();
    assert!(text.contains("They do not show the same files"), "{text}");
    let output = doctor(&one.dir(), &[], Path::new("/none"));
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        stderr(&output),
        "keepmydata: /none: No such file or directory\n"
    );
}

/// Interrupted while readers look.
#[test]
fn an_interrupted_doctor_leaves_nothing_behind() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("no-invalidation", &[]);
    let mut command = keepmydata();
    command.env("KEEPMYDATA_LIB", shim()).arg("doctor");
    command.arg(fs.dir()).arg("--client").arg(fs.second());
    let mut doctor = command.stderr(Stdio::null()).spawn().unwrap();
    let cases = || {
        let directories = fs::read_dir(fs.dir()).unwrap().flatten();
        let files = directories.flat_map(|entry| fs::read_dir(entry.path()));
        files.flatten().count()
    };
    wait_until("files of the doctor's", Duration::from_secs(20), || {
        cases() > 10
    });
    kill_process(Pid::from_child(&doctor), Signal::INT).unwrap();
    assert_eq!(doctor.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(fs.dir()).unwrap().count(), 0);
}

/// The peer's side over standard input and output: here in a mount namespace of its own, in which alone the second
/// client is mounted where it says.
#[test]
fn a_peer_is_asked_through_a_command() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount_twice("close-to-open", &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let keepmydata_directory = Path::new(env!("CARGO_BIN_EXE_keepmydata"))
        .parent()
        .unwrap();
    let script = elsewhere.path().join("enter");
    let place = elsewhere.path().join("place");
    fs::create_dir(&place).unwrap();
    let text = format!(
        "mount --bind '{}' '{}' && PATH='{}':$PATH exec \"$@\"\n",
        fs.second().display(),
        place.display(),
        keepmydata_directory.display()
    );
    fs::write(&script, text).unwrap();
    let namespaces = Command::new("unshare").args(["--mount", "true"]).status();
    if !namespaces.is_ok_and(|status| status.success()) {
        preload_tests::skip!("no mount namespace can be made here");
    }
    let peer = format!("--peer=unshare --mount sh {}", script.display());
    let output = doctor(&fs.dir(), &["--json", &peer], &place);
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(found["verdict"], "close-to-open", "{found}");
    assert_eq!(fs::read_dir(fs.dir()).unwrap().count(), 0, "left behind");
    // Not there at all.
    for (peer, why) in [
        ("--peer=sh -c 'exit 3' --", "its process has ended"),
        ("--peer=/none/ssh host", "not found"),
    ] {
        let output = doctor(&fs.dir(), &[peer], &place);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
}
