//! Where the log cannot go: the program runs on, and standard error says so once. Where it must not go:
//! what another user has put in its place.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use preload_tests::harness::{LoopFs, Outcome, Program, Scratch, TearFs, shim};
use preload_tests::or_skip;

const NOBODY: u32 = 65534;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A program that has something to log, and does.
fn syncdrop(fs: &LoopFs, log: &Path) -> Outcome {
    let settings = [
        ("KEEPMYDATA_LOG", "info"),
        ("KEEPMYDATA_LOG_FILE", text(log)),
    ];
    Program::guest("syncdrop")
        .arg(fs.path("f"))
        .timeout(Duration::from_secs(20))
        .under_shim(&settings)
        .expect_success("syncdrop")
}

/// What it says on standard error, which is one line, or none.
fn complaint(run: &Outcome) -> &str {
    assert!(run.stderr.lines().count() <= 1, "said once: {run:?}");
    run.stderr.trim_end()
}

fn directory(fs: &LoopFs, name: &str, mode: u32, owner: u32) -> PathBuf {
    let path = fs.path(name);
    fs::create_dir(&path).expect("directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
    chown(&path, Some(owner), Some(owner)).expect("owner");
    path
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("mkfifo");
}

/// A report that does not fit what is left of room: the msync fails in time, and not only the report.
#[test]
fn what_nobody_reads_does_not_hold_up_msync() {
    or_skip!(TearFs::available());
    for kind in ["pipe", "socket", "terminal"] {
        let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
        let program = Program::guest("locked").arg(fs.path("f")).arg("future");
        let run = Program::guest("unread")
            .arg(kind)
            .arg(program.file())
            .args(program.arguments())
            .timeout(Duration::from_secs(20))
            .under_shim(&[("KEEPMYDATA_DEADLINE_MS", "200")]);
        assert!(!run.timed_out, "{kind}: {run:?}");
        assert!(
            run.stdout.starts_with("msync EIO\nmsync EIO\n"),
            "{kind}: {run:?}"
        );
    }
}

/// SIGPIPE is for what the program writes. Before main, and where the shim can have no helper, it is the
/// program's own thread that writes the log.
#[test]
fn a_reader_that_is_gone_kills_nobody() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let program = Program::guest("syncdrop").arg(fs.path("f"));
    let under = Program::guest("under");
    for denied in ["pidfd_open", "clone"] {
        Program::guest("unread")
            .arg("closed")
            .arg(under.file())
            .args(["seccomp", denied, "EPERM"])
            .arg(program.file())
            .args(program.arguments())
            .under_shim(&[
                ("KEEPMYDATA_LOG", "info"),
                ("KEEPMYDATA_LOG_FILE", "stderr"),
            ])
            .expect_success(denied);
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_named_once() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let missing = fs.path("missing/log");
    for (log, why) in [
        (missing.as_path(), "ENOENT"),
        (&fs.dir(), "it is a directory (EISDIR)"),
        (&fs.path("f/log"), "ENOTDIR"),
        (Path::new("/dev/full"), "ENOSPC"),
    ] {
        let run = syncdrop(&fs, log);
        let wanted = format!("{}: {why};", log.display());
        assert!(complaint(&run).contains(&wanted), "{wanted} {run:?}");
    }
    let run = syncdrop(&fs, Path::new("/dev/null"));
    assert_eq!(run.stderr, "");
}

/// Errors come to standard error then.
#[test]
fn a_failure_is_reported_where_the_log_cannot_be() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole", "--keep-cache"]);
    let run = Program::guest("seed").arg(fs.path("f")).under_shim(&[
        ("KEEPMYDATA_DEADLINE_MS", "200"),
        ("KEEPMYDATA_LOG_FILE", "/dev/full"),
    ]);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines[0].contains("/dev/full: ENOSPC;"), "{run:?}");
    assert!(lines[1].contains("report"), "{run:?}");
}

/// Opening one waits for a reader, unless it is told not to.
#[test]
fn a_fifo_is_written_to_when_it_is_read() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let log = fs.path("fifo");
    fifo(&log);
    let run = syncdrop(&fs, &log);
    assert!(
        complaint(&run).contains("nobody reads it (ENXIO)"),
        "{run:?}"
    );

    let mut open = File::options();
    let reading = open.read(true).custom_flags(libc::O_NONBLOCK);
    let reader = BufReader::new(reading.open(&log).expect("FIFO"));
    let run = syncdrop(&fs, &log);
    assert_eq!(run.stderr, "");
    let lines: Vec<String> = reader.lines().map(|line| line.expect("a line")).collect();
    assert!(
        lines.iter().any(|line| line.contains(" msync ")),
        "{lines:?}"
    );
}

/// One that is full and not read counts as a log that cannot be written.
#[test]
fn a_full_fifo_does_not_hold_up_the_program() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let log = fs.path("fifo");
    fifo(&log);
    let mut open = File::options();
    let both = open.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let mut both = both.open(&log).expect("FIFO");
    while std::io::Write::write(&mut both, &[b'.'; 4096]).is_ok() {}
    let run = syncdrop(&fs, &log);
    assert!(complaint(&run).contains("for a second (EAGAIN)"), "{run:?}");
}

/// Neither before main, when the program's own thread writes, nor later.
#[test]
fn a_file_size_limit_kills_nobody() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let (log, limit) = (fs.path("log"), 1 << 20);
    for full in [0, 300] {
        let file = File::create(&log).expect("log");
        file.set_len(limit - full).expect("size");
        let settings = [
            ("KEEPMYDATA_LOG", "info"),
            ("KEEPMYDATA_LOG_FILE", text(&log)),
        ];
        let run = Program::guest("syncdrop")
            .arg(fs.path("f"))
            .traced_by(["prlimit", &format!("--fsize={limit}")])
            .under_shim(&settings)
            .expect_success("syncdrop");
        assert!(
            complaint(&run).contains("(RLIMIT_FSIZE) (EFBIG)"),
            "{run:?}"
        );
        assert_eq!(file.metadata().expect("log").len(), limit);
    }
}

#[test]
fn a_link_of_another_user_is_not_followed() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let victim = fs.path("victim");
    let planted = |name: &str, mode: u32, owner: u32| {
        let directory = directory(&fs, name, mode, owner);
        let link = directory.join("log");
        symlink(&victim, &link).expect("link");
        rustix::fs::chownat(
            rustix::fs::CWD,
            &link,
            Some(rustix::fs::Uid::from_raw(NOBODY)),
            None,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .expect("owner");
        (directory, link)
    };
    for (name, mode, owner) in [
        ("all", 0o777, 0),
        ("sticky", 0o1777, 0),
        ("home", 0o755, NOBODY),
    ] {
        let (_, link) = planted(name, mode, owner);
        let run = syncdrop(&fs, &link);
        let why = "a symbolic link that another user made";
        assert!(complaint(&run).contains(why), "{name}: {run:?}");
        assert!(!victim.exists(), "{name}: a file was made");
    }
    // Nor on the way.
    let (directory, link) = planted("way", 0o777, 0);
    fs::create_dir(&victim).expect("directory");
    let run = syncdrop(&fs, &link.join("log"));
    assert!(complaint(&run).contains("a symbolic link"), "{run:?}");
    assert_eq!(fs::read_dir(&victim).expect("victim").count(), 0);

    // Those of the user, and of root, are.
    for (name, target) in [("absolute", text(&victim)), ("relative", "../victim")] {
        let own = directory.join(name);
        symlink(target, &own).expect("link");
        let run = syncdrop(&fs, &own.join(name));
        assert_eq!(run.stderr, "");
        let written = fs::read_to_string(victim.join(name)).expect("log");
        assert!(written.contains(" msync "), "{written}");
    }
}

#[test]
fn a_file_of_another_user_is_not_written_to() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let shared = directory(&fs, "shared", 0o777, 0);
    let home = directory(&fs, "home", 0o755, NOBODY);

    let foreign = shared.join("foreign");
    File::create(&foreign).expect("file");
    chown(&foreign, Some(NOBODY), None).expect("owner");
    let run = syncdrop(&fs, &foreign);
    assert!(complaint(&run).contains("it is another user's"), "{run:?}");
    assert_eq!(foreign.metadata().expect("file").len(), 0);

    let victim = fs.path("victim");
    File::create(&victim).expect("file");
    for directory in [&shared, &home] {
        let planted = directory.join("hard");
        fs::hard_link(&victim, &planted).expect("link");
        let run = syncdrop(&fs, &planted);
        assert!(complaint(&run).contains("it has another name"), "{run:?}");
        assert_eq!(victim.metadata().expect("file").len(), 0);
        fs::remove_file(&planted).expect("link");
    }

    // What nobody could have put there is: a new file, one's own, and one in its owner's directory.
    let own = home.join("log");
    File::create(&own).expect("file");
    chown(&own, Some(NOBODY), None).expect("owner");
    for log in [&shared.join("log"), &own] {
        for runs in 1..3 {
            let run = syncdrop(&fs, log);
            assert_eq!(run.stderr, "");
            let written = fs::read_to_string(log).expect("log");
            let starts = written.matches(" start: ").count();
            assert_eq!(starts, runs, "appended: {written}");
        }
    }
}

/// Runs a copy of `program` as `user`, where /etc/ld.so.preload brings the shim into every program: in a
/// mount namespace, in which that file is another one.
fn preloaded_for_all(
    scratch: &Scratch,
    fs: &LoopFs,
    program: &Path,
    user: u32,
    log: &Path,
) -> Outcome {
    let preload = scratch.path("ld.so.preload");
    let library = fs.path("libkeepmydata.so");
    if !library.exists() {
        fs::copy(shim(), &library).expect("copy of the shim");
    }
    fs::write(&preload, format!("{}\n", library.display())).expect("ld.so.preload");
    let script =
        "mount -t tmpfs tmpfs /etc && cat \"$1\" > /etc/ld.so.preload && shift && exec \"$@\"";
    Program::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", text(&preload)])
        .args([
            "setpriv",
            "--clear-groups",
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
        ])
        .args(["env", "KEEPMYDATA_LOG=info"])
        .arg(format!("KEEPMYDATA_LOG_FILE={}", text(log)))
        .arg(program)
        .arg(fs.path(&format!("shared/data {user}")))
        .natively()
}

#[test]
fn a_set_user_id_program_obeys_no_environment() {
    let fs = or_skip!(LoopFs::mount("ext4"));
    let scratch = Scratch::new();
    let shared = directory(&fs, "shared", 0o777, 0);
    let copy = |name: &str, mode: u32| {
        let copy = fs.path(name);
        fs::copy(Program::guest("syncdrop").file(), &copy).expect("copy");
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("mode");
        copy
    };
    let (plain, set_user_id) = (copy("plain", 0o755), copy("set-user-id", 0o4755));
    for (program, user, logs) in [
        (&plain, 0, true),
        (&plain, NOBODY, true),
        (&set_user_id, 0, true), // Root already: nothing is gained.
        (&set_user_id, NOBODY, false),
    ] {
        let log = shared.join(format!("{user} {logs}"));
        let run = preloaded_for_all(&scratch, &fs, program, user, &log);
        let what = format!("{} as {user}: {run:?}", program.display());
        let run = run.expect_success(&what);
        assert!(run.stdout.starts_with("msync returned\n"), "{what}");
        assert_eq!(log.exists(), logs, "{what}");
        if logs {
            assert_eq!(log.metadata().expect("log").uid(), user, "{what}");
        }
    }
}
