//! Runs a guest on the test bed and says what it came to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use preload_tests::harness::{Outcome, TearFs, patience};

use super::expect::{Column, Guest, Variant};
use super::silence;

/// What a run came to, from good to bad.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// All data is there.
    Whole,
    /// msync failed with EIO, and the guest stopped there.
    Eio,
    /// Bad data, and the log had named each bad page before the guest found it.
    Reported,
    /// Bad data, and nobody ever said otherwise.
    Torn(String),
}

impl Found {
    pub fn of_word(word: &str) -> Option<Self> {
        [
            Self::Whole,
            Self::Eio,
            Self::Reported,
            Self::Torn(String::new()),
        ]
        .into_iter()
        .find(|found| found.word() == word)
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Eio => "EIO",
            Self::Reported => "reported",
            Self::Torn(_) => "torn",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Torn(why) => write!(f, ": {why}"),
            _ => Ok(()),
        }
    }
}

/// How long and how often the doio-like guest runs.
#[derive(Clone, Copy)]
pub struct Effort {
    pub seconds: u64,
    pub seeds: u64,
}

impl Effort {
    /// 10 s and three seeds where `KEEPMYDATA_LONG` is 1, else enough for each row to show.
    pub fn of_this_run() -> Self {
        if std::env::var("KEEPMYDATA_LONG").is_ok_and(|value| value == "1") {
            return Self {
                seconds: 10,
                seeds: 3,
            };
        }
        Self {
            seconds: preload_tests::harness::seconds(1),
            seeds: 1,
        }
    }
}

/// One cell of the table: a run of the seed case, a run a seed of the doio-like guest.
pub fn observe(
    mode: &str,
    variant: &Variant,
    column: Column,
    guest: Guest,
    effort: Effort,
) -> Vec<Found> {
    let seeds = match guest {
        Guest::Seed => 1,
        Guest::Doio(_) => effort.seeds,
    };
    (1..=seeds)
        .map(|seed| {
            let mut arguments = vec!["--mode", mode];
            arguments.extend(variant.arguments);
            // The other content comes when the guest has looked, on a busy machine too.
            let delay = patience(Duration::from_millis(500)).as_millis().to_string();
            if ["early-ack", "reorder", "stale-window"].contains(&mode) {
                arguments.extend(["--delay-ms", &delay]);
            }
            let fs = TearFs::mount(&arguments);
            let program = match guest {
                Guest::Seed => column.guest("seed"),
                Guest::Doio(processes) => column
                    .guest("doio")
                    .arg("-n")
                    .arg(processes.to_string())
                    .arg("-t")
                    .arg(effort.seconds.to_string())
                    .arg("-s")
                    .arg(seed.to_string())
                    .timeout(Duration::from_secs(effort.seconds + 60)),
            };
            let outcome = column.run(&program.arg(fs.path("f")));
            let found = judge(guest, column, &outcome);
            if matches!(found, Found::Torn(_)) && column.is_verified() {
                keep_logs(mode, &fs, &outcome);
            }
            found
        })
        .collect()
}

/// For the analysis of a failure: both logs, in the directory that `KEEPMYDATA_KEEP_LOGS` names.
fn keep_logs(mode: &str, fs: &TearFs, outcome: &Outcome) {
    if let Some(directory) = std::env::var_os("KEEPMYDATA_KEEP_LOGS") {
        let name = PathBuf::from(directory).join(format!("{mode}-{}", std::process::id()));
        let logs = [
            ("ops", fs.op_log()),
            ("log", outcome.log_text()),
            ("stderr", outcome.stderr.clone()),
        ];
        for (extension, text) in logs {
            std::fs::write(name.with_extension(extension), text).expect("kept log");
        }
    }
}

fn judge(guest: Guest, column: Column, outcome: &Outcome) -> Found {
    match (guest, outcome.code()) {
        (_, Some(0)) => Found::Whole,
        (Guest::Seed, Some(3)) if outcome.stdout == "msync EIO\n" => Found::Eio,
        (Guest::Seed, Some(1)) if outcome.stdout.starts_with("P0") => {
            Found::Torn(outcome.stdout.replace('\n', "; "))
        }
        (Guest::Doio(_), Some(4 | 2)) if column.is_verified() => {
            match silence::not_announced(outcome) {
                None => Found::Reported,
                Some(line) => Found::Torn(line),
            }
        }
        (Guest::Doio(_), Some(4 | 2)) if outcome.stderr.contains("bad data") => {
            Found::Torn(outcome.stderr.clone())
        }
        _ => panic!("neither good nor bad data: {outcome:?}"),
    }
}
