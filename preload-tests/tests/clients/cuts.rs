//! Power cuts: everything that a client acknowledged must be readable by its own tools.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use preload_tests::harness::{TearFs, wait_until};
use serde_json::json;

use super::run::{How, Load, acknowledged};
use super::table::{Client, Promise};

/// The modes of the test bed in which the shim must keep everything.
pub const MODES: [&str; 3] = ["first-page", "one-page", "volatile"];

/// A busy machine must not run into the deadline of healing.
const SETTINGS: [(&str, &str); 2] = [
    ("KEEPMYDATA_DEADLINE_MS", "60000"),
    ("KEEPMYDATA_LOG", "warn"),
];

/// What a cut left.
#[derive(Debug)]
pub enum After {
    /// All that was acknowledged.
    Kept,
    /// Acknowledged records are gone, or the client's tools refuse what they find.
    Lost(String),
}

/// Runs the client on the test bed in this mode, cuts its power at a moment that `round`
/// decides, and lets the client's own tools look.
pub fn cut(client: &Client, mode: &str, shimmed: bool, round: u64) -> After {
    let mut arguments = vec!["--mode", mode, "--direct-io", "none"];
    if round % 2 == 1 {
        arguments.push("--keep-cache");
    }
    let fs = TearFs::mount(&arguments);
    // Natively the next sync of a quick client would heal the last one before the cut comes.
    let at_any_moment = shimmed && client.promise == Promise::Always;
    let load = Load {
        count: match at_any_moment {
            true => 100_000,
            false => 1 + round * 37 % 60,
        },
        seed: round,
    };
    let program = client.program(&fs.dir(), load, How::Hold);
    let running = match shimmed {
        true => program.start_under_shim(&[client.settings, &SETTINGS].concat()),
        false => program.start_natively(),
    };
    let holds = || running.stdout().ends_with("hold\n");
    let limit = Duration::from_secs(60);
    if at_any_moment {
        wait_until("the first acknowledgement", limit, || {
            running.stdout().contains('\n') || running.ended()
        });
        // Spread over 0 to 100 ms without pattern.
        let moment = Instant::now() + Duration::from_micros(round * 7919 % 100_000);
        wait_until("the moment of the cut", limit, || {
            Instant::now() >= moment || holds()
        });
    } else {
        wait_until("the last acknowledgement", limit, || {
            holds() || running.ended()
        });
    }
    let ended = running.ended();
    let acknowledged = acknowledged(&running.stdout());
    fs.cut();
    let outcome = running.kill();
    // The helper's process ends a moment after the program: until then the file is mapped, and so locked.
    let gone = || !is_mapped(&fs.dir());
    wait_until("the end of its mappings", limit, gone);
    assert!(
        !ended && !acknowledged.is_empty(),
        "{} ended before the cut: {outcome:?}",
        client.name
    );
    // The client stored until it was killed: what is still cached of that is not on the disk.
    fs.cut();
    forget_errors(&fs.dir());
    // What the tools repair is not to be lost again.
    fs.control(json!({"op": "mode", "mode": "honest"}));
    let lost = match client.check(&fs.dir(), load) {
        Err(reason) => reason,
        Ok(there) => {
            let missing = |line: &&String| !there.contains(*line);
            let Some(first) = acknowledged.iter().position(|line| missing(&line)) else {
                return After::Kept;
            };
            format!(
                "{} of {} acknowledged records, from number {first} on",
                acknowledged.iter().filter(missing).count(),
                acknowledged.len()
            )
        }
    };
    let said = match outcome.records().of("report").next() {
        Some(report) => format!("; the shim: {}", report["message"]),
        None => String::new(),
    };
    After::Lost(lost + &said)
}

/// Whether a process has mapped a file of the directory.
fn is_mapped(directory: &Path) -> bool {
    let directory = directory.display().to_string();
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("maps")).ok())
        .any(|maps| maps.contains(&directory))
}

/// A machine that starts again knows nothing of the errors of those that wrote after the cut; this
/// one tells them to whom syncs the file first.
fn forget_errors(directory: &Path) {
    for entry in fs::read_dir(directory).expect("mount").flatten() {
        if let Ok(file) = File::options().write(true).open(entry.path()) {
            let _ = file.sync_all();
        }
    }
}

/// Those of `rounds` cuts that lose something, with what; no more than `enough`.
pub fn losses(
    client: &Client,
    mode: &str,
    shimmed: bool,
    rounds: u64,
    enough: usize,
) -> Vec<String> {
    let lost = |round| match cut(client, mode, shimmed, round) {
        After::Kept => None,
        After::Lost(what) => Some(format!("cut {round}: {what}")),
    };
    (0..rounds).filter_map(lost).take(enough).collect()
}
