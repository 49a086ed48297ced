//! The messages about an enforcement, for library and supervisor.

use crate::stages::{Facts, Request};
use crate::verdict::Ended;
use core::fmt::{self, Write};
use keepmydata_records::UNSEEN;
use rustix::io::Errno;

/// So many things, in words: `1 page`, `2 pages`.
pub struct Count(pub u64, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count(count, thing) = self;
        let s = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {thing}{s}")
    }
}

/// Text put together in place. A line that is cut says enough.
fn text(into: &mut impl Write, args: fmt::Arguments<'_>) {
    let _ = into.write_fmt(args);
}

/// Why a file was not compared, or not all of it; `reason` was known before.
pub fn why(facts: &Facts, reason: &'static str) -> &'static str {
    match facts.unreadable {
        Some(Errno::BADF) => "not verified: the file cannot be opened again",
        Some(_) => "not verified: reading back failed",
        None => reason,
    }
}

/// What a report says of an enforcement that has ended; `kept` is what has become of the pages that are not safe, `unseen`
/// why another client does not see pages.
pub fn describe<R: Request>(message: &mut impl Write, ended: &Ended<R>, kept: &str, unseen: &str) {
    let lost = ended.lost_pages;
    let (stale, uncertain) = (ended.verdicts.stale, ended.verdicts.uncertain);
    match ended.result() {
        Err(_) if lost > 0 => text(
            message,
            format_args!(
                "the kernel dropped {} that it had not written; msync fails until the file is unmapped",
                Count(lost, "page")
            ),
        ),
        Err(_) if ended.lost != 0 => text(
            message,
            format_args!("an earlier sync lost pages; msync fails until the file is unmapped"),
        ),
        Err(_) if ended.facts.flush_error.is_some() => text(
            message,
            format_args!("writeback failed; the data is still in memory, and {kept}"),
        ),
        _ if ended.facts.unseen_pages > 0
            && ended.facts.unseen_pages == uncertain
            && ended.refused_pages <= uncertain
            && stale == 0
            && ended.facts.cause.is_none() =>
        {
            text(
                message,
                format_args!(
                    "{} {UNSEEN}: {unseen} (KEEPMYDATA_SEEN_BY)",
                    Count(uncertain, "page"),
                ),
            );
        }
        Err(_) if stale == 0 && ended.refused != 0 => text(
            message,
            format_args!(
                "an earlier sync of this file failed for {}, neither proved nor stored to since",
                Count(ended.refused_pages, "page"),
            ),
        ),
        Err(_) if stale == 0 && ended.facts.cause.is_none() => text(
            message,
            format_args!(
                "{} left the page cache before they could be compared, or could not be read \
                 back: it is not known whether the filesystem holds them, and KEEPMYDATA_UNCERTAIN=error is set",
                Count(uncertain, "page")
            ),
        ),
        Err(_) if ended.facts.cause.is_some() => text(
            message,
            format_args!(
                "the filesystem failed to write and does not hold the data: {stale} stale, \
                 {uncertain} uncertain pages; they are {kept}, nothing was dropped"
            ),
        ),
        Err(_) => text(
            message,
            format_args!(
                "the filesystem acknowledged the sync and does not hold the data: {stale} stale, \
                 {uncertain} uncertain pages; they are {kept}, nothing was dropped"
            ),
        ),
        Ok(()) if uncertain == ended.facts.refilled_pages => text(
            message,
            format_args!(
                "synced, but the page cache was dropped since the last sync (the file was opened or \
                 changed, perhaps by another process): what was stored before that may be missing from {}",
                Count(uncertain, "page")
            ),
        ),
        Ok(()) => text(
            message,
            format_args!(
                "{} left the page cache before they could be compared: the \
                 filesystem holds newer data of another process, or has lost data",
                Count(uncertain, "page")
            ),
        ),
    }
}

/// The first msync of a file that has returned 0 without a proof; `reason` as in [`why`], `unseen` as in [`describe`].
pub fn doubt<R: Request>(
    message: &mut impl Write,
    ended: &Ended<R>,
    reason: &'static str,
    unseen: &str,
) {
    let pages = ended.unknown_pages();
    let why = match ended.unverified_pages() {
        0 if ended.facts.unseen_pages == pages => unseen,
        0 if ended.verdicts.uncertain == ended.facts.unread_pages => {
            "they can only be read back from the page cache here, and could not be dropped from it"
        }
        0 => "they had left the page cache before they could be compared",
        _ if why(&ended.facts, reason).is_empty() => "they could not be compared",
        _ => why(&ended.facts, reason),
    };
    let more = match ended.facts.nameless_pages() == pages {
        true => "",
        false => "KEEPMYDATA_UNCERTAIN=error makes msync fail then, ",
    };
    text(
        message,
        format_args!(
            "msync returned 0 and {} of this file {} not proved to be safe: {why}. \
             {more}KEEPMYDATA_LOG=warn names each one",
            Count(pages, "page"),
            if pages == 1 { "is" } else { "are" },
        ),
    );
}

/// An earlier msync has failed for `pages` that nobody could compare, and this one has returned 0.
pub fn told(message: &mut impl Write, pages: u64) {
    text(
        message,
        format_args!(
            "msync returned 0: what the file holds is safe. An earlier msync failed for {} that had left the \
             page cache, and stores to them before that may be missing",
            Count(pages, "page"),
        ),
    );
}

/// An earlier sync has failed, of a file that is not verified, and this msync has returned 0.
pub fn failed(message: &mut impl Write) {
    let message_text = "msync returned 0: the filesystem has taken what the page cache holds of the file. An earlier sync \
                        of it failed, and nobody knows what that did not take: of what was stored before it something \
                        may be missing";
    text(message, format_args!("{message_text}"));
}

/// So many pages are not proved where the process becomes another program.
pub fn executes(message: &mut impl Write, pages: u64) {
    text(
        message,
        format_args!(
            "this process becomes another program, and {} that it has stored to {} not proved to be safe: an \
             msync that returns 0 from here on says nothing of them",
            Count(pages, "page"),
            if pages == 1 { "is" } else { "are" },
        ),
    );
}

/// So many files are not mapped any more, and what was stored to them was not proved.
pub fn forgotten(message: &mut impl Write, files: u64) {
    text(
        message,
        format_args!(
            "{} of this process are not mapped any more, and not all that it has stored to them is proved: too many to \
             remember, and a later msync of theirs does not say so",
            Count(files, "file")
        ),
    );
}

/// How many there were, when the process ends.
pub fn doubts(message: &mut impl Write, msyncs: u64, pages: u64) {
    text(
        message,
        format_args!(
            "{} of this process returned 0 without a proof, for {} in all; \
             KEEPMYDATA_UNCERTAIN=error makes such calls fail",
            Count(msyncs, "msync call"),
            Count(pages, "page")
        ),
    );
}
