//! `keepmydata report LOG...`: what logs say, for people.

pub mod args;
mod catalog;
mod daemon;
mod histogram;
mod html;
mod input;
mod kept;
mod lines;
mod outputs;
mod progress;
mod summary;
mod text;
mod trace;

use crate::failure::Failure;
use crate::output;
use crate::words::{WHAT_DROPS_PAGES, count};
use args::ReportOptions;
use input::{Source, Unreadable};
use keepmydata_records::Utc;
use outputs::Outputs;
use progress::Progress;
use std::ffi::c_int;
use std::fmt::Write;
use summary::Whole;

/// Nothing was found in the logs.
const NO_RECORDS: c_int = 3;

pub fn report(options: &ReportOptions) -> Result<c_int, Failure> {
    let sources = input::sources(&options.logs)?;
    let daemons = options.daemons.iter().map(daemon::Log::new);
    let daemons: Vec<daemon::Log> = daemons.collect::<Result<_, _>>()?;
    let mut outputs = Outputs::new(options, &daemons)?;
    let sizes = sources.iter().chain(daemons.iter().map(|log| &log.source));
    let mut progress = Progress::new(sizes.map(Source::size).sum());
    let mut read = Vec::new();
    for source in sources {
        let mut records = 0;
        let unreadable = input::read(&source, &mut progress, |record| {
            records += 1;
            outputs.add(record);
        })?;
        read.push(Log {
            source,
            records,
            unreadable,
        });
    }
    let mut complaints: Vec<String> = read.iter().flat_map(Log::complaints).collect();
    for (index, log) in (0..).zip(&daemons) {
        let mut elsewhen = 0;
        daemon::read(log, index, &mut progress, |op| {
            if outputs.is_of_these_times(op) {
                outputs.add_op(op);
            } else {
                elsewhen += 1;
            }
        })?;
        if elsewhen > 0 {
            complaints.push(format!(
                "{}: {} from more than a second before or after the records left out",
                summary::printable(&log.source.name()),
                count(elsewhen, "operation")
            ));
        }
    }
    progress.done();
    for complaint in &complaints {
        output::say(complaint);
    }
    let unreadable = read.iter().map(|log| log.unreadable.lines).sum();
    let (catalog, summary, written) = outputs.finish(read.len(), unreadable);
    if summary.records == 0 {
        if complaints.is_empty() {
            let logs = name(&read);
            output::say(format_args!(
                "{logs}: no record; below --log=info only trouble is logged"
            ));
        }
        return Ok(NO_RECORDS);
    }
    let whole = Whole {
        catalog: &catalog,
        summary: &summary,
    };
    let printed = output::print(heading(&read, &whole) + &summary::text(&whole));
    written.and(printed)?;
    Ok(c_int::from(summary.at_risk()))
}

/// A log that was read.
struct Log {
    source: Source,
    records: u64,
    unreadable: Unreadable,
}

impl Log {
    /// What could not be read, for standard error.
    fn complaints(&self) -> Vec<String> {
        let name = summary::printable(&self.source.name());
        let unreadable = &self.unreadable;
        let mut complaints = Vec::new();
        if self.records == 0 && unreadable.as_text > 0 {
            complaints.push(format!(
                "{name}: a log as text, for people only; log with --log-format=json \
                 (KEEPMYDATA_LOG_FORMAT=json), and report that"
            ));
            return complaints;
        }
        if self.records == 0
            && let Some(format) = self.is_of_daemon()
        {
            complaints.push(format!(
                "{name}: the log of a daemon, as {format} writes it: give it as --daemon {name}, \
                 besides the shim's log"
            ));
            return complaints;
        }
        if unreadable.lines > 0 {
            let lines = count(unreadable.lines, "unreadable line");
            let named = summary::printable(&unreadable.named.join("; "));
            let more = match unreadable.lines > unreadable.named.len() as u64 {
                true => "; ...",
                false => "",
            };
            complaints.push(format!("{name}: {lines} ({named}{more})"));
        }
        if unreadable.unfinished {
            complaints.push(format!(
                "{name}: the last line is unfinished: still being written, or cut"
            ));
        }
        complaints
    }

    /// The format of a daemon's log that it has. Standard input cannot be read again.
    fn is_of_daemon(&self) -> Option<String> {
        let is_file = matches!(self.source, Source::File(_));
        let fits = is_file.then(|| daemon::best_fit(&self.source).ok())??;
        fits.map(|format| format.name)
    }
}

/// One log by its name, several by their number.
fn name(read: &[Log]) -> String {
    match read {
        [log] => summary::printable(&log.source.name()),
        _ => format!("{} logs", read.len()),
    }
}

fn heading(read: &[Log], whole: &Whole<'_>) -> String {
    let summary = whole.summary;
    let mut text = format!("{}: {}", name(read), count(summary.records, "record"));
    if let Some((first, last)) = summary.times {
        let lasted = summary::Duration(last - first);
        let _ = write!(text, " from {} to {} ({lasted})", Utc(first), Utc(last));
    }
    text.push('\n');
    match summary.tears.count() {
        0 => text.push_str("No data is known to be at risk.\n"),
        tears => {
            let _ = writeln!(
                text,
                "DATA IS AT RISK: {}, where msync's data was not safe or may not have been.",
                count(tears, "tear")
            );
        }
    }
    let uncertain: u64 = summary.files.iter().map(|file| file.uncertain).sum();
    if uncertain > 0 {
        let _ = writeln!(
            text,
            "{} may be wrong: they left the page cache before they could be compared. {WHAT_DROPS_PAGES}",
            count(uncertain, "page")
        );
    }
    text
}
