//! `keepmydata doctor DIR`: what it says of the kernel and of filesystems, and how.

mod common;

use common::{examine, keepmydata, stderr, stdout};
use preload_tests::harness::{LoopFs, Scratch, TearFs, Tmpfs, shim, wait_until};
use preload_tests::or_skip;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn check_block_filesystem(kind: &str) {
    let fs = or_skip!(LoopFs::mount(kind));
    let found = examine(&fs.path(""));
    assert_eq!(found["exit_code"], 0, "{found}");
    assert_eq!(found["filesystem"]["type"]["value"], kind);
    assert_eq!(
        found["filesystem"]["backing_store"]["value"],
        "block device"
    );
    assert_eq!(found["filesystem"]["o_direct_reads"]["value"], true);
    assert_eq!(found["filesystem"]["fsync"]["value"], true);
    assert_eq!(found["filesystem"]["one_inode_a_file"]["value"], true);
    assert_eq!(found["follows"]["verification"]["value"], "on request");
    assert_eq!(found["limits"], json!([]));
}

#[test]
fn ext4() {
    check_block_filesystem("ext4");
}

#[test]
fn xfs() {
    check_block_filesystem("xfs");
}

#[test]
fn btrfs() {
    check_block_filesystem("btrfs");
}

#[test]
fn tmpfs_has_nothing_to_enforce() {
    let fs = or_skip!(Tmpfs::mount());
    let found = examine(&fs.path(""));
    assert_eq!(found["exit_code"], 0, "{found}");
    assert_eq!(found["filesystem"]["backing_store"]["value"], "none");
    assert_eq!(found["follows"]["enforcement"]["value"], "none");
    let sentences = found["sentences"].to_string();
    assert!(sentences.contains("no backing store"), "{sentences}");
}

#[test]
fn fuse_is_verified_and_its_daemon_named() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
    let found = examine(&fs.path(""));
    let facts = &found["filesystem"];
    assert_eq!(facts["backing_store"]["value"], "other");
    let daemon = facts["daemon"]["value"].as_str().unwrap();
    assert!(daemon.starts_with("tearfs (pid "), "{daemon}");
    assert_eq!(facts["readers_fill_the_page_cache"]["value"], false);
    assert_eq!(facts["page_cache_outlives_an_open"]["value"], true);
    assert_eq!(found["follows"]["verification"]["value"], "always");
    let trackers = &found["follows"]["trackers"];
    assert_eq!(trackers["value"], json!(["pagemap", "cachestat", "whole"]));
    assert_eq!(trackers["note"], "track=auto takes pagemap");
}

/// Where the page cache serves all readers, only O_DIRECT shows what the filesystem holds.
#[test]
fn a_page_cache_that_hides_it_is_looked_past() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=drop-tail", "--direct-io=none", "--keep-cache"]);
    let found = examine(&fs.path(""));
    assert_eq!(found["verdict"], "cured", "{found}");
    let sentences = found["sentences"].to_string();
    assert!(
        sentences.contains("readers past the page cache"),
        "{sentences}"
    );
}

#[test]
fn without_the_shim_it_says_that_the_cure_was_not_tried() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let output = keepmydata()
        .env("KEEPMYDATA_LIB", "/no/lib.so")
        .arg("doctor")
        .arg(fs.path(""))
        .output()
        .unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let why = "could not be tried: KEEPMYDATA_LIB: /no/lib.so: No such file or directory.\n";
    assert!(text.contains(why), "{text}");
}

#[test]
fn text_is_a_verdict_and_verbose_the_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let doctor = |options: &[&str]| {
        let mut command = keepmydata();
        command.env("KEEPMYDATA_LIB", shim()).arg("doctor");
        let output = command.args(options).arg(directory.path()).output();
        stdout(&output.unwrap())
    };
    let (brief, verbose) = (doctor(&[]), doctor(&["--verbose"]));
    let verdict = "\nmsync keeps its promise here.\n";
    assert!(
        brief.contains(verdict) && verbose.contains(verdict),
        "{brief}"
    );
    for part in [
        "\nkernel\n",
        "\nfilesystem\n",
        "\nfollows\n",
        "\ntrials\n",
        "  backing store  ",
        "  + fdatasync  ",
    ] {
        assert!(verbose.contains(part), "{part:?} in {verbose}");
        assert!(!brief.contains(part), "{part:?} in {brief}");
    }
    let more = format!(
        "\nThe evidence: keepmydata doctor --verbose {}\n",
        directory.path().display()
    );
    assert!(brief.ends_with(&more), "{brief}");
}

/// A build server shows the verdict, and the evidence as the output of its case.
#[test]
fn junit_has_the_verdict_and_the_evidence() {
    or_skip!(TearFs::available());
    let directory = tempfile::tempdir().unwrap();
    let results = directory.path().join("results.xml");
    let doctor = |on: &std::path::Path| {
        let mut command = keepmydata();
        command.env("KEEPMYDATA_LIB", shim()).arg("doctor");
        let output = command.arg("--junit").arg(&results).arg(on).output();
        (
            output.unwrap().status.code(),
            fs::read_to_string(&results).unwrap(),
        )
    };
    let (code, text) = doctor(directory.path());
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "failures=\"0\"",
        "msync keeps its promise",
        "  backing store  ",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let (code, text) = doctor(fs.dir().as_path());
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\"",
        "msync breaks its promise here, and keepmydata cures it.",
        "keepmydata cures it",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let (code, text) = doctor("/proc".as_ref());
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("errors=\"1\""), "{text}");
}

#[test]
fn what_cannot_be_looked_at_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, why) in [
        (directory.path().join("none"), "No such file or directory"),
        (file, "Not a directory"),
    ] {
        let output = keepmydata().arg("doctor").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            stderr(&output),
            format!("keepmydata: {}: {why}\n", path.display())
        );
    }
    let output = keepmydata().args(["doctor", "--bogus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
}

/// Interrupted in the middle of a trial.
#[test]
fn an_interrupted_doctor_leaves_nothing_behind() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "black-hole"]);
    let entries = || fs::read_dir(fs.dir()).unwrap().flatten().count();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut doctor = keepmydata()
            .env("KEEPMYDATA_LIB", shim())
            .arg("doctor")
            .arg(fs.dir())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until(
            "a directory of the doctor's",
            Duration::from_secs(20),
            || entries() > 0,
        );
        kill_process(Pid::from_child(&doctor), signal).unwrap();
        let ended = doctor.wait().unwrap();
        assert_eq!(ended.code(), Some(code));
        assert_eq!(entries(), 0);
    }
}

#[test]
#[ignore = "takes the half minute that the doctor gives a filesystem"]
fn a_filesystem_that_hangs_does_not_take_the_doctor_with_it() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--fsync-delay-ms=60000"]);
    let started = Instant::now();
    let output = keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .arg("doctor")
        .arg(fs.dir())
        .output()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(32));
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("no answer in 30 s"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn where_no_file_can_be_made_nothing_can_be_told() {
    let found = examine("/proc".as_ref());
    assert_eq!(
        (&found["verdict"], &found["exit_code"]),
        (&json!("unknown"), &json!(3))
    );
    let sentences = found["sentences"].to_string();
    assert!(
        sentences.contains("No file can be made there: "),
        "{sentences}"
    );
}

/// Each sync takes half a second, each read a tenth: longer waits, and then the verdict.
#[test]
fn a_slow_filesystem_gets_its_verdict() {
    or_skip!(TearFs::available());
    let slow = ["--fsync-delay-ms=500", "--read-delay-ms=100"];
    let verdicts = std::thread::scope(|scope| {
        let started = ["--mode=honest", "--mode=drop-tail"].map(|mode| {
            scope.spawn(move || {
                let fs = TearFs::mount(&[&[mode], &slow[..]].concat());
                examine(&fs.path(""))
            })
        });
        started.map(|ended| ended.join().unwrap())
    });
    let [honest, drops] = &verdicts;
    assert_eq!(honest["verdict"], "keeps", "{honest}");
    assert_eq!(drops["verdict"], "cured", "{drops}");
}

/// An ext4 that is full: its blocks are taken by one file.
fn full_ext4() -> Result<(LoopFs, fs::File), String> {
    let full = LoopFs::mount("ext4")?;
    let mut file = fs::File::create(full.path("all")).unwrap();
    // What is written late may turn out to need less.
    let mut last = None;
    for size in [1 << 20, 4096, 4096] {
        let block = vec![b'x'; size];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        file.sync_all().unwrap();
        last = Some(file.metadata().unwrap().len());
    }
    assert!(last > Some(1 << 20));
    Ok((full, file))
}

/// What it met, and what to do.
#[test]
fn a_full_filesystem_is_explained() {
    let (full, file) = or_skip!(full_ext4());
    let met = |directory: &std::path::Path, verdict: &str, words: &str| {
        let found = examine(directory);
        assert_eq!(found["verdict"], verdict, "{found}");
        let sentences = found["sentences"].to_string();
        assert!(sentences.contains(words), "{sentences}");
    };
    met(&full.path(""), "unknown", "The filesystem is full");
    // Enough for the seed case, and not for stores at random places: a page of a hole gets no block.
    let size = file.metadata().unwrap().len();
    file.set_len(size - (100 << 10)).unwrap();
    file.sync_all().unwrap();
    met(
        &full.path(""),
        "unknown",
        "a workload could not be tried: signal: 7 (SIGBUS)",
    );
    // A daemon that writes less than it was given, of which the kernel tells nobody.
    or_skip!(preload_tests::harness::installed("bindfs"));
    let [lower, point] = ["lower", "mount"].map(|name| full.path(name));
    for directory in [&lower, &point] {
        fs::create_dir(directory).unwrap();
    }
    let run = |program: &str, arguments: &[&std::path::Path]| {
        let status = std::process::Command::new(program).args(arguments).status();
        assert!(status.unwrap().success(), "{program}");
    };
    run("bindfs", &[&lower, &point]);
    met(&point, "not-cured", "The filesystem is full");
    run("umount", &[&point]);
}

/// It fails by itself, each time: not only msync says so.
#[test]
fn a_filesystem_that_fails_is_explained() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode=eio-once", "--every=1"]);
    let found = examine(&fs.path(""));
    assert_eq!(found["verdict"], "not-cured", "{found}");
    let sentences = found["sentences"].to_string();
    assert!(
        sentences.contains("look into the kernel's log (dmesg)"),
        "{sentences}"
    );
}

/// A file of the lower layer that is mapped before it is written first.
#[test]
fn copy_up_under_a_mapping_is_told_of() {
    let below = or_skip!(LoopFs::mount("ext4"));
    for name in ["lower", "upper", "work", "mount"] {
        fs::create_dir(below.path(name)).unwrap();
    }
    fs::write(below.path("lower/f"), "old").unwrap();
    let [lower, upper, work, point] =
        ["lower", "upper", "work", "mount"].map(|name| below.path(name).display().to_string());
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new("mount").args(arguments).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "overlay", "overlay", "-o", &layers, &point]) {
        preload_tests::skip!("no overlayfs can be mounted here");
    }
    // It is so: who has the file mapped since before sees the old one.
    let script = "import mmap, sys\n\
        file = open(sys.argv[1])\n\
        held = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n\
        new = open(sys.argv[1], 'r+')\n\
        new.write('new')\n\
        new.close()\n\
        print(held[:3].decode(), open(sys.argv[1]).read())";
    let python = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(below.path("mount/f"))
        .output()
        .unwrap();
    let found = examine(&below.path("mount"));
    let _ = std::process::Command::new("umount").arg(&point).status();
    assert_eq!(stdout(&python), "old new\n", "{}", stderr(&python));
    assert_eq!(found["verdict"], "keeps", "{found}");
    let limits = found["limits"].to_string();
    assert!(
        limits.contains("is copied up when it is first opened for writing"),
        "{limits}"
    );
}

/// From outside, where that is asked for, and where there is no library: the command is its own guest then.
#[test]
fn without_a_library_the_shim_is_tried_by_a_supervisor() {
    or_skip!(TearFs::available());
    let alone = Scratch::new();
    let command = alone.path("keepmydata");
    fs::copy(env!("CARGO_BIN_EXE_keepmydata"), &command).unwrap();
    let asked = [&[][..], &["--reach=supervise"]];
    for (mode, code, verdict) in [
        ("honest", 0, "keeps"),
        ("one-page", 1, "cured"),
        ("black-hole", 2, "not-cured"),
    ] {
        let fs = TearFs::mount(&["--mode", mode, "--keep-cache"]);
        for options in asked {
            let mut doctor = common::keepmydata_environment(std::process::Command::new(&command));
            doctor.args(["doctor", "--json"]).args(options);
            let output = doctor.arg(fs.path("")).output().unwrap();
            let found: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
            assert_eq!(
                output.status.code(),
                Some(code),
                "{mode} {options:?}: {found}"
            );
            assert_eq!(found["verdict"], verdict, "{mode} {options:?}: {found}");
            let limits = found["limits"].to_string();
            assert!(limits.contains("by a supervisor"), "{limits}");
            let records = found["trials"]["shim"]["records"].to_string();
            assert!(records.contains(r#""supervised":true"#), "{records}");
        }
    }
    // Preloaded or not at all.
    let fs = TearFs::mount(&["--mode", "one-page", "--keep-cache"]);
    let mut doctor = common::keepmydata_environment(std::process::Command::new(&command));
    let output = doctor
        .args(["doctor", "--json", "--reach=preload"])
        .arg(fs.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
}
