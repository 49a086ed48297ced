//! What must hold between rows, or is a count.

use std::path::Path;

use preload_tests::harness::Scratch;

use crate::cases::Case;
use crate::options::FsName;
use crate::run::Row;

/// One statement that is true or not.
pub struct Check {
    pub fs: &'static str,
    pub what: String,
    pub measured: f64,
    pub at_most: f64,
}

impl Check {
    pub fn is_reached(&self) -> bool {
        self.measured <= self.at_most
    }

    pub fn line(&self) -> String {
        let verdict = if self.is_reached() {
            "reached"
        } else {
            "MISSED"
        };
        format!(
            "{}, {}: {:.2}; at most {:.2}: {verdict}",
            self.fs, self.what, self.measured, self.at_most
        )
    }
}

/// Counts the fdatasyncs of a round of `case`, where that is of interest.
///
/// # Errors
/// Why they could not be counted.
pub fn count(case: &Case, fs: FsName, file: &Path) -> Result<Option<Check>, String> {
    let Some((contender, msyncs, at_most)) = case.counted else {
        return Ok(None);
    };
    let scratch = Scratch::new();
    let summary = scratch.path("strace");
    // The filter lets all other calls run at their own speed.
    let tracer = [
        "-f",
        "--seccomp-bpf",
        "-c",
        "-e",
        "trace=fdatasync",
        "-o",
        summary
            .to_str()
            .ok_or("no UTF-8 in the temporary directory's name")?,
    ];
    let arguments = (case.arguments)(case, file, contender.how());
    let mut guest = contender.start_traced(case.guest, &arguments, &tracer)?;
    const ROUNDS: usize = 10;
    for round in 0..ROUNDS {
        guest.round(&(case.request)(round))?;
    }
    drop(guest);
    let _ = std::fs::remove_file(file);
    let table = std::fs::read_to_string(&summary).map_err(|error| format!("strace: {error}"))?;
    // "% time, seconds, usecs/call, calls, syscall"
    let calls = table
        .lines()
        .find(|line| line.ends_with(" fdatasync"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok())
        .ok_or_else(|| format!("strace counted nothing:\n{table}"))?;
    Ok(Some(Check {
        fs: fs.name(),
        what: format!("{}, {}: fdatasyncs an msync", case.title, contender.name),
        measured: calls / msyncs / ROUNDS as f64,
        at_most,
    }))
}

/// That `contender` takes in the last of these rows at most twice the time of the first: rows of
/// one metric, by growing size.
pub fn flat(rows: &[&Row], contender: &str) -> Option<Check> {
    let own: Vec<&&Row> = rows
        .iter()
        .filter(|row| row.contender == contender)
        .collect();
    let (first, last) = (own.first()?, own.last()?);
    (first.case != last.case).then(|| Check {
        fs: last.fs,
        what: format!(
            "{contender}, {}: {} over {}",
            last.metric, last.case, first.case
        ),
        measured: last.ns.median / first.ns.median,
        at_most: 2.0,
    })
}
