//! `keepmydata report LOG...`: what logs say, for people.

pub mod args;
#[allow(dead_code, reason = "the page is going to show it")]
mod catalog;
mod histogram;
mod input;
mod lines;
mod progress;
#[allow(dead_code, reason = "the page is going to show it")]
mod summary;

use crate::failure::Failure;
use args::ReportOptions;
use catalog::Catalog;
use input::{Source, Unreadable};
use keepmydata_records::Utc;
use progress::Progress;
use std::ffi::c_int;
use std::fmt::Write;
use summary::{Summary, Whole};

/// Nothing was found in the logs.
const NO_RECORDS: c_int = 3;

pub fn report(options: &ReportOptions) -> Result<c_int, Failure> {
    let sources = input::sources(&options.logs)?;
    let mut progress = Progress::new(sources.iter().map(Source::size).sum());
    let mut catalog = Catalog::default();
    let mut summary = Summary::default();
    let mut read = Vec::new();
    for source in sources {
        let unreadable = input::read(&source, &mut progress, |record, extra| {
            let about = catalog.about(record);
            summary.add(record, extra, about);
            Ok(())
        })?;
        read.push((source, unreadable));
    }
    progress.done();
    complain(&read);
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
            eprintln!("keepmydata: {name}: {count} unreadable lines ({named}{more})");
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
            let _ = writeln!(
                text,
                "DATA IS AT RISK: {count} times msync's data was not safe, or may not have been."
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
