//! Which logs there are, and their records.

use super::lines::{Line, Lines};
use super::progress::Progress;
use crate::failure::Failure;
use crate::run::reason;
use keepmydata_records::Record;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// How the files of a directory end that are taken for logs.
const ENDINGS: [&str; 4] = ["log", "json", "jsonl", "ndjson"];

/// How many unreadable lines of a log are named.
const NAMED: usize = 3;

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Source::Stdin => "standard input".into(),
            Source::File(path) => path.display().to_string(),
        }
    }

    pub fn open(&self) -> Result<Box<dyn Read>, Failure> {
        match self {
            Source::Stdin => Ok(Box::new(io::stdin())),
            Source::File(path) => {
                let failed = |error| self.failure(&error);
                let kind = fs::metadata(path).map_err(failed)?.file_type();
                // Some have no end.
                if kind.is_char_device() || kind.is_block_device() {
                    let name = self.name();
                    return Err(Failure::own(format!("{name}: a device, not a log")));
                }
                Ok(Box::new(File::open(path).map_err(failed)?))
            }
        }
    }

    pub fn failure(&self, error: &io::Error) -> Failure {
        Failure::of(self.name(), error)
    }

    /// Bytes, as far as known.
    pub fn size(&self) -> u64 {
        match self {
            Source::Stdin => 0,
            Source::File(path) => fs::metadata(path).map_or(0, |data| data.len()),
        }
    }
}

/// The logs that the arguments name, each once.
pub fn sources(arguments: &[OsString]) -> Result<Vec<Source>, Failure> {
    let mut seen = HashSet::new();
    let mut sources = Vec::new();
    for argument in arguments {
        if argument == "-" {
            if seen.insert(PathBuf::from("-")) {
                sources.push(Source::Stdin);
            }
            continue;
        }
        for path in files(argument)? {
            let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            if seen.insert(real) {
                sources.push(Source::File(path));
            }
        }
    }
    Ok(sources)
}

fn files(argument: &OsStr) -> Result<Vec<PathBuf>, Failure> {
    let path = Path::new(argument);
    let failed = |why: &str| Failure::own(format!("{}: {why}", path.display()));
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => in_directory(path),
        Ok(_) => Ok(vec![path.to_owned()]),
        Err(error) => {
            let pattern = argument
                .to_str()
                .filter(|text| text.contains(['*', '?', '[']));
            let Some(pattern) = pattern else {
                return Err(failed(&reason(&error)));
            };
            let found = glob::glob(pattern).map_err(|error| failed(&error.to_string()))?;
            let found: Vec<PathBuf> = found.flatten().filter(|path| path.is_file()).collect();
            match found.is_empty() {
                true => Err(failed("no file matches")),
                false => Ok(found),
            }
        }
    }
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |why: &str| Failure::own(format!("{}: {why}", directory.display()));
    let entries = fs::read_dir(directory).map_err(|error| failed(&reason(&error)))?;
    let is_log = |path: &PathBuf| {
        let ending = path.extension().and_then(OsStr::to_str);
        ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file()
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_log)
        .collect();
    found.sort();
    match found.is_empty() {
        true => Err(failed(
            "no file in this directory ends in .log, .json, .jsonl or .ndjson; name the logs",
        )),
        false => Ok(found),
    }
}

/// What could not be read of a log.
#[derive(Default)]
pub struct Unreadable {
    pub lines: u64,
    /// `line 3: why`, the first few.
    pub named: Vec<String>,
    /// The last line has no end: it is being written, or the log was cut.
    pub unfinished: bool,
    /// How many of the lines are records as text.
    pub as_text: u64,
}

impl Unreadable {
    pub fn add(&mut self, number: u64, why: &str) {
        self.lines += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("line {number}: {why}"));
        }
    }
}

/// Reads a record from a line.
fn record(line: &[u8]) -> Result<Record<'_>, String> {
    if line.first() != Some(&b'{') {
        return Err(match is_text_record(line) {
            true => "a record as text".into(),
            false => "no JSON object".into(),
        });
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        let end = text.rfind(" at line ").unwrap_or(text.len());
        format!("{}, column {}", &text[..end], error.column())
    })
}

/// Begins as `2026-11-20 22:56:00.856242321Z INFO pid 1 ...`.
fn is_text_record(line: &[u8]) -> bool {
    let pid = b" pid ";
    line.len() > 40
        && line[4] == b'-'
        && line[29] == b'Z'
        && memchr::memmem::find(line, pid).is_some()
}

/// Calls `each` with each record of a log.
pub fn read(
    source: &Source,
    progress: &mut Progress,
    mut each: impl FnMut(&Record<'_>),
) -> Result<Unreadable, Failure> {
    let mut lines = Lines::new(progress.counted(source.open()?));
    let mut unreadable = Unreadable::default();
    loop {
        let number = lines.number() + 1;
        let line = match lines.next().map_err(|error| source.failure(&error))? {
            None => break,
            Some(Line::TooLong) => {
                unreadable.add(number, "longer than a record can be");
                continue;
            }
            Some(Line::Whole(line)) => line,
        };
        if line.trim_ascii().is_empty() {
            continue;
        }
        match record(line) {
            Ok(record) => each(&record),
            Err(why) => {
                unreadable.as_text += u64::from(is_text_record(line));
                unreadable.add(number, &why);
            }
        }
        progress.show();
    }
    // The last line may be whole and lack only its end.
    let rest = lines.rest();
    match record(rest) {
        Ok(record) => each(&record),
        Err(_) => unreadable.unfinished = !rest.trim_ascii().is_empty(),
    }
    Ok(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_told_why() {
        let why = |line: &str| record(line.as_bytes()).err().unwrap();
        assert_eq!(why("hello"), "no JSON object");
        assert!(why("{").starts_with("EOF while parsing"));
        assert!(why("{\"time_ns\":1}").starts_with("missing field `level`"));
        let text = "2026-11-20 22:56:00.855252840Z INFO pid 19204 tid 19204 start: x";
        assert_eq!(why(text), "a record as text");
    }

    #[test]
    fn fields_and_events_of_later_versions_are_taken() {
        let line = br#"{"time_ns":1,"level":"info","pid":1,"tid":1,"event":"finding","code":"KMD-L1","new":[1]}"#;
        let record = record(line).unwrap();
        assert_eq!((&*record.event, &*record.code), ("finding", "KMD-L1"));
        assert!(super::record(&line.to_vec().escape_ascii().to_string().into_bytes()).is_err());
    }
}
