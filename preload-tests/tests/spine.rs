//! A tear, and its cure: the seed case and the doio-like guest, natively and under
//! the shim, in the test bed's modes and on the kernel's own filesystems.

use std::path::PathBuf;
use std::time::Duration;

use preload_tests::harness::{LoopFs, Outcome, Program, TearFs, Tmpfs, patience, seconds};
use preload_tests::{or_skip, page_size};

/// What a run of a guest is expected to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The guest finds its data.
    Good,
    /// The guest finds bad data, and nobody ever said otherwise.
    Bad,
    /// Bad data under the shim, for this reason.
    KnownFailure(&'static str),
}

use Expect::{Bad, Good, KnownFailure};

const FLUSH_ONLY: &[(&str, &str)] = &[("KEEPMYDATA_VERIFY", "off")];
const DEFAULTS: &[(&str, &str)] = &[];

const NEEDS_VERIFY: Expect =
    KnownFailure("one more fdatasync is not enough; only reading back tells");

/// A row a mode: what both guests find with one process.
struct Row {
    mode: &'static str,
    native: Expect,
    /// Under the shim with `KEEPMYDATA_VERIFY=off`.
    flush_only: Expect,
    /// Under the shim as it comes.
    verified: Expect,
}

macro_rules! modes {
    ($($test:ident: $mode:literal native $native:expr, flush_only $flush:expr, verified $verified:expr;)*) => {
        $(
            mod $test {
                use super::*;

                const ROW: Row = Row {
                    mode: $mode,
                    native: $native,
                    flush_only: $flush,
                    verified: $verified,
                };

                #[test]
                fn seed() {
                    check_row(&ROW, Program::guest("seed"));
                }

                #[test]
                fn doio() {
                    check_row(&ROW, doio_guest(1, 10));
                }
            }
        )*
    };
}

modes! {
    honest: "honest" native Good, flush_only Good, verified Good;
    volatile: "volatile" native Good, flush_only Good, verified Good;
    first_page: "first-page" native Bad, flush_only Good, verified Good;
    one_page: "one-page" native Bad, flush_only NEEDS_VERIFY, verified Good;
    stale_window: "stale-window" native Bad, flush_only NEEDS_VERIFY, verified Good;
    early_ack: "early-ack" native Bad, flush_only NEEDS_VERIFY, verified Good;
}

fn check_row(row: &Row, guest: Program) {
    or_skip!(TearFs::available());
    // Longer than a machine takes from msync to the read: else what is late is there.
    let times = |ms| patience(Duration::from_millis(ms)).as_millis().to_string();
    let (delay, deadline) = (times(200), times(2000));
    let verified = [("KEEPMYDATA_DEADLINE_MS", deadline.as_str())];
    let runs = [
        ("natively", row.native, None),
        ("flush only", row.flush_only, Some(FLUSH_ONLY)),
        ("verified", row.verified, Some(&verified[..])),
    ];
    for (way, expect, settings) in runs {
        let fs = TearFs::mount(&["--mode", row.mode, "--delay-ms", &delay]);
        let guest = guest.clone().arg(fs.path("f"));
        let outcome = match settings {
            None => guest.natively(),
            Some(settings) => guest.under_shim(settings),
        };
        judge(&format!("{} {way}", row.mode), expect, &outcome);
    }
}

#[track_caller]
fn judge(what: &str, expect: Expect, outcome: &Outcome) {
    let found = match outcome.code() {
        Some(0) => Good,
        Some(1) if outcome.stdout.starts_with("P0") => Bad, // seed: torn
        Some(4 | 2) if outcome.stderr.contains("bad data") => Bad, // doio
        _ => panic!("{what}: neither good nor bad data: {outcome:?}"),
    };
    match expect {
        KnownFailure(reason) => {
            assert_eq!(
                found, Bad,
                "{what}: cured! known failure ({reason}) is no more"
            );
            println!("{what}: known failure: {reason}");
        }
        expected => assert_eq!(found, expected, "{what}: {outcome:?}"),
    }
}

fn doio_guest(processes: u32, for_seconds: u64) -> Program {
    let limit = seconds(for_seconds);
    Program::guest("doio")
        .arg("-n")
        .arg(processes.to_string())
        .arg("-t")
        .arg(limit.to_string())
        .timeout(Duration::from_secs(limit + 60))
}

/// The page table that the README shows.
#[test]
fn seed_case_is_torn_natively_and_whole_under_the_shim() {
    or_skip!(TearFs::available());
    let table = |verdicts: [&str; 4]| {
        let rows = verdicts.iter().enumerate().map(|(page, verdict)| {
            let start = (1084 + page) * page_size();
            format!("P{page} [{start},{}) {verdict}\n", start + page_size())
        });
        rows.collect::<String>()
    };
    let fs = TearFs::mount(&["--mode", "first-page"]);
    let seed = Program::guest("seed");
    let torn = seed.clone().arg(fs.path("native")).natively();
    assert_eq!(torn.stdout, table(["new", "old", "old", "old"]), "{torn:?}");
    let whole = seed.arg(fs.path("shim")).under_shim(DEFAULTS);
    assert_eq!(whole.stdout, table(["new"; 4]), "{whole:?}");
}

/// A filesystem that keeps its word.
enum Honest {
    Bed(TearFs),
    Loop(LoopFs),
    Memory(Tmpfs),
}

impl Honest {
    fn mount(kind: &str) -> Result<Self, String> {
        match kind {
            "tearfs" => {
                TearFs::available()?;
                Ok(Self::Bed(TearFs::mount(&["--mode", "honest"])))
            }
            "tmpfs" => Tmpfs::mount().map(Self::Memory),
            kind => LoopFs::mount(kind).map(Self::Loop),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Bed(fs) => fs.path(name),
            Self::Loop(fs) => fs.path(name),
            Self::Memory(fs) => fs.path(name),
        }
    }
}

macro_rules! honest_filesystems {
    ($($kind:ident)*) => {
        $(
            mod $kind {
                use super::*;

                #[test]
                fn seed_of_1_2_and_4_processes_is_whole() {
                    let fs = or_skip!(Honest::mount(stringify!($kind)));
                    for processes in [1, 2, 4] {
                        seeds_at_once(&fs, processes);
                    }
                }

                #[test]
                fn doio_of_1_2_and_4_processes_is_good() {
                    let fs = or_skip!(Honest::mount(stringify!($kind)));
                    for processes in [1, 2, 4] {
                        let doio = doio_guest(processes, 4).arg(fs.path("f"));
                        let what = format!("doio, {processes} processes on {}", stringify!($kind));
                        doio.natively().expect_success(&what);
                        doio.under_shim(DEFAULTS).expect_success(&what);
                    }
                }
            }
        )*
    };
}

honest_filesystems! { tearfs ext4 xfs btrfs tmpfs }

/// Each process on a file of its own, all at once.
fn seeds_at_once(fs: &Honest, processes: usize) {
    std::thread::scope(|scope| {
        for number in 0..processes {
            let seed = Program::guest("seed").arg(fs.path(&format!("f{number}")));
            scope.spawn(move || {
                seed.natively().expect_success("seed natively");
                seed.under_shim(DEFAULTS)
                    .expect_success("seed under the shim");
            });
        }
    });
}
