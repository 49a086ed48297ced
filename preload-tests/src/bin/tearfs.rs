//! `tearfs`: mounts the test bed. See `tearfs --help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use preload_tests::tearfs::mount::{Failure, run};
use preload_tests::tearfs::options::Options;

fn main() -> ExitCode {
    let failure = match Options::try_parse() {
        Ok(options) => run(options).err(),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            error.exit()
        }
        Err(error) => Some(Failure::Option(one_line(&error))),
    };
    match failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            eprintln!("tearfs: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The reason without usage and hints.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let reason: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    reason.join(" ").trim_start_matches("error: ").to_owned()
}
