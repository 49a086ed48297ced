//! Runtest files: LTP's own, and the one that is written for its runner.

use super::plan::{Side, Test};
use crate::failure::Failure;
use crate::run::reason;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tests of these runtest files whose lines match.
pub fn select(root: &Path, files: &[String], patterns: &[OsString]) -> Result<Vec<Test>, Failure> {
    let mut text = String::new();
    for name in files {
        text += &read(root, name)?;
        text.push('\n');
    }
    let tests = parse(&matching(text, patterns)?);
    if tests.is_empty() {
        let files = files.join(",");
        return Err(Failure::own(format!("{files}: no test matches")));
    }
    Ok(tests)
}

fn read(root: &Path, name: &str) -> Result<String, Failure> {
    let runtest = root.join("runtest");
    let path = match Path::new(name).is_file() {
        true => PathBuf::from(name),
        false => runtest.join(name),
    };
    fs::read_to_string(&path).map_err(|error| {
        let mut names: Vec<String> = fs::read_dir(&runtest)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        Failure::own(format!(
            "{}: {}; there are: {}",
            path.display(),
            reason(&error),
            names.join(" ")
        ))
    })
}

/// The lines that grep selects, as runltp's -s does it; all where there is no pattern.
fn matching(text: String, patterns: &[OsString]) -> Result<String, Failure> {
    if patterns.is_empty() {
        return Ok(text);
    }
    let failed = |error: std::io::Error| Failure::of("grep", &error);
    let mut grep = Command::new("grep");
    for pattern in patterns {
        grep.arg("-e").arg(pattern);
    }
    let mut grep = grep
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = grep.stdin.take().expect("piped");
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = grep.wait_with_output().map_err(failed)?;
    feeder.join().expect("does not panic").map_err(failed)?;
    match output.status.code() {
        Some(0 | 1) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        // It has said why on standard error.
        _ => Err(Failure::new(
            2,
            "the pattern is no basic regular expression",
        )),
    }
}

/// A line is a name and a command; `#` begins a comment line.
fn parse(text: &str) -> Vec<Test> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(name, command)| Test {
            name: name.to_owned(),
            command: command.trim().to_owned(),
        })
        .collect()
}

/// The file for the runner: each test is a call of this command, which knows the rest by number,
/// because kirk hands the environment on in parts only.
pub fn write(tests: &[Test], command: &str, side: &Side) -> Result<(), Failure> {
    let path = side.runtest();
    let text: String = tests
        .iter()
        .enumerate()
        .map(|(number, test)| {
            format!(
                "{} {command} ltp test {} {number}\n",
                test.name,
                side.0.display()
            )
        })
        .collect();
    fs::write(&path, text).map_err(|error| Failure::of(path.display(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FS: &str = "\
# A comment with rwtest04

read_all_dev read_all -d /dev
rwtest04 export LTPROOT; rwtest -N rwtest04 -s mmread,mmwrite 10%25000:$TMPDIR/mm-sync-$$
#iogen01 iogen -i 120s | doio -akv -n 2
  rwtest05\trwtest -N rwtest05
";

    #[test]
    fn lines_are_selected_as_grep_does() {
        let names = |patterns: &[&str]| -> Vec<String> {
            let patterns: Vec<OsString> = patterns.iter().map(OsString::from).collect();
            let tests = parse(&matching(FS.into(), &patterns).unwrap());
            tests.into_iter().map(|test| test.name).collect()
        };
        assert_eq!(names(&[]), ["read_all_dev", "rwtest04", "rwtest05"]);
        assert_eq!(names(&["rwtest04"]), ["rwtest04"]);
        assert_eq!(names(&["^rwtest\\|^iogen"]), ["rwtest04"]);
        assert_eq!(names(&["read_all", "05"]), ["read_all_dev", "rwtest05"]);
        assert_eq!(names(&["nothing"]), [""; 0]);
        assert!(matching(FS.into(), &["\\(".into()]).is_err());
    }

    #[test]
    fn a_command_is_the_rest_of_the_line() {
        let tests = parse(FS);
        assert_eq!(
            tests[1].command,
            "export LTPROOT; rwtest -N rwtest04 -s mmread,mmwrite 10%25000:$TMPDIR/mm-sync-$$"
        );
        assert_eq!(tests[2].command, "rwtest -N rwtest05");
    }
}
