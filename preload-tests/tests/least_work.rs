//! What need not be done is not done: shared flushes, unmaps of what is clean.

use std::collections::{BTreeMap, BTreeSet};

use preload_tests::harness::{LoopFs, Outcome, Program, Scratch, TearFs, installed, kernel};
use preload_tests::{or_skip, page_size, skip};

/// A guest of the benchmark, given its one line by a shell.
fn one_round(guest: &str, line: &str) -> Program {
    Program::new("sh")
        .args(["-c", "echo \"$1\" | { shift; \"$@\"; }", "sh", line])
        .arg(Program::guest(guest).file())
}

/// What strace says of the `calls` that the guest makes under the shim, where the helper can only be a thread.
fn traced(guest: Program, calls: &str, settings: &[(&str, &str)]) -> String {
    let scratch = Scratch::new();
    let log = scratch.path("strace");
    let path = log.to_str().expect("path in UTF-8");
    let trace = format!("trace={calls}");
    guest
        .where_only_threads()
        .traced_by(["strace", "-f", "-qq", "-e", &trace, "-o", path])
        .under_shim(settings)
        .expect_success("under the shim and strace");
    std::fs::read_to_string(&log).expect("log of strace")
}

/// Also as a strace says that does not know the call.
fn is_cachestat(line: &&str) -> bool {
    line.contains("cachestat(") || line.contains("syscall_0x1c3(")
}

/// How often `run`, which prints `expected`, has the daemon asked with `request`.
fn count_of(fs: &TearFs, request: &str, expected: &str, run: &dyn Fn() -> Outcome) -> usize {
    let before = count(fs, request);
    let outcome = run().expect_success(request);
    assert_eq!(outcome.stdout, expected);
    count(fs, request) - before
}

fn count(fs: &TearFs, request: &str) -> usize {
    let log = fs.op_log();
    log.lines()
        .filter(|line| line.contains(&format!("{request} enter:")))
        .count()
}

/// Eight threads sync a page of their own each, all at once.
#[test]
fn threads_share_flushes() {
    or_skip!(TearFs::available());
    const MSYNCS: usize = 8 * 40;
    let settings = [
        ("KEEPMYDATA_VERIFY", "off"),
        ("KEEPMYDATA_INVALIDATE", "off"),
    ];
    // A flush takes long enough for the others to arrive.
    let fs = TearFs::mount(&["--mode", "honest", "--fsync-delay-ms", "5"]);
    one_round("bench_threads", "40")
        .arg(fs.path("f"))
        .args(["8", "msync"])
        .under_shim(&settings)
        .expect_success("under the shim");
    // A flush is the msync of one caller, which is an FSYNC to the daemon, and an fdatasync.
    let flushes = count(&fs, "Fsync") as f64 / 2.0;
    assert!(flushes > 0.0);
    let each = flushes / MSYNCS as f64;
    assert!(each <= 0.35, "{each} flushes an msync");
}

/// What is stored need not be proved before a file is opened once more, or made longer, where that drops nothing.
#[test]
fn on_a_local_filesystem_an_open_proves_nothing() {
    or_skip!(installed("strace"));
    or_skip!(TearFs::available());
    const OPENS: usize = 40;
    let guest = |file| Program::guest("many").arg(file).args(["reopen", "40"]);
    let bed = TearFs::mount(&["--mode", "honest"]);
    guest(bed.path("f")).under_shim(&[]).expect_success("FUSE");
    assert!(count(&bed, "Fsync") >= OPENS, "there each open drops it");

    let fs = or_skip!(LoopFs::mount("ext4"));
    let log = traced(
        guest(fs.path("f")),
        "fdatasync",
        &[("KEEPMYDATA_VERIFY", "on")],
    );
    let syncs = log.matches(" fdatasync(").count();
    assert!((1..=2).contains(&syncs), "{log}");
}

/// Where msync asks the filesystem for a part of what the shim's fdatasync does, that alone is left: two
/// would ask the disk twice. A daemon is asked twice, and so is who was not told all errors yet.
#[test]
fn one_sync_is_left_where_two_would_be_the_same() {
    or_skip!(installed("strace"));
    const MSYNCS: usize = 20;
    let syncs = |file: &std::path::Path| {
        let guest = one_round("bench_threads", &MSYNCS.to_string())
            .arg(file)
            .args(["1", "msync"]);
        let log = traced(guest, "msync,fdatasync", &[]);
        let count = |call: &str, with: &str| {
            let calls = log.lines().filter(|line| line.contains(call));
            calls.filter(|line| line.contains(with)).count()
        };
        (count(" msync(", "MS_SYNC"), count(" fdatasync(", ""))
    };
    or_skip!(TearFs::available());
    let fuse = TearFs::mount(&["--mode", "honest"]);
    assert_eq!(syncs(&fuse.path("f")), (MSYNCS, MSYNCS), "FUSE");
    for name in ["ext4", "xfs", "btrfs"] {
        let fs = or_skip!(LoopFs::mount(name));
        assert_eq!(syncs(&fs.path("f")), (1, MSYNCS), "{name}");
    }
}

/// What is verified takes one trip to the helper and back, although the real msync comes in the middle: that is made
/// there. Another library's msync, which is made for the program's threads, is called on the program's.
#[test]
fn a_verified_msync_is_one_trip_to_the_helper() {
    or_skip!(installed("strace"));
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let callers = |name: &str, behind: Option<&str>| {
        let guest = one_round("bench_threads", "20")
            .arg(fs.path(name))
            .args(["1", "msync"])
            .env("NAIVE_KEEP", "1");
        let guest = match behind {
            Some(library) => guest.preload_after(Program::guest_library(library)),
            None => guest,
        };
        let log = traced(guest, "msync,fdatasync", &[]);
        // Those that call msync(2), and those that ask beforehand whether its arguments are right.
        ["MS_SYNC", "MS_ASYNC)"].map(|flag| {
            let calls = log
                .lines()
                .filter(|line| line.contains("msync(") && line.contains(flag));
            let threads = calls.filter_map(|line| line.split_whitespace().next());
            threads.map(str::to_owned).collect::<BTreeSet<_>>()
        })
    };
    let [sync, ask] = callers("alone", None);
    assert!(
        !sync.is_empty() && sync.is_disjoint(&ask),
        "{sync:?} {ask:?}"
    );
    let [sync, ask] = callers("behind", Some("naive_msync"));
    assert!(sync.is_superset(&ask), "{sync:?} {ask:?}");
}

/// A file that has its mapping and handle already is mapped once more, and unmapped, at the cost of knowing which file it is
/// (statx) and of four changes of the signal mask.
#[test]
fn another_mapping_of_a_file_takes_no_more_system_calls_than_it_must() {
    or_skip!(installed("strace"));
    const TIMES: usize = 100;
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = one_round("bench_mappings", &TIMES.to_string())
        .arg(fs.path("f"))
        .arg("1");
    let log = traced(guest, "all", &[]);
    let guest = log.lines().rfind(|line| line.contains(" execve("));
    let pid = guest.and_then(|line| line.split(' ').next());
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        if words.next() == pid {
            let call = words.next().and_then(|call| call.split('(').next());
            *counts.entry(call.unwrap_or("")).or_insert(0) += 1;
        }
    }
    let often: BTreeSet<_> = (counts.into_iter())
        .filter(|&(_, count)| count >= TIMES)
        .map(|(name, count)| (name, count / TIMES))
        .collect();
    // Of the file and of memory.
    let expected = [
        ("mmap", 2),
        ("munmap", 2),
        ("rt_sigprocmask", 4),
        ("statx", 1),
    ];
    assert_eq!(often, BTreeSet::from(expected));
}

/// Signals are blocked once for all that a call does that maps a file for the first time, and not for each look at the table.
#[test]
fn the_first_mapping_of_a_file_blocks_signals_once() {
    or_skip!(installed("strace"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    let changes = |count: usize| {
        let prefix = fs.path("f");
        let prefix = prefix.to_str().expect("path in UTF-8");
        let guest = Program::guest("manyfiles").args([prefix, &count.to_string(), "unsynced"]);
        let log = traced(guest, "rt_sigprocmask", &[]);
        log.matches("rt_sigprocmask(").count()
    };
    let (few, many) = (changes(10), changes(60));
    // Each file is mapped in two rounds.
    let each = (many - few) as f64 / 100.0;
    println!("{each} changes of the mask for each mapping and its end");
    assert!(each > 0.0 && each <= 12.0, "{few} and {many}");
}

/// The page table of a page that is dropped is looked at once before that, and once after; twice before, to compare it.
#[test]
fn a_page_that_is_compared_and_dropped_is_looked_at_four_times() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let looks = |pages: &str| {
        let guest = one_round("bench_rounds", &format!("{pages} 1 0"))
            .arg(fs.path(pages))
            .args(["67108864", "msync", "full"]);
        let log = traced(guest, "ioctl", &[("KEEPMYDATA_INVALIDATE", "dirty")]);
        let is_scan = |line: &&str| line.contains("PAGEMAP_SCAN") || line.contains("0x66, 0x10");
        log.lines().filter(is_scan).count()
    };
    let (few, many) = (looks("1"), looks("9"));
    let each = (many - few) as f64 / 8.0;
    println!("{each} looks for each page");
    assert!(each > 0.0 && each <= 4.0, "{few} and {many}");
}

/// The page tables of thousands of mappings are looked through with one call, and not with one for each.
#[test]
fn mappings_side_by_side_are_looked_through_at_once() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let looks = |count: &str| looks_of_many(&fs, "windows", count);
    let (few, many) = (looks("2"), looks("200"));
    assert!(
        few > 0 && many < few + 40,
        "{few} for 2 mappings, {many} for 200"
    );
}

/// How often page tables are looked at for the guest `many`.
fn looks_of_many(fs: &TearFs, what: &str, count: &str) -> usize {
    let guest = Program::guest("many").arg(fs.path(&format!("{what}{count}")));
    let log = traced(guest.args([what, count]), "ioctl", &[]);
    // strace may not know the call.
    let is_scan = |line: &&str| line.contains("PAGEMAP_SCAN") || line.contains("0x66, 0x10");
    log.lines().filter(is_scan).count()
}

/// Where each mmap drops the page cache of its file, the mappings that have nothing cached are not looked through for it.
#[test]
fn a_further_mapping_that_drops_the_file_looks_only_at_what_is_cached() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--direct-io", "all"]);
    let looks = |count: &str| looks_of_many(&fs, "apart", count);
    let (few, many) = (looks("20"), looks("200"));
    assert!(
        few > 20 && many < 12 * few,
        "{few} for 20 mappings, {many} for 200"
    );
}

/// Nor where an open drops it.
#[test]
fn an_open_that_drops_the_file_looks_only_at_what_is_cached() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let looks = |count: &str| looks_of_many(&fs, "open", count);
    let (few, many) = (looks("20"), looks("220"));
    // The msync at the end looks at each.
    assert!(
        few > 20 && many < few + 5 * 200,
        "{few} beside 20 mappings, {many} beside 220"
    );
}

/// With AUTO_INVAL_DATA the file's attributes are asked for once after each write to what is mapped, and not again once they are
/// known.
#[test]
fn attributes_are_asked_for_once_after_a_write() {
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--auto-inval", "--keep-cache"]);
    let asked = |writes: &str| {
        let before = count(&fs, "Getattr");
        let guest = Program::guest("many").arg(fs.path(writes));
        guest
            .args(["write", writes])
            .under_shim(&[])
            .expect_success("under the shim");
        count(&fs, "Getattr") - before
    };
    let (few, many) = (asked("10"), asked("60"));
    assert!(
        (50..=52).contains(&(many - few)),
        "{few} for 10 writes, {many} for 60"
    );
}

/// After a verified sync the filesystem is asked for a page by the first read(2), and the next ones find it in the page cache, as
/// natively.
#[test]
fn a_page_is_asked_for_by_the_first_read_after_a_sync() {
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest", "--keep-cache", "--direct-io", "none"]);
    let guest = Program::guest("rereads").arg(fs.path("f"));
    let reads = |run: &dyn Fn() -> Outcome| count_of(&fs, "Read", "msync 0\nmsync 0\n", run);
    let native = reads(&|| guest.natively());
    let pass = reads(&|| guest.under_shim(&[("KEEPMYDATA_READ", "pass")]));
    let fresh = reads(&|| guest.under_shim(&[]));
    // Two syncs of eight pages, of which each is read fifty times.
    assert!(
        fresh < pass.max(native) + 4 * 8,
        "{native} natively, {pass} and {fresh} under the shim"
    );
}

/// The daemon is asked once for what the filesystem is, and not for each window of a file.
#[test]
fn windows_of_a_file_ask_once_which_filesystem_it_is_on() {
    or_skip!(TearFs::available());
    if !kernel::is_at_least(6, 8) {
        skip!("before Linux 6.8 a mount has no number of its own");
    }
    let fs = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("windows").arg(fs.path("f"));
    let asked = |run: &dyn Fn() -> Outcome| count_of(&fs, "Statfs", "12 windows\n", run);
    assert_eq!(asked(&|| guest.natively()), 0, "control");
    assert_eq!(asked(&|| guest.under_shim(&[])), 1);
}

/// To unmap a page that was stored to proves that page: the other mappings of the file keep their marks, and are not looked
/// through.
#[test]
fn an_unmap_proves_what_it_takes_away_and_no_more() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let looks = |count: &str| looks_of_many(&fs, "leave", count);
    let (few, many) = (looks("40"), looks("240"));
    // The msync at the end looks at each.
    assert!(
        few > 40 && many < few + 5 * 200,
        "{few} beside 40 mappings, {many} beside 240"
    );
}

/// The helper's first thread begins with what it was started for, and does not sleep until it is told.
#[test]
fn the_first_job_waits_for_its_thread_and_not_that_for_the_job() {
    or_skip!(installed("strace"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("many").arg(fs.path("f"));
    let log = traced(guest.args(["windows", "2"]), "openat,futex", &[]);
    let calls = |tid: &str| -> Vec<_> {
        let of_tid = |line: &&str| line.split(' ').next() == Some(tid);
        log.lines().filter(of_tid).collect()
    };
    let opens_the_file = |line: &&str| line.contains("O_NOATIME");
    let tid = log.lines().find(opens_the_file);
    let tid = tid.and_then(|line| line.split(' ').next());
    let calls = calls(tid.expect("the file is opened"));
    let before = calls.iter().take_while(|line| !opens_the_file(line));
    let slept: Vec<_> = before.filter(|line| line.contains("FUTEX_WAIT")).collect();
    assert!(slept.is_empty(), "{slept:?}\n{log}");
}

/// Who maps the first file waits once: the helper's thread has opened the file when it says that it is there.
#[test]
fn the_first_mapping_waits_for_its_helper_once() {
    or_skip!(installed("strace"));
    let fs = or_skip!(LoopFs::mount("ext4"));
    let waits = || {
        let scratch = Scratch::new();
        let log = scratch.path("strace");
        let path = log.to_str().expect("path in UTF-8");
        let calls = "trace=clone,futex,msync";
        // The helper, which is a process here, no tracer sees.
        one_round("bench_threads", "1")
            .arg(fs.path("f"))
            .args(["1", "msync"])
            .traced_by(["strace", "-f", "-qq", "-e", calls, "-o", path])
            .under_shim(&[])
            .expect_success("under the shim and strace");
        let log = std::fs::read_to_string(&log).expect("log of strace");
        let (_, after) = log.split_once("CLONE_UNTRACED").expect("it is started");
        let (mapping, _) = after.split_once("msync(").expect("an msync");
        // The shim's looks after a second whether the helper is there.
        mapping.matches("{tv_sec=1, tv_nsec=0}").count()
    };
    // Where the helper is faster, it is not waited for.
    let waits: Vec<_> = (0..5).map(|_| waits()).collect();
    assert!(waits.iter().all(|&waits| waits <= 1), "{waits:?}");
    assert!(waits.iter().any(|&waits| waits > 0), "{waits:?}");
}

/// The memory for the copies of a small msync is mapped once, and not for each.
#[test]
fn small_copies_are_made_in_the_same_memory() {
    or_skip!(installed("strace"));
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let maps = |times: &str| {
        let guest = one_round("bench_threads", times)
            .arg(fs.path("f"))
            .args(["1", "msync"]);
        let log = traced(guest, "mmap", &[]);
        let is_memory = |line: &&str| line.contains("PROT_WRITE") && line.contains("NORESERVE");
        log.lines().filter(is_memory).count()
    };
    // A thread that is late may take a mapping more, or one less.
    let (once, often) = (maps("1"), maps("40"));
    assert!(
        often <= once + 4,
        "{once} mappings for one msync, {often} for 40"
    );
}

/// Scattered pages are read back at once where a READ takes long: across a network an msync would take as
/// many round trips as it has dirty pages.
#[test]
fn slow_reads_are_under_way_at_once() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let slow = ["--mode", "honest", "--keep-cache", "--read-delay-ms", "20"];
    let fs = TearFs::mount(&slow);
    let pages: Vec<String> = (0..16).map(|n| (1 + 8 * n).to_string()).collect();
    Program::guest("exact")
        .arg(fs.path("f"))
        .arg("256")
        .args(pages)
        .under_shim(&[("KEEPMYDATA_VERIFY", "on")])
        .expect_success("under the shim");
    let log = fs.op_log();
    let msync = log.find("Fsync enter:").expect("an msync");
    let len = format!("len({})", page_size());
    let mut under_way = BTreeSet::new();
    let mut most = 0;
    for line in log[msync..].lines() {
        let rest = line.split("unique(").nth(1);
        let unique = rest.and_then(|rest| rest.split(')').next());
        // Pages of their own: not what is read ahead.
        if line.contains("Read enter:") && line.contains(&len) {
            under_way.insert(unique);
        } else if line.contains("Read exit:") {
            under_way.remove(&unique);
        }
        most = most.max(under_way.len());
    }
    assert!(most >= 4, "{most} at once");
}

/// Pages that lie near to each other are read back in one go: each READ is a trip to the daemon.
#[test]
fn near_pages_are_read_back_in_one_read() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let reads = |pages: [&str; 3]| {
        let fs = TearFs::mount(&["--mode", "honest", "--keep-cache"]);
        Program::guest("exact")
            .arg(fs.path("f"))
            .arg("128")
            .args(pages)
            .under_shim(&[("KEEPMYDATA_VERIFY", "on")])
            .expect_success("under the shim");
        let log = fs.op_log();
        let flush = log.rfind("Fsync enter:").expect("a flush");
        let of = |pages: usize| {
            let len = format!("len({})", pages * page_size());
            let reads = log[flush..]
                .lines()
                .filter(|line| line.contains("Read enter:"));
            reads.filter(|line| line.contains(&len)).count()
        };
        (of(1), of(8))
    };
    assert_eq!(reads(["3", "5", "10"]), (0, 1));
    assert_eq!(reads(["3", "20", "40"]), (3, 0), "the control");
}

/// A program that stores here and there in a file that is not cached has the kernel read single pages after some time. That
/// the shim touches them once more, where they are cached, counts for nothing.
#[test]
fn a_verified_file_is_not_read_ahead_for_stores_here_and_there() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("bench_rounds");
    let rounds = (1..=12).map(|seed| format!("40 {seed} 0\n"));
    Program::new("sh")
        .args(["-c", "printf \"$1\" | { shift; \"$@\"; }", "sh"])
        .arg(rounds.collect::<String>())
        .arg(guest.file())
        .arg(fs.path("f"))
        .args([&(64 << 20).to_string(), "msync", "sparse"])
        .under_shim(&[("KEEPMYDATA_VERIFY", "on")])
        .expect_success("under the shim");
    let log = fs.op_log();
    let page = format!("len({})", page_size());
    let is_fault = |line: &&str| line.contains("Read enter:") && !line.contains("DIRECT");
    let reads: Vec<_> = log.lines().filter(is_fault).collect();
    assert!(reads.len() > 200, "{} reads", reads.len());
    let last = &reads[reads.len() - 100..];
    let ahead = last.iter().filter(|line| !line.contains(&page)).count();
    assert!(ahead < 20, "{ahead} of the last 100 are longer than a page");
}

/// What the kernel tells of a kind of event that the calling thread, and what it starts, causes meanwhile (tracefs).
struct Trace(std::path::PathBuf);

impl Trace {
    fn of(event: &str) -> Result<Trace, String> {
        let name = format!("keepmydata-{}", std::process::id());
        let trace = Trace(std::path::Path::new("/sys/kernel/tracing/instances").join(name));
        std::fs::create_dir(&trace.0).map_err(|error| format!("tracefs: {error}"))?;
        let tid = rustix::thread::gettid().as_raw_nonzero();
        trace.set("options/event-fork", "1")?;
        trace.set("set_event_pid", &tid.to_string())?;
        trace.set(&format!("events/{event}/enable"), "1")?;
        Ok(trace)
    }

    fn set(&self, file: &str, to: &str) -> Result<(), String> {
        std::fs::write(self.0.join(file), to).map_err(|error| format!("tracefs: {file}: {error}"))
    }

    fn count(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.0.join("trace")).expect("a trace");
        text.lines().filter(|line| line.contains(what)).count()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Where a page stays in the page cache that is to be dropped, the kernel has every processor let go of pages, waits for
/// that and tries again: longer than all else that a small msync takes. The eviction probe is such a page, and so is one
/// that the program's processor has not put on its list yet.
#[test]
fn the_drop_waits_for_no_other_processor() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    const ROUNDS: usize = 20;
    let drains = |by_hand: bool| {
        let trace = Trace::of("workqueue/workqueue_queue_work")?;
        let fs = TearFs::mount(&["--mode", "honest"]);
        let guest = Program::guest("drains").arg(fs.path("f"));
        let guest = guest.arg(ROUNDS.to_string());
        let run = match by_hand {
            true => guest.arg("by-hand").natively(),
            false => guest.under_shim(&[]),
        };
        run.expect_success("the guest");
        Ok::<_, String>(trace.count("function=lru_add_drain_per_cpu"))
    };
    // Others must have left something on a processor.
    let (mut by_hand, mut runs) = (0, 0);
    while by_hand < 8 && runs < 50 {
        by_hand += or_skip!(drains(true));
        runs += 1;
    }
    assert!(by_hand >= 8, "the control: {by_hand} in {runs} runs");
    let mut shim = 0;
    for _ in 0..runs {
        shim += or_skip!(drains(false));
    }
    assert!(shim * 4 <= by_hand, "{shim}, by hand {by_hand}");
}

/// Where nothing is verified, dropped or told, a file that is synced often is mapped by an open file of the shim's: msync of
/// that mapping is fdatasync, on the program's own thread. It ends with the file's own mapping, is not in a fork child, and
/// does not pass for all of the file when that has grown.
#[test]
fn what_is_synced_often_needs_no_trip_to_the_helper() {
    or_skip!(installed("strace"));
    or_skip!(kernel::cachestat());
    const ROUNDS: usize = 40;
    const OFF: (&str, &str) = ("KEEPMYDATA_INVALIDATE", "off");
    for name in ["ext4", "xfs", "btrfs"] {
        let fs = or_skip!(LoopFs::mount(name));
        let guest = |name: &str| {
            let guest = Program::guest("often").arg(fs.path(name));
            guest.arg(ROUNDS.to_string())
        };
        let trips = |settings: &[(&str, &str)]| {
            let log = traced(guest("traced"), "fdatasync", settings);
            let calls = log.lines().filter(|line| line.contains("fdatasync("));
            calls.count()
        };
        let (few, all) = (trips(&[OFF]), trips(&[]));
        assert!(few * 2 < ROUNDS && all >= ROUNDS, "{name}: {few} of {all}");
        let synced = "as before: msync 0, dirty 0\nchild: msync 0, dirty 0\nafter it: msync 0, dirty 0\n\
                      grown: msync 0, dirty 0\nafter that: msync 0, dirty 0\nmappings 0\n";
        assert_eq!(guest("off").under_shim(&[OFF]).stdout, synced, "{name}");
        // Natively the page behind the mapping stays dirty, where the filesystem does not write all of it for another reason.
        let native = guest("native").natively().stdout;
        let stays = native.contains("grown: msync 0, dirty 1");
        assert!(stays || name != "ext4", "{native}");
    }
}

/// A program with one thread waits for one job at a time: a second worker of the helper's would do nothing but start and
/// end.
#[test]
fn a_program_with_one_thread_has_one_worker() {
    or_skip!(installed("strace"));
    or_skip!(TearFs::available());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let workers = |guest: Program| {
        let log = traced(guest, "clone,clone3", &[]);
        // The C library's are told their number.
        let is_helper =
            |line: &&str| line.contains("CLONE_THREAD") && !line.contains("CLONE_PARENT_SETTID");
        log.lines().filter(is_helper).count()
    };
    let one = Program::guest("drains").arg(fs.path("one")).arg("5");
    assert_eq!(workers(one), 1);
    let several = one_round("bench_threads", "5").arg(fs.path("several"));
    assert!(workers(several.args(["4", "msync"])) > 1, "the control");
}

/// `KEEPMYDATA_MUNMAP=sync` syncs what is dirty, and does not disturb what is not.
#[test]
fn an_unmap_of_clean_pages_syncs_nothing() {
    or_skip!(TearFs::available());
    const UNMAPS: usize = 20;
    for verify in ["on", "off"] {
        let settings = [("KEEPMYDATA_MUNMAP", "sync"), ("KEEPMYDATA_VERIFY", verify)];
        let fs = TearFs::mount(&["--mode", "honest"]);
        let guest = |name: &str| {
            one_round("bench_mappings", "20")
                .arg(fs.path(name))
                .arg("8")
        };
        guest("clean")
            .under_shim(&settings)
            .expect_success("under the shim");
        // What is not known counts as dirty.
        let known = match verify {
            "on" => kernel::page_tracking().is_ok(),
            _ => kernel::cachestat().is_ok(),
        };
        assert_eq!(count(&fs, "Fsync") == 0, known, "verify {verify}");
        guest("dirty")
            .arg("store")
            .under_shim(&settings)
            .expect_success("under the shim");
        assert!(count(&fs, "Fsync") >= UNMAPS, "verify {verify}");
    }
}

/// To map a file of a local filesystem once more does not look through the mappings that there are: 30,000 of them took
/// minutes.
#[test]
fn a_further_mapping_does_not_look_at_all_others() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    let fs = or_skip!(LoopFs::mount("ext4"));
    let scans = |mappings: usize| {
        let guest = one_round("bench_mappings", "1")
            .arg(fs.path("f"))
            .arg(mappings.to_string());
        let log = traced(guest, "ioctl", &[("KEEPMYDATA_VERIFY", "on")]);
        log.lines().count()
    };
    let (few, many) = (scans(20), scans(220));
    assert!(few > 20 && many < 12 * few, "{few} and {many} calls");
}

/// What is mapped beyond the end of a file needs no page tables, although stores are tracked in them: with
/// pages of 4 KiB, 16 MiB of them for a mapping of 8 GiB.
#[test]
fn a_mapping_beyond_the_end_of_its_file_needs_no_page_tables() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let page_tables = |fs: &TearFs, size: &str| -> u64 {
        let run = Program::guest("beyond")
            .arg(fs.path("f"))
            .args(["8192", size])
            .under_shim(&[("KEEPMYDATA_VERIFY", "on")]);
        let kib = run.stdout.strip_prefix("msync 0\npage tables ");
        let kib = kib.unwrap_or_else(|| panic!("{run:?}"));
        kib.trim().parse().expect("a number")
    };
    let fs = TearFs::mount(&["--mode", "honest"]);
    let kib = page_tables(&fs, "1");
    assert!(kib < 2048, "{kib} KiB");
    // The control: the file is as large, and each page of it may be stored to.
    let kib = page_tables(&fs, "8192");
    let entries = (8 << 30) / page_size();
    assert!(kib >= (8 * entries) as u64 >> 10, "{kib} KiB");
}

/// The same of a mapping whose stores are tracked, and far beyond the end of the file.
#[test]
fn a_tracked_drop_passes_by_what_was_never_touched() {
    or_skip!(installed("strace"));
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let guest = Program::guest("beyond")
        .arg(fs.path("f"))
        .args(["65536", "1"]);
    let log = traced(guest, "ioctl", &[]);
    let calls = log.lines().count();
    assert!((5..200).contains(&calls), "{calls} calls");
}

/// The drop of the page cache looks at what was touched, not at all that is mapped: 16 MiB at a time those were a
/// thousand calls for a mapping of 16 GiB.
#[test]
fn a_drop_passes_by_what_was_never_touched() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("beyond")
        .arg(fs.path("f"))
        .args(["16384", "16384"]);
    let log = traced(guest, "madvise", &[]);
    let drops = log.lines().filter(|line| line.contains("MADV_DONTNEED"));
    let drops = drops.count();
    assert!(
        (1..20).contains(&drops),
        "{drops} drops of page table entries"
    );
}

/// Where stores to all of a large file are tracked, what is dropped is found in the page cache, which has little of it.
#[test]
fn what_a_sparse_page_cache_has_is_dropped() {
    or_skip!(TearFs::available());
    or_skip!(kernel::page_tracking());
    let fs = TearFs::mount(&["--mode", "honest"]);
    let run = Program::guest("beyond")
        .arg(fs.path("f"))
        .args(["1024", "1024"])
        .under_shim(&[("KEEPMYDATA_LOG", "debug")]);
    let drop = run.records().of("drop").next().expect("a record").clone();
    assert!(drop["dropped_pages"].as_u64() >= Some(1), "{drop}");
    // The eviction probe's own.
    assert!(drop["cached_pages"].as_u64() <= Some(1), "{drop}");
}

/// Dirty pages are looked for where the last ones were, before they are anywhere: most programs store near there again.
#[test]
fn dirty_pages_are_looked_for_where_the_last_ones_were() {
    or_skip!(installed("strace"));
    or_skip!(kernel::cachestat());
    let fs = or_skip!(LoopFs::mount("ext4"));
    let counts = |rounds: usize| {
        let guest = one_round("bench_rounds", &vec!["1 5 0"; rounds].join("\n"))
            .arg(fs.path("f"))
            .args(["268435456", "msync", "sparse"]);
        let log = traced(guest, "all", &[("KEEPMYDATA_INVALIDATE", "dirty")]);
        log.lines().filter(is_cachestat).count()
    };
    let (first, rest) = (counts(1), counts(11) - counts(1));
    assert!(
        rest * 4 < 10 * first * 3,
        "{first}, then {rest} in ten rounds"
    );
}

/// A dirty page at the beginning of a sparse file is found in few steps: halves of 16 GiB were 46 calls of
/// cachestat(2), each of which counted all cached pages.
#[test]
fn a_dirty_page_of_a_sparse_file_is_found_in_few_steps() {
    or_skip!(installed("strace"));
    or_skip!(kernel::cachestat());
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("beyond")
        .arg(fs.path("f"))
        .args(["16384", "16384"]);
    let log = traced(guest, "all", &[("KEEPMYDATA_INVALIDATE", "dirty")]);
    let counts = log.lines().filter(is_cachestat).count();
    assert!((1..40).contains(&counts), "{counts} calls");
}

/// A mapping that grows page by page stays one: the drop asks of it once whether it is shared, and not of each part.
#[test]
fn a_mapping_that_has_grown_is_one_mapping() {
    or_skip!(installed("strace"));
    const ROUNDS: usize = 100;
    let fs = or_skip!(LoopFs::mount("ext4"));
    let guest = Program::guest("grows")
        .arg(fs.path("f"))
        .args(["mapping", &ROUNDS.to_string()]);
    let log = traced(guest, "mremap", &[]);
    // With an old size of 0 it maps the pages a second time, which only succeeds where they are shared.
    let calls = log.lines().filter(|line| line.contains(" mremap("));
    let (asked, grown): (Vec<_>, Vec<_>) = calls.partition(|line| line.contains(", 0, "));
    assert_eq!(grown.len(), ROUNDS, "{log}");
    assert!((1..5).contains(&asked.len()), "{asked:?}");
}

/// Before a truncation what is owed is proved, because pages may leave the page cache. On a local filesystem none do where
/// the file becomes longer, or stays as it is: as journald has it after each record.
#[test]
fn a_truncation_that_takes_nothing_away_proves_nothing() {
    or_skip!(installed("strace"));
    or_skip!(kernel::page_tracking());
    const ROUNDS: usize = 50;
    for name in ["ext4", "xfs", "btrfs"] {
        let fs = or_skip!(LoopFs::mount(name));
        let syncs = |how: &str| {
            let guest = Program::guest("grows")
                .arg(fs.path(how))
                .args([how, &ROUNDS.to_string()]);
            let log = traced(guest, "fdatasync", &[("KEEPMYDATA_VERIFY", "on")]);
            let calls = log.lines().filter(|line| line.contains(" fdatasync("));
            calls.count()
        };
        assert!(syncs("shorter") >= ROUNDS, "{name}");
        for how in ["same", "longer"] {
            let syncs = syncs(how);
            assert!((1..5).contains(&syncs), "{name}, {how}: {syncs} syncs");
        }
    }
}
