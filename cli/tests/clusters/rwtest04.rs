//! LTP's rwtest04 with its file on the first mount: `LTPROOT` leads to an LTP that is installed.

use crate::common::keepmydata;
use crate::mounts::Cluster;
use preload_tests::harness::{Scratch, shim};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// As the runtest file of LTP has it, for 5 seconds in place of 60. It calls msync only with `-v`.
const ARGUMENTS: &str = "-N rwtest04 -c -q -i 5s -n 2 -f sync -s mmread,mmwrite -m random -Dv";

pub fn programs() -> Result<PathBuf, String> {
    let root = env::var_os("LTPROOT").ok_or("no LTPROOT")?;
    let programs = PathBuf::from(root).join("testcases/bin");
    match programs.join("doio").exists() {
        true => Ok(programs),
        false => Err(format!("{}: no doio", programs.display())),
    }
}

/// How it ends natively, and under keepmydata.
pub fn run(cluster: &Cluster, programs: PathBuf) -> [String; 2] {
    let path = env::join_paths(
        [programs]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    let path = path.expect("directories");
    let scratch = Scratch::new();
    [false, true].map(|shimmed| {
        let log = scratch.path("log");
        let mut command = match shimmed {
            false => Command::new("rwtest"),
            true => {
                let mut command = keepmydata();
                command.env("KEEPMYDATA_LIB", shim());
                command.arg(format!("--log-file={}", log.display()));
                command.args(["--log=info", "--", "rwtest"]);
                command
            }
        };
        let file = cluster.first.join("mm-sync");
        command
            .args(ARGUMENTS.split(' '))
            .arg(format!("10%25000:{}", file.display()));
        command.env("PATH", &path).stdin(Stdio::null());
        command.current_dir(scratch.path(""));
        let output = command.output().expect("rwtest");
        let said = fs::read_to_string(log).unwrap_or_default();
        let _ = fs::remove_file(file);
        assert!(!shimmed || said.contains(" msync #"), "no msync: {said}");
        let is_warning = |line: &&str| line.contains(" WARN pid ") || line.contains(" ERROR pid ");
        match (
            output.status.success(),
            said.lines().filter(is_warning).count(),
        ) {
            (true, 0) => "passes".to_owned(),
            (true, told) => format!("passes, {told} warnings"),
            (false, 0) => "fails".to_owned(),
            (false, told) => format!("fails, {told} warnings"),
        }
    })
}
