//! Programs that failed once, by name: `cases.txt`.

use super::model::Kind;
use super::program::Program;

/// A line `NAME | ROW | KIND | known or mended | PROGRAM`.
pub struct Case {
    pub name: &'static str,
    pub row: &'static str,
    pub kind: Kind,
    /// The shim still fails it.
    pub known: bool,
    pub program: Program,
}

/// # Panics
/// If a line is not understood.
pub fn cases() -> Vec<Case> {
    let lines = include_str!("cases.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| parse(line).unwrap_or_else(|error| panic!("cases.txt: {error}: {line}")))
        .collect()
}

fn parse(line: &'static str) -> Result<Case, String> {
    let mut fields = line.splitn(5, " | ");
    let mut field = || fields.next().map(str::trim).ok_or("a field is missing");
    let (name, row) = (field()?, field()?);
    let word = field()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
    let known = match field()? {
        "known" => true,
        "mended" => false,
        other => return Err(format!("neither known nor mended: {other}")),
    };
    Ok(Case {
        name,
        row,
        kind: kind.ok_or(format!("no such kind: {word}"))?,
        known,
        program: field()?.parse()?,
    })
}
