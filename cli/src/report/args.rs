//! The options of `keepmydata report`.

use clap::builder::TypedValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;

pub struct ReportOptions {
    pub logs: Vec<OsString>,
    pub daemons: Vec<OsString>,
    pub html: Option<PathBuf>,
    pub trace: Option<PathBuf>,
    pub records: usize,
}

impl From<&ArgMatches> for ReportOptions {
    fn from(matches: &ArgMatches) -> Self {
        let all = |name| {
            let values = matches.get_many::<OsString>(name);
            values.unwrap_or_default().cloned().collect()
        };
        ReportOptions {
            logs: all("log"),
            daemons: all("daemon"),
            html: matches.get_one("html").cloned(),
            trace: matches.get_one("trace").cloned(),
            records: *matches.get_one("records").expect("has a default"),
        }
    }
}

pub fn command() -> Command {
    Command::new("report")
        .about("Shows what happened, from the logs, down to the wrong bytes")
        .long_about(
            "Reads the logs of one or many processes (KEEPMYDATA_LOG_FORMAT=json), truncated ones \
             and ones still being written too, and prints each file and process, the steps of msync \
             and the slowest of them, findings, and each tear (data that was not safe, or may not \
             have been) with its pages. Memory stays bounded, however long the logs are.\n\
             \n\
             How much there is to see depends on the level of the log: info has each msync, debug \
             its steps, trace also mappings and reads.",
        )
        .after_long_help(
            "Exit code:\n  \
               0    no data is known to be at risk\n  \
               1    data is at risk, or may be\n  \
               3    there was no record in the logs\n  \
               125  bad usage, or a log cannot be read, or a file not be written\n\
             \n\
             Examples:\n  \
               keepmydata --log=debug --log-format=json --log-file=/tmp/k.%p.log -- ./mytest\n  \
               keepmydata report /tmp/k.*.log\n  \
               keepmydata report --html report.html --daemon /var/log/client.log=cubefs /tmp/k.*.log\n  \
               watch keepmydata report /tmp/k.*.log",
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
        .arg(
            Arg::new("html")
                .long("html")
                .value_name("FILE")
                .help("Also write a web page with a timeline, page maps and all tears to FILE")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .value_name("FILE")
                .help("Also write a trace for Perfetto and chrome://tracing to FILE")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("daemon")
                .long("daemon")
                .value_name("LOG[=FORMAT]")
                .help("A log of the filesystem's daemon, merged in by time")
                .long_help(
                    "A log of the filesystem's daemon, merged in by time. FORMAT is tearfs, \
                     cubefs, libfuse or a file of patterns (docs/report.md); by default the one \
                     of the three that fits. May be given several times.",
                )
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString)),
        )
        .arg(
            Arg::new("records")
                .long("records")
                .value_name("N")
                .help("How many records the page holds at most [100000]")
                .long_help(
                    "How many records the page (--html) holds at most. If there are more, it holds a \
                     sample of whole calls, and all that failed. [100000]",
                )
                .default_value("100000")
                .hide_default_value(true)
                .value_parser(value_parser!(u32).range(100..=10_000_000).map(|n| n as usize)),
        )
}
