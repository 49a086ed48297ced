//! `docs/programs.md`: written from what the other tests found.

use std::fmt::Write as _;
use std::path::PathBuf;

use preload_tests::markdown::{Table, rows};
use serde_json::Value;

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
    let heads = ["program", "result", "ext4: native", "default", "verify"];
    let more = ["honest: native", "default", "verify", "helpers"];
    let mut table = Table::of_figures(heads.iter().chain(&more));
    for program in PROGRAMS {
        let found = load(program.name);
        let mut cells = vec![program.what.to_owned(), result(&found)];
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
        table.row(cells);
    }
    let _ = write!(text, "\n{table}");
    for program in PROGRAMS {
        if let Some(why) = program.known {
            let _ = write!(text, "\n- {}: {why}", program.what);
        }
    }
    text
}

/// One word, if it is the same everywhere; else those of each filesystem and setting.
fn result(found: &Value) -> String {
    let words: Vec<_> = ways()
        .map(|way| way.to_string())
        .map(|way| (found[&way]["word"].as_str().unwrap_or("-"), way))
        .collect();
    if words.iter().all(|(word, _)| *word == words[0].0) {
        return words[0].0.to_owned();
    }
    let words = words.iter().map(|(word, way)| format!("{way}: {word}"));
    words.collect::<Vec<_>>().join("; ")
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
        let Some(cells) = found.first() else {
            wrong.push(format!("{}: no row", program.name));
            continue;
        };
        for word in cells[1].split("; ") {
            let word = word.split_once(": ").map_or(word, |(_, word)| word);
            if word != expected && word != "-" {
                wrong.push(format!("{}: {word}, not {expected}", program.name));
            }
        }
    }
    wrong
}
