//! `keepmydata PROGRAM ARGS...`: becomes the program, with the shim preloaded, or under a supervisor.

mod elf;
mod library;
mod log_target;
mod program;
mod seen_by;
mod supervise;
mod watcher;

pub use library::Library;
pub use program::can_be_reached;

pub use crate::failure::reason;
use crate::failure::{CANNOT_RUN, Failure, NOT_FOUND};
use crate::output;
use crate::sys;
use crate::typo;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches};
use serde::{Deserialize, Serialize};
use std::env;
use std::ffi::{CString, OsStr, OsString, c_int};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// How a program is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// By a preloaded library where the loader loads it, and by a supervisor elsewhere.
    Auto,
    Preload,
    Supervise,
}

impl Reach {
    /// As they are called.
    const WORDS: [&'static str; 3] = ["auto", "preload", "supervise"];

    /// The option, without help.
    pub fn option() -> Arg {
        Arg::new("reach")
            .long("reach")
            .value_name("HOW")
            .value_parser(PossibleValuesParser::new(Reach::WORDS))
            .hide_possible_values(true)
    }

    /// What the option says.
    pub fn given(matches: &ArgMatches) -> Reach {
        let all = [Reach::Auto, Reach::Preload, Reach::Supervise];
        let word = matches.get_one::<String>("reach");
        let at = word.and_then(|word| Reach::WORDS.iter().position(|known| known == word));
        at.map_or(Reach::Auto, |at| all[at])
    }
}

/// Executes `command` under the shim or a supervisor. Returns only where that failed.
pub fn run(
    settings: &[(&'static str, OsString)],
    reach: Reach,
    command: &[OsString],
) -> Result<c_int, Failure> {
    typo::warn_of_variables();
    let name = &command[0];
    match reach {
        Reach::Preload => preloaded(settings, command, Library::find()?),
        Reach::Supervise => supervised(settings, command),
        Reach::Auto => {
            let file = program::find(name, env::var_os("PATH").as_deref())?;
            match Library::find() {
                Ok(library) if !program::needs_supervision(&file, &library.elf) => {
                    preloaded(settings, command, library)
                }
                Ok(_) => supervised(settings, command),
                Err(failure) => match elf::of_this_command() {
                    Some(own) if program::needs_supervision(&file, &own) => {
                        supervised(settings, command)
                    }
                    _ => Err(failure),
                },
            }
        }
    }
}

/// Executes `command` under a supervisor.
fn supervised(
    settings: &[(&'static str, OsString)],
    command: &[OsString],
) -> Result<c_int, Failure> {
    let name = &command[0];
    let file = program::find(name, env::var_os("PATH").as_deref())?;
    if let Some(own) = elf::of_this_command() {
        program::can_be_supervised(&file, &own).map_err(|refusal| {
            Failure::new(refusal.code(), format!("{}: {refusal}", name.display()))
        })?;
    }
    let fifo = log_target::check(settings)?;
    supervise::start(settings, fifo)?;
    let variables = environment(settings);
    Err(not_executed(name, &execute(&file, command, &variables)))
}

/// Executes `command` with the shim preloaded.
fn preloaded(
    settings: &[(&'static str, OsString)],
    command: &[OsString],
    library: Library,
) -> Result<c_int, Failure> {
    let name = &command[0];
    let file = checked(name, &library)?;
    let preload = library.preload(env::var_os("LD_PRELOAD").as_deref())?;
    seen_by::check(settings)?;
    let fifo = log_target::check(settings)?;
    let mut changes: Vec<(&str, OsString)> = settings.to_vec();
    changes.push(("LD_PRELOAD", preload));
    let watch = watcher::start(name, fifo)?;
    if let Some(watch) = &watch {
        changes.push((watcher::VARIABLE, watch.descriptor().to_string().into()));
    }

    let error = execute(&file, command, &environment(&changes));
    if let Some(watch) = watch {
        watch.dismiss();
    }
    Err(not_executed(name, &error))
}

fn not_executed(name: &OsStr, error: &io::Error) -> Failure {
    let code = match error.raw_os_error() {
        Some(libc::ENOENT) => NOT_FOUND,
        _ => CANNOT_RUN,
    };
    Failure::new(code, format!("{}: {}", name.display(), reason(error)))
}

/// The file that a command names, and whether it must be supervised: the shim would see little or nothing of it.
pub fn located(name: &OsStr, library: &Library) -> Result<(PathBuf, bool), Failure> {
    let file = program::find(name, env::var_os("PATH").as_deref())?;
    match program::needs_supervision(&file, &library.elf) {
        true => Ok((file, true)),
        false => Ok((checked(name, library)?, false)),
    }
}

/// The file that a command names, into which the shim can be loaded; of a Go program a warning says
/// that little of it is seen.
pub fn checked(name: &OsStr, library: &Library) -> Result<PathBuf, Failure> {
    let file = program::find(name, env::var_os("PATH").as_deref())?;
    let notes = program::check(&file, library).map_err(|refusal| {
        Failure::new(refusal.code(), format!("{}: {refusal}", name.display()))
    })?;
    if notes.is_go {
        output::say(format_args!(
            "warning: {}: a Go program: only what it does through libc is seen, and Go calls the \
             kernel itself",
            name.display()
        ));
    }
    Ok(file)
}

/// The environment with these variables changed, and all else as it was: order, duplicates, and
/// entries that are no variables.
fn environment(changes: &[(&str, OsString)]) -> Vec<CString> {
    let mut entries = sys::environment();
    let name = |entry: &CString| {
        entry
            .as_bytes()
            .split(|&byte| byte == b'=')
            .next()
            .map(Vec::from)
    };
    entries.retain(|entry| {
        let name = name(entry);
        changes
            .iter()
            .all(|(changed, _)| name.as_deref() != Some(changed.as_bytes()))
    });
    entries.extend(changes.iter().map(|(name, value)| {
        let mut entry = OsString::from(format!("{name}="));
        entry.push(value);
        c_string(&entry)
    }));
    entries
}

/// execve(2), and where the kernel knows no format for the file, a shell, as execvp(3) does.
fn execute(file: &Path, command: &[OsString], variables: &[CString]) -> io::Error {
    let arguments: Vec<CString> = command.iter().map(|argument| c_string(argument)).collect();
    let path = c_string(file.as_os_str());
    let error = sys::execve(&path, &arguments, variables);
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return error;
    }
    let mut shell = vec![c"/bin/sh".to_owned(), path];
    shell.extend_from_slice(&arguments[1..]);
    sys::execve(c"/bin/sh", &shell, variables)
}

fn c_string(text: &OsStr) -> CString {
    CString::new(text.to_owned().into_vec()).expect("arguments and variables cannot contain NUL")
}
