//! A client on a filesystem: what it does natively and under the shim.

use std::fmt;
use std::fs;
use std::path::Path;

use super::run::{How, Load, acknowledged, failure};
use super::table::Client;

pub const LOAD: Load = Load { count: 40, seed: 7 };

/// What the shim makes of a client on a filesystem.
#[derive(Clone, PartialEq, Eq)]
pub enum Comparison {
    /// Natively and under the shim all is well, and the same is acknowledged.
    Same,
    /// Natively acknowledged data is lost without any cut, under the shim nothing.
    Cured(String),
    /// It fails natively, and in the same way under the shim.
    Alike(String),
    Different(String),
}

impl Comparison {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Cured(_) => "cured",
            Self::Alike(_) => "fails alike",
            Self::Different(_) => "DIFFERENT",
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str(self.word()),
            Self::Cured(why) | Self::Alike(why) | Self::Different(why) => {
                write!(f, "{}: {why}", self.word())
            }
        }
    }
}

/// Runs the client both ways, each in a directory of its own below `mount`.
pub fn compare(client: &Client, mount: &Path) -> Comparison {
    let (native, acknowledged) = run(client, mount, false);
    let (shimmed, acknowledged_too) = run(client, mount, true);
    match (native, shimmed) {
        (None, None) if acknowledged == acknowledged_too => Comparison::Same,
        (Some(why), None) if acknowledged == acknowledged_too => Comparison::Cured(why),
        (Some(why), Some(again)) if why == again => Comparison::Alike(why),
        (native, shimmed) => Comparison::Different(format!(
            "natively {} records, {native:?}; under the shim {} records, {shimmed:?}",
            acknowledged.len(),
            acknowledged_too.len(),
        )),
    }
}

/// Why the run failed, or what was found wrong afterwards; and what the client acknowledged.
fn run(client: &Client, mount: &Path, shimmed: bool) -> (Option<String>, Vec<String>) {
    let directory = mount.join("run");
    fs::create_dir(&directory).expect("directory of the run");
    let program = client.program(&directory, LOAD, How::End);
    let outcome = match shimmed {
        true => program.under_shim(&[client.settings, &[("KEEPMYDATA_LOG", "error")]].concat()),
        false => program.natively(),
    };
    let records = acknowledged(&outcome.stdout);
    let wrong = failure(&outcome)
        .or_else(|| match client.check(&directory, LOAD) {
            Err(reason) => Some(reason),
            Ok(there) => {
                let missing = records.iter().filter(|line| !there.contains(*line)).count();
                (missing > 0).then(|| format!("{missing} acknowledged records are missing"))
            }
        })
        .or_else(|| {
            let log = outcome.log_text();
            (!log.is_empty()).then(|| format!("the shim reported: {log}"))
        });
    fs::remove_dir_all(&directory).expect("removal of the run");
    (wrong, records)
}
