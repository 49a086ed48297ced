//! `keepmydata PROGRAM`: the program is what it is without the command, and has the shim.

mod common;

use common::{Place, compile, keepmydata, stderr, stdout};
use preload_tests::harness::shim;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

#[test]
fn exit_codes_and_signals_are_the_programs() {
    let place = Place::new();
    let run = |script: &str| {
        place
            .keepmydata()
            .args(["sh", "-c", script])
            .status()
            .unwrap()
    };
    assert_eq!(run("exit 0").code(), Some(0));
    assert_eq!(run("exit 77").code(), Some(77));
    assert_eq!(run("kill -KILL $$").signal(), Some(libc::SIGKILL));
}

#[test]
fn the_program_has_the_process_id_of_the_command() {
    let place = Place::new();
    let mut command = place.keepmydata();
    let child = command
        .args(["sh", "-c", "echo $$"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let pid = child.id();
    assert_eq!(
        stdout(&child.wait_with_output().unwrap()).trim(),
        pid.to_string()
    );
}

/// All but the preloaded library and the setting that was given.
#[test]
fn the_program_inherits_what_it_would_inherit() {
    let place = Place::new();
    let guest = place.path("inherited");
    compile("inherited", &[], &guest);
    let with = |mut command: Command| {
        command
            .args(["a", "", "b c"])
            .env_clear()
            .env("Z", "1")
            .env("A", "2=3")
            .env("LC_ALL", "C");
        command
    };
    let natively = with(Command::new(&guest)).output().unwrap();
    let mut command = place.keepmydata();
    command.arg("--verify=on").arg("--").arg(&guest);
    let mut command = with(command);
    let library = place.path("libhello.so").canonicalize().unwrap();
    command.env("KEEPMYDATA_LIB", &library);
    let under = command.output().unwrap();
    assert_eq!(stderr(&under), "");
    let added = [
        format!("environment KEEPMYDATA_LIB={}", library.display()),
        "environment KEEPMYDATA_VERIFY=on".to_owned(),
        format!("environment LD_PRELOAD={}", library.display()),
    ];
    let under = stdout(&under);
    let (there, rest): (Vec<&str>, Vec<&str>) = under
        .lines()
        .partition(|line| added.iter().any(|a| a == line));
    assert_eq!(there.len(), added.len(), "{under}");
    assert_eq!(rest, stdout(&natively).lines().collect::<Vec<_>>());
}

#[test]
fn ignored_and_blocked_signals_stay_so() {
    let place = Place::new();
    let guest = place.path("inherited");
    compile("inherited", &[], &guest);
    for signal in [libc::SIGPIPE, libc::SIGCHLD, libc::SIGINT] {
        let mut command = place.keepmydata();
        command.arg(&guest);
        // SAFETY: signal and sigprocmask may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGCHLD);
                libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
                libc::signal(signal, libc::SIG_IGN);
                Ok(())
            })
        };
        let output = stdout(&command.output().unwrap());
        assert!(output.contains(&format!("ignored {signal}\n")), "{output}");
        assert!(
            output.contains(&format!("blocked {}\n", libc::SIGCHLD)),
            "{output}"
        );
        assert!(!output.contains("pending"), "{output}");
        assert!(output.contains("child -1 No child processes"), "{output}");
    }
}

#[test]
fn the_library_is_appended_to_ld_preload() {
    let place = Place::new();
    compile("silent", &["-shared", "-fPIC"], &place.path("libother.so"));
    let other = place.path("libother.so");
    let output = place
        .keepmydata()
        .env("LD_PRELOAD", &other)
        .args(["sh", "-c", "echo $LD_PRELOAD"])
        .output()
        .unwrap();
    let library = place.path("libhello.so").canonicalize().unwrap();
    assert_eq!(
        stdout(&output).trim(),
        format!("{}:{}", other.display(), library.display())
    );
}

#[test]
fn an_option_wins_over_its_variable() {
    let place = Place::new();
    let output = place
        .keepmydata()
        .env("KEEPMYDATA_VERIFY", "off")
        .args(["--verify", "on", "sh", "-c", "echo $KEEPMYDATA_VERIFY"])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "on\n");
}

#[test]
fn the_library_is_found_beside_the_command_and_in_lib() {
    let place = Place::new();
    for directory in ["bin", "lib/keepmydata"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    let copy = place.path("bin/keepmydata");
    common::copy(Path::new(env!("CARGO_BIN_EXE_keepmydata")), &copy);
    let run = || {
        Command::new(&copy)
            .env_remove("KEEPMYDATA_LIB")
            .arg("env")
            .output()
            .unwrap()
    };
    let refused = run();
    assert_eq!(refused.status.code(), Some(125));
    assert!(stderr(&refused).starts_with("keepmydata: libkeepmydata.so is not in "));
    for library in ["lib/keepmydata", "lib", "bin"] {
        let library = place.path(library).join("libkeepmydata.so");
        fs::copy(place.path("libhello.so"), &library).unwrap();
        let preload = format!("LD_PRELOAD={}\n", library.canonicalize().unwrap().display());
        let output = stdout(&run());
        assert!(output.contains(&preload), "{preload} in {output}");
    }
}

#[test]
fn a_library_that_is_not_one_is_named() {
    let place = Place::new();
    for (name, contents) in [("missing", None), ("text", Some("hello"))] {
        if let Some(contents) = contents {
            fs::write(place.path(name), contents).unwrap();
        }
        let output = keepmydata()
            .env("KEEPMYDATA_LIB", place.path(name))
            .arg("true")
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).starts_with("keepmydata: KEEPMYDATA_LIB: /"),
            "{output:?}"
        );
        assert_eq!(stderr(&output).lines().count(), 1);
    }
}

#[test]
fn a_shim_that_was_not_loaded_is_missed() {
    let place = Place::new();
    compile("silent", &["-shared", "-fPIC"], &place.path("libsilent.so"));
    let mut command = keepmydata();
    command
        .env("KEEPMYDATA_LIB", place.path("libsilent.so"))
        .args(["sh", "-c", "exit 3"]);
    // The watcher holds standard error until it has said what it has to say.
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(
        said.starts_with("keepmydata: warning: the shim was not loaded into sh: "),
        "{said:?}"
    );
    assert_eq!(said.lines().count(), 1);
}

/// Whoever waits for the end of the program's standard error waits for nobody else.
#[test]
fn nothing_outlives_a_program_that_said_hello() {
    let place = Place::new();
    let begin = Instant::now();
    let output = place.keepmydata().arg("true").output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_text_without_interpreter_is_run_by_a_shell() {
    let place = Place::new();
    let script = place.file("script", b"echo shell $1\n");
    let output = place.keepmydata().arg(script).arg("x").output().unwrap();
    assert_eq!(stdout(&output), "shell x\n");
}

#[test]
fn scripts_run_through_their_interpreters() {
    let place = Place::new();
    for line in [
        "#!/bin/sh",
        "#! /bin/sh -e",
        "#!/usr/bin/env sh",
        "#!/usr/bin/env -S A=1 sh -e",
    ] {
        let script = place.file("script", format!("{line}\necho ran $1\n").as_bytes());
        let output = place.keepmydata().arg(script).arg("x").output().unwrap();
        assert_eq!(stdout(&output), "ran x\n", "{line}: {}", stderr(&output));
    }
}

#[test]
fn bad_usage_is_one_message_and_125() {
    for arguments in [&["--verify=perhaps", "ls"][..], &["--bogus", "ls"], &[]] {
        let output = keepmydata().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(stderr(&output).starts_with("error: "), "{arguments:?}");
    }
}

/// What is no program, and almost one of the command's own words.
#[test]
fn a_mistyped_subcommand_is_recognised() {
    let place = Place::new();
    for (typed, meant) in [
        ("dotcor", Some("doctor")),
        ("reports", Some("report")),
        ("lss-l", None),
    ] {
        let output = place.keepmydata().args([typed, "."]).output().unwrap();
        assert_eq!(output.status.code(), Some(127));
        let expected = match meant {
            Some(meant) => format!(
                "keepmydata: {typed}: command not found; did you mean 'keepmydata {meant}'?\n"
            ),
            None => format!("keepmydata: {typed}: command not found\n"),
        };
        assert_eq!(stderr(&output), expected);
    }
}

#[test]
fn a_mistyped_option_is_recognised() {
    for (arguments, wrong, tip) in [
        (
            &["--lg=info", "--", "true"][..],
            "unexpected argument '--lg'",
            "a similar argument exists: '--log'",
        ),
        (
            &["--verfiy", "on", "true"],
            "unexpected argument '--verfiy'",
            "a similar argument exists: '--verify'",
        ),
        (
            &["doctor", "--jnuit", "x.xml"],
            "unexpected argument '--jnuit'",
            "a similar argument exists: '--junit'",
        ),
        (
            &["help", "dotcor"],
            "unrecognized subcommand 'dotcor'",
            "a similar subcommand exists: 'doctor'",
        ),
    ] {
        let output = keepmydata().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        let said = stderr(&output);
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines[0].starts_with(&format!("error: {wrong}")), "{said}");
        assert_eq!(lines[1], format!("  tip: {tip}"));
        assert_eq!(lines[2], "For more information, try '--help'.");
    }
}

#[test]
fn help_is_a_subcommand_too() {
    for (arguments, says) in [
        (&["help"][..], "Usage: keepmydata [OPTIONS]"),
        (&["help", "doctor"], "Usage: keepmydata doctor"),
        (&["help", "generate"], "manual pages"),
        (&["help", "--help"], "Usage: keepmydata [OPTIONS]"),
        (&["help", "-h", "doctor"], "Usage: keepmydata doctor"),
    ] {
        let output = keepmydata().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            stdout(&output).contains(says),
            "{arguments:?}: {}",
            stdout(&output)
        );
    }
    assert!(stdout(&keepmydata().arg("--help").output().unwrap()).contains("  generate "));
}

#[test]
fn a_misspelt_variable_is_named_and_the_program_runs() {
    let place = Place::new();
    let mut command = place.keepmydata();
    command
        .env("KEEPMYDATA_VERFIY", "on")
        .env("KEEPMYDATA_ELSE", "x");
    let output = command.args(["sh", "-c", "echo ran"]).output().unwrap();
    assert_eq!(
        stderr(&output),
        "keepmydata: warning: KEEPMYDATA_VERFIY: no such setting; did you mean KEEPMYDATA_VERIFY?\n"
    );
    assert_eq!(stdout(&output), "ran\n");
}

/// Each command says that it could not say what it found; none is killed by that.
#[test]
fn a_full_disk_is_an_error_in_one_line() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let text = r#"{"time_ns":1795210800000000000,"level":"info","event":"msync","pid":1,"tid":1,"call":1,"path":"/f","dev":"0:39","ino":2,"duration_ns":1,"offset":0,"length":4096,"result":0}"#;
    fs::write(&log, format!("{text}\n")).unwrap();
    let log = log.to_str().unwrap();
    for arguments in [
        &["--help"][..],
        &["doctor", "--help"],
        &["--version"],
        &["report", log],
        &["diagnose", "--runs=1", "true"],
        &["doctor", "/proc"],
    ] {
        let mut command = keepmydata();
        let command = command.env("KEEPMYDATA_LIB", shim());
        let command = command.args(arguments).stdout(full());
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {said}");
        assert!(said.ends_with(": No space left on device\n"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let output = keepmydata().arg("/no/such").stderr(full()).output();
    assert_eq!(output.unwrap().status.code(), Some(127));
    let output = keepmydata()
        .env("KEEPMYDATA_VERFIY", "on")
        .env("KEEPMYDATA_LIB", shim())
        .args(["sh", "-c", "exit 4"])
        .stderr(full())
        .output();
    assert_eq!(output.unwrap().status.code(), Some(4));
}

/// Before anything is run, and with the name of what is missing.
#[test]
fn what_cannot_be_written_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let ran = ran.to_str().unwrap();
    let kept = directory.path().join("results.xml");
    fs::write(&kept, "of yesterday").unwrap();
    let run = |arguments: &[&str], temporary: &str| {
        let mut command = keepmydata();
        let command = command.env("KEEPMYDATA_LIB", shim());
        command.args(arguments).env("TMPDIR", temporary).output()
    };
    let nowhere = ["--junit", "/no/such/x"];
    for arguments in [
        &["diagnose", "--runs=1", nowhere[0], nowhere[1], "touch", ran][..],
        &["doctor", nowhere[0], nowhere[1], "."],
        &["doctor", nowhere[0], nowhere[1], ".", "--client", "/tmp"],
    ] {
        let output = run(arguments, "/tmp").unwrap();
        let said = stderr(&output);
        assert_eq!(said, "keepmydata: /no/such/x: No such file or directory\n");
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(stdout(&output), "");
    }
    assert!(!Path::new(ran).exists());
    for arguments in [
        &["diagnose", "--runs=1", "true"][..],
        &["doctor", "."],
        &["demo", "--tearfs=/bin/true", "--guest=/bin/true"],
    ] {
        let output = run(arguments, "/no/such").unwrap();
        let said = stderr(&output);
        assert!(
            said.contains("/no/such: No such file or directory"),
            "{said}"
        );
        assert_eq!(output.status.code(), Some(125));
    }
    // A disk that fills up later takes nothing but the file.
    let full = ["diagnose", "--runs=1", "--junit=/dev/full", "true"];
    let output = run(&full, "/tmp").unwrap();
    assert!(stdout(&output).contains("It passes natively."));
    assert!(stderr(&output).contains("/dev/full: No space left on device"));
    // And what is refused leaves the older results.
    let junit = format!("--junit={}", kept.display());
    let output = run(&["doctor", &junit, "/no/such"], "/tmp").unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "of yesterday");
}

/// A file below no mount would wait for nobody, without a word.
#[test]
fn mounts_that_are_not_there_are_named() {
    let place = Place::new();
    let file = place.file("file", b"");
    for (mounts, why) in [
        ("/nope=/nada".to_owned(), "/nope: No such file or directory"),
        ("/tmp=/nada".to_owned(), "/nada: No such file or directory"),
        (format!("/tmp={}", file.display()), ": Not a directory"),
    ] {
        let by_option = format!("--seen-by={mounts}");
        let mut with_option = place.keepmydata();
        let with_option = with_option.args([by_option.as_str(), "echo", "ran"]);
        let mut with_variable = place.keepmydata();
        let with_variable = with_variable.env("KEEPMYDATA_SEEN_BY", &mounts);
        let with_variable = with_variable.args(["echo", "ran"]);
        for (command, from) in [
            (with_option, "--seen-by: "),
            (with_variable, "KEEPMYDATA_SEEN_BY: "),
        ] {
            let output = command.output().unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(125), "{said}");
            assert!(said.starts_with(&format!("keepmydata: {from}")), "{said}");
            assert!(said.trim_end().ends_with(why), "{said}");
            assert_eq!(stdout(&output), "");
        }
    }
}

#[test]
fn a_file_is_no_directory_for_what_is_generated() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = keepmydata();
    let output = command.args(["generate", "man"]).arg(file.path()).output();
    let expected = format!("keepmydata: {}: Not a directory\n", file.path().display());
    assert_eq!(stderr(&output.unwrap()), expected);
}

/// With the commit, except where it was built from sources without one.
#[test]
fn the_version_names_the_commit() {
    let output = keepmydata().arg("--version").output().unwrap();
    let version = stdout(&output);
    let head = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=12"])
        .arg("HEAD")
        .output();
    let number = env!("CARGO_PKG_VERSION");
    match head {
        Ok(head) if head.status.success() => {
            let expected = format!("keepmydata {number} ({})\n", stdout(&head).trim());
            assert_eq!(version, expected);
        }
        _ => assert!(version.starts_with(&format!("keepmydata {number}"))),
    }
}

/// What the shim's first record says is in effect.
#[test]
fn a_preset_is_in_effect_and_single_settings_win_over_it() {
    let settings = |arguments: &[&str], variable: Option<(&str, &str)>| {
        let output = keepmydata()
            .env("KEEPMYDATA_LIB", shim())
            .envs(variable)
            .args(["--log=info"])
            .args(arguments)
            .args(["--", "true"])
            .output()
            .unwrap();
        let said = stderr(&output);
        let start = said.lines().find(|line| line.contains(" start: "));
        let start = start.unwrap_or_else(|| panic!("no start: {said}"));
        ["preset", "async", "invalidate", "read"].map(|name| {
            let value = start
                .split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value
                .unwrap_or_else(|| panic!("{name}: {start}"))
                .to_owned()
        })
    };
    assert_eq!(settings(&[], None), ["tests", "pass", "file", "fresh"]);
    let database = &["--preset=database"][..];
    assert_eq!(
        settings(database, None),
        ["database", "pass", "dirty", "pass"]
    );
    assert_eq!(
        settings(database, Some(("KEEPMYDATA_READ", "fresh"))),
        ["database", "pass", "dirty", "fresh"]
    );
    assert_eq!(
        settings(
            &["--invalidate=off"],
            Some(("KEEPMYDATA_PRESET", "database"))
        ),
        ["database", "pass", "off", "pass"]
    );
}

/// The stand-in library of the other tests keeps to the same protocol as this one.
#[test]
fn the_shim_says_hello_and_leaves_no_trace_of_it() {
    let place = Place::new();
    let guest = place.path("inherited");
    compile("inherited", &[], &guest);
    let natively = Command::new(&guest).output().unwrap();
    let under = keepmydata()
        .env("KEEPMYDATA_LIB", shim())
        .arg(&guest)
        .output()
        .unwrap();
    assert_eq!(stderr(&under), "");
    let descriptors = |output: &Output| {
        let text = stdout(output);
        let lines = text.lines().filter(|line| line.starts_with("descriptor "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(descriptors(&under), descriptors(&natively));
    assert!(!stdout(&under).contains("KEEPMYDATA_HANDSHAKE"));
}
