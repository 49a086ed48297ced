//! Which log a daemon's is, and in which format.

use super::format::Format;
use crate::failure::Failure;
use crate::report::input::Source;
use crate::report::lines::{Line, Lines};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// So many lines at the beginning tell the format.
const PROBED: usize = 200;

/// A log and what its lines mean.
pub struct Log {
    pub source: Source,
    pub format: Format,
    /// For people.
    pub name: String,
}

impl Log {
    /// From `LOG` or `LOG=FORMAT`.
    pub fn new(argument: &OsString) -> Result<Log, Failure> {
        let (path, format) = split(argument);
        let source = Source::File(path.clone());
        let format = match format {
            Some(format) => Format::named(&format.to_string_lossy())?,
            None => best_fit(&source)?.ok_or_else(|| {
                let name = source.name();
                Failure::own(format!(
                    "{name}: no built-in format fits this daemon's log; name one: --daemon \
                     {name}=FORMAT"
                ))
            })?,
        };
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = format!("{} ({})", name.to_string_lossy(), format.name);
        Ok(Log {
            source,
            format,
            name,
        })
    }
}

/// A path may hold an equals sign itself.
fn split(argument: &OsString) -> (PathBuf, Option<&OsStr>) {
    let whole = Path::new(argument);
    let bytes = argument.as_bytes();
    let equals = bytes.iter().rposition(|byte| *byte == b'=');
    match equals {
        Some(at) if !whole.exists() => {
            let (path, format) = (&bytes[..at], &bytes[at + 1..]);
            (
                OsStr::from_bytes(path).into(),
                Some(OsStr::from_bytes(format)),
            )
        }
        _ => (whole.to_owned(), None),
    }
}

/// The built-in format that fits the beginning of the log best, where one does.
pub fn best_fit(source: &Source) -> Result<Option<Format>, Failure> {
    let mut lines = Lines::new(source.open()?);
    let mut formats: Vec<(usize, Format)> = Format::built_in()
        .into_iter()
        .map(|format| (0, format))
        .collect();
    for _ in 0..PROBED {
        match lines.next().map_err(|error| source.failure(&error))? {
            None => break,
            Some(Line::TooLong) => {}
            Some(Line::Whole(line)) => {
                for (fits, format) in &mut formats {
                    *fits += usize::from(format.lines.iter().any(|one| one.pattern.is_match(line)));
                }
            }
        }
    }
    // The first of those that fit equally well.
    let best = formats.into_iter().rev().max_by_key(|(fits, _)| *fits);
    Ok(best.filter(|(fits, _)| *fits > 0).map(|(_, format)| format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_hold_an_equals_sign() {
        let here = OsString::from("Cargo.toml");
        assert_eq!(split(&here), ("Cargo.toml".into(), None));
        let with = OsString::from("Cargo.toml=cubefs");
        assert_eq!(
            split(&with),
            ("Cargo.toml".into(), Some(OsStr::new("cubefs")))
        );
    }
}
