//! "No program can tell": the same guest, the same output.

use super::program::{Outcome, Program};

/// The shim as it comes; and at its most talkative, doing everything that it can.
const SETTINGS: [&[(&str, &str)]; 2] = [
    &[],
    &[
        ("KEEPMYDATA_LOG", "trace"),
        ("KEEPMYDATA_VERIFY", "on"),
        ("KEEPMYDATA_MUNMAP", "sync"),
        ("KEEPMYDATA_PREALLOC", "on"),
    ],
];

/// Runs the program natively and under the shim, and compares exit and standard
/// output (standard error is for what may differ, such as figures).
///
/// # Panics
/// If it fails natively, if anything differs, or if the shim's log shows no msync:
/// then the comparison would say nothing.
#[track_caller]
pub fn assert_same_under_shim(program: &Program) {
    let native = program.natively().expect_success("natively");
    for settings in SETTINGS {
        let shimmed = program.under_shim(settings);
        assert_same(&native, &shimmed, &format!("{settings:?}"));
        if !settings.is_empty() {
            assert!(
                shimmed.log_text().contains("msync"),
                "nothing of this was enforced: {shimmed:?}"
            );
        }
    }
}

/// The same for a difference that docs/limitations.md names: where the program natively prints
/// the first text of a pair it prints the second under the shim, and nothing else differs.
///
/// # Panics
/// As [`assert_same_under_shim`]; and if a text does not occur natively.
#[track_caller]
pub fn assert_known_difference(program: &Program, differences: &[(&str, &str)]) {
    let mut native = program.natively().expect_success("natively");
    for (natively, shimmed) in differences {
        assert!(native.stdout.contains(natively), "{natively}: {native:?}");
        native.stdout = native.stdout.replace(natively, shimmed);
    }
    for settings in SETTINGS {
        assert_same(
            &native,
            &program.under_shim(settings),
            &format!("{settings:?}"),
        );
    }
}

/// Compares exit and standard output of two runs.
///
/// # Panics
/// If they differ.
#[track_caller]
pub fn assert_same(native: &Outcome, shimmed: &Outcome, what: &str) {
    let differing = native
        .stdout
        .lines()
        .map(Some)
        .chain(std::iter::repeat(None))
        .zip(shimmed.stdout.lines().map(Some).chain([None]))
        .filter(|(native, shimmed)| native != shimmed)
        .map(|(native, shimmed)| format!("  native: {native:?}\n    shim: {shimmed:?}\n"))
        .collect::<String>();
    let ends = |run: &Outcome| (run.code(), run.signal(), run.timed_out);
    assert!(
        native.stdout == shimmed.stdout && ends(native) == ends(shimmed),
        "differs under the shim {what}:\n{differing}{}{}stderr:\n{}",
        shimmed.status,
        if shimmed.timed_out {
            " (timed out)\n"
        } else {
            "\n"
        },
        shimmed.stderr
    );
}
