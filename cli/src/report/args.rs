//! The options of `keepmydata report`.

use clap::{Arg, ArgMatches, Command, value_parser};
use std::ffi::OsString;

pub struct ReportOptions {
    pub logs: Vec<OsString>,
}

impl From<&ArgMatches> for ReportOptions {
    fn from(matches: &ArgMatches) -> Self {
        let all = |name| {
            let values = matches.get_many::<OsString>(name);
            values.unwrap_or_default().cloned().collect()
        };
        ReportOptions { logs: all("log") }
    }
}

pub fn command() -> Command {
    Command::new("report")
        .about("Tells what logs say: by file, by process, in time, and byte by byte for each tear")
        .long_about(
            "Reads the logs of one or many processes (KEEPMYDATA_LOG_FORMAT=json), also truncated \
             ones and ones still being written, and prints what happened: each file and process, \
             the steps of msync and the slowest of them, findings, and the page table of each \
             tear. Lines that cannot be read are counted and named. Memory stays bounded, \
             however long the logs are.\n\
             \n\
             How much there is to see depends on the level of the log: info has each msync, debug \
             its steps, trace also mappings and reads.\n\
             \n\
             Exit code: 0 nothing is at risk, 1 data is at risk, 2 bad usage, 3 there was no \
             record in the logs, 125 a log cannot be read or a file not be written.",
        )
        .after_help(
            "Examples:\n  \
               keepmydata --log=debug --log-format=json --log-file=/tmp/k.%p.log -- ./mytest\n  \
               keepmydata report /tmp/k.*.log",
        )
        .arg(
            Arg::new("log")
                .value_name("LOG")
                .help("A log, a directory of logs, a glob, or - for standard input")
                .long_help(
                    "A log; a directory, for the files in it that end in .log, .json, .jsonl or \
                     .ndjson; a glob, for programs that do not expand them; or - for standard \
                     input.",
                )
                .num_args(1..)
                .required(true)
                .value_parser(value_parser!(OsString)),
        )
}
