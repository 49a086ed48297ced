//! An oracle for msync: random programs of calls on one file, a model of what each zero promises, and the
//! filesystem's own answer whether it was kept (docs/proof.md).
//!
//! [`guest`] runs a [`program`] on a [`bed`], one of [`rows`]; [`events`] is what happened, [`model`] judges it. [`campaign`]
//! goes over all rows, [`search`] shortens what failed. Known defects are in [`known`], and the programs of [`cases`] show
//! them.
//!
//! To look closer at some rows:
//!
//! ```text
//! KEEPMYDATA_ORACLE_ROWS='eio-once/*' KEEPMYDATA_ORACLE_SECONDS=60 KEEPMYDATA_ORACLE_SEED=7 \
//!     cargo test -p preload-tests --test oracle hours -- --ignored --nocapture
//! ```
//!
//! The test `one_program` runs the program in `KEEPMYDATA_ORACLE_PROGRAM`, as a failure prints it, on such rows. If
//! `KEEPMYDATA_ORACLE_LOG` names a file, it stops at the first failure and leaves the shim's log of that run there.
//! `KEEPMYDATA_ORACLE_LIBRARY` and `KEEPMYDATA_ORACLE_DEFECT` are of [`defects`].
//!
//! `KEEPMYDATA_ORACLE_STRICT=1` also fails for known defects, and shows the shortest program of each row and kind;
//! `KEEPMYDATA_ORACLE_NATIVE=1` runs without the shim; `KEEPMYDATA_ORACLE_ALONE=1` only programs of one thread in one process;
//! `KEEPMYDATA_ORACLE_CALLS='move other'` only programs of these calls, and of map, sync and store.

mod bed;
mod campaign;
mod cases;
mod defects;
mod events;
mod guest;
mod known;
mod local;
mod model;
mod program;
mod rows;
mod search;
mod tally;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bed::Mounted;
use campaign::{Campaign, Turn};
use model::Kind;
use preload_tests::harness::{TearFs, patience, seconds};
use preload_tests::or_skip;
use rows::{Row, all_rows, native_rows, rows};

/// The seed of the programs that every run begins with.
const SEED: u64 = 15;

/// A seed that no earlier run had.
fn fresh_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.as_nanos() as u64
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("KEEPMYDATA_ORACLE_{name}")).ok()
}

/// # Panics
/// If anything failed that is not known.
#[track_caller]
fn check(campaign: Campaign) {
    let found = campaign.found.into_inner().expect("found");
    println!("{}", found.table.text());
    let failures: Vec<String> = found.failures.iter().map(tally::Failure::text).collect();
    assert!(
        failures.is_empty(),
        "{} of them failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The same programs in every run, then others.
#[test]
fn a_minute_of_random_programs() {
    or_skip!(TearFs::available());
    let mut rows = rows();
    let end = Instant::now() + Duration::from_secs(60 * seconds(1));
    let campaign = Campaign::new(false);
    let turn = Turn {
        seed: SEED,
        programs: 12,
        time: Duration::from_millis(700),
        end: None,
    };
    campaign.round(&rows, turn);
    let seed = fresh_seed();
    println!("the seed of this run's own programs: {seed}");
    let mut round = 0;
    while Instant::now() < end {
        // The rows that a round does not come to are another run's: each begins elsewhere.
        rows.rotate_left((seed.wrapping_add(round) % 97) as usize);
        let turn = Turn {
            seed: seed.wrapping_add(round),
            end: Some(end),
            ..turn
        };
        campaign.round(&rows, turn);
        round += 1;
    }
    check(campaign);
}

/// Without the shim, where msync promises its own range only: nobody honest is accused, and each liar is found out.
#[test]
fn natively_liars_are_found_out_and_nobody_else() {
    or_skip!(TearFs::available());
    let campaign = Campaign::new(true);
    let turn = Turn {
        seed: SEED,
        programs: 12,
        time: Duration::from_secs(1),
        end: None,
    };
    let (others, honest): (Vec<Row>, Vec<Row>) =
        native_rows().into_iter().partition(Row::lies_natively);
    for round in 0..seconds(5) {
        campaign.round(
            &honest,
            Turn {
                seed: SEED + round,
                ..turn
            },
        );
    }
    check(campaign);
    for row in &others {
        let mut mounted = or_skip!(Mounted::new(row, true));
        let mut programs = search::Programs::new(SEED);
        let end = Instant::now() + patience(Duration::from_secs(20));
        while !mounted
            .run(&programs.next().current())
            .kinds()
            .contains(&Kind::FalseZero)
        {
            assert!(Instant::now() < end, "{}: no lie was found", row.name);
        }
    }
}

/// Each program that failed once.
#[test]
fn programs_that_failed() {
    or_skip!(TearFs::available());
    let (rows, all) = (rows(), all_rows());
    let mut wrong = Vec::new();
    let mut shown = Vec::new();
    for case in cases::cases() {
        let is_it = |row: &&Row| row.name == case.row;
        assert!(
            all.iter().any(|row| is_it(&row)),
            "cases.txt: no row {}",
            case.row
        );
        if case.known {
            shown.push((case.row, case.kind));
        }
        // What cannot be had here was said to be skipped.
        let Some(row) = rows.iter().find(is_it) else {
            continue;
        };
        let mut mounted = match Mounted::new(row, false) {
            Ok(mounted) => mounted,
            Err(reason) => {
                preload_tests::harness::record_skip(case.name, &reason);
                continue;
            }
        };
        // A busy machine changes the order of things, in programs of one thread too.
        let tries = if case.known || case.program.is_threaded() {
            search::TRIES
        } else {
            2
        };
        let failure = search::fails(&mut mounted, &case.program, case.kind, tries);
        println!(
            "{}: {}",
            case.name,
            if failure.is_some() {
                "fails"
            } else {
                "does not fail"
            }
        );
        match failure {
            None if case.known => wrong.push(format!(
                "{}: does not fail any more: it is mended",
                case.name
            )),
            Some(judgement) if !case.known => {
                wrong.push(format!(
                    "{}: {:?}\n{}",
                    case.name,
                    judgement.wrong,
                    case.program.as_calls()
                ));
            }
            _ => {}
        }
    }
    for entry in known::not_shown(&shown) {
        wrong.push(format!("known.rs: no known case shows {entry}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One program, on the rows that are asked for, again and again: how often it fails, and how.
#[test]
#[ignore = "runs KEEPMYDATA_ORACLE_PROGRAM"]
fn one_program() {
    or_skip!(TearFs::available());
    let Some(text) = setting("PROGRAM") else {
        return println!("KEEPMYDATA_ORACLE_PROGRAM says which");
    };
    let program: program::Program = text.parse().expect("a program");
    let limit = setting("SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    let glob = setting("ROWS").unwrap_or("*".into());
    let rows = rows();
    // The shim's log of the first run that fails, if that is wanted.
    let log: Option<&'static str> = setting("LOG").map(|path| &*path.leak());
    for mut row in rows
        .into_iter()
        .filter(|row| known::matches(&glob, &row.name))
    {
        if let Some(path) = log {
            let settings = [("KEEPMYDATA_LOG", "debug"), ("KEEPMYDATA_LOG_FILE", path)];
            row.settings.extend(settings);
        }
        if let (Some(library), Some(defect)) = (setting("LIBRARY"), setting("DEFECT")) {
            let planted = [("LD_PRELOAD", library), ("KEEPMYDATA_DEFECT", defect)];
            (row.settings).extend(planted.map(|(name, value)| (name, &*value.leak())));
        }
        let mut mounted = or_skip!(Mounted::new(&row, setting("NATIVE").is_some()));
        let mut tally = tally::Tally::default();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(limit) {
            if let Some(path) = log {
                let _ = std::fs::remove_file(path);
            }
            if log.is_some() || tally.programs % 8 == 0 {
                mounted.restart();
            }
            let judgement = mounted.run(&program);
            for (kind, why) in &judgement.wrong {
                if !tally.wrong.contains_key(kind) {
                    println!("{}: {kind}: {why}", row.name);
                }
            }
            tally.add(&judgement);
            // What is doubted is told there, and not on standard error.
            let told =
                |path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("doubt"));
            if log.is_some_and(|path| !judgement.wrong.is_empty() && !told(path)) {
                break;
            }
        }
        println!("{}: {tally:?}", row.name);
    }
}

/// All rows in turn, for two hours or `KEEPMYDATA_ORACLE_SECONDS`; see the head of this file.
#[test]
#[ignore = "takes hours"]
fn hours_of_random_programs() {
    or_skip!(TearFs::available());
    let limit = setting("SECONDS").map_or(7200, |text| text.parse().expect("a number of seconds"));
    let first = setting("SEED").map_or_else(fresh_seed, |text| text.parse().expect("a seed"));
    let glob = setting("ROWS").unwrap_or("*".into());
    let native = setting("NATIVE").is_some();
    let all = if native { native_rows() } else { rows() };
    let rows: Vec<Row> = all
        .into_iter()
        .filter(|row| known::matches(&glob, &row.name))
        .collect();
    println!("{} rows, seed {first}", rows.len());
    let campaign = Campaign {
        strict: setting("STRICT").is_some(),
        alone: setting("ALONE").is_some(),
        only: setting("CALLS").map(|names| &*names.leak().split(' ').collect::<Vec<_>>().leak()),
        ..Campaign::new(native)
    };
    let begin = Instant::now();
    let mut seed = first;
    while begin.elapsed() < Duration::from_secs(limit) {
        let rest = Duration::from_secs(limit).saturating_sub(begin.elapsed());
        let turn = Turn {
            seed,
            programs: u64::MAX,
            end: Some(begin + Duration::from_secs(limit)),
            time: (3 * rest / rows.len() as u32)
                .clamp(Duration::from_millis(300), Duration::from_secs(5)),
        };
        campaign.round(&rows, turn);
        seed = seed.wrapping_add(1);
        let total = campaign.found.lock().expect("found").table.total();
        println!("{:.0} s: {total:?}", begin.elapsed().as_secs_f64());
    }
    check(campaign);
}
