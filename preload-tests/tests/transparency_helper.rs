//! The shim's helper is outside of the program: nothing that the program counts counts it, it ends with
//! the program, and it is not there where nothing can be stored.

use std::process::Command;
use std::time::Duration;

use preload_tests::harness::{
    LoopFs, Outcome, Program, Scratch, TearFs, assert_same, assert_same_under_shim, installed,
    wait_until,
};
use preload_tests::or_skip;

fn alone(fs: &LoopFs, how: &str) -> Program {
    Program::guest("alone").arg(fs.path("f")).arg(how)
}

/// Tasks, children that can be waited for, and what the kernel grants only to a process with one thread.
#[test]
fn the_program_counts_itself_only() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let native = alone(&fs, "count").natively();
    let with_thread = alone(&fs, "count")
        .preload_before(Program::guest_library("thread_preload"))
        .natively();
    for told in ["tasks 1", "unshare(CLONE_NEWUSER) 0 0"] {
        assert!(native.stdout.contains(told), "{native:?}");
        assert!(
            !with_thread.stdout.contains(told),
            "control, with a thread: {with_thread:?}"
        );
    }
    assert_same_under_shim(&alone(&fs, "count"));
}

#[test]
fn process_groups_are_empty_without_the_program() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&alone(&fs, "groups"));
}

const AT_ONCE: [&str; 7] = [
    "return",
    "_exit",
    "quick_exit",
    "exec",
    "exec of nothing",
    "exec by a thread",
    "end of the main thread",
];
/// Nothing sees these before they happen.
const SOON: [&str; 5] = [
    "exec by a raw call",
    "exit by a raw call",
    "killed",
    "abort",
    "daemon",
];

/// Where it cannot be a process it is a thread, which does all the same, and the log says so.
#[test]
fn where_only_threads_can_be_made_the_helper_is_one() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let seed = Program::guest("seed")
        .arg(fs.path("f"))
        .where_only_threads();
    assert_eq!(seed.natively().code(), Some(1), "control, torn natively");
    let shimmed = seed.under_shim(&[("KEEPMYDATA_LOG", "debug")]);
    assert_eq!(shimmed.code(), Some(0), "{shimmed:?}");
    let log = shimmed.log_text();
    assert!(log.contains("the helper is a thread"), "{log}");
    let fs = or_skip!(LoopFs::mount("ext4"));
    let helpers = alone(&fs, "helpers").where_only_threads();
    let counts = found(&helpers, &[]);
    assert!(counts.starts_with("helpers 0, tasks "), "{counts}");
    assert_ne!(counts, "helpers 0, tasks 1");
    for how in ["unmapped", "exec", "end of the main thread"] {
        let program = alone(&fs, how).where_only_threads();
        assert_same_under_shim(&program);
    }
}

/// A helper that is a process may not look at a program that has changed its user: it opens by path what
/// that maps then, and has the program's thread write to its standard error. One that starts later is a thread.
#[test]
fn files_mapped_after_setuid_are_verified_too() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let settings = [
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_LOG", "debug"),
        ("KEEPMYDATA_LOG_FILE", "stderr"),
    ];
    for (how, name, thread) in [
        ("another user later", "f.later", false),
        ("another user first", "f", true),
    ] {
        let program = alone(&fs, how);
        let native = program.natively().expect_success(how);
        let shimmed = program.under_shim(&settings).expect_success(how);
        if !thread {
            assert_same(&native, &shimmed, how);
        }
        let log = &shimmed.stderr;
        assert_eq!(
            log.contains("the helper is a thread"),
            thread,
            "{how}: {log}"
        );
        let file = fs.path(name).display().to_string();
        let is_msync =
            |line: &&str| line.contains(" msync #") && line.contains(&format!("{file} "));
        let msync = log.lines().rfind(is_msync);
        let msync = msync.unwrap_or_else(|| panic!("no msync of {file}: {log}"));
        assert!(!msync.contains("verified 0 "), "{how}: {msync}");
        assert!(msync.contains("(verified "), "{how}: {msync}");
    }
}

/// A directory without /proc is the program's root before it maps anything: a privileged one's helper mounts a procfs
/// for itself.
#[test]
fn files_mapped_after_chroot_are_verified_too() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let program = alone(&fs, "chroot first");
    let native = program.natively().expect_success("natively");
    let settings = [
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_UNCERTAIN", "error"),
    ];
    assert_same(&native, &program.under_shim(&settings), "chroot");
}

/// However the program ends, its files are closed then, so that the filesystem can be unmounted, and nobody
/// is left; where its end cannot be seen beforehand, soon after it.
#[test]
fn the_helper_ends_with_the_program() {
    for how in AT_ONCE.into_iter().chain(SOON) {
        let fs = or_skip!(LoopFs::mount("ext4"));
        let native = alone(&fs, how).natively();
        let shimmed = alone(&fs, how).under_shim(&[]);
        assert_same(&native, &shimmed, how);
        if SOON.contains(&how) {
            let what = format!("umount after {how}");
            wait_until(&what, Duration::from_secs(5), || unmounts(&fs));
        } else {
            assert!(unmounts(&fs), "busy after {how}");
        }
    }
}

/// What other threads' msyncs are at ends before the process does, as it does natively; and nobody is blamed for it.
#[test]
fn a_program_ends_beside_its_msyncs() {
    for how in ["exit beside msync", "exec beside msync"] {
        for round in 0..8 {
            let fs = or_skip!(LoopFs::mount("ext4"));
            let shimmed = alone(&fs, how).under_shim(&[("KEEPMYDATA_VERIFY", "on")]);
            assert_eq!(shimmed.result(), (Some(0), None, "msync 0\n", ""), "{how}");
            assert!(unmounts(&fs), "busy after {how}, round {round}");
        }
    }
}

/// The memory of a large program takes long to go: its files go before.
#[test]
fn a_large_program_that_is_killed_lets_go_of_its_files() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    assert_same_under_shim(&alone(&fs, "large"));
}

/// The helper sleeps on the word that pthread_join(3) sleeps on, of which the kernel wakes one sleeper.
#[test]
fn threads_whose_end_the_helper_waits_for_are_joined() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for how in ["join", "join of the main thread"] {
        assert_same_under_shim(&alone(&fs, how));
    }
}

fn unmounts(fs: &LoopFs) -> bool {
    let umount = Command::new("umount").arg(fs.dir()).output();
    umount.expect("umount").status.success()
}

/// How many helpers and tasks the program finds, once more after it has unmapped the file.
fn found(program: &Program, settings: &[(&str, &str)]) -> String {
    let run = program.under_shim(settings).expect_success("alone");
    let counts = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("helpers"));
    counts.collect::<Vec<_>>().join("; ")
}

/// Who starts the helper waits for the first thread that this has, which does the work itself: not for another one's start.
#[test]
fn the_helpers_first_thread_does_the_work() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let run = alone(&fs, "many syncs").under_shim(&[]);
    let run = run.expect_success("alone");
    let told = "helper's threads have slept: ";
    let line = run.stdout.lines().find_map(|line| line.strip_prefix(told));
    let slept: Vec<u32> = line
        .expect("both counts")
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        matches!(slept[..], [first, others] if first > others),
        "{slept:?}"
    );
}

#[test]
fn without_a_store_there_is_no_helper() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let writes = alone(&fs, "helpers");
    assert_eq!(found(&writes, &[]), "helpers 1, tasks 1", "control");
    let reads = alone(&fs, "reads");
    for verify in ["auto", "on"] {
        let none = found(&reads, &[("KEEPMYDATA_VERIFY", verify)]);
        assert_eq!(
            none, "helpers 0, tasks 1; helpers 0, tasks 1",
            "read only, {verify}"
        );
    }
    for setting in [
        ("KEEPMYDATA_FILES", "/nowhere/*"),
        ("KEEPMYDATA_ENFORCE", "off"),
    ] {
        for munmap in ["pass", "sync"] {
            let settings = [
                setting,
                ("KEEPMYDATA_MUNMAP", munmap),
                ("KEEPMYDATA_VERIFY", "on"),
            ];
            assert_eq!(
                found(&writes, &settings),
                "helpers 0, tasks 1",
                "{settings:?}"
            );
        }
    }
    let watched = [("KEEPMYDATA_ENFORCE", "off"), ("KEEPMYDATA_LOG", "info")];
    assert_eq!(
        found(&writes, &watched),
        "helpers 1, tasks 1",
        "counts for the log"
    );
}

/// The daemon is asked for what it is asked for natively.
#[test]
fn watching_opens_and_reads_nothing() {
    or_skip!(TearFs::available());
    let requests = |settings: Option<&[(&str, &str)]>| -> [usize; 3] {
        let fs = TearFs::mount(&["--mode", "honest"]);
        let program = Program::guest("alone").arg(fs.path("f")).arg("helpers");
        let run = match settings {
            Some(settings) => program.under_shim(settings),
            None => program.natively(),
        };
        run.expect_success("alone");
        let log = fs.op_log();
        ["Open", "Read", "Create"].map(|request| {
            let enters = format!(" {request} enter:");
            log.lines().filter(|line| line.contains(&enters)).count()
        })
    };
    let native = requests(None);
    assert!(native[1] > 0, "reads are in the log: {native:?}");
    let enforced = requests(Some(&[]));
    assert!(enforced[0] > native[0], "control: {enforced:?}");
    for level in ["error", "info", "trace"] {
        for verify in ["auto", "on"] {
            let settings = [
                ("KEEPMYDATA_ENFORCE", "off"),
                ("KEEPMYDATA_LOG", level),
                ("KEEPMYDATA_VERIFY", verify),
            ];
            assert_eq!(requests(Some(&settings)), native, "{settings:?}");
        }
    }
}

/// A file that waits for its second look goes with its last mapping, while the helper leaves.
#[test]
fn a_namespace_is_left_while_a_second_look_waits() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let program = alone(&fs, "unmapped");
    let native = program.natively().expect_success("natively");
    let settings = [
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_REVERIFY_MS", "3000"),
    ];
    assert_same(&native, &program.under_shim(&settings), "reverify");
}

/// The helper is started by a thread that then keeps its CPU for itself.
#[test]
fn a_real_time_thread_holds_up_nobody_else() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let program = alone(&fs, "real-time");
    let native = program.natively();
    or_skip!(match native.code() {
        Some(2) => Err(format!(
            "no real-time threads here: {}",
            native.stderr.trim()
        )),
        _ => Ok(()),
    });
    assert!(
        native.stdout.contains("inherits ran: 0"),
        "control: {native:?}"
    );
    assert_same(
        &native,
        &program.under_shim(&[("KEEPMYDATA_VERIFY", "on")]),
        "real-time",
    );
}

#[test]
fn reading_back_leaves_the_access_time() {
    let fs = or_skip!(LoopFs::mount_sized("ext4", 128, &["strictatime"]));
    let program = alone(&fs, "access-time");
    let native = program.natively().expect_success("natively");
    assert_eq!(
        native.stdout, "msync 0\nmsync moves it: 0\na read moves it: 1\n",
        "control"
    );
    assert_same_under_shim(&program);
}

/// Where it has nothing to do, as after kill(-1, SIGKILL), another takes its place.
#[test]
fn a_helper_that_was_killed_is_replaced() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    for verify in ["auto", "on"] {
        let program = alone(&fs, "kill the helper");
        let settings = [
            ("KEEPMYDATA_VERIFY", verify),
            ("KEEPMYDATA_UNCERTAIN", "error"),
        ];
        let run = program.under_shim(&settings);
        let expected = "msync 0\nmsync 0\nhelpers 1\n";
        assert_eq!(run.result(), (Some(0), None, expected, ""), "{verify}");
    }
}

/// As that of a thread would. What the program waits for will not come.
#[test]
fn killing_the_helper_at_work_kills_the_program() {
    or_skip!(TearFs::available());
    let slow = TearFs::mount(&["--mode", "honest", "--fsync-delay-ms", "3000"]);
    let beside = Program::guest("alone")
        .arg(slow.path("f"))
        .arg("kill the helper at work");
    let fs = or_skip!(LoopFs::mount("ext4"));
    for program in [beside, alone(&fs, "kill the helper before setuid")] {
        let how = format!("{:?}", program.arguments());
        let run = program.under_shim(&[]);
        assert_eq!(run.signal(), Some(9), "{how}: {run:?}");
        assert!(run.stderr.contains("helper process was killed"), "{run:?}");
    }
}

/// Its zygote process counts its tasks, and ends where there is another. It maps files, some to read only.
#[test]
fn chromium_dumps_a_page() {
    or_skip!(installed("chromium"));
    let scratch = Scratch::new();
    let page = scratch.path("page.html");
    let source = "<!doctype html><title>t</title><p id=p>before</p>\
                  <script>document.getElementById('p').textContent = 'after ' + 6 * 7</script>";
    std::fs::write(&page, source).expect("page");
    let mut runs = 0;
    let mut chromium = |preload: Option<&str>, settings: Option<&[(&str, &str)]>| -> Outcome {
        runs += 1;
        let profile = scratch.path(&format!("profile{runs}"));
        let mut program = Program::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("file://{}", page.display()))
            .env("HOME", scratch.dir())
            .timeout(Duration::from_secs(120));
        if let Some(library) = preload {
            program = program.preload_before(Program::guest_library(library));
        }
        match settings {
            Some(settings) => program.under_shim(settings),
            None => program.natively(),
        }
    };
    let native = chromium(None, None).expect_success("natively");
    assert!(native.stdout.contains("after 42"), "{native:?}");
    let with_thread = chromium(Some("thread_preload"), None);
    assert!(
        !with_thread.stdout.contains("after 42"),
        "control, with a thread: {with_thread:?}"
    );
    let watched = [("KEEPMYDATA_ENFORCE", "off"), ("KEEPMYDATA_LOG", "info")];
    let settings: [&[(&str, &str)]; 4] = [
        &[],
        &[("KEEPMYDATA_ENFORCE", "off")],
        &watched,
        &[("KEEPMYDATA_FILES", "/nowhere/*")],
    ];
    for settings in settings {
        let shimmed = chromium(None, Some(settings));
        assert_eq!(
            shimmed.stdout, native.stdout,
            "{settings:?}: {}",
            shimmed.stderr
        );
    }
}

/// From 3.12 on it warns of a fork in a process that has threads, and counts those of /proc too.
#[test]
fn python_does_not_warn_of_threads_at_fork() {
    let python = or_skip!(new_python());
    let fs = or_skip!(LoopFs::mount("ext4"));
    let source = "\
import mmap, os, sys
f = open(sys.argv[1], 'w+b')
f.truncate(65536)
m = mmap.mmap(f.fileno(), 65536)
m[0] = 1
m.flush()
child = os.fork()
if child == 0:
    m[1] = 2
    m.flush()
    os._exit(0)
print(os.waitpid(child, 0)[1], m[1])
";
    let program = Program::new(python)
        .args(["-W", "always::DeprecationWarning", "-c", source])
        .arg(fs.path("f"));
    let native = program.natively().expect_success("natively");
    let with_thread = program
        .clone()
        .preload_before(Program::guest_library("thread_preload"))
        .natively();
    let warned = with_thread.stderr.contains("is multi-threaded");
    assert!(warned, "control, with a thread: {with_thread:?}");
    for settings in [&[][..], &[("KEEPMYDATA_VERIFY", "on")]] {
        let shimmed = program.under_shim(settings);
        assert_eq!(shimmed.result(), native.result(), "{settings:?}");
    }
}

/// A Python that has the warning.
fn new_python() -> Result<String, String> {
    let own = std::env::var("HOME").unwrap_or_default();
    let mut candidates = vec!["python3".to_owned()];
    for version in ["3.13.0", "3.12.1"] {
        candidates.push(format!("{own}/.pyenv/versions/{version}/bin/python3"));
    }
    let is_new = |python: &String| {
        let asks = "import sys; sys.exit(sys.version_info < (3, 12))";
        let asked = Command::new(python).args(["-c", asks]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    candidates
        .into_iter()
        .find(is_new)
        .ok_or_else(|| "no Python 3.12 or later".to_owned())
}

/// What it does where something is not as usual is done as natively, and every page is proved.
fn is_proved(file: std::path::PathBuf, case: &str, settings: &[(&str, &str)]) {
    let guest = Program::guest("lacks").arg(file).arg(case);
    let guest = match case {
        "deleted" => guest.traced_by(["setpriv", "--inh-caps=-all", "--bounding-set=-all"]),
        _ => guest,
    };
    let native = guest.natively().expect_success(case);
    let run = guest.under_shim(settings).expect_success(case);
    assert_eq!(run.stdout, native.stdout, "{case}: {run:?}");
    assert!(!run.stderr.contains("doubt"), "{case}: {run:?}");
}

/// A thread that has a deadline may make no other of its policy (sched_setattr(2)); the helper has the default one.
#[test]
fn a_thread_with_a_deadline_gets_a_helper() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let guest = Program::guest("lacks")
        .arg(fs.path("control"))
        .arg("deadline");
    or_skip!(match guest.natively().code() {
        Some(0) => Ok(()),
        _ => Err("no deadlines here".to_owned()),
    });
    is_proved(fs.path("f"), "deadline", &[]);
}

/// A duplicate of memory that is locked is locked, too: where that is too much, the same pages are mapped by the handle.
#[test]
fn what_uses_up_the_memory_that_may_be_locked_is_compared() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--direct-io", "none"]);
    is_proved(fs.path("f"), "locked", &[]);
}

#[test]
fn a_child_without_rights_has_its_parents_handle_of_a_deleted_file() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    is_proved(fs.path("f"), "deleted", &[("KEEPMYDATA_VERIFY", "on")]);
}

/// Nobody has dropped the page cache: the child knows it as one of fork(3) does.
#[test]
fn a_child_that_no_fork_handler_sees_is_in_no_doubt() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--direct-io", "none"]);
    for case in ["_Fork", "clone"] {
        is_proved(fs.path(case), case, &[]);
    }
}

/// The helper shares root and working directory with the program, and must have gone before.
#[test]
fn setns_by_syscall_is_granted() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--direct-io", "none"]);
    is_proved(fs.path("f"), "setns", &[]);
}
