//! `docs/platforms.md`: written from what whole runs of the tests came to.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use preload_tests::markdown::{Table, rows};
use serde_json::{Value, json};

use super::suite::{self, Case, End, LEFT_OUT, Ran};

/// The names of the runs.
pub const OLDER: &str = "older kernel";
pub const CONTAINER: &str = "container";
pub const BOTH: &str = "older kernel, container";

pub const AARCH64: &str = "AArch64, 4 KiB pages";
pub const AARCH64_16K: &str = "AArch64, 16 KiB pages";

const RUNS: [&str; 5] = [OLDER, CONTAINER, BOTH, AARCH64, AARCH64_16K];
const NOT_RUN: &str = "-";

pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/platforms.md"))
}

fn file(run: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("platforms")
        .join(format!("{run}.json"))
}

/// With `KEEPMYDATA_WRITE_DOCS=1`, keeps what became of each test, and writes the document from this and
/// what is kept from before.
pub fn save(run: &str, kernel: &str, trackers: &str, ran: &[Ran]) {
    if !preload_tests::harness::writes_documents() {
        return;
    }
    let mut found = load(run);
    found["kernel"] = kernel.into();
    found["trackers"] = trackers.into();
    for ran in ran {
        // The reason of a skip, or nothing; null where it failed.
        found["tests"][&ran.case.binary][&ran.case.test] = match &ran.end {
            End::Passed => "".into(),
            End::Skipped(reason) => reason.as_str().into(),
            End::Failed(_) => Value::Null,
        };
    }
    let file = file(run);
    fs::create_dir_all(file.parent().expect("directory")).expect("directory of results");
    fs::write(file, found.to_string()).expect("result");
    let before = fs::read_to_string(path()).expect("docs/platforms.md");
    let text = render(&RUNS.map(load), &suite::tests_of(&[]), &before);
    fs::write(path(), text).expect("docs/platforms.md");
}

/// The reasons of a program's tests, as they are kept; nothing where one failed or has not run.
fn reasons<'a>(
    found: &'a Value,
    program: &str,
    cases: &'a [Case],
) -> Option<Vec<(&'a str, &'a str)>> {
    let of_program = cases.iter().filter(|case| case.binary == program);
    of_program
        .map(|case| {
            let reason = found["tests"][program][&case.test].as_str()?;
            Some((case.test.as_str(), reason))
        })
        .collect()
}

fn load(run: &str) -> Value {
    match fs::read_to_string(file(run)) {
        Ok(text) => serde_json::from_str(&text).expect("a result in JSON"),
        Err(_) => json!({}),
    }
}

/// Test programs that are in the runs: files and folders of `tests`.
fn programs() -> Vec<String> {
    let tests = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).expect("tests");
    let mut names: Vec<String> = tests
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() || path.join("main.rs").exists())
        .map(|path| {
            path.file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| LEFT_OUT.iter().all(|(left_out, _)| left_out != name))
        .collect();
    names.sort();
    names
}

/// The document, of what each run found; what is not kept here of a run stays as the document had it `before`.
fn render(found: &[Value; RUNS.len()], cases: &[Case], before: &str) -> String {
    let mut text = include_str!("document.md").to_owned();
    for (name, why) in LEFT_OUT {
        let _ = writeln!(text, "- `{name}`: {why}.");
    }
    let stood = |row: &str, column: usize| match rows(before, &[row]).pop() {
        Some(cells) => cells.get(column).copied().unwrap_or(NOT_RUN).to_owned(),
        None => NOT_RUN.to_owned(),
    };
    let mut runs = Table::new(["run", "kernel", "trackers"]);
    for (run, found) in RUNS.iter().zip(found) {
        let said = |what: &str, column| match found[what].as_str() {
            Some(said) => said.to_owned(),
            None => stood(run, column),
        };
        runs.row([(*run).to_owned(), said("kernel", 1), said("trackers", 2)]);
    }
    let mut tests = Table::new(["test program"].into_iter().chain(RUNS));
    for program in programs() {
        let counts = found.iter().zip(1..).map(|(found, column)| {
            if found["tests"][&program].is_null() {
                return stood(&program, column);
            }
            match reasons(found, &program, cases) {
                Some(reasons) => {
                    let skipped = reasons.iter().filter(|(_, why)| !why.is_empty()).count();
                    match (reasons.len() - skipped, skipped) {
                        (passed, 0) => passed.to_string(),
                        (passed, skipped) => format!("{passed}, {skipped} skipped"),
                    }
                }
                None => NOT_RUN.to_owned(),
            }
        });
        tests.row([program.clone()].into_iter().chain(counts));
    }
    let _ = write!(text, "\n## Runs\n\n{runs}\n{tests}");
    text.push_str("\n## Skipped\n");
    for (run, found) in RUNS.iter().zip(found) {
        let mut lines = String::new();
        for program in programs() {
            if found["tests"][&program].is_null() {
                for line in skipped_before(before, run, &program) {
                    let _ = writeln!(lines, "{line}");
                }
            }
            for (test, why) in reasons(found, &program, cases).unwrap_or_default() {
                if !why.is_empty() {
                    let _ = writeln!(lines, "- {program} {test}: {why}");
                }
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "\n**{run}.**\n\n{lines}");
        }
    }
    text
}

/// The lines of the document on a program's tests that a run skipped.
fn skipped_before<'t>(before: &'t str, run: &str, program: &str) -> impl Iterator<Item = &'t str> {
    let section = before.split_once(&format!("\n**{run}.**\n"));
    let section = section.map_or("", |(_, section)| section);
    let of_program = format!("- {program} ");
    let lines = section.lines().take_while(|line| !line.starts_with("**"));
    lines.filter(move |line| line.starts_with(&of_program))
}

/// A machine that ran some tests of one run writes the document anew, and has no results of the others.
#[test]
fn what_did_not_run_here_stays_in_the_document() {
    let before = fs::read_to_string(path()).expect("docs/platforms.md");
    let mut found = RUNS.map(|_| json!({}));
    assert_eq!(render(&found, &[], &before), before);
    let program = "floors";
    found[3]["tests"][program]["paths_are_found"] = "no paths".into();
    let case = Case::named(program, "paths_are_found");
    let text = render(&found, &[case], &before);
    assert_eq!(rows(&text, &[program])[0][4], "0, 1 skipped");
    assert!(text.contains("- floors paths_are_found: no paths\n"));
    assert_eq!(rows(&text, &["spine"]), rows(&before, &["spine"]));
}

/// What in a written document is not as it must be, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for program in programs() {
        let Some(cells) = rows(text, &[&program]).pop() else {
            wrong.push(format!("no row of {program}"));
            continue;
        };
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        let is_right = |cell: &&str| match cell.split_once(", ") {
            Some((passed, skipped)) => {
                is_number(passed) && skipped.strip_suffix(" skipped").is_some_and(is_number)
            }
            None => *cell == NOT_RUN || is_number(cell),
        };
        if cells.len() != 1 + RUNS.len() || !cells[1..].iter().all(is_right) {
            wrong.push(format!("{program}: {cells:?}"));
        }
    }
    wrong
}
