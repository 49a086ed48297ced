//! The command line of `keepmydata diagnose`.

use crate::junit;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub struct Options {
    pub program: Vec<OsString>,
    /// How often under each setting.
    pub runs: u32,
    /// For one run.
    pub timeout: Duration,
    pub json: bool,
    pub junit: Option<PathBuf>,
    pub logs: Option<PathBuf>,
}

pub fn command() -> Command {
    Command::new("diagnose")
        .about("Runs a failing test under different settings and says what is at fault")
        .override_usage("keepmydata diagnose [OPTIONS] [--] PROGRAM [ARGS]...")
        .long_about(
            "Runs PROGRAM, a test that fails, several times natively and under settings of the shim \
             that add one step at a time. From those that let it pass, and from the shim's records, \
             it concludes whether the filesystem, the program or the test is at fault.\n\
             \n\
             A run passes if it ends with exit code 0 in time. Each run starts from what \
             the one before has left. Standard input is empty. Delays after msync need strace.",
        )
        .after_long_help(
            "Exit code:\n  \
               0    the program passes natively in every run: there is nothing to explain\n  \
               1    the filesystem is at fault, or its other client shows late what was synced\n  \
               2    the program is at fault: it races with its own msync, relies on MS_ASYNC,\n       \
                    syncs the wrong range, or goes on after msync has failed\n  \
               3    the test is at fault: it fails, always or now and then, whatever is done; or it\n       \
                    passes natively and fails under the shim\n  \
               125  bad usage, or the command itself failed\n  \
               126  the program cannot be run, or not under the shim\n  \
               127  there is no such program\n  \
               130  interrupted (143: by SIGTERM, 129: by SIGHUP)\n\
             \n\
             Examples:\n  \
               keepmydata diagnose -- ./mytest /mnt/data\n  \
               keepmydata diagnose --runs 10 --junit results.xml -- ./mytest /mnt/data",
        )
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("N")
                .help("How often the program is run under each setting")
                .default_value("3")
                .value_parser(value_parser!(u32).range(1..=1000)),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .help("A run that takes longer is killed, and counts as failed")
                .default_value("60")
                .value_parser(value_parser!(u32).range(1..)),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .help("Print one JSON object instead of text")
                .action(ArgAction::SetTrue),
        )
        .arg(junit::option())
        .arg(
            Arg::new("keep-logs")
                .long("keep-logs")
                .value_name("DIR")
                .help("Keep the shim's logs and the program's output in DIR, in a directory for each run")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("program")
                .value_names(["PROGRAM", "ARGS"])
                .help("The program and its arguments")
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

pub fn options(matches: &ArgMatches) -> Options {
    let number = |name| *matches.get_one::<u32>(name).expect("has a default");
    let program = matches.get_many("program").expect("is required");
    Options {
        program: program.cloned().collect(),
        runs: number("runs"),
        timeout: Duration::from_secs(number("timeout").into()),
        json: matches.get_flag("json"),
        junit: matches.get_one("junit").cloned(),
        logs: matches.get_one("keep-logs").cloned(),
    }
}
