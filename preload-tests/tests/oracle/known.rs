//! What the shim is known to do wrong: the only place that says so. Each entry is shown by a case of `cases.txt`, which
//! must fail for as long as the entry stands.

use super::model::Kind;
use super::program::Program;

/// Rows whose names match the glob, and what is wrong there.
const KNOWN: &[(&str, Kind)] = &[];

/// Rows on which threads alone may bring about a doubt on an honest filesystem, also a thread that has ended. On all rows other processes do, fork children among
/// them, where one stores while another opens, truncates or maps the file, in the moment in which the kernel drops the page
/// cache for that; and seldom a thread that stores to one page all the
/// time, or to what another one has paged out (MADV_PAGEOUT). Nobody can compare that, and it is a doubt where
/// there is no loss; docs/proof.md counts them.
const RACES: &[&str] = &["*/direct*", "*/auto-inval*", "*TRACK=*"];

/// Rows of a supervisor without marks: of what another thread or process drops from the page cache nothing is known
/// (docs/reach.md).
const EVICTED: &[&str] = &["*TRACK=whole supervised"];

/// Rows in which doubts come about with one thread: what docs/reach.md lists of what is supervised. A run with
/// `KEEPMYDATA_ORACLE_STRICT` shows them.
const LISTED: &[&str] = &["* supervised"];

/// Whether it is a doubt on one of the rows that are listed, in a program of any kind.
pub fn is_listed(row: &str, kind: Kind) -> bool {
    may_be_doubted(row, kind) && LISTED.iter().any(|glob| matches(glob, row))
}

/// Whether it is a doubt in a race (see [`RACES`]), or a zero on one of those [`EVICTED`], in a program of several threads or
/// processes.
pub fn is_race(row: &str, kind: Kind, program: &Program) -> bool {
    let uses_any = |calls: &[&str]| calls.iter().any(|call| program.uses(call));
    let is_on = |rows: &[&str]| rows.iter().any(|glob| matches(glob, row));
    // The probe goes with a page of the same folio, and marks are not to be had (docs/limitations.md).
    let is_hole = uses_any(&["lock"]) && uses_any(&["punch", "zero", "advise"]);
    let is_race = uses_any(&["other", "fork", "count"])
        || is_on(RACES)
        || program.is_threaded() && program.pages_out()
        || is_hole && row.starts_with("overlay/");
    let may_be = is_race && may_be_doubted(row, kind);
    let is_evicted = kind == Kind::FalseZero && uses_any(&["other", "advise"]) && is_on(EVICTED);
    is_evicted || may_be
}

/// Whether that is how a doubt shows there: there is none where nothing is verified, and it is an error only if so set.
fn may_be_doubted(row: &str, kind: Kind) -> bool {
    let is_local = ["ext4/", "xfs/", "btrfs/"]
        .iter()
        .any(|fs| row.starts_with(fs));
    let is_verified = match is_local {
        true => row.contains("VERIFY=on"),
        false => !row.contains("VERIFY=off"),
    };
    match kind {
        Kind::Report => is_verified,
        Kind::Alarm => is_verified && row.contains("UNCERTAIN=error"),
        _ => false,
    }
}

/// `*` is any text.
pub fn matches(glob: &str, name: &str) -> bool {
    match glob.split_once('*') {
        None => glob == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}

pub fn is_known(row: &str, kind: Kind) -> bool {
    has(KNOWN, row, kind)
}

fn has(list: &[(&str, Kind)], row: &str, kind: Kind) -> bool {
    list.iter()
        .any(|(glob, of)| *of == kind && matches(glob, row))
}

/// Entries that none of these (row, kind) shows.
pub fn not_shown(shown: &[(&str, Kind)]) -> Vec<String> {
    let is_shown = |(glob, kind): &&(&str, Kind)| {
        shown
            .iter()
            .any(|(row, of)| of == kind && matches(glob, row))
    };
    let missing = KNOWN.iter().filter(|entry| !is_shown(entry));
    missing
        .map(|(glob, kind)| format!("{glob} {kind}"))
        .collect()
}

#[test]
fn a_glob_matches_whole_names() {
    assert!(matches("one-page/*", "one-page/plain TRACK=whole"));
    assert!(matches("*UNCERTAIN=error", "honest/plain UNCERTAIN=error"));
    assert!(!matches("one-page", "one-page/plain"));
    assert!(matches("*/plain*", "eio-once/plain"));
}
