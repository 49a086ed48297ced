//! What the shim is known to do wrong: the only place that says so. Each entry is shown by a case of `cases.txt`, which
//! must fail for as long as the entry stands.

use super::model::Kind;

/// Rows whose names match the glob, and what is wrong there.
const KNOWN: &[(&str, Kind)] = &[
    ("first-page/*", Kind::FalseZero),
    ("one-page/*", Kind::FalseZero),
    ("stale-window/*", Kind::FalseZero),
    ("early-ack/*", Kind::FalseZero),
    ("drop-tail/*", Kind::FalseZero),
    ("lossy-first/*", Kind::FalseZero),
    ("eio-once/*", Kind::FalseZero),
    ("eio-once/*", Kind::Swallowed),
    ("silent-eio/*", Kind::FalseZero),
    ("black-hole/*", Kind::FalseZero),
    ("*/disk-full*", Kind::FalseZero),
    ("*/roomy*UNCERTAIN=error", Kind::Alarm),
    ("*/roomy*UNCERTAIN=error", Kind::Report),
    ("honest/*UNCERTAIN=error", Kind::Alarm),
    ("honest/*UNCERTAIN=error", Kind::Report),
];

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
    KNOWN
        .iter()
        .any(|(glob, known)| *known == kind && matches(glob, row))
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
