//! `keepmydata report` on the terminal, and as a trace: real logs, broken logs, long logs.

mod common;
mod reporting;

use common::{keepmydata, stderr, stdout};
use preload_tests::harness::{Scratch, TearFs};
use preload_tests::or_skip;
use reporting::{generate, recorded, write_records};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn report(logs: &[&Path]) -> Output {
    keepmydata().arg("report").args(logs).output().unwrap()
}

#[test]
fn a_tear_is_shown_with_its_bytes() {
    or_skip!(TearFs::available());
    let run = recorded("black-hole");
    let output = report(&[&run.path()]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    for part in [
        "DATA IS AT RISK: 1 tear,",
        "msync = -1 EIO",
        "page 1084 [4440064,4444160) stale, reads back old, 1304 bytes wrong, differs from byte 4442856:",
        "expected  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  |ABCDEFGHIJKLMNOP|",
        "actual    6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f 6f  |oooooooooooooooo|",
        "page 1087 [4452352,4456448)",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn nothing_at_risk_where_the_filesystem_is_honest_or_was_healed() {
    or_skip!(TearFs::available());
    for (mode, healed) in [("honest", "0"), ("one-page", "1 (re")] {
        let run = recorded(mode);
        let output = report(&[&run.path()]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{mode}: {text}");
        assert!(
            text.contains("No data is known to be at risk."),
            "{mode}: {text}"
        );
        let row = text
            .lines()
            .find(|line| line.ends_with("/f"))
            .expect("the file");
        let cells = row.split("  ").map(str::trim);
        let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
        // Resync or redirty.
        assert!(cells[2].starts_with(healed), "{mode}: {text}");
        // msyncs, failed, dirty, verified
        let others = [cells[0], cells[1], cells[3], cells[4]];
        assert_eq!(others, ["1", "0", "4", "4"], "{mode}: {text}");
    }
}

#[test]
fn a_trace_has_calls_steps_and_the_daemon() {
    or_skip!(TearFs::available());
    let run = recorded("one-page");
    let trace = run.scratch.path("trace.json");
    let daemon = format!("{}=tearfs", run.scratch.path("ops").display());
    let output = keepmydata()
        .arg("report")
        .arg(run.path())
        .arg("--trace")
        .arg(&trace)
        .args(["--daemon", &daemon])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let trace: Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    let msync = named("msync").next().expect("msync");
    let span = |event: &Value| {
        let begin = event["ts"].as_f64().unwrap();
        (begin, begin + event["dur"].as_f64().unwrap())
    };
    let (begin, end) = span(msync);
    for step in ["dirty", "flush", "fdatasync", "verify", "drop"] {
        let (from, to) = span(named(step).next().unwrap_or_else(|| panic!("{step}")));
        assert!(
            begin <= from && to <= end + 1.0,
            "{step}: [{from},{to}] [{begin},{end}]"
        );
    }
    // Requests of the daemon have a begin and an end, and fall into the msync.
    let writes: Vec<f64> = named("Write")
        .filter(|event| {
            event["ph"] == "b"
                && event["args"]["note"]
                    .as_str()
                    .is_some_and(|note| note.contains("WRITE_CACHE"))
        })
        .map(|event| event["ts"].as_f64().unwrap())
        .collect();
    assert!(
        writes.iter().any(|at| (begin..=end).contains(at)),
        "{writes:?} [{begin},{end}]"
    );
    let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert_eq!(count("b"), count("e"));
}

#[test]
fn a_log_cut_anywhere_is_read_up_to_there() {
    or_skip!(TearFs::available());
    let run = recorded("black-hole");
    let whole = fs::read(run.path()).unwrap();
    let cut = run.scratch.path("cut.log");
    for part in 0..40 {
        let length = whole.len() * part / 40 + part * 7 % 50;
        fs::write(&cut, &whole[..length.min(whole.len())]).unwrap();
        let output = report(&[&cut]);
        assert!(
            matches!(output.status.code(), Some(0 | 1 | 3)),
            "{length}: {}",
            stderr(&output)
        );
        let unfinished = "the last line is unfinished: still being written, or cut";
        let ends = length == 0 || whole[length - 1] == b'\n' || whole.get(length) == Some(&b'\n');
        assert_eq!(
            stderr(&output).contains(unfinished),
            !ends,
            "{length}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn what_is_no_record_is_counted_and_named() {
    let logged = generate(10);
    let mut log = &logged.log;
    log.write_all(b"hello\n\xff\xfe\0\0\n{\"time_ns\":\n[]\n\n{}\n")
        .unwrap();
    log.write_all(&vec![b'x'; 3 << 20]).unwrap();
    log.write_all(b"\n2026-11-20 22:56:00.855252840Z INFO pid 19204 tid 19204 start: text\n")
        .unwrap();
    let noise: Vec<u8> = (0..1_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    log.write_all(&noise).unwrap();
    let output = report(&[&logged.path()]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(
        stdout(&output).contains(": 10 records"),
        "{}",
        stdout(&output)
    );
    let said = stderr(&output);
    for part in [
        " unreadable lines (line 11: no JSON object; line 12: no JSON object; line 13: EOF",
        "the last line is unfinished",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        said.lines()
            .all(|line| line.len() < 1000 && !line.contains('\0')),
        "{said}"
    );
}

#[test]
fn logs_are_found_by_name_directory_glob_and_pipe() {
    let logged = generate(10);
    let other = logged.scratch.path("other.jsonl");
    fs::copy(logged.path(), &other).unwrap();
    fs::write(logged.scratch.path("README"), "no log").unwrap();
    let counted = |output: Output, records: &str| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.contains(&format!(": {records} records")), "{text}");
    };
    counted(report(&[logged.scratch.dir()]), "20");
    counted(report(&[&logged.scratch.path("*.jso[n]l")]), "10");
    counted(
        report(&[logged.scratch.dir(), &logged.path(), &other]),
        "20",
    );
    let mut command = keepmydata();
    let log = File::open(logged.path()).unwrap();
    counted(
        command.args(["report", "-"]).stdin(log).output().unwrap(),
        "10",
    );
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() {
    let scratch = Scratch::new();
    let empty = scratch.path("empty.log");
    File::create(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["/no/such.log"],
            125,
            "/no/such.log: No such file or directory",
        ),
        (&["/no/*.log"], 125, "/no/*.log: no file matches"),
        (&["/proc/self/fdinfo"], 125, "name the logs"),
        (&["/dev/zero"], 125, "/dev/zero: a device, not a log"),
        (
            &[empty, "--daemon", "/dev/zero"],
            125,
            "/dev/zero: a device, not a log",
        ),
        (
            &[empty, "--html", "/no/page.html"],
            125,
            "/no/page.html: No such file or directory",
        ),
        (
            &[empty, "--daemon", "/no/ops=tearfs"],
            125,
            "/no/ops: No such file or directory",
        ),
        (
            &[empty, "--daemon", &format!("{empty}=cfs")],
            125,
            "a format is tearfs, cubefs, libfuse or a file of patterns",
        ),
        (&[empty, "--daemon", empty], 125, "no built-in format fits"),
        (
            &[empty],
            3,
            "empty.log: no record; below --log=info only trouble is logged",
        ),
    ];
    for (arguments, code, said) in cases {
        let output = keepmydata().arg("report").args(arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(said),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    // A disk without room: what can be said is said.
    let logged = generate(1000);
    for way in ["--trace", "--html"] {
        let mut command = keepmydata();
        let command = command.arg("report").arg(logged.path());
        let output = command.args([way, "/dev/full"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains("/dev/full: No space left on device"),
            "{}",
            stderr(&output)
        );
        assert!(stdout(&output).contains(": 1000 records from "));
    }
}

/// What each log without a record is said to be, in one line, and nothing else is said or written.
#[test]
fn a_log_without_records_is_named_for_what_it_is() {
    let scratch = Scratch::new();
    let log = scratch.path("a.log");
    let path = log.to_str().unwrap();
    let text = "2026-11-20 22:56:00.855252840Z ERROR pid 19204 tid 19204 report #1 /mnt/f: x\n    \
                page 1084 [4440064,4444160) stale old\n";
    let ops = "2026-11-20 22:18:24.722209688Z TRACE Write enter: ino(2) offset(0) len(16384) \
               flags() fh(1) pid(0) unique(32)\n";
    for (contents, says) in [
        (
            text,
            "a log as text, for people only; log with --log-format=json",
        ),
        (
            ops,
            "the log of a daemon, as tearfs writes it: give it as --daemon",
        ),
        ("hello\n", "1 unreadable line (line 1: no JSON object)"),
        ("", "no record; below --log=info only trouble is logged"),
    ] {
        fs::write(&log, contents).unwrap();
        let output = report(&[&log]);
        assert_eq!(output.status.code(), Some(3), "{contents}");
        assert_eq!(stdout(&output), "", "{contents}");
        let said = stderr(&output);
        assert!(
            said.starts_with(&format!("keepmydata: {path}: {says}")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn pages_and_traces_are_written_whole_or_not_at_all() {
    let logged = generate(10);
    let empty = logged.scratch.path("empty.log");
    File::create(&empty).unwrap();
    let [page, trace] = ["page.html", "trace.json"].map(|name| logged.scratch.path(name));
    let write = |log: &Path| {
        let mut command = keepmydata();
        command.arg("report").arg(log);
        command.arg("--html").arg(&page).arg("--trace").arg(&trace);
        command.output().unwrap().status.code()
    };
    let names = || fs::read_dir(logged.scratch.dir()).unwrap().count();
    let before = names();
    assert_eq!(write(&empty), Some(3));
    assert!(!page.exists() && !trace.exists());
    assert_eq!(names(), before, "nothing is left behind");
    fs::write(&page, "of yesterday").unwrap();
    assert_eq!(write(&empty), Some(3));
    assert_eq!(fs::read_to_string(&page).unwrap(), "of yesterday");
    assert_eq!(write(&logged.path()), Some(0));
    assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
    let events: Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    assert!(events["traceEvents"].is_array());
    assert_eq!(names(), before + 2);
}

/// A daemon's log of days, with what it did before, during and after the records.
#[test]
fn what_a_daemon_did_at_other_times_is_left_out() {
    let logged = generate(10);
    let [ops, trace] = ["ops.log", "trace.json"].map(|name| logged.scratch.path(name));
    let line = |time: &str, id: u32| {
        format!(
            "{time}Z TRACE Write enter: ino(2) offset(0) len(4096) flags() fh(1) pid(0) unique({id})\n\
             {time}Z TRACE Write exit: ino(2) result(4096) unique({id}) 10 ns\n"
        )
    };
    let log = line("2026-11-10 00:00:00.000000000", 2)
        + &line("2026-11-20 21:40:10.000000000", 4)
        + &line("2026-11-25 00:00:00.000000000", 6);
    fs::write(&ops, log).unwrap();
    let mut command = keepmydata();
    command.arg("report").arg(logged.path());
    command.arg("--trace").arg(&trace).arg("--daemon").arg(&ops);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let left_out = ": 2 operations from more than a second before or after the records left out\n";
    assert!(stderr(&output).ends_with(left_out), "{}", stderr(&output));
    let trace: Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let writes = events.iter().filter(|event| event["name"] == "Write");
    assert_eq!(writes.filter(|event| event["ph"] == "b").count(), 1);
}

#[test]
fn one_record_is_not_several() {
    let logged = generate(1);
    let text = stdout(&report(&[&logged.path()]));
    assert!(text.contains(": 1 record from "), "{text}");
}

#[test]
fn memory_does_not_grow_with_the_log() {
    bounded(200_000, 40 << 20, &[]);
}

#[test]
#[ignore = "takes a minute: half a gigabyte of records"]
fn memory_does_not_grow_with_a_long_log() {
    bounded(2_500_000, 500 << 20, &["--trace", "/dev/null"]);
}

/// Reports on so many records, at least so many bytes, with less memory than either.
fn bounded(records: u64, least: u64, options: &[&str]) {
    let scratch = Scratch::new();
    let page = scratch.path("page.html");
    // KiB of address space, the program itself included.
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 36000; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_keepmydata"),
        ])
        .args(["report", "-", "--html"])
        .arg(&page)
        .args(["--records", "10000"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = Counted(BufWriter::new(child.stdin.take().unwrap()), 0);
    write_records(&mut input, records);
    let bytes = input.1;
    input.flush().unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = stdout(&output);
    assert!(bytes >= least, "{bytes}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    let tears = records / 5000;
    for part in [
        format!(": {records} records"),
        format!("DATA IS AT RISK: {tears} tears"),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let size = page.metadata().unwrap().len();
    assert!(size < 5 << 20, "{size}");
}

struct Counted<W>(W, u64);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1 += bytes.len() as u64;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
