//! The seed case and the doio-like guest in each mode (a row) and each way of running (a column). What is expected is in
//! [`expect`]; the results are in `docs/modes.md`.

mod document;
mod expect;
mod observe;
mod silence;

use std::time::Duration;

use clap::ValueEnum;
use expect::{Column, Expect, Guest, Row, VARIANTS, Variant};
use observe::{Effort, Found, observe};
use preload_tests::harness::{TearFs, patience};
use preload_tests::or_skip;
use preload_tests::tearfs::modes::Mode;

/// Runs a cell, and says what of it is not as expected.
fn run_cell(
    row: &Row,
    variant: &Variant,
    (column, guest): (Column, Guest),
    effort: Effort,
    wrong: &mut Vec<String>,
) -> Vec<Found> {
    let expect = row.expect(variant, column, guest);
    if expect == Expect::NotRun {
        return Vec::new();
    }
    // It ends with the first tear, which a slow machine needs longer to show.
    let effort = match expect {
        Expect::Torn => Effort {
            seconds: patience(Duration::from_secs(effort.seconds)).as_secs(),
            ..effort
        },
        _ => effort,
    };
    let found = observe(row.mode, variant, column, guest, effort);
    for found in &found {
        let cell = format!("{}, {}, {column:?} {guest:?}", row.mode, variant.title);
        println!("{cell}: {found}");
        if !expect.allows(found) {
            wrong.push(format!("{cell}: expected {expect:?}, found {found}"));
        }
    }
    found
}

fn check_row(mode: &str) {
    or_skip!(TearFs::available());
    let mut wrong = Vec::new();
    for variant in &VARIANTS {
        for cell in document::cells() {
            run_cell(
                Row::of(mode),
                variant,
                cell,
                Effort::of_this_run(),
                &mut wrong,
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! rows {
    ($($test:ident: $mode:literal;)*) => {
        $(
            #[test]
            fn $test() {
                check_row($mode);
            }
        )*

        #[test]
        fn every_mode_has_a_row_and_a_test() {
            let tested = [$($mode),*];
            let rows = expect::ROWS.map(|row| row.mode);
            assert_eq!(rows, tested, "left: ROWS of expect.rs, right: rows!");
            for mode in Mode::value_variants() {
                assert!(rows.contains(&mode.word()), "{} is not in ROWS of expect.rs", mode.word());
            }
        }
    };
}

rows! {
    honest: "honest";
    volatile: "volatile";
    first_page: "first-page";
    one_page: "one-page";
    stale_window: "stale-window";
    early_ack: "early-ack";
    drop_tail: "drop-tail";
    lossy_first: "lossy-first";
    reorder: "reorder";
    eio_once: "eio-once";
    silent_eio: "silent-eio";
    black_hole: "black-hole";
    twin_inode: "twin-inode";
}

/// Checks the committed document; with `KEEPMYDATA_WRITE_DOCS=1` runs everything and writes it.
#[test]
fn document_says_what_is_expected() {
    if preload_tests::harness::writes_documents() {
        or_skip!(TearFs::available());
        let effort = Effort::of_this_run();
        let mut wrong = Vec::new();
        let text = document::render(effort, |row, variant, column, guest| {
            run_cell(row, variant, (column, guest), effort, &mut wrong)
        });
        assert!(wrong.is_empty(), "not written:\n{}", wrong.join("\n"));
        std::fs::write(document::path(), text).expect("docs/modes.md");
    }
    let text = std::fs::read_to_string(document::path()).expect("docs/modes.md");
    let wrong = document::contradictions(&text);
    assert!(wrong.is_empty(), "docs/modes.md:\n{}", wrong.join("\n"));
}
