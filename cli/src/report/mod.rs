//! `keepmydata report LOG...`: what logs say, for people.

pub mod args;
mod catalog;
mod daemon;
mod follow;
mod histogram;
mod html;
mod input;
mod kept;
mod lines;
mod outputs;
mod progress;
mod summary;
mod trace;

use crate::failure::Failure;
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
    if options.follow {
        return follow::follow(&sources);
    }
    let daemons = options.daemons.iter().map(daemon::Log::new);
    let daemons: Vec<daemon::Log> = daemons.collect::<Result<_, _>>()?;
    let mut outputs = Outputs::new(options, &daemons)?;
    let sizes = sources.iter().chain(daemons.iter().map(|log| &log.source));
    let mut progress = Progress::new(sizes.map(Source::size).sum());
    let mut read = Vec::new();
    for source in sources {
        let unreadable = input::read(&source, &mut progress, |record| outputs.add(record))?;
        read.push((source, unreadable));
    }
    for (index, log) in (0..).zip(&daemons) {
        daemon::read(log, index, &mut progress, |op| outputs.add_op(op))?;
    }
    progress.done();
    complain(&read);
    let unreadable = read.iter().map(|(_, unreadable)| unreadable.lines).sum();
    let (catalog, summary) = outputs.finish(read.len(), unreadable)?;
    let whole = Whole {
        catalog: &catalog,
        summary: &summary,
    };
    print(&heading(&read, &whole));
    print(&summary::text(&whole));
    Ok(match (summary.records, summary.at_risk()) {
        (0, _) => NO_RECORDS,
        (_, true) => 1,
        (_, false) => 0,
    })
}

/// Names what could not be read, on standard error.
fn complain(read: &[(Source, Unreadable)]) {
    for (source, unreadable) in read {
        let name = summary::printable(&source.name());
        if unreadable.lines > 0 {
            let count = unreadable.lines;
            let named = summary::printable(&unreadable.named.join("; "));
            let more = if count > unreadable.named.len() as u64 {
                "; ..."
            } else {
                ""
            };
            eprintln!("keepmydata: {name}: unreadable lines: {count} ({named}{more})");
        }
        if unreadable.unfinished {
            eprintln!(
                "keepmydata: {name}: the last line is unfinished: still being written, or cut"
            );
        }
    }
}

fn heading(read: &[(Source, Unreadable)], whole: &Whole<'_>) -> String {
    let summary = whole.summary;
    let mut text = match read {
        [(source, _)] => summary::printable(&source.name()),
        _ => format!("{} logs", read.len()),
    };
    let _ = write!(text, ": {} records", summary.records);
    if let Some((first, last)) = summary.times {
        let lasted = summary::Duration(last - first);
        let _ = write!(text, " from {} to {} ({lasted})", Utc(first), Utc(last));
    }
    text.push('\n');
    match summary.tears.count() {
        _ if summary.records == 0 => text.push_str("There is nothing to tell.\n"),
        0 => text.push_str("No data is known to be at risk.\n"),
        count => {
            let tears = if count == 1 { "tear" } else { "tears" };
            let _ = writeln!(
                text,
                "DATA IS AT RISK: {count} {tears}, where msync's data was not safe or may not have been."
            );
        }
    }
    text
}

/// Standard output; a reader that has gone is no error.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// At most `bytes` of a text.
fn short(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    match end < text.len() {
        true => format!("{}...", &text[..end]),
        false => text.to_owned(),
    }
}

/// Bytes in hexadecimal, and as text where they are printable ASCII.
fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x} ");
    }
    let shown = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    format!("{text:48} |{}|", shown.collect::<String>())
}
