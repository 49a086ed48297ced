//! A log that cannot be opened: the command says so in one line, and the program is not started.

mod common;

use common::{Place, stderr, stdout};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Runs a shell that logs there, named by an option and by a variable.
fn logging_to(place: &Place, log: &str, script: &str) -> [(&'static str, Output); 2] {
    let option = place
        .keepmydata()
        .args(["--log-file", log, "sh", "-c", script])
        .output();
    let variable = place
        .keepmydata()
        .env("KEEPMYDATA_LOG_FILE", log)
        .args(["sh", "-c", script])
        .output();
    [
        ("--log-file", option.unwrap()),
        ("KEEPMYDATA_LOG_FILE", variable.unwrap()),
    ]
}

#[test]
fn what_cannot_be_opened_is_said_before_the_program_starts() {
    let place = Place::new();
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    fifo(&place.path("fifo"));
    let _listener = UnixListener::bind(place.path("socket")).unwrap();
    std::os::unix::fs::symlink("none/log", place.path("link")).unwrap();
    fs::write(place.path("file"), "").unwrap();
    for (log, why) in [
        (path("none/log"), "No such file or directory"),
        (path("none/%p/log"), "No such file or directory"),
        (path("link"), "No such file or directory"),
        (path("file/log"), "Not a directory"),
        (path(""), "Is a directory"),
        (path("log/"), "Is a directory"),
        (path("fifo"), "nobody reads it"),
        (path("socket"), "nobody reads it, or it is a socket"),
    ] {
        for (from, output) in logging_to(&place, &log, "echo ran") {
            let said = stderr(&output);
            let start = format!("keepmydata: {from}: the log ");
            assert!(said.starts_with(&start), "{log}: {said}");
            assert!(
                said.contains(&format!("cannot be opened: {why}")),
                "{log}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{log}: {said}");
            assert_eq!(output.status.code(), Some(125), "{log}: {said}");
            assert_eq!(stdout(&output), "", "{log}");
        }
    }
}

#[test]
fn what_can_be_opened_is_left_as_it_is() {
    let place = Place::new();
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    fs::write(place.path("old"), "kept").unwrap();
    std::os::unix::fs::symlink("made-later", place.path("link")).unwrap();
    for log in [
        path("new"),
        path("%p"),
        path("old"),
        path("link"),
        "stderr".to_owned(),
    ] {
        for (from, output) in logging_to(&place, &log, "echo ran") {
            assert_eq!(stderr(&output), "", "{from} {log}");
            assert_eq!(stdout(&output), "ran\n", "{from} {log}");
        }
    }
    assert!(!place.path("new").exists() && !place.path("made-later").exists());
    assert_eq!(fs::read_to_string(place.path("old")).unwrap(), "kept");
}

#[test]
fn an_option_is_looked_at_instead_of_the_variable() {
    let place = Place::new();
    let log = place.path("log");
    let output = place
        .keepmydata()
        .env("KEEPMYDATA_LOG_FILE", "/no/such/log")
        .arg("--log-file")
        .arg(&log)
        .arg("true")
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output)),
        (Some(0), String::new())
    );
}

/// Who reads a FIFO sees its end when the last that has it open for writing closes it. The command
/// tries it and must not be the last, however much later the program opens it.
#[test]
fn the_reader_of_a_fifo_stays_until_the_program_has_ended() {
    let place = Place::new();
    fifo(&place.path("fifo"));
    fifo(&place.path("go"));
    let log = place.path("fifo");
    // Opened before the command looks for a reader. Without a writer ever, poll(2) waits on.
    let mut reading = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&log)
        .unwrap();
    let reader = std::thread::spawn(move || {
        poll(&mut [PollFd::new(&reading, PollFlags::IN)], None).unwrap();
        fcntl_setfl(&reading, OFlags::empty()).unwrap();
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        text
    });
    let mut command = place.keepmydata();
    command
        .arg("--log-file")
        .arg(&log)
        .args([
            "sh",
            "-c",
            "read line <\"$1\"; echo \"$line\" >\"$2\"",
            "sh",
        ])
        .args([place.path("go"), log]);
    let mut child = command.spawn().unwrap();
    // Opened once the program waits there.
    fs::write(place.path("go"), "a record\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(reader.join().unwrap(), "a record\n");
}
