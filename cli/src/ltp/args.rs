//! The command line of `keepmydata ltp`.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What `keepmydata ltp` was asked for.
pub enum LtpRequest {
    /// Run tests.
    Run(Box<Options>),
    /// Explain the data comparison errors of an earlier run.
    Report { output: PathBuf },
    /// One test, started by the runner.
    Test { side: PathBuf, number: usize },
    /// A program of LTP, started by a test's shell through its stand-in.
    Guest {
        side: PathBuf,
        command: Vec<OsString>,
    },
}

pub struct Options {
    /// Runtest files, by path or by name.
    pub files: Vec<String>,
    /// Basic regular expressions; a line is taken where one matches.
    pub patterns: Vec<OsString>,
    pub directory: PathBuf,
    pub how: How,
    pub ltp: Option<PathBuf>,
    pub runner: Option<Runner>,
    pub output: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub junit: Option<PathBuf>,
    pub report: bool,
    pub timeout: Duration,
    /// For runltp or kirk.
    pub runner_arguments: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Native,
    Shim,
    Compare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Runltp,
    Kirk,
}

const USAGE: &str = "keepmydata ltp -d DIR -f FILE [-s PATTERN] [--native | --compare] [OPTIONS]\n       \
     keepmydata ltp report OUTPUT";

pub fn command() -> Command {
    Command::new("ltp")
        .about("Runs tests of an installed LTP natively, under the shim, or both and compares")
        .long_about(
            "Runs tests of the Linux Test Project with their files in DIR: under the shim, \
             natively (--native), or both (--compare). LTP must be installed; its own runner, \
             runltp or kirk, runs the tests. Only programs of LTP are preloaded, not the shells \
             and tools that its scripts use.\n\
             \n\
             Settings of the shim come from the environment (KEEPMYDATA_VERIFY=...). Results and \
             logs are kept in OUTPUT.\n\
             \n\
             `keepmydata ltp report OUTPUT` explains the data comparison errors of an earlier \
             run.",
        )
        .override_usage(USAGE)
        .after_long_help(
            "Exit code:\n  \
               0    nothing failed, and with --compare nothing differs\n  \
               1    a test failed, or its results differ\n  \
               125  bad usage, or the tests could not be run\n  \
               130  interrupted (143: by SIGTERM, 129: by SIGHUP)\n\
             \n\
             Examples:\n  \
               keepmydata ltp -d /mnt/fuse -f fs -s rwtest04 --compare --report\n  \
               keepmydata ltp -d /mnt/fuse -f syscalls -s '^msync' --junit results.xml",
        )
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("directory")
                .short('d')
                .long("directory")
                .value_name("DIR")
                .required(true)
                .help("Where the tests work: a directory on the filesystem under test")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .required(true)
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help("Runtest files: a name in LTP's runtest directory, or a path"),
        )
        .arg(
            Arg::new("pattern")
                .short('s')
                .long("pattern")
                .value_name("PATTERN")
                .action(ArgAction::Append)
                .help("Only lines of the runtest file that match, as grep and runltp -s do")
                .value_parser(value_parser!(OsString)),
        )
        .arg(flag("native").help("Run without the shim"))
        .arg(flag("compare").help("Run natively, then under the shim, and compare"))
        .group(ArgGroup::new("how").args(["native", "compare"]))
        .arg(path("ltp", "DIR").help("Where LTP is [default: $LTPROOT, then /opt/ltp]"))
        .arg(
            Arg::new("runner")
                .long("runner")
                .value_name("WHICH")
                .value_parser(["runltp", "kirk"])
                .help("What runs the tests [default: runltp where LTP has it, else kirk]"),
        )
        .arg(
            path("output", "OUTPUT")
                .short('o')
                .help("A new directory for results and logs [default: one in /tmp]"),
        )
        .arg(path("json", "PATH").help("Also write the results to PATH as JSON"))
        .arg(path("junit", "PATH").help("Also write the results to PATH as JUnit XML"))
        .arg(flag("report").help(
            "Log reads too, and explain each data comparison error: the msyncs and reads that \
             touch the range, and its pages",
        ))
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .default_value("3600")
                .help("How long one test may run before it is killed")
                .value_parser(value_parser!(u64).range(1..)),
        )
        .arg(
            Arg::new("runner-arguments")
                .value_name("ARGS")
                .last(true)
                .num_args(0..)
                .help("After --: arguments for runltp or kirk")
                .value_parser(value_parser!(OsString)),
        )
        .subcommand(
            Command::new("report")
                .about("Explains the data comparison errors of an earlier run")
                .after_long_help(
                    "Exit code:\n  \
                       0    there is a report, or nothing to report\n  \
                       125  bad usage, or OUTPUT cannot be read\n\
                     \n\
                     Examples:\n  \
                       keepmydata ltp report /tmp/ltp-output",
                )
                .arg(
                    Arg::new("output")
                        .value_name("OUTPUT")
                        .required(true)
                        .help("The directory that it wrote (-o)")
                        .value_parser(value_parser!(PathBuf)),
                ),
        )
        .subcommand(
            Command::new("test").hide(true).arg(side()).arg(
                Arg::new("number")
                    .required(true)
                    .value_parser(value_parser!(usize)),
            ),
        )
        .subcommand(
            Command::new("guest").hide(true).arg(side()).arg(
                Arg::new("command")
                    .required(true)
                    .num_args(1..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .value_parser(value_parser!(OsString)),
            ),
        )
}

/// The directory of one side, native or shim.
fn side() -> Arg {
    Arg::new("side")
        .required(true)
        .value_parser(value_parser!(PathBuf))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn path(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .value_parser(value_parser!(PathBuf))
}

pub fn request(matches: &ArgMatches) -> LtpRequest {
    let path = |matches: &ArgMatches, name| matches.get_one::<PathBuf>(name).cloned();
    match matches.subcommand() {
        Some(("report", sub)) => LtpRequest::Report {
            output: path(sub, "output").expect("required"),
        },
        Some(("test", sub)) => LtpRequest::Test {
            side: path(sub, "side").expect("required"),
            number: *sub.get_one("number").expect("required"),
        },
        Some(("guest", sub)) => LtpRequest::Guest {
            side: path(sub, "side").expect("required"),
            command: many(sub, "command"),
        },
        Some((other, _)) => unreachable!("subcommand {other}"),
        None => LtpRequest::Run(Box::new(options(matches))),
    }
}

fn options(matches: &ArgMatches) -> Options {
    let path = |name| matches.get_one::<PathBuf>(name).cloned();
    let runner = matches.get_one::<String>("runner");
    Options {
        files: matches
            .get_many::<String>("file")
            .expect("required")
            .cloned()
            .collect(),
        patterns: many(matches, "pattern"),
        directory: path("directory").expect("required"),
        how: match (matches.get_flag("native"), matches.get_flag("compare")) {
            (true, _) => How::Native,
            (_, true) => How::Compare,
            _ => How::Shim,
        },
        ltp: path("ltp"),
        runner: runner.map(|name| match name.as_str() {
            "runltp" => Runner::Runltp,
            _ => Runner::Kirk,
        }),
        output: path("output"),
        json: path("json"),
        junit: path("junit"),
        report: matches.get_flag("report"),
        timeout: Duration::from_secs(*matches.get_one("timeout").expect("has a default")),
        runner_arguments: many(matches, "runner-arguments"),
    }
}

fn many(matches: &ArgMatches, name: &str) -> Vec<OsString> {
    let values = matches.get_many::<OsString>(name);
    values.into_iter().flatten().cloned().collect()
}
