//! The cost of calls that do not concern the shim: instructions, counted by callgrind, and system calls, counted by strace.
//! The library is that of the tests, which is not optimised; as it is shipped, a read or a write takes 7 more.

use std::path::Path;

use preload_tests::harness::{Flags, LoopFs, Program, Scratch, installed};
use preload_tests::or_skip;

const FEW: u64 = 1_000;
const MANY: u64 = 11_000;

/// Instructions of the whole process, in user mode.
fn instructions(flags: Flags, call: &str, count: u64, shimmed: bool) -> u64 {
    let scratch = Scratch::new();
    let out = scratch.path("callgrind.out");
    let option = format!("--callgrind-out-file={}", out.display());
    let guest = Program::guest_with("passthrough", flags)
        .args([call, &count.to_string(), "/dev/zero"])
        .traced_by([
            "valgrind",
            "--tool=callgrind",
            "-q",
            "--trace-children=yes",
            &option,
        ]);
    let run = match shimmed {
        true => guest.under_shim(&[]),
        false => guest.natively(),
    };
    run.expect_success("guest under callgrind");
    let profile = std::fs::read_to_string(&out).expect("profile of callgrind");
    let totals = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .expect("totals");
    totals.trim().parse().expect("number")
}

/// Instructions of one call: what is left of a process when another one, which makes
/// fewer calls and is the same in all else, is taken away.
fn per_call(flags: Flags, call: &str, shimmed: bool) -> f64 {
    let many = instructions(flags, call, MANY, shimmed);
    let few = instructions(flags, call, FEW, shimmed);
    (many - few) as f64 / (MANY - FEW) as f64
}

fn costs_at_most(limit: f64, call: &str) {
    or_skip!(installed("valgrind"));
    for flags in [Flags::Hardened, Flags::Plain] {
        let native = per_call(flags, call, false);
        let shimmed = per_call(flags, call, true);
        let cost = shimmed - native;
        println!("{call} {flags:?}: {native:.2} natively, {cost:.2} more under the shim");
        assert!(native > 1.0, "{call}: {native} instructions natively");
        assert!(
            cost > 0.5,
            "{call}: {cost} instructions more: the shim was not there"
        );
        assert!(cost <= limit, "{call} {flags:?}: {cost} instructions more");
    }
}

#[test]
fn read_with_nothing_tracked() {
    costs_at_most(20.0, "read");
}

#[test]
fn pread_with_nothing_tracked() {
    costs_at_most(20.0, "pread");
}

#[test]
fn readv_with_nothing_tracked() {
    costs_at_most(20.0, "readv");
}

#[test]
fn write_with_nothing_tracked() {
    costs_at_most(30.0, "write");
}

#[test]
fn pwrite_with_nothing_tracked() {
    costs_at_most(30.0, "pwrite");
}

#[test]
fn writev_with_nothing_tracked() {
    costs_at_most(30.0, "writev");
}

/// What is looked at is looked at when the call has returned, which takes a frame.
#[test]
fn fsync_with_nothing_tracked() {
    costs_at_most(30.0, "fsync");
}

#[test]
fn fdatasync_with_nothing_tracked() {
    costs_at_most(30.0, "fdatasync");
}

/// Both calls together.
#[test]
fn open_and_close_with_nothing_tracked() {
    costs_at_most(50.0, "open");
}

/// Both calls together.
#[test]
fn anonymous_mmap_and_munmap_with_nothing_tracked() {
    costs_at_most(40.0, "mmap");
}

#[test]
fn msync_with_nothing_tracked() {
    costs_at_most(20.0, "msync");
}

#[test]
fn ftruncate_with_nothing_tracked() {
    costs_at_most(20.0, "ftruncate");
}

#[test]
fn execve_with_nothing_tracked() {
    // Whether there is such a program, and one that can load the library, is looked at before.
    costs_at_most(80.0, "execve");
}

/// Below `info` findings and statistics ask the kernel nothing: stores are not tracked where nothing is
/// verified, and nobody reads /proc.
#[test]
fn findings_cost_no_system_call_below_info() {
    or_skip!(installed("strace"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    let traced = |level: &str| {
        let scratch = Scratch::new();
        let log = scratch.path("strace");
        let log_name = log.to_str().expect("UTF-8");
        Program::guest("ends")
            .arg(fs.path("f"))
            .arg("return")
            .where_only_threads()
            .traced_by(["strace", "-f", "-qq", "-o", log_name])
            .under_shim(&[("KEEPMYDATA_LOG", level)])
            .expect_success("guest under strace");
        std::fs::read_to_string(&log).expect("log of strace")
    };
    let asked = |text: &str| {
        let calls = [
            "userfaultfd",
            "/smaps\"",
            "/pagemap\"",
            "getrusage",
            "FS_IOC_FIEMAP",
        ];
        calls.map(|call| text.contains(call))
    };
    let (warn, info) = (traced("warn"), traced("info"));
    assert_eq!(asked(&info), [true; 5], "control: {info}");
    assert_eq!(asked(&warn), [false; 5], "{warn}");
}

/// The system calls of the guest's last `COUNT` reads, by name.
fn calls_while_reading(call: &str, tracked: &Path, settings: &[(&str, &str)]) -> Vec<String> {
    const COUNT: usize = 100;
    let scratch = Scratch::new();
    let log = scratch.path("strace");
    let log_name = log.to_str().expect("UTF-8");
    let other = scratch.path("other");
    std::fs::write(&other, vec![b'o'; 4096]).expect("other file");
    Program::guest("passthrough")
        .args([call, &COUNT.to_string()])
        .arg(&other)
        .arg(tracked)
        .traced_by(["strace", "-f", "-qq", "-y", "-o", log_name])
        .under_shim(settings)
        .expect_success("guest under strace");
    let text = std::fs::read_to_string(&log).expect("log of strace");
    let is_read = |line: &str| line.contains(&format!(" {call}")) && line.contains("/other>");
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is_read(line)).expect("first");
    let last = lines.iter().rposition(|line| is_read(line)).expect("last");
    let split = |line: &'_ str| {
        let (thread, call) = line.trim_start().split_once(' ').expect("pid and call");
        (thread.to_owned(), call.trim_start().to_owned())
    };
    // Not those of the helper, which may still be at work.
    let (reader, _) = split(lines[first]);
    let names: Vec<String> = lines[first..=last]
        .iter()
        .map(|line| split(line))
        .filter(|(thread, call)| *thread == reader && !call.starts_with("<..."))
        .map(|(_, call)| call.split('(').next().expect("name").to_owned())
        .collect();
    assert!(names.len() >= COUNT, "{names:?} in {text}");
    names
}

fn at_most_one_fstat(call: &str) {
    or_skip!(installed("strace"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    for settings in [
        &[("KEEPMYDATA_VERIFY", "off")][..],
        &[("KEEPMYDATA_VERIFY", "on")],
        &[("KEEPMYDATA_VERIFY", "on"), ("KEEPMYDATA_LOG", "trace")],
    ] {
        let calls = calls_while_reading(call, &fs.path("tracked"), settings);
        let count = |wanted: &dyn Fn(&str) -> bool| calls.iter().filter(|c| wanted(c)).count();
        let reads = count(&|name| name.starts_with(call));
        let stats = count(&|name| matches!(name, "fstat" | "newfstatat" | "statx"));
        println!("{call} {settings:?}: {stats} fstat for {reads} reads");
        assert!(
            stats <= reads,
            "{call} {settings:?}: {stats} fstat for {reads} reads"
        );
        assert_eq!(
            calls.len(),
            reads + stats,
            "{call} {settings:?}: other calls among the reads: {calls:?}"
        );
    }
}

#[test]
fn read_with_one_file_tracked() {
    at_most_one_fstat("read");
}

#[test]
fn pread_with_one_file_tracked() {
    at_most_one_fstat("pread");
}

#[test]
fn readv_with_one_file_tracked() {
    at_most_one_fstat("readv");
}
