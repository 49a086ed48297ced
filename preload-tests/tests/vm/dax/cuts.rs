//! Power cuts: what was made durable on persistent memory is there when the machine boots again.
//!
//! QEMU's memory module is a file that is mapped shared: each store of the guest's is in it at once,
//! flushed or not, and outlives QEMU. What a cut takes is what the guest's kernel had in its own memory:
//! that blocks were allocated, and that a file is so long. Without them the stores are nowhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use preload_tests::harness::{Program, library};
use preload_tests::or_skip;
use preload_tests::vm::{Line, Running};

use super::document;
use super::memory::{Job, Memory, command};

const LIMIT: Duration = Duration::from_secs(300);

/// The filesystem on each module, and whether its programs keep their promises.
const MODULES: [(&str, bool); 4] = [
    ("ext4", true),
    ("xfs", true),
    ("ext4", false),
    ("xfs", false),
];

/// Programs that make promises: what they are called, whether under the shim, and how they keep them. The
/// last one does not, and has a filesystem of its own, whose journal nobody else writes.
pub const WRITERS: [(&str, bool, &str); 5] = [
    ("msync", false, "msync"),
    ("msync, shim", true, "msync"),
    ("MAP_SYNC", false, "sync"),
    ("MAP_SYNC, shim", true, "sync"),
    ("no msync", false, "none"),
];

/// What a program has told to be durable, and what was not there after the cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub promised: u64,
    pub lost: u64,
}

/// The promises of each program, by the numbers of its module and of the program.
type Promised = BTreeMap<(usize, usize), u64>;

/// By filesystem and writer.
pub type Fates = BTreeMap<(String, String), Fate>;

#[test]
fn promises_outlive_a_power_cut() {
    or_skip!(library(&[""], "libpmem.so.1"));
    let memory = or_skip!(Memory::new("6.12", MODULES.len()));
    let fates = cut(&memory, 1);
    assert_kept(&fates);
}

#[test]
#[ignore = "24 power cuts with each kernel, some minutes; writes docs/crash-dax.md if asked to"]
fn promises_outlive_many_power_cuts() {
    or_skip!(library(&[""], "libpmem.so.1"));
    let mut found = Vec::new();
    for series in ["6.1", "6.12"] {
        let memory = or_skip!(Memory::new(series, MODULES.len()));
        let fates = cut(&memory, 24);
        eprintln!("{series}: {fates:#?}");
        assert_kept(&fates);
        found.push((memory.release().to_owned(), 24, fates));
    }
    document::write(&found);
}

/// What was synced is there; and what was only stored and flushed is not, so that the cuts show something.
#[track_caller]
fn assert_kept(fates: &Fates) {
    for ((filesystem, writer), fate) in fates {
        assert!(fate.promised > 0, "{filesystem}, {writer}: {fate:?}");
        let loses = writer == WRITERS[4].0;
        assert_eq!(fate.lost > 0, loses, "{filesystem}, {writer}: {fate:?}");
    }
}

/// Lets the programs run and cuts the power so many times, and looks in between.
fn cut(memory: &Memory, times: u64) -> Fates {
    let mut fates = Fates::new();
    let mut promised = Promised::new();
    for round in 0..=times {
        let (mut job, last) = (Job::new(), round == times);
        for (number, (kind, _)) in MODULES.iter().enumerate() {
            if round == 0 {
                job.namespace(number).make(kind, number);
            }
            job.mount(number, "dax=always");
        }
        for (&(number, writer), count) in &promised {
            let check = guest("check", number, writer).arg(count.to_string());
            job.line(&command(&check));
        }
        if last {
            for (number, (kind, _)) in MODULES.iter().enumerate() {
                job.unmount(number).check(kind, number);
            }
            job.line("echo whole");
        } else {
            job.line("rm -f /run/pmem/*/[0-9] && sync && echo ready");
            for (number, writer) in writers() {
                let (_, shimmed, how) = WRITERS[writer];
                let append = guest("append", number, writer).arg(how);
                job.start(&append, shimmed);
            }
            job.line("wait");
        }
        let mut running = job.boot(memory);
        let ready = if last { "whole" } else { "ready" };
        kept(&mut running, ready, &promised, &mut fates);
        if !last {
            promised = run(running, moment(round));
        }
    }
    fates
}

/// A module and a writer that writes to it, as numbers.
fn writers() -> impl Iterator<Item = (usize, usize)> {
    let all = |number: usize| (0..WRITERS.len()).map(move |writer| (number, writer));
    let fits = |&(number, writer): &(usize, usize)| {
        let (_, keeps) = MODULES[number];
        keeps == (WRITERS[writer].2 != "none")
    };
    (0..MODULES.len()).flat_map(all).filter(fits)
}

fn guest(mode: &str, number: usize, writer: usize) -> Program {
    Program::guest("pmem")
        .arg(mode)
        .arg(format!("/run/pmem/{number}/{writer}"))
        .arg(format!("{number}:{writer}"))
}

/// After how many promises, of all programs, the power is cut: any number, another in each round.
fn moment(round: u64) -> u64 {
    50 + (round + 1) * 7919 % 2500
}

/// Adds what the guests say of the promises until the line `ready`.
fn kept(running: &mut Running, ready: &str, promised: &Promised, fates: &mut Fates) {
    let deadline = Instant::now() + LIMIT;
    let mut printed = String::new();
    let mut looked = 0;
    loop {
        let line = running.line(deadline);
        let line = line.unwrap_or_else(|| panic!("ended\n{printed}{}", running.console()));
        let _ = writeln!(printed, "{line}");
        assert!(
            !line.starts_with("failed: "),
            "{printed}{}",
            running.console()
        );
        if line == ready {
            break;
        }
        let Some((place, numbers)) = place(&line) else {
            continue;
        };
        let [kept, of] = numbers[..] else { continue };
        assert_eq!(promised.get(&place), Some(&of), "{line}");
        let filesystem = MODULES[place.0].0.to_owned();
        let fate = fates.entry((filesystem, WRITERS[place.1].0.to_owned()));
        let fate = fate.or_default();
        fate.promised += of;
        fate.lost += of - kept;
        looked += 1;
    }
    assert_eq!(looked, promised.len(), "{printed}");
}

/// The module, the writer and the numbers in a line of a guest's.
fn place(line: &str) -> Option<((usize, usize), Vec<u64>)> {
    let mut words = line.split(' ');
    let (number, writer) = words.next()?.split_once(':')?;
    let numbers = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some(((number.parse().ok()?, writer.parse().ok()?), numbers))
}

/// Counts promises, and cuts the power after so many; not before each program has made one.
fn run(mut running: Running, moment: u64) -> Promised {
    let deadline = Instant::now() + LIMIT;
    let mut promised = Promised::new();
    let mut count = 0;
    while count < moment || promised.len() < writers().count() {
        match running.line_until(deadline) {
            Line::Printed(line) => {
                let told = place(&line).unwrap_or_else(|| panic!("{line}"));
                let [number] = told.1[..] else {
                    panic!("{line}")
                };
                promised.insert(told.0, number);
                count += 1;
            }
            end => panic!("{end:?}: {promised:?}\n{}", running.console()),
        }
    }
    running.cut_power();
    promised
}
