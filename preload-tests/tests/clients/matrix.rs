//! A client on a filesystem: what it says natively and under the shim.

use std::fs;
use std::path::Path;

use super::run::{How, Load, acknowledged, failure};
use super::table::Client;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Result {
    /// Why it failed, or what its own tools found wrong.
    pub failure: Option<String>,
    /// What it acknowledged.
    pub records: Vec<String>,
}

pub const LOAD: Load = Load { count: 40, seed: 7 };

/// Runs the client in a directory of its own below `mount`, and has it checked.
pub fn run(client: &Client, mount: &Path, shimmed: bool) -> Result {
    let directory = mount.join("run");
    fs::create_dir(&directory).expect("directory of the run");
    let program = client.program(&directory, LOAD, How::End);
    let outcome = match shimmed {
        true => program.under_shim(&[("KEEPMYDATA_LOG", "error")]),
        false => program.natively(),
    };
    let records = acknowledged(&outcome.stdout);
    let failure = failure(&outcome)
        .or_else(|| match client.check(&directory, LOAD) {
            Err(reason) => Some(reason),
            Ok(there) => {
                let missing = records.iter().filter(|line| !there.contains(*line)).count();
                (missing > 0).then(|| format!("{missing} records missing"))
            }
        })
        .or_else(|| {
            let log = outcome.log_text();
            (!log.is_empty()).then(|| format!("the shim reported: {log}"))
        });
    fs::remove_dir_all(&directory).expect("removal of the run");
    Result { failure, records }
}
