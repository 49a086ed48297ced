//! Which file a command names, and whether the shim can be loaded into it.

use super::elf::{self, Elf};
use super::{Library, reason};
use crate::failure::{CANNOT_RUN, Failure, NOT_FOUND};
use crate::sys;
use rustix::fs::{Access, StatVfsMountFlags, access, getxattr, statvfs};
use std::ffi::{OsStr, OsString, c_int};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// As many as the kernel follows, see execve(2).
const MAX_INTERPRETERS: usize = 4;

/// Why a program is not run.
#[derive(Debug)]
pub enum Refusal {
    NotFound,
    IsDirectory,
    NotExecutable,
    /// The kernel does not find it, and says why.
    Unreachable(io::Error),
    Unreadable(io::Error),
    Static,
    NoLibc {
        is_go: bool,
    },
    OtherLoader(String),
    OtherArchitecture {
        program: String,
        shim: String,
    },
    OtherUser(&'static str),
    NoFormat,
    TooManyInterpreters,
    Interpreter(PathBuf, Box<Refusal>),
}

impl Refusal {
    /// The exit code, as a shell would choose it.
    pub fn code(&self) -> c_int {
        match self {
            Refusal::NotFound => NOT_FOUND,
            Refusal::Interpreter(_, why) => why.code(),
            _ => CANNOT_RUN,
        }
    }

    /// Whether nothing but that no library can be preloaded is in the way.
    fn is_of_preloading(&self) -> bool {
        match self {
            Refusal::Static | Refusal::NoLibc { .. } | Refusal::OtherLoader(_) => true,
            Refusal::Interpreter(_, why) => why.is_of_preloading(),
            _ => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound => f.write_str("No such file or directory"),
            Refusal::IsDirectory => f.write_str("Is a directory"),
            Refusal::NotExecutable => f.write_str("Permission denied"),
            Refusal::Unreachable(error) => f.write_str(&reason(error)),
            Refusal::Unreadable(error) => write!(
                f,
                "cannot be read, so it is not known whether the shim can be loaded: {}",
                reason(error)
            ),
            Refusal::Static => f.write_str("statically linked: the shim cannot be loaded into it"),
            Refusal::NoLibc { is_go: true } => f.write_str(
                "a Go program without libc: it calls the kernel itself, the shim would see nothing",
            ),
            Refusal::NoLibc { is_go: false } => {
                f.write_str("not linked with libc: the shim would see nothing of what it does")
            }
            Refusal::OtherLoader(loader) => {
                write!(f, "runs with {loader}, and the shim needs glibc's loader")
            }
            Refusal::OtherArchitecture { program, shim } => {
                write!(f, "a {program} program, and the shim is {shim}")
            }
            Refusal::OtherUser(how) => {
                write!(f, "{how}: ld.so ignores LD_PRELOAD for such programs")
            }
            Refusal::NoFormat => f.write_str("Exec format error"),
            Refusal::TooManyInterpreters => f.write_str("Too many levels of interpreters"),
            Refusal::Interpreter(path, why) => {
                write!(f, "its interpreter {}: {why}", path.display())
            }
        }
    }
}

/// What a person should know of a program that is run.
#[derive(Debug, Default)]
pub struct Notes {
    pub is_go: bool,
}

/// The file that `name` stands for: itself where it has a slash, else the first executable of that
/// name in the directories of `path`, as execvp(3) searches.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let mut refused = None;
    let directories = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    // Joined with no name, each directory would be found itself.
    let searched = directories
        .as_bytes()
        .split(|&byte| byte == b':')
        .filter(|_| !name.is_empty());
    for directory in searched {
        // An empty entry is the working directory, and ld.so must not search for the rest.
        let directory = if directory.is_empty() {
            b"."
        } else {
            directory
        };
        let file = Path::new(OsStr::from_bytes(directory)).join(name);
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(Refusal::NotFound) => {}
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    let name = name.display();
    match refused {
        Some(refusal) => Err(Failure::new(refusal.code(), format!("{name}: {refusal}"))),
        None => Err(Failure::new(
            NOT_FOUND,
            format!("{name}: command not found"),
        )),
    }
}

/// Whether execve(2) would take the file.
fn executable(file: &Path) -> Result<(), Refusal> {
    match fs::metadata(file) {
        Err(error) => Err(match error.kind() {
            io::ErrorKind::PermissionDenied => Refusal::NotExecutable,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refusal::NotFound,
            _ => Refusal::Unreachable(error),
        }),
        Ok(metadata) if metadata.is_dir() => Err(Refusal::IsDirectory),
        Ok(_) if access(file, Access::EXEC_OK).is_err() => Err(Refusal::NotExecutable),
        Ok(_) => Ok(()),
    }
}

/// Whether the shim can be loaded into `file`, following `#!` lines to the program that runs.
pub fn check(file: &Path, library: &Library) -> Result<Notes, Refusal> {
    check_at(file, &library.elf, 0)
}

/// Whether the shim, which is of kind `shim`, would see little or nothing of what the program does, and a supervisor sees
/// it.
pub fn needs_supervision(file: &Path, shim: &Elf) -> bool {
    match check_at(file, shim, 0) {
        Ok(notes) => notes.is_go,
        Err(refusal) => refusal.is_of_preloading(),
    }
}

/// Whether the program can be reached, by the shim or a supervisor.
pub fn can_be_reached(file: &Path, library: &Library) -> Result<(), Refusal> {
    can_be_supervised(file, &library.elf)
}

/// Whether a supervisor of kind `own` sees what the program does.
pub fn can_be_supervised(file: &Path, own: &Elf) -> Result<(), Refusal> {
    match check_at(file, own, 0) {
        Err(refusal) if !refusal.is_of_preloading() => Err(refusal),
        _ => Ok(()),
    }
}

fn check_at(file: &Path, shim: &Elf, depth: usize) -> Result<Notes, Refusal> {
    executable(file)?;
    if let Some(elf) = elf::read(file).map_err(unreadable)? {
        return check_elf(file, &elf, shim);
    }
    let interpreter = match script(file).map_err(unreadable)? {
        Script::None => return Err(Refusal::NoFormat),
        Script::Interpreter(_) if depth == MAX_INTERPRETERS => {
            return Err(Refusal::TooManyInterpreters);
        }
        Script::Interpreter(interpreter) => interpreter,
    };
    check_at(&interpreter, shim, depth + 1).map_err(|why| match why {
        // The innermost is the one to blame.
        Refusal::Interpreter(..) | Refusal::TooManyInterpreters => why,
        why => Refusal::Interpreter(interpreter, Box::new(why)),
    })
}

fn unreadable(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::InvalidData => Refusal::NoFormat,
        _ => Refusal::Unreadable(error),
    }
}

fn check_elf(file: &Path, elf: &Elf, shim: &Elf) -> Result<Notes, Refusal> {
    if !elf.is_of_same_kind(shim) {
        return Err(Refusal::OtherArchitecture {
            program: elf.kind(),
            shim: shim.kind(),
        });
    }
    if let Some(how) = gains_privileges(file).map_err(Refusal::Unreadable)? {
        return Err(Refusal::OtherUser(how));
    }
    match &elf.loader {
        // ld.so called as a program has no loader and heeds LD_PRELOAD.
        None if is_loader(file) => {}
        None if elf.is_go => return Err(Refusal::NoLibc { is_go: true }),
        None => return Err(Refusal::Static),
        Some(loader) if loader.contains("ld-musl") => {
            return Err(Refusal::OtherLoader(loader.clone()));
        }
        Some(_) if !elf.has_libraries => return Err(Refusal::NoLibc { is_go: elf.is_go }),
        Some(_) => {}
    }
    Ok(Notes { is_go: elf.is_go })
}

fn is_loader(file: &Path) -> bool {
    let real = fs::canonicalize(file).unwrap_or_default();
    real.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"ld-linux"))
}

/// How executing `file` would change the identity of the process, for which ld.so enters
/// secure-execution mode (ld.so(8)); `None` where it would not.
fn gains_privileges(file: &Path) -> io::Result<Option<&'static str>> {
    let ids = sys::Ids::get();
    if ids.differ() {
        return Ok(Some("this process runs as another user than its real one"));
    }
    let no_suid = statvfs(file)?.f_flag.contains(StatVfsMountFlags::NOSUID);
    if no_suid || sys::no_new_privileges() {
        return Ok(None);
    }
    let metadata = fs::metadata(file)?;
    let mode = metadata.mode();
    if mode & libc::S_ISUID != 0 && metadata.uid() != ids.user {
        return Ok(Some("set-user-ID"));
    }
    // Without the group's execute bit, set-group-ID meant mandatory locking.
    if mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0 && metadata.gid() != ids.group {
        return Ok(Some("set-group-ID"));
    }
    // Root has the capabilities already.
    let mut value = [0; 64];
    let has_capabilities = getxattr(file, c"security.capability", &mut value[..]).is_ok();
    Ok((has_capabilities && ids.user != 0).then_some("has file capabilities"))
}

enum Script {
    /// The program that runs it.
    Interpreter(PathBuf),
    /// No script.
    None,
}

/// The `#!` line, as the kernel reads it; what `env` runs where that is `env`; a shell for a text
/// without such a line, as execvp(3) does.
fn script(file: &Path) -> io::Result<Script> {
    let mut start = Vec::new();
    // BINPRM_BUF_SIZE of the kernel.
    File::open(file)?.take(256).read_to_end(&mut start)?;
    let line = start
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let Some(line) = line.strip_prefix(b"#!") else {
        let text = !line.contains(&0) && !start.is_empty();
        return Ok(if text {
            Script::Interpreter("/bin/sh".into())
        } else {
            Script::None
        });
    };
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = line.trim_ascii();
    let (interpreter, argument) = match line.iter().position(blank) {
        Some(at) => (&line[..at], line[at..].trim_ascii()),
        None => (line, &b""[..]),
    };
    if interpreter.is_empty() {
        return Ok(Script::None);
    }
    let interpreter = PathBuf::from(OsString::from_vec(interpreter.to_vec()));
    if interpreter.file_name() == Some(OsStr::new("env"))
        && let Some(name) = program_of_env(argument)
        && let Ok(file) = find(&name, std::env::var_os("PATH").as_deref())
    {
        return Ok(Script::Interpreter(file));
    }
    Ok(Script::Interpreter(interpreter))
}

/// The program that `env ARGUMENT` runs: the argument itself, or with `-S` its first word that is
/// neither an option nor an assignment.
fn program_of_env(argument: &[u8]) -> Option<OsString> {
    let split = argument
        .strip_prefix(b"-S")
        .or_else(|| argument.strip_prefix(b"--split-string"))
        .map(|rest| rest.strip_prefix(b"=").unwrap_or(rest));
    let name = match split {
        None => argument,
        Some(words) => words
            .split(u8::is_ascii_whitespace)
            .find(|word| !word.is_empty() && word[0] != b'-' && !word.contains(&b'='))?,
    };
    (!name.is_empty()).then(|| OsString::from_vec(name.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_env_runs() {
        for (argument, program) in [
            ("python3", Some("python3")),
            ("-S python3 -u", Some("python3")),
            ("-Spython3", Some("python3")),
            ("-S -i A=b perl -w", Some("perl")),
            ("--split-string=perl -w", Some("perl")),
            ("", None),
            ("-S", None),
        ] {
            let found = program_of_env(argument.as_bytes());
            assert_eq!(found.as_deref(), program.map(OsStr::new), "{argument}");
        }
    }

    #[test]
    fn search_follows_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prog");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let path = directory.path().as_os_str();
        let failed = |name: &str| find(OsStr::new(name), Some(path)).unwrap_err();
        assert_eq!(failed("prog").code, CANNOT_RUN);
        assert_eq!(failed("prog").message, "prog: Permission denied");
        assert_eq!(failed("none").code, NOT_FOUND);
        assert_eq!(failed("").code, NOT_FOUND);
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(find(OsStr::new("prog"), Some(path)).unwrap(), file);
        assert_eq!(
            find(OsStr::new("./none"), None).unwrap(),
            Path::new("./none")
        );
    }
}
