//! What the lines of a daemon's log mean: a file of patterns (docs/report.md).

use super::time;
use crate::failure::Failure;
use crate::run::reason;
use jiff::tz::TimeZone;
use regex::bytes::Regex;
use serde::Deserialize;
use std::fs;
use std::path::Path;

const BUILT_IN: [(&str, &str); 3] = [
    ("tearfs", include_str!("formats/tearfs.toml")),
    ("cubefs", include_str!("formats/cubefs.toml")),
    ("libfuse", include_str!("formats/libfuse.toml")),
];

/// What patterns may capture.
const GROUPS: [&str; 10] = [
    "time", "op", "ino", "offset", "length", "pid", "id", "took", "result", "note",
];

/// A time at the beginning of a line, as [`super::time::parse`] reads it.
const TIME: &str = r"^\[?(?<time>\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|[+-]\d\d:?\d\d))?|\d{9,19}(?:\.\d+)?)\b";

pub struct Format {
    pub name: String,
    /// What times without a zone are in.
    pub zone: TimeZone,
    pub time: Regex,
    pub lines: Vec<LinePattern>,
}

pub struct LinePattern {
    pub is: Is,
    pub pattern: Regex,
    /// Searched for further groups where `pattern` matched.
    pub also: Vec<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Is {
    /// A request came in.
    Begin,
    /// It was answered.
    End,
    /// More about the request that came in last.
    Detail,
    /// A request that was answered; written then.
    Whole,
    /// Something without length.
    Moment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    zone: String,
    time: Option<String>,
    line: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    is: Is,
    #[serde(rename = "match")]
    pattern: String,
    #[serde(default)]
    also: Vec<String>,
}

impl Format {
    /// The built-in formats.
    pub fn built_in() -> Vec<Format> {
        let parse = |(name, text): &(&str, &str)| Format::parse(name, text).expect("built in");
        BUILT_IN.iter().map(parse).collect()
    }

    /// One of those by name, or one from a file.
    pub fn named(name: &str) -> Result<Format, Failure> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Ok(Format::parse(name, text).expect("built in"));
        }
        let failed = |why: &str| {
            Failure::own(format!(
                "{name}: {why}; a format is tearfs, cubefs, libfuse or a file of patterns"
            ))
        };
        let text = fs::read_to_string(Path::new(name)).map_err(|error| failed(&reason(&error)))?;
        Format::parse(name, &text).map_err(|why| failed(&why))
    }

    fn parse(name: &str, text: &str) -> Result<Format, String> {
        let file: File =
            toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        let zone = time::zone(&file.zone).ok_or_else(|| {
            format!(
                "zone {:?} is not utc, local, like +08:00 or like Asia/Shanghai",
                file.zone
            )
        })?;
        let mut lines = Vec::new();
        for line in &file.line {
            lines.push(LinePattern {
                is: line.is,
                pattern: compile(&line.pattern)?,
                also: line
                    .also
                    .iter()
                    .map(|also| compile(also))
                    .collect::<Result<_, _>>()?,
            });
        }
        let time = compile(file.time.as_deref().unwrap_or(TIME))?;
        if time.capture_names().flatten().all(|name| name != "time") {
            return Err("the pattern of times has no group (?<time>...)".into());
        }
        Ok(Format {
            name: name.to_owned(),
            zone,
            time,
            lines,
        })
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let regex = Regex::new(pattern).map_err(|error| error.to_string().replace('\n', " "))?;
    let unknown = regex
        .capture_names()
        .flatten()
        .find(|name| !GROUPS.contains(name));
    match unknown {
        Some(name) => Err(format!(
            "pattern {pattern:?} has a group {name:?}; known are {}",
            GROUPS.join(", ")
        )),
        None => Ok(regex),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let why = |text: &str| Format::parse("x", text).err().unwrap();
        assert!(why("zone = 1").contains("expected a string"));
        assert!(why("zone = 'Here'\nline = []").contains("is not utc"));
        assert!(why("zone = 'utc'\nline = []\ntime = 'x'").contains("no group"));
        assert!(why("zone = 'utc'\n[[line]]\nis = 'end'\nmatch = '('").contains("unclosed"));
        assert!(
            why("zone = 'utc'\n[[line]]\nis = 'end'\nmatch = '(?<size>x)'")
                .contains("known are time, op")
        );
        assert!(
            Format::named("/no/such")
                .err()
                .unwrap()
                .message
                .contains("tearfs, cubefs, libfuse")
        );
    }

    #[test]
    fn the_built_in_ones_are_sound() {
        assert_eq!(Format::built_in().len(), BUILT_IN.len());
    }
}
