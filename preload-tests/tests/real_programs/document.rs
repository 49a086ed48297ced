//! `docs/programs.md`: written from what the other tests found.

use std::fmt::Write as _;
use std::path::PathBuf;

use preload_tests::markdown::{Table, rows};

use super::results::load;
use super::run::{FILESYSTEMS, SETTINGS, Way};
use super::table::PROGRAMS;

pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/programs.md"))
}

fn ways() -> impl Iterator<Item = Way> {
    FILESYSTEMS
        .iter()
        .flat_map(|filesystem| SETTINGS.map(|settings| Way::new(filesystem, settings)))
}

/// The whole file.
pub fn render() -> String {
    let mut text = include_str!("document.md").to_owned();
    let heads = ways().map(|way| way.to_string());
    let mut words = Table::new(["program".to_owned()].into_iter().chain(heads));
    let heads = ["program", "ext4: native", "default", "verify"];
    let more = ["honest: native", "default", "verify", "helpers"];
    let mut figures = Table::of_figures([heads, more].concat());
    for program in PROGRAMS {
        let found = load(program.name);
        let word = |way: Way| {
            let word = found[way.to_string()]["word"].as_str();
            word.unwrap_or("-").to_owned()
        };
        words.row(
            [program.what.to_owned()]
                .into_iter()
                .chain(ways().map(word)),
        );
        let mut cells = vec![program.what.to_owned()];
        for filesystem in FILESYSTEMS {
            let seconds = found[format!("{filesystem} native")]["seconds"].as_f64();
            cells.push(seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s")));
            for settings in SETTINGS {
                let way = Way::new(filesystem, settings).to_string();
                let times = found[way]["times"].as_f64();
                cells.push(times.map_or("-".to_owned(), |times| format!("{times:.1}")));
            }
        }
        let helpers = ways().filter_map(|way| found[way.to_string()]["helpers"].as_u64());
        let helpers = helpers.max();
        cells.push(helpers.map_or("-".to_owned(), |helpers| helpers.to_string()));
        figures.row(cells);
    }
    let _ = write!(text, "\n{words}");
    for program in PROGRAMS {
        if let Some(why) = program.known {
            let _ = write!(text, "\n- {}: {why}", program.what);
        }
    }
    let _ = write!(text, "\n## Time and helpers\n\n{figures}");
    text
}

/// What in a written document is not as the tests demand, a line each.
pub fn contradictions(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for program in PROGRAMS {
        let expected = match program.known {
            Some(_) => "known difference",
            None => "same",
        };
        let found = rows(text, &[program.what]);
        let Some(words) = found.first().filter(|words| words.len() == 5) else {
            wrong.push(format!("{}: no row", program.name));
            continue;
        };
        for word in &words[1..] {
            if *word != expected && *word != "-" {
                wrong.push(format!("{}: {word}, not {expected}", program.name));
            }
        }
    }
    wrong
}
