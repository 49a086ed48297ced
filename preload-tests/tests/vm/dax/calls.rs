//! What calls on mappings come to, natively and under the shim; and what the shim does, and leaves.

use preload_tests::harness::{Program, library};
use preload_tests::or_skip;
use serde_json::Value;

use super::memory::{Job, Memory, Parts};

const FILE: &str = "/run/pmem/0/f";
/// On a filesystem with `dax=inode`: files that are on DAX, and one that is not.
const ON_DAX: &str = "/run/pmem/0/d/with";
const ORDINARY: &str = "/run/pmem/0/g";
const PMDK_FILE: &str = "/run/pmem/0/p";

/// What else would ask for dirty pages.
const SETTINGS: [&str; 4] = [
    "KEEPMYDATA_TRACK=pagemap",
    "KEEPMYDATA_TRACK=cachestat KEEPMYDATA_INVALIDATE=dirty",
    "KEEPMYDATA_MUNMAP=sync KEEPMYDATA_VERIFY=on",
    "KEEPMYDATA_ENFORCE=off KEEPMYDATA_LOG=info KEEPMYDATA_LOG_FILE=/run/log",
];

/// A kernel with all trackers, one of which must not be tried on DAX: natively and under the shim,
/// calls come to the same.
#[test]
fn shim_on_dax() {
    or_skip!(library(&[""], "libpmem.so.1"));
    let memory = or_skip!(Memory::new("6.12", 1));
    let mut job = Job::new();
    job.namespace(0).make("xfs", 0);
    always(&mut job, "xfs");
    job.make("ext4", 0);
    always(&mut job, "ext4");
    by_file(&mut job, "ext4");
    never(&mut job, "ext4");
    kernel(&mut job);
    let parts = job.run(&memory);
    judge_kernel(&parts);
    judge_always(&parts, "xfs");
    judge_always(&parts, "ext4");
    judge_by_file(&parts, "ext4");
    judge_never(&parts, "ext4");
}

#[test]
#[ignore = "each kernel with each filesystem, over a minute"]
fn shim_on_dax_with_each_kernel() {
    or_skip!(library(&[""], "libpmem.so.1"));
    for series in ["6.1", "6.12"] {
        let memory = or_skip!(Memory::new(series, 1));
        let mut job = Job::new();
        job.namespace(0);
        for kind in ["ext4", "xfs"] {
            job.make(kind, 0);
            always(&mut job, kind);
            by_file(&mut job, kind);
            never(&mut job, kind);
        }
        let parts = job.run(&memory);
        for kind in ["ext4", "xfs"] {
            judge_always(&parts, kind);
            judge_by_file(&parts, kind);
            judge_never(&parts, kind);
        }
    }
}

fn guest(arguments: &[&str]) -> Program {
    Program::guest("dax").args(arguments)
}

fn pmdk(arguments: &[&str]) -> Program {
    Program::guest("pmem").args(arguments)
}

/// What the shim must not ask the kernel on DAX. Last, for the kernel is not well afterwards.
fn kernel(job: &mut Job) {
    for (option, file) in [("never", ORDINARY), ("always", FILE)] {
        job.mount(0, &format!("dax={option}"));
        for question in ["writeprotect", "cachestat"] {
            let guest = Program::guest("dax_kernel").arg(question).arg(file);
            job.natively(&format!("{question} {option}"), &guest, 2);
        }
        job.line("umount /run/pmem/0 || true");
    }
}

fn judge_kernel(parts: &Parts) {
    let expected = [
        ("writeprotect never", "answered\nstatus 0\n"),
        ("cachestat never", "answered\nstatus 0\n"),
        // It faults for ever.
        ("writeprotect always", "status 124\n"),
        // SIGKILL, after an oops.
        ("cachestat always", "status 137\n"),
    ];
    for (name, printed) in expected {
        let found = parts.text(&format!("native {name}"));
        assert!(found.ends_with(printed), "{name}: {found}");
    }
}

fn always(job: &mut Job, kind: &str) {
    job.mount(0, "dax=always");
    let name = format!("{kind} always");
    job.all_ways(&name, &guest(&["calls", FILE]));
    for settings in SETTINGS {
        let name = format!("{kind} {settings}");
        job.shimmed(&name, settings, &guest(&["once", FILE]));
    }
    libpmem(job, &name);
    job.unmount(0);
}

/// A program of PMDK's; under strace too.
fn libpmem(job: &mut Job, name: &str) {
    job.all_ways(&format!("{name} PMDK"), &pmdk(&["calls", PMDK_FILE]));
    let persist = pmdk(&["persist", PMDK_FILE]);
    job.traced(&format!("{name} natively"), &persist, false);
    job.traced(&format!("{name} shim"), &persist, true);
}

/// libpmem takes a file on DAX for persistent memory, and no other; and calls msync only for others.
fn judge_libpmem(parts: &Parts, name: &str, dax: bool) {
    let is_pmem = format!("persistent memory {}", i32::from(dax));
    let printed = parts.assert_same(&format!("{name} PMDK"));
    assert!(printed.starts_with(&is_pmem), "{name}: {printed}");
    for way in ["natively", "shim"] {
        let printed = parts.text(&format!("traced {name} {way}"));
        let expected = format!("{is_pmem}\ndurable: 0, read back\n");
        assert_eq!(printed, expected, "{name} {way}");
        let calls = calls(parts.text(&format!("trace {name} {way}")));
        let msyncs = calls.iter().any(|line| line.contains("msync("));
        assert_eq!(msyncs, !dax, "{name} {way}: {calls:#?}");
    }
}

fn judge_always(parts: &Parts, kind: &str) {
    let name = format!("{kind} always");
    let printed = parts.assert_same(&name);
    let mapped = printed.matches("DAX 1\n  mmap: 0\n").count();
    assert_eq!(mapped, 3, "{name}: {printed}");
    assert!(!printed.contains("DAX 0"), "{name}: {printed}");
    assert_left_alone(&parts.log(&name), FILE);
    for settings in SETTINGS {
        let printed = parts.text(&format!("shim {kind} {settings}"));
        assert_eq!(
            printed, "DAX 1 msync 0 leased 0\nstatus 0\n",
            "{kind} {settings}"
        );
    }
    judge_libpmem(parts, &name, true);
    assert_left_alone(&parts.log(&format!("{name} PMDK")), PMDK_FILE);
}

/// Files with DAX and without on one filesystem; under strace too.
fn by_file(job: &mut Job, kind: &str) {
    job.mount(0, "dax=inode").line("mkdir /run/pmem/0/d");
    job.all_ways(
        &format!("{kind} flags"),
        &guest(&["flags", ORDINARY, "/run/pmem/0/d"]),
    );
    job.all_ways(&format!("{kind} both"), &guest(&["both", ON_DAX, ORDINARY]));
    for (name, file) in [("on DAX", ON_DAX), ("ordinary", ORDINARY)] {
        // Nobody traces a helper that is a process of its own.
        let once = guest(&["once", file]).where_only_threads();
        job.traced(&format!("{kind} {name}"), &once, true);
    }
    job.unmount(0);
}

fn judge_by_file(parts: &Parts, kind: &str) {
    let printed = parts.assert_same(&format!("{kind} flags"));
    // The flag of a file in use takes effect when its inode is read anew.
    let seen: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("DAX"))
        .collect();
    let mut expected = ["DAX 0"; 6];
    (expected[4], expected[5]) = ("new file: DAX 0", "new file: DAX 1");
    assert_eq!(seen, expected, "{kind}: {printed}");
    let made = parts.log(&format!("{kind} flags"));
    assert_left_alone(&made, ON_DAX);
    assert_verified_and_dropped(&made, ORDINARY);

    let printed = parts.assert_same(&format!("{kind} both"));
    assert!(printed.starts_with("DAX 1 and 0\n"), "{kind}: {printed}");
    let log = parts.log(&format!("{kind} both"));
    assert_left_alone(&log, ON_DAX);
    assert_verified_and_dropped(&log, ORDINARY);

    // An strace that does not know cachestat(2) gives its number.
    let of_page_cache = [
        ["pread64("; 2],
        ["fadvise64("; 2],
        ["MADV_DONTNEED"; 2],
        ["cachestat(", "syscall_0x1c3("],
    ];
    for (name, dax) in [("on DAX", true), ("ordinary", false)] {
        let name = format!("{kind} {name}");
        let traced = format!("DAX {} msync 0 leased 0\n", i32::from(dax));
        assert_eq!(parts.text(&format!("traced {name}")), traced, "{name}");
        let calls = calls(parts.text(&format!("trace {name}")));
        let called = |call: &str| calls.iter().any(|line| line.contains(call));
        assert!(called("fdatasync("), "{name}: {calls:#?}");
        for either in of_page_cache {
            let called = either.into_iter().any(called);
            assert_eq!(called, !dax, "{name}: {either:?}: {calls:#?}");
        }
    }
}

/// What was called while the file was mapped: from there on, nobody reads or drops anything but it.
fn calls(trace: &str) -> Vec<&str> {
    let mapped = |line: &&str| line.contains("mmap(") && line.contains("</run/pmem/0/");
    let from = trace.lines().skip_while(|line| !mapped(line));
    from.filter(|line| !line.contains("0x7fffffff")).collect()
}

/// MAP_SYNC is refused as ever.
fn never(job: &mut Job, kind: &str) {
    job.mount(0, "dax=never");
    let name = format!("{kind} never");
    job.all_ways(&name, &guest(&["calls", FILE]));
    libpmem(job, &name);
    job.unmount(0);
}

fn judge_never(parts: &Parts, kind: &str) {
    let name = format!("{kind} never");
    let printed = parts.assert_same(&name);
    let refused = "MAP_SYNC\n  DAX 0\n  mmap: EOPNOTSUPP\n";
    assert!(printed.contains(refused), "{name}: {printed}");
    assert_verified_and_dropped(&parts.log(&name), FILE);
    judge_libpmem(parts, &name, false);
    assert_verified_and_dropped(&parts.log(&format!("{name} PMDK")), PMDK_FILE);
}

/// The records of the enforced msyncs of a file, and of their steps.
fn enforced<'a>(log: &'a [Value], path: &str) -> (Vec<&'a Value>, Vec<&'a Value>) {
    let of_file = log.iter().filter(|record| record["path"] == path);
    let of_file = of_file.filter(|record| record["call"].is_number());
    of_file.partition(|record| record["event"] == "msync")
}

fn has(steps: &[&Value], of: &Value, event: &str) -> bool {
    steps.iter().any(|step| {
        step["event"] == event && step["call"] == of["call"] && step["pid"] == of["pid"]
    })
}

/// Synced with fdatasync, and neither read back nor dropped; and the record says why.
#[track_caller]
fn assert_left_alone(log: &[Value], path: &str) {
    let (calls, steps) = enforced(log, path);
    assert!(!calls.is_empty(), "no msync of {path}: {log:#?}");
    for call in calls {
        assert!(has(&steps, call, "fdatasync"), "no fdatasync: {call:#}");
        let reason = call["reason"].as_str().unwrap_or_default();
        assert_eq!(
            reason,
            "not verified, nothing dropped: DAX, there is no page cache"
        );
        for field in ["dropped_pages", "cached_pages", "verified"] {
            assert!(call[field].is_null(), "{field}: {call:#}");
        }
    }
    for step in steps {
        let event = step["event"].as_str().unwrap_or_default();
        let of_page_cache = ["copy", "verify", "heal", "drop", "race"];
        assert!(!of_page_cache.contains(&event), "{step:#}");
    }
}

/// The same settings do that to other files.
#[track_caller]
fn assert_verified_and_dropped(log: &[Value], path: &str) {
    let (calls, steps) = enforced(log, path);
    let all = |call: &&&Value| {
        ["fdatasync", "verify", "drop"]
            .iter()
            .all(|event| has(&steps, call, event))
    };
    assert!(calls.iter().any(|call| all(&call)), "{calls:#?} {steps:#?}");
}
