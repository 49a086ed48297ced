//! Runs a program natively or under the shim, whose records go to files of their own.

use crate::child::{self, Ended};
use crate::failure::Failure;
use crate::run::Library;
use keepmydata_records::OPTIONS;
use serde_json::Value;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How a program is run.
#[derive(Clone, Copy)]
pub enum Under<'a> {
    Nothing,
    Shim {
        /// KEEPMYDATA_LOG.
        level: &'a str,
        /// Variables; all others are as by default.
        settings: &'a [(&'a str, &'a str)],
    },
    /// The same, and nothing is preloaded: the command supervises.
    Supervisor {
        /// KEEPMYDATA_LOG.
        level: &'a str,
        /// Variables; all others are as by default.
        settings: &'a [(&'a str, &'a str)],
    },
}

/// What is preloaded, and where logs go.
pub struct Runner {
    /// LD_PRELOAD without the shim.
    native: OsString,
    /// LD_PRELOAD with it, or why it cannot be had.
    shimmed: Result<OsString, String>,
    /// Removed with all it holds.
    scratch: tempfile::TempDir,
}

impl Runner {
    /// What `others` says is preloaded too, natively and under the shim; where it names the shim,
    /// that does not count.
    ///
    /// # Errors
    /// Without a temporary directory.
    pub fn new(library: Result<Library, Failure>, others: &OsStr) -> Result<Self, Failure> {
        let native = match &library {
            Ok(library) => library.not_preloaded(others),
            Err(_) => others.to_owned(),
        };
        let shimmed = library
            .and_then(|library| library.preload(Some(&native)))
            .map_err(|failure| failure.message);
        let scratch = tempfile::Builder::new()
            .prefix("keepmydata-")
            .tempdir()
            .map_err(|error| Failure::of(env::temp_dir().display(), &error))?;
        Ok(Runner {
            native,
            shimmed,
            scratch,
        })
    }

    /// Why nothing can be run under the shim.
    pub fn no_shim(&self) -> Option<&str> {
        self.shimmed.as_ref().err().map(String::as_str)
    }

    /// A place for the logs of a run.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs `command` within a limit of time, without the settings of whoever calls; the shim's
    /// log of each process goes to `logs`, a directory.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run(
        &self,
        mut command: Command,
        under: Under<'_>,
        logs: &Path,
        limit: Duration,
    ) -> io::Result<Ended> {
        for option in OPTIONS {
            command.env_remove(option.env);
        }
        let preload = match (under, &self.shimmed) {
            (Under::Shim { .. }, Err(why)) => return Err(io::Error::other(why.clone())),
            (Under::Shim { .. }, Ok(shimmed)) => shimmed,
            (Under::Nothing | Under::Supervisor { .. }, _) => &self.native,
        };
        match preload.is_empty() {
            true => command.env_remove("LD_PRELOAD"),
            false => command.env("LD_PRELOAD", preload),
        };
        if let Under::Shim { level, settings } | Under::Supervisor { level, settings } = under {
            command
                .env("KEEPMYDATA_LOG", level)
                .env("KEEPMYDATA_LOG_FORMAT", "json")
                .env("KEEPMYDATA_LOG_FILE", logs.join("%p.log"))
                .envs(settings.iter().copied());
        }
        child::run(&mut command, limit)
    }
}

/// The records of all logs in a directory, a list for each process. A line that is no record, as
/// the last of a killed process may be, is left out.
pub fn records(logs: &Path) -> io::Result<impl Iterator<Item = impl Iterator<Item = Value>>> {
    let is_log = |path: &PathBuf| path.extension() == Some(OsStr::new("log"));
    let paths = fs::read_dir(logs)?.flatten().map(|entry| entry.path());
    let files = paths.filter(is_log).flat_map(File::open);
    Ok(files.map(|file| {
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_slice(&line).ok())
    }))
}
