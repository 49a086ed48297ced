//! Tests of the oracle: mends of the shim are taken out one at a time, and it must find that again.
//!
//! The shim has them in its source (`crates/sys/src/defect.rs`), in builds with the feature `defects` alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use preload_tests::harness::{TearFs, target_directory};
use preload_tests::or_skip;

use super::bed::Mounted;
use super::model::{Judgement, Kind};
use super::program::Program;
use super::rows::{Row, rows};
use super::search::{Programs, TRIES, fails, shrink};
use super::{SEED, known, setting};

struct Defect {
    name: &'static str,
    /// What a zero is no proof of then.
    what: &'static str,
    kind: Kind,
    /// Rows to look in.
    rows: &'static [&'static str],
    /// Calls that meet the defect: half of the programs have few others.
    calls: &'static [&'static str],
}

const fn lie(name: &'static str, what: &'static str, rows: &'static [&'static str]) -> Defect {
    Defect {
        name,
        what,
        kind: Kind::FalseZero,
        rows,
        calls: &[],
    }
}

impl Defect {
    const fn met_by(self, calls: &'static [&'static str]) -> Self {
        Self { calls, ..self }
    }
}

/// Rows of filesystems that lie, each in its way, where the kernel keeps what it has cached.
const LIARS: &[&str] = &[
    "one-page/keep-cache",
    "drop-tail/keep-cache",
    "lossy-first/keep-cache",
    "eio-once/keep-cache",
    "black-hole/keep-cache",
];

const DEFECTS: &[Defect] = &[
    lie(
        "ForgetsWhatIsUnmapped",
        "stores through a mapping that is gone",
        LIARS,
    ),
    lie(
        "ForgetsWhatMoves",
        "stores through a mapping that mremap moved since",
        LIARS,
    ),
    lie(
        "DropsPagesUnproved",
        "stores before MADV_DONTNEED, MADV_PAGEOUT",
        &[
            "drop-tail/keep-cache",
            "lossy-first/keep-cache",
            "one-page/keep-cache",
        ],
    )
    .met_by(&["advise", "fsync"]),
    lie(
        "ChangesFilesUnproved",
        "stores before ftruncate, a hole, mmap",
        &[
            "drop-tail/keep-cache",
            "lossy-first/keep-cache",
            "one-page/keep-cache",
        ],
    )
    .met_by(&["trunc", "punch"]),
    lie(
        "TellsAnErrorOnce",
        "what an earlier msync has failed for",
        &[
            "black-hole/plain",
            "black-hole/keep-cache",
            "eio-once/keep-cache",
        ],
    )
    .met_by(&["other", "peek", "reopen", "unmap"]),
    Defect {
        name: "SecondFlushEndsTheError",
        what: "what a flush that failed did not write",
        kind: Kind::Swallowed,
        rows: &["eio-once/writeback"],
        calls: &["pwrite", "fsync"],
    },
    Defect {
        name: "ProvesWhatItKnowsOnly",
        what: "what write(2) had stored when a flush failed",
        kind: Kind::Swallowed,
        rows: &["eio-once/writeback"],
        calls: &[],
    },
    lie(
        "RacingIsNewer",
        "pages that another thread stores to all the time",
        &["black-hole/keep-cache", "black-hole/writeback"],
    )
    .met_by(&["count"]),
    lie(
        "TrustsWhatWasReadAgain",
        "stores before the kernel dropped the page cache",
        &["one-page/plain", "drop-tail/plain", "black-hole/plain"],
    ),
    lie(
        "WitnessKeepsItsProtection",
        "stores through PROT_WRITE alone",
        LIARS,
    ),
    lie(
        "CountsWhatIsDirty",
        "stores that another sync has handed over",
        LIARS,
    ),
    lie("AssumesNothing", "stores that nobody tracked", LIARS),
];

/// How long each is looked for.
const LIMIT: Duration = Duration::from_secs(240);
/// Programs of a row before it is the next one's turn.
const PROGRAMS: usize = 20;
/// How long what was found is made shorter.
const SHRINKING: Duration = Duration::from_secs(20);

/// The defects that the shim's source names are those of this file.
#[test]
fn every_defect_has_its_place() {
    let mut named = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("src"), root.join("crates/promise/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = fs::read_to_string(&path).expect("a source");
                let parts = source.split("defect!(").skip(1);
                named.extend(parts.filter_map(|part| part.split(' ').next().map(str::to_owned)));
            }
        }
    }
    let expected: BTreeSet<String> = DEFECTS.iter().map(|one| one.name.to_owned()).collect();
    assert_eq!(named, expected);
    for row in DEFECTS.iter().flat_map(|defect| defect.rows) {
        let mut all = super::rows::all_rows().into_iter();
        assert!(all.any(|known| known.name == *row), "no row {row}");
    }
}

/// The shim with the mends that can be taken out: built here, or what `KEEPMYDATA_ORACLE_LIBRARY` names.
fn library() -> PathBuf {
    if let Some(built) = setting("LIBRARY") {
        return built.into();
    }
    let target = target_directory().join("defects");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", "keepmydata", "--features", "defects"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo");
    assert!(status.success(), "cargo build: {status}");
    target.join("release/libkeepmydata.so")
}

/// What was found, where.
struct Finding {
    row: String,
    programs: usize,
    after: Duration,
    program: Program,
    judgement: Judgement,
}

/// A program that fails in the defect's way with it, and does not without it.
fn find(defect: &Defect, library: &'static str) -> Result<Finding, String> {
    let rows: Vec<Row> = rows()
        .into_iter()
        .filter(|row| defect.rows.contains(&&*row.name))
        .collect();
    let begin = Instant::now();
    let planted: Vec<Row> = rows
        .iter()
        .map(|row| {
            let mut row = row.clone();
            row.settings
                .extend([("LD_PRELOAD", library), ("KEEPMYDATA_DEFECT", defect.name)]);
            row
        })
        .collect();
    let mut beds = Vec::new();
    for (row, planted) in rows.iter().zip(&planted) {
        beds.push((Mounted::new(row, false)?, Mounted::new(planted, false)?));
    }
    let mut programs: Vec<[Programs; 2]> = (0..beds.len() as u64)
        .map(|number| SEED + number)
        .map(|seed| [Programs::new(seed), Programs::of(seed, defect.calls)])
        .collect();
    let mut ran = 0;
    while begin.elapsed() < LIMIT && !beds.is_empty() {
        for (row, ((mended, broken), programs)) in
            rows.iter().zip(beds.iter_mut().zip(&mut programs))
        {
            for number in 0..PROGRAMS {
                let of_few_calls = !defect.calls.is_empty() && number % 2 == 0;
                let mut tree = programs[usize::from(of_few_calls)].next();
                ran += 1;
                let judgement = broken.run(&tree.current());
                if !judgement.kinds().contains(&defect.kind)
                    || known::is_listed(&row.name, defect.kind)
                {
                    continue;
                }
                let after = begin.elapsed();
                let Some((program, judgement)) = shrink(broken, &mut tree, defect.kind, SHRINKING)
                else {
                    continue;
                };
                if fails(mended, &program, defect.kind, TRIES).is_none() {
                    return Ok(Finding {
                        row: row.name.clone(),
                        programs: ran,
                        after,
                        program,
                        judgement,
                    });
                }
            }
        }
    }
    Err(format!("not found in {ran} programs"))
}

/// `KEEPMYDATA_ORACLE_DEFECT` names one of them.
#[test]
#[ignore = "takes minutes"]
fn hours_are_not_needed_to_find_what_a_mend_mends() {
    or_skip!(TearFs::available());
    let library: &'static str = library()
        .into_os_string()
        .into_string()
        .expect("a path of text")
        .leak();
    let only = setting("DEFECT");
    let mut table = String::from(
        "| defect: nothing is proved of | on | programs | seconds | the shortest program |\n\
         |---|---|--:|--:|---|\n",
    );
    let mut missed = Vec::new();
    for defect in DEFECTS {
        if only.as_ref().is_some_and(|only| only != defect.name) {
            continue;
        }
        match find(defect, library) {
            Ok(found) => {
                let Finding {
                    row,
                    programs,
                    after,
                    program,
                    judgement,
                } = found;
                let seconds = after.as_secs_f64();
                println!(
                    "{}: {row}: {programs} programs, {seconds:.1} s: {program}\n{:?}",
                    defect.name, judgement.wrong
                );
                // A bar would end the cell.
                let program = program.to_string().replace('|', "\\|");
                table += &format!(
                    "| {} | {row} | {programs} | {seconds:.1} | `{program}` |\n",
                    defect.what
                );
            }
            Err(reason) => {
                println!("{}: {reason}", defect.name);
                missed.push(format!("{}: {reason}", defect.name));
            }
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "{missed:#?}");
}
