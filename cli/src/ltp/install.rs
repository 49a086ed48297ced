//! The LTP that is installed, and what can run its tests.

use super::args::Runner;
use crate::failure::Failure;
use crate::run::reason;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

const DEFAULT_ROOT: &str = "/opt/ltp";

/// Said wherever no LTP, or nothing that runs it, is found.
const ADVICE: &str = "\
LTP is not part of keepmydata: install it (https://linux-test-project.readthedocs.io, by default \
into /opt/ltp), and name its directory with --ltp DIR or LTPROOT. Its runner is runltp up to \
version 20260130, and kirk since then (pip install kirk)";

#[derive(Debug)]
pub struct Install {
    pub root: PathBuf,
    /// As LTP itself says, or "unknown".
    pub version: String,
    pub runner: Runner,
    /// The runner's program.
    pub program: PathBuf,
}

impl Install {
    /// What is in `root`, else in `$LTPROOT`, else in /opt/ltp.
    pub fn find(root: Option<&Path>, runner: Option<Runner>) -> Result<Self, Failure> {
        let (root, named) = match (root, env::var_os("LTPROOT")) {
            (Some(root), _) => (root.to_owned(), "--ltp"),
            (None, Some(root)) if !root.is_empty() => (root.into(), "LTPROOT"),
            _ => (DEFAULT_ROOT.into(), "no --ltp, no LTPROOT"),
        };
        let shown = root.display();
        let missing = |what: &str| Failure::own(format!("{named}: {shown}: {what}.\n{ADVICE}"));
        let root = root
            .canonicalize()
            .map_err(|error| missing(&reason(&error)))?;
        for part in ["testcases/bin", "runtest"] {
            if !root.join(part).is_dir() {
                return Err(missing(&format!("not an installed LTP: it has no {part}")));
            }
        }
        let version = ["VERSION", "Version"]
            .iter()
            .find_map(|name| fs::read_to_string(root.join(name)).ok())
            .map_or("unknown".to_owned(), |text| text.trim().to_owned());
        let (runner, program) = find_runner(&root, runner, env::var_os("PATH").as_deref())
            .map_err(|why| missing(&why))?;
        Ok(Install {
            root,
            version,
            runner,
            program,
        })
    }
}

fn find_runner(
    root: &Path,
    wanted: Option<Runner>,
    path: Option<&OsStr>,
) -> Result<(Runner, PathBuf), String> {
    let runltp = (wanted != Some(Runner::Kirk)).then(|| runltp(root));
    let kirk = || {
        (wanted != Some(Runner::Runltp))
            .then(|| kirk(root, path))
            .flatten()
    };
    match runltp {
        Some(Ok(program)) => Ok((Runner::Runltp, program)),
        refused => match (kirk(), refused) {
            (Some(program), _) => Ok((Runner::Kirk, program)),
            (None, Some(Err(why))) if wanted.is_some() => Err(why.to_owned()),
            (None, Some(Err(why))) => Err(format!("{why}, and there is no kirk in it or in PATH")),
            (None, _) => Err("there is no kirk in it or in PATH".to_owned()),
        },
    }
}

/// The script runltp, unless it is the stub that only says that it was removed: the real one
/// starts ltp-pan.
fn runltp(root: &Path) -> Result<PathBuf, &'static str> {
    let program = root.join("runltp");
    match fs::read_to_string(&program) {
        Err(_) => Err("it has no runltp"),
        Ok(text) if !text.contains("ltp-pan") => Err("its runltp only says that it was removed"),
        Ok(_) => Ok(program),
    }
}

fn kirk(root: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let directories = path.map(env::split_paths).into_iter().flatten();
    std::iter::once(root.to_owned())
        .chain(directories)
        .map(|directory| directory.join("kirk"))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stub_of_runltp_is_no_runner() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let find = |wanted| find_runner(root, wanted, Some(root.join("bin").as_os_str()));
        assert!(find(None).unwrap_err().starts_with("it has no runltp, and"));
        let stub = "#!/bin/sh\necho runltp was removed from LTP use kirk instead >&2\nexit 1\n";
        fs::write(root.join("runltp"), stub).unwrap();
        assert!(find(None).unwrap_err().contains("was removed, and there"));
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("bin/kirk"), "").unwrap();
        assert_eq!(find(None).unwrap(), (Runner::Kirk, root.join("bin/kirk")));
        fs::write(root.join("kirk"), "").unwrap();
        assert_eq!(find(None).unwrap(), (Runner::Kirk, root.join("kirk")));
        assert!(find(Some(Runner::Runltp)).is_err());
        fs::write(root.join("runltp"), "exec bin/ltp-pan").unwrap();
        assert_eq!(find(None).unwrap().0, Runner::Runltp);
        assert_eq!(find(Some(Runner::Kirk)).unwrap().0, Runner::Kirk);
    }
}
