//! Programs that people run, natively and under the shim: the same output, exit codes and data, the
//! same threads, children and open files where others look at them.

mod document;
mod results;
mod run;
mod table;

use preload_tests::harness::TearFs;
use preload_tests::or_skip;
use serde_json::{Map, Value, json};

use run::{Bench, DEFAULT, SETTINGS, Seen, VERIFY, Way};
use table::{PROGRAMS, Program};

/// Runs the program in these ways, and fails where it differs, or no longer differs where it is known to.
#[track_caller]
fn compare(program: &Program, ways: &[Way]) -> Map<String, Value> {
    let mut wrong = Vec::new();
    let mut found = Map::new();
    let mut first: Option<Seen> = None;
    for filesystem in run::FILESYSTEMS {
        let ways: Vec<&Way> = ways
            .iter()
            .filter(|way| way.filesystem == filesystem)
            .collect();
        if ways.is_empty() {
            continue;
        }
        let bench = Bench::new(filesystem).unwrap_or_else(|error| panic!("{filesystem}: {error}"));
        let native = bench.natively(program);
        found.insert(
            format!("{filesystem} native"),
            json!({"seconds": native.seconds}),
        );
        // Where it could not do its work it would do so in all ways alike.
        if let Some(first) = &first
            && let Some(difference) = native.difference(first)
        {
            wrong.push(format!(
                "{filesystem} natively, not as before:\n{difference}"
            ));
        }
        for way in ways {
            let shimmed = bench.under_shim(program, &way.settings);
            let difference = shimmed.difference(&native);
            let word = match (&difference, program.known) {
                (None, None) => "same",
                (Some(_), Some(_)) => "known difference",
                (Some(difference), None) => {
                    wrong.push(format!("{way}:\n{difference}"));
                    "differs"
                }
                (None, Some(why)) => {
                    wrong.push(format!("{way}: differs no more ({why})"));
                    "same"
                }
            };
            println!("{way}: {word}, {:.2} s", shimmed.seconds);
            found.insert(
                way.to_string(),
                json!({
                    "word": word,
                    "times": shimmed.seconds / native.seconds,
                    "helpers": shimmed.helpers,
                }),
            );
        }
        first.get_or_insert(native);
    }
    assert!(wrong.is_empty(), "{}:\n{}", program.name, wrong.join("\n"));
    found
}

/// As it comes on ext4, and with all read back on the test bed.
#[track_caller]
fn short(name: &str) {
    or_skip!(TearFs::available());
    let program = Program::named(name);
    or_skip!(program.available());
    let ways = [("ext4", DEFAULT), ("honest", VERIFY)];
    compare(
        program,
        &ways.map(|(filesystem, settings)| Way::new(filesystem, settings)),
    );
}

/// Everywhere, with both settings; kept for the document.
#[track_caller]
fn whole(name: &str) {
    or_skip!(TearFs::available());
    let program = Program::named(name);
    or_skip!(program.available());
    let ways: Vec<Way> = run::FILESYSTEMS
        .iter()
        .flat_map(|filesystem| SETTINGS.map(|settings| Way::new(filesystem, settings)))
        .collect();
    let found = compare(program, &ways);
    results::save(name, &found.into());
}

/// Checks the committed document; with `KEEPMYDATA_WRITE_DOCS=1` writes it first from what the
/// tests found last, so that it must run after them.
#[test]
fn document_says_what_is_expected() {
    if preload_tests::harness::writes_documents() {
        std::fs::write(document::path(), document::render()).expect("docs/programs.md");
    }
    let text = std::fs::read_to_string(document::path()).expect("docs/programs.md");
    let wrong = document::contradictions(&text);
    assert!(wrong.is_empty(), "docs/programs.md:\n{}", wrong.join("\n"));
}

macro_rules! programs {
    (short $($brief:ident)*; whole $($test:ident)*;) => {
        mod short {
            $(
                #[test]
                fn $brief() {
                    super::short(stringify!($brief));
                }
            )*
        }

        mod whole {
            $(
                #[test]
                #[ignore = "long: scripts/test --programs"]
                fn $test() {
                    super::whole(stringify!($test));
                }
            )*
        }

        #[test]
        fn every_program_has_a_test() {
            assert!(PROGRAMS.iter().map(|program| program.name).eq([$(stringify!($test)),*]));
        }
    };
}

programs! {
    short chromium lmdb git_gc qemu tracers;
    whole chromium firefox memcached slapd lmdb mdbx mariadb pdnsutil journal berkeley java git_gc
        cargo_build linkers mksquashfs qemu perf ltrace tracers redis php ccache init aria2
        cabinets sandboxes others;
}
